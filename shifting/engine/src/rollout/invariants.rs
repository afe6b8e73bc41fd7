//! What must hold in every step, as pure predicates: for unit tests, property tests, the models, the
//! simulator, and as alarms in the program.

mod attribution;
mod before;
mod configuration;
mod leases;
mod memory;
mod order;
mod waits;
mod watched;
mod witness;

use crate::evidence::FRESH_ENOUGH_PPM;
use crate::rollout::{Event, Observation, Phase, Rollout, State};
use crate::units::Ppm;

pub use before::Before;
use before::Stood;

/// An invariant that a step broke: a fault of this program, not of its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {rule} is broken for `{service}`: {what}")]
pub struct Broken {
    /// Its number, such as `S2`.
    pub rule: &'static str,
    /// The service.
    pub service: String,
    /// What was seen.
    pub what: String,
}

/// Whether `after` may follow `before` by `event`.
///
/// # Errors
/// The first invariant that is broken.
pub fn check(before: &State, event: &Event, after: &State) -> Result<(), Broken> {
    check_step(&Before::of(before, event), event, after)
}

/// [`check`] for a step that is taken in place.
///
/// # Errors
/// The first invariant that is broken.
pub fn check_step(before: &Before, event: &Event, after: &State) -> Result<(), Broken> {
    exposure_is_within_the_rung(after)?;
    configuration::settings(before, event, after)?;
    leases::seen(before, event, after)?;
    memory::quarantine(before, event, after)?;
    memory::known_good(before, event, after)?;
    memory::way_back(before, after)?;
    for rollout in after.rollouts() {
        match before.same(rollout) {
            Some(earlier) => check_rollout(before, after, earlier, event, rollout)?,
            None => {
                started_at_nothing(rollout, after)?;
                waits::began(before, event, after, rollout)?;
                leases::began(before, event, after, rollout)?;
                order::began(before, rollout)?;
                if let Some(full) = after.exceeded(event, rollout) {
                    return broken("cap", rollout, format!("it did not wait for {full}"));
                }
            }
        }
    }
    Ok(())
}

/// S2: what is exposed never exceeds what the phase and the rung allow.
///
/// # Errors
/// When it does.
pub fn exposure_is_within_the_rung(state: &State) -> Result<(), Broken> {
    for rollout in state.rollouts() {
        let limit = match rollout.phase {
            Phase::Preparing | Phase::Reverting | Phase::Reverted => Ppm::ZERO,
            Phase::Judging => rollout
                .plan
                .rungs
                .get(rollout.rung)
                .map_or(Ppm::ZERO, |rung| rung.share),
            Phase::Soaking | Phase::Committing | Phase::Committed => Ppm::WHOLE,
        };
        let exposed = exposure(state, rollout);
        if exposed > limit {
            return broken(
                "S2",
                rollout,
                format!("{exposed} exposed, {limit} allowed at {:?}", rollout.phase),
            );
        }
    }
    Ok(())
}

/// The share of requests that the splits give to the new version; of sidecars, those that have the
/// new revision, of which a single one stands for one part per million.
#[must_use]
pub fn exposure(state: &State, rollout: &Rollout) -> Ppm {
    if let Some(change) = rollout.plan.configuration.as_deref() {
        if state.settings(&change.fleet).as_ref() == Some(&change.after) {
            return Ppm::WHOLE;
        }
        if rollout.phase.is_final() {
            return Ppm::ZERO;
        }
        let exposed = rollout.exposed_sidecars();
        let named = u32::try_from(exposed.named.len()).map(Ppm::new);
        return named
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
            .max(exposed.share);
    }
    let Some(service) = state.services.get(&rollout.plan.service) else {
        return Ppm::ZERO;
    };
    let (stable, canary) = service.parts();
    if stable == rollout.plan.to {
        return Ppm::WHOLE;
    }
    canary
        .filter(|(version, _)| *version == rollout.plan.to)
        .map_or(Ppm::ZERO, |(_, share)| share)
}

fn started_at_nothing(rollout: &Rollout, after: &State) -> Result<(), Broken> {
    if rollout.phase != Phase::Preparing || exposure(after, rollout) != Ppm::ZERO {
        return broken("S2", rollout, "it began exposed".to_owned());
    }
    Ok(())
}

