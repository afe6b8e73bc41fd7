//! Where two sources are used, the second one is heard before anything advances.

use super::before::Stood;
use super::{Broken, broken};
use crate::rollout::Rollout;

/// Nothing advances while the witness is not heard, or objects on its own numbers, unless an
/// operator vouched for that.
///
/// # Errors
/// When it does.
pub(super) fn advanced(earlier: &Stood, rollout: &Rollout) -> Result<(), Broken> {
    let (Some(before), Some(witness)) = (&earlier.witness, &rollout.witness) else {
        return Ok(());
    };
    let what = if before.too_little {
        "advanced although the witness was not heard"
    } else if witness.speaks_against() && !before.lets_numbers {
        "advanced although the witness's numbers speak against the canary"
    } else {
        return Ok(());
    };
    broken("S4", rollout, what.to_owned())
}
