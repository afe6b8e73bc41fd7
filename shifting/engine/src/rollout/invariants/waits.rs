//! What a rollout waits for beside its evidence: gates, freezes, its turn.

use super::before::{Before, Stood};
use super::{Broken, broken};
use crate::rollout::{Event, Phase, Rollout, State, Turn};
use crate::units::Ppm;

/// Nothing advances in a freeze or past a gate that is not open.
///
/// # Errors
/// When it does.
pub(super) fn advanced(earlier: &Stood, after: &State, rollout: &Rollout) -> Result<(), Broken> {
    not_frozen(after, rollout)?;
    let gate = earlier.gate;
    if earlier.gate_ms < gate.pause_ms {
        return broken("gate", rollout, "it left a rung that pauses".to_owned());
    }
    if gate.approval && !earlier.approved {
        return broken("gate", rollout, "it left a rung unapproved".to_owned());
    }
    Ok(())
}

/// A rollout begins outside freezes, and when nothing of the one before is exposed.
///
/// # Errors
/// When it begins otherwise.
pub(super) fn began(
    before: &Before,
    event: &Event,
    after: &State,
    rollout: &Rollout,
) -> Result<(), Broken> {
    if let Some(previous) = before.latest(&rollout.plan.service) {
        let over = previous.phase.is_final();
        let drained = previous.phase == Phase::Committed || previous.exposed == Ppm::ZERO;
        if !(over && drained) {
            return broken("S1", rollout, "it began beside another".to_owned());
        }
    }
    let unchecked = Turn::Unchecked;
    if matches!(event, Event::Start { turn, .. } if *turn == unchecked) {
        return Ok(());
    }
    not_frozen(after, rollout)
}

fn not_frozen(after: &State, rollout: &Rollout) -> Result<(), Broken> {
    match after.freeze_of(&rollout.plan.service, after.latest) {
        Some(frozen) if rollout.plan.pace.heeds_freeze() => {
            broken("freeze", rollout, frozen.reason)
        }
        _ => Ok(()),
    }
}
