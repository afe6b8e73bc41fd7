//! Who is blamed, of two that overlap.

use super::before::Stood;
use super::{Broken, broken};
use crate::rollout::attribution::is_alone_at_fault;
use crate::rollout::{Cause, Phase, Rollout, State};

/// Nothing advances while what it overlaps is at fault by the table of both.
///
/// # Errors
/// When something does.
pub(super) fn advanced(earlier: &Stood, rollout: &Rollout) -> Result<(), Broken> {
    match &earlier.beside_fault {
        Some(rival) => {
            let what = format!("it advanced beside `{rival}`, at fault");
            broken("attribution", rollout, what)
        }
        None => Ok(()),
    }
}

/// Who goes back for a fault that another is suspected of too is blamed for it only where the table
/// of both shows it without the other's part.
///
/// # Errors
/// When it is blamed all the same.
pub(super) fn blamed(after: &State, earlier: &Stood, rollout: &Rollout) -> Result<(), Broken> {
    let reverts = rollout.phase == Phase::Reverting && earlier.phase != Phase::Reverting;
    let blamed = rollout.reverted.as_ref().map(|it| it.cause) == Some(Cause::Fault);
    let heeds = rollout.plan.policy.rules >= 3 && rollout.rejection_fault().is_none();
    if !(reverts && blamed && heeds) {
        return Ok(());
    }
    let mut suspects = after.suspects(rollout, after.latest);
    match suspects.find(|other| !is_alone_at_fault(rollout, other)) {
        Some(other) => {
            let what = format!(
                "it is blamed beside `{}`, suspected too",
                other.plan.service
            );
            broken("attribution", rollout, what)
        }
        None => Ok(()),
    }
}
