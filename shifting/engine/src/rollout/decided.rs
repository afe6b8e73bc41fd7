//! What an event led to, as the journal keeps it beside the event: so that a replay can say that
//! it decides the same, to the bit, and people can read decisions without computing them anew.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::rollout::configuration::FleetState;
use crate::rollout::state::ServiceState;
use crate::rollout::{Decision, Effect, Event, EvidenceStatus, Phase, Rollout, State, fleet_of};
use crate::units::Ppm;

/// What one event led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What had to follow.
    pub effects: Vec<Effect>,
    /// The latest rollout of every service that the event was about.
    pub rollouts: Vec<RolloutDecision>,
    /// Fingerprint of the whole state after it; left out at the observations of every second,
    /// which touch one rollout only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Where a rollout stood after an event, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutDecision {
    /// The service.
    pub service: String,
    /// Number of the rollout.
    pub number: u64,
    /// Where it stands.
    pub phase: Phase,
    /// The rung it stands on, `-` before the first and at rest.
    pub rung: String,
    /// The present exposure.
    pub epoch: u64,
    /// The canary's share of requests as decided.
    pub share: Ppm,
    /// The verdict.
    pub decision: Decision,
    /// The numbers it was taken on.
    pub evidence: Vec<EvidenceStatus>,
    /// The second source's numbers, where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness: Vec<EvidenceStatus>,
    /// Fingerprint of all that is remembered of the service: equal fingerprints, equal bits.
    pub fingerprint: String,
}

// === impl Decided ===

impl Decided {
    /// What `event` led to: `after` and `effects` are what [`State::apply`] answered.
    #[must_use]
    pub fn new(event: &Event, after: &State, effects: &[Effect]) -> Self {
        let rollouts = match event.service() {
            Some(name) => match fleet_of(name) {
                Some(fleet) => after.fleets.get(fleet).and_then(RolloutDecision::of_fleet),
                None => after
                    .services
                    .get(name)
                    .and_then(RolloutDecision::of_service),
            }
            .into_iter()
            .collect(),
            None => after
                .services
                .values()
                .filter_map(RolloutDecision::of_service)
                .chain(after.fleets.values().filter_map(RolloutDecision::of_fleet))
                .collect(),
        };
        Self {
            effects: effects.to_vec(),
            rollouts,
            state: (!matches!(event, Event::Observed(_))).then(|| fingerprint(after)),
        }
    }

    /// The first thing that differs, in words: `self` was recorded, `again` is what this program
    /// decides now. `None` when they agree to the bit.
    #[must_use]
    pub fn difference(&self, again: &Decided) -> Option<String> {
        for (was, is) in self.rollouts.iter().zip(&again.rollouts) {
            if was.service != is.service || was.number != is.number {
                return Some(format!(
                    "it was about rollout {} of `{}`, and is about {} of `{}`",
                    was.number, was.service, is.number, is.service
                ));
            }
            if (was.phase, &was.rung, was.epoch, was.share)
                != (is.phase, &is.rung, is.epoch, is.share)
            {
                return Some(format!(
                    "`{}` was at {}, is at {}",
                    was.service,
                    was.place(),
                    is.place()
                ));
            }
            if was.decision != is.decision {
                return Some(format!(
                    "`{}`: was {}, is {}",
                    was.service, was.decision, is.decision
                ));
            }
            if was.fingerprint != is.fingerprint {
                return Some(format!(
                    "`{}`: the same decision from other numbers (fingerprint {}, now {})",
                    was.service, was.fingerprint, is.fingerprint
                ));
            }
        }
        if self.rollouts.len() != again.rollouts.len() {
            return Some(format!(
                "it was about {} rollouts, and is about {}",
                self.rollouts.len(),
                again.rollouts.len()
            ));
        }
        if self.effects != again.effects {
            return Some("what had to follow differs".to_owned());
        }
        (self.state != again.state).then(|| {
            let name = |state: &Option<String>| state.clone().unwrap_or_else(|| "none".to_owned());
            format!(
                "the state differs (fingerprint {}, now {})",
                name(&self.state),
                name(&again.state)
            )
        })
    }
}

// === impl RolloutDecision ===

impl RolloutDecision {
    fn of_service(service: &ServiceState) -> Option<Self> {
        let rollout = service.rollout.as_deref()?;
        Some(Self::new(rollout, fingerprint(service)))
    }

    fn of_fleet(fleet: &FleetState) -> Option<Self> {
        let rollout = fleet.rollout.as_deref()?;
        Some(Self::new(rollout, fingerprint(fleet)))
    }

    fn new(rollout: &Rollout, fingerprint: String) -> Self {
        Self {
            service: rollout.plan.service.clone(),
            number: rollout.number,
            phase: rollout.phase,
            rung: rollout.rung_name().to_owned(),
            epoch: rollout.epoch,
            share: rollout.share(),
            decision: rollout.decision.clone(),
            evidence: rollout.battery.status(),
            witness: rollout
                .witness
                .as_ref()
                .map(|witness| witness.battery.status())
                .unwrap_or_default(),
            fingerprint,
        }
    }

    /// Where it stands, such as `judging 5% (share 5%, exposure 7)`.
    #[must_use]
    pub fn place(&self) -> String {
        let rung = match self.rung.as_str() {
            "-" => String::new(),
            rung => format!(" {rung}"),
        };
        format!(
            "{}{rung} (share {}, exposure {})",
            self.phase, self.share, self.epoch
        )
    }
}

/// The first 16 hex digits of the SHA-256 of a value's canonical text: maps are ordered, and
/// floating-point numbers that decide are written as their bits.
fn fingerprint(value: &impl Serialize) -> String {
    // Serialising plain data to memory cannot fail; a difference there would be reported as one.
    let text = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(&text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
