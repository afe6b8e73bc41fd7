//! What must hold in the model's world, beyond the engine's own invariants, which see one step.

use super::faults::Fault;
use super::world::{Weather, World};
use crate::rollout::{Decision, Event, Phase, State};
use crate::units::Ppm;

/// Seconds within which half of the canary failing must take it back, or a rung back from 100%. Evidence of a second may be
/// clipped, and three of them are needed.
const FAILING_MAX: u8 = 6;
/// Seconds in which a revert or a healthy rollout must be over.
const REVERT_MAX: usize = 45;
const HEALTHY_MAX: usize = 120;

/// What is wrong with the step from `before` to `after`, which `world` was in.
pub(super) fn of_step(
    world: &World,
    before: &State,
    event: &Event,
    after: &State,
) -> Option<String> {
    let (was, is) = (before.latest("checkout")?, after.latest("checkout")?);
    let raised = is.share() > was.share();
    let going_back = matches!(is.phase(), Phase::Reverting | Phase::Reverted);
    match event {
        Event::Abort { .. } if !going_back && was.phase() != Phase::Committed => {
            Some(format!("S5: an abort left it at {:?}", is.phase()))
        }
        Event::Recovered { outage_ms } => {
            let dropped = outage_ms.is_some_and(|ms| ms >= 2_000);
            let exposed = is.share() > Ppm::ZERO && is.phase() != Phase::Committing;
            if raised {
                Some("S8: coming back raised the exposure".to_owned())
            } else if dropped && exposed {
                Some("S8: a share that ran out is wanted again, undecided".to_owned())
            } else {
                None
            }
        }
        Event::Observed(_) if raised && world.weather != Weather::Healthy => {
            // Before the first exposure only stable can be seen, and only its silence matters.
            let exposed = was.share() > Ppm::ZERO;
            let wrong = match world.weather {
                Weather::AllSilent => true,
                Weather::CanarySilent | Weather::CanaryFails | Weather::BothFail => exposed,
                Weather::Idle | Weather::Healthy => false,
            };
            wrong.then(|| format!("S4: it advanced while {:?}", world.weather))
        }
        Event::Observed(_) if raised => {
            let behind = world
                .sidecars
                .iter()
                .any(|sidecar| sidecar.connected && sidecar.has.0 != was.epoch());
            let gone = world.sidecars.iter().any(|sidecar| !sidecar.connected);
            (behind || gone).then(|| "S3: it advanced without every sidecar".to_owned())
        }
        Event::Observed(_)
            if is.phase() == Phase::Committed && was.phase() != Phase::Committing =>
        {
            Some(format!(
                "S10: committed from {:?}, without a soak",
                was.phase()
            ))
        }
        Event::Observed(observation) => {
            let bad = observation.evidence.canary.bad > 0;
            let reacts = going_back || is.share() < was.share();
            let late = world.failing > FAILING_MAX && bad && !reacts;
            let exposed = matches!(was.phase(), Phase::Judging | Phase::Soaking);
            if late && exposed {
                return Some(format!(
                    "L2: half of the canary failed for {} s, and it is at {:?}",
                    world.failing,
                    is.phase()
                ));
            }
            let healthy = world.weather == Weather::Healthy && world.failing == 0;
            let blamed = matches!(is.decision, Decision::Revert { .. })
                && is
                    .revert_reason
                    .as_ref()
                    .is_some_and(|reason| reason.starts_with("errors"));
            if blamed && healthy && was.revert_reason.is_none() {
                return Some("a healthy canary was blamed for errors".to_owned());
            }
            // At 100% there is no other arm: what fails there a second time, and with less does not,
            // is its fault.
            let first = !was.asks.unanswered && was.revert_reason.is_none();
            let both = world.weather == Weather::BothFail && blamed && first;
            both.then(|| "T6: a fault of both arms was blamed on the canary".to_owned())
        }
        _ => None,
    }
}

/// L5: from wherever it begins to go back, it arrives, though no sidecar answers any more.
pub(super) fn goes_back(world: &World, fault: Option<Fault>) -> bool {
    let run = world.run();
    if run.phase() != Phase::Reverting || run.since != world.now {
        return true;
    }
    let mut world = world.clone();
    for _ in 0..REVERT_MAX {
        if world.reverted() {
            return true;
        }
        world.tick(fault);
    }
    world.reverted()
}

/// L3: when the weather is fine and everybody obliges, it ends, or says that it is held past its
/// deadline. Looked at in a part of all states, since it costs a whole rollout.
pub(super) fn ends(world: &World) -> bool {
    if !world.digest.is_multiple_of(61) {
        return true;
    }
    let mut world = world.clone();
    world.weather = Weather::Healthy;
    for _ in 0..HEALTHY_MAX {
        let run = world.run();
        let held = matches!(&run.decision, Decision::Wait(waiting) if waiting.overdue);
        if run.phase().is_final() || held || run.paused.is_some() {
            return true;
        }
        for sidecar in &mut world.sidecars {
            sidecar.connected = true;
            if let Some(sent) = sidecar.sent.take() {
                sidecar.has = sent;
            }
        }
        world.tick(None);
    }
    false
}