fn check_rollout(
    before: &Before,
    after: &State,
    earlier: &Stood,
    event: &Event,
    rollout: &Rollout,
) -> Result<(), Broken> {
    if earlier.plan != rollout.plan {
        return broken("S3", rollout, "the plan changed".to_owned());
    }
    let (was, is) = (earlier.exposed, exposure(after, rollout));
    if was != is && rollout.epoch <= earlier.epoch {
        return broken("S7", rollout, "exposure changed within an epoch".to_owned());
    }
    let ending = matches!(earlier.phase, Phase::Reverting | Phase::Reverted);
    if ending && !matches!(rollout.phase, Phase::Reverting | Phase::Reverted) {
        return broken("S5", rollout, format!("{:?} after a revert", rollout.phase));
    }
    attribution::blamed(after, earlier, rollout)?;
    let advanced = is > was || rank(rollout.phase) > rank(earlier.phase);
    if !advanced {
        return Ok(());
    }
    if rollout.phase != Phase::Committed
        && let Some(why) = &earlier.no_way_back
    {
        return broken("S9", rollout, why.clone());
    }
    if rollout.phase != Phase::Committed {
        attribution::advanced(earlier, rollout)?;
        waits::advanced(earlier, after, rollout)?;
    }
    let next = match earlier.phase {
        Phase::Preparing => 0,
        _ => earlier.rung.saturating_add(1),
    };
    if rollout.rung > next {
        return broken("S3", rollout, "a rung was left out".to_owned());
    }
    let Event::Observed(observation) = event else {
        let rule = if matches!(event, Event::Recovered { .. }) {
            "S8"
        } else {
            "S3"
        };
        return broken(
            rule,
            rollout,
            "it advanced without an observation".to_owned(),
        );
    };
    if rollout.phase == Phase::Committed {
        return Ok(()); // decided by the soak; what is behind is listed
    }
    watched::advanced(earlier, observation, rollout)?;
    witness::advanced(earlier, rollout)?;
    if is > was
        && let Some(crowded) = &before.crowded
    {
        return broken("cap", rollout, format!("it advanced, though {crowded}"));
    }
    match doubt(observation, earlier, was) {
        None => Ok(()),
        Some(what) => broken("S4", rollout, what),
    }
}

/// Why an observation is no ground to advance on (S3, S4).
fn doubt(observation: &Observation, earlier: &Stood, exposed: Ppm) -> Option<String> {
    let (delivery, evidence) = (&observation.delivery, &observation.evidence);
    let whole = exposed == Ppm::WHOLE;
    if observation.epoch != earlier.epoch || observation.service != earlier.plan.service {
        return Some("advanced on another exposure's observation".to_owned());
    }
    if delivery.expected == 0
        || delivery.acknowledged < delivery.expected
        || !delivery.behind.is_empty()
        || !delivery.rejected.is_empty()
    {
        return Some("advanced without everyone's acknowledgement".to_owned());
    }
    let fresh = |part: Ppm| part.get() >= FRESH_ENOUGH_PPM;
    if !whole && !fresh(evidence.stable_fresh) {
        return Some("advanced on stale evidence of stable".to_owned());
    }
    if exposed > Ppm::ZERO {
        if !fresh(evidence.canary_fresh) {
            return Some("advanced on stale evidence of the canary".to_owned());
        }
        if evidence.canary.requests == 0 || (!whole && evidence.stable.requests == 0) {
            return Some("advanced without requests".to_owned());
        }
        if earlier.paused {
            return Some("advanced while paused".to_owned());
        }
    }
    None
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Reverting | Phase::Reverted => 0,
        Phase::Preparing => 1,
        Phase::Judging => 2,
        Phase::Soaking => 3,
        Phase::Committing => 4,
        Phase::Committed => 5,
    }
}

fn broken(rule: &'static str, rollout: &Rollout, what: String) -> Result<(), Broken> {
    Err(Broken {
        rule,
        service: rollout.plan.service.clone(),
        what,
    })
}
