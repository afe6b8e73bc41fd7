//! What the invariants look at in the state before a step. It is small, so that a step can be taken
//! in place and be checked all the same: nothing has to be kept of tests, histories and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{exposure, leases, order};
use crate::mesh::{Gate, Mesh, Settings};
use crate::rollout::cap::Crowded;
use crate::rollout::{
    Event, KnownGood, Observation, Phase, Plan, Quarantined, Rollout, State, fleet_of,
};
use crate::time::Time;
use crate::units::Ppm;

/// A state before an event, as far as [`check_step`](super::check_step) compares the state after it
/// with that.
#[derive(Debug)]
pub struct Before {
    pub(super) mesh: Option<Arc<Mesh>>,
    /// Of fleets that once had another configuration than the declared one.
    staged: BTreeMap<String, Settings>,
    quarantine: Arc<BTreeMap<String, Quarantined>>,
    /// By service, of those that have some.
    known_good: Vec<(String, Arc<Vec<KnownGood>>)>,
    /// The latest of each service and fleet, in the order of [`Plan::service`].
    rollouts: Vec<Stood>,
    /// What the event starts is let overlap.
    pub(super) may_overlap: bool,
    /// Running rollouts that overlap, by their numbers, where the event tells of calls.
    pub(super) overlapping: BTreeSet<(u64, u64)>,
    /// The service that what the event starts has to wait for.
    pub(super) precedes: Option<String>,
    /// What keeps the observed rollout's next step from going beyond a fleet's cap.
    pub(super) crowded: Option<Crowded>,
}

/// A rollout before a step.
#[derive(Debug)]
pub(super) struct Stood {
    pub(super) number: u64,
    pub(super) plan: Arc<Plan>,
    pub(super) phase: Phase,
    pub(super) rung: usize,
    pub(super) epoch: u64,
    pub(super) exposed: Ppm,
    pub(super) paused: bool,
    pub(super) watch: Watch,
    pub(super) gate: Gate,
    pub(super) gate_ms: u64,
    pub(super) approved: bool,
    pub(super) no_way_back: Option<String>,
    /// The service of what it overlaps and is at fault by the table of both, while it is exposed.
    pub(super) beside_fault: Option<String>,
    pub(super) witness: Option<Heard>,
}

/// What the rung, or the soak, was watched for.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) acknowledged: Option<Time>,
    pub(super) last_tick: Time,
    pub(super) baked_ms: u64,
    pub(super) canary_requests: u64,
}

/// The witness of a rollout, given what it says at this tick.
#[derive(Debug)]
pub(super) struct Heard {
    /// Too little, and nobody vouched for that.
    pub(super) too_little: bool,
    /// An operator vouched for the canary, against which its numbers speak.
    pub(super) lets_numbers: bool,
}

// === impl Before ===

impl Before {
    /// To be taken before `event` is applied to `state`.
    #[must_use]
    pub fn of(state: &State, event: &Event) -> Self {
        let observation = match event {
            Event::Observed(observation) => Some(observation),
            _ => None,
        };
        let known_good = state.services.iter();
        let mut rollouts: Vec<Stood> = state
            .rollouts()
            .map(|rollout| Stood::of(state, rollout, observation))
            .collect();
        rollouts.sort_by(|one, other| one.plan.service.cmp(&other.plan.service));
        Self {
            mesh: state.mesh.clone(),
            staged: state
                .fleets
                .iter()
                .map(|(fleet, it)| (fleet.clone(), it.settings.clone()))
                .collect(),
            quarantine: Arc::clone(&state.quarantine),
            known_good: known_good
                .filter(|(_, it)| !it.known_good.is_empty())
                .map(|(service, it)| (service.clone(), Arc::clone(&it.known_good)))
                .collect(),
            rollouts,
            may_overlap: leases::may_overlap(state, event),
            overlapping: leases::overlapping(state, event),
            precedes: order::precedes(state, event),
            crowded: observation.and_then(|observation| state.crowded(observation)),
        }
    }

    /// The latest rollout of a service, or of a fleet's configuration.
    pub(super) fn latest(&self, service: &str) -> Option<&Stood> {
        let place = self
            .rollouts
            .binary_search_by(|stood| stood.plan.service.as_str().cmp(service));
        self.rollouts.get(place.ok()?)
    }

    /// A rollout as it stood.
    pub(super) fn same(&self, rollout: &Rollout) -> Option<&Stood> {
        self.latest(&rollout.plan.service)
            .filter(|stood| stood.number == rollout.number)
    }

    /// What was in quarantine and is so still at the time `now`.
    pub(super) fn quarantined(&self, now: Time) -> impl Iterator<Item = &Quarantined> {
        let all = self.quarantine.values();
        all.filter(move |entry| entry.until > now)
    }

    /// The versions that a service ran well with.
    pub(super) fn known_good(&self, service: &str) -> &[KnownGood] {
        let known = self.known_good.iter().find(|(name, _)| name == service);
        known.map_or(&[], |(_, known)| known.as_slice())
    }

    /// What a fleet's sidecars had, but for those that a running rollout exposed.
    pub(super) fn settings(&self, fleet: &str) -> Option<Settings> {
        match self.staged.get(fleet) {
            Some(settings) => Some(settings.clone()),
            None => Settings::of(self.mesh.as_deref()?, fleet),
        }
    }

    /// Nothing of which fleets' settings are made differs in `after`: cheap, and true of most steps.
    pub(super) fn has_settings_of(&self, after: &State) -> bool {
        let same_mesh = match (&self.mesh, &after.mesh) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_mesh && self.staged.is_empty() && after.fleets.is_empty()
    }
}

// === impl Stood ===

impl Stood {
    fn of(state: &State, rollout: &Rollout, observation: Option<&Observation>) -> Self {
        let service = rollout.plan.service.as_str();
        let rival = state
            .rival_at_fault(rollout)
            .filter(|_| rollout.is_exposed());
        let witness = rollout.witness.as_deref().map(|witness| {
            let said = observation.and_then(|observation| observation.witness.as_deref());
            let (canary, stable) = said
                .map(|said| (said.canary_fresh, said.stable_fresh))
                .unwrap_or_default();
            Heard {
                too_little: rollout.is_unheard(canary, stable) && !witness.lets_silence(),
                lets_numbers: witness.lets_numbers(),
            }
        });
        Self {
            number: rollout.number,
            plan: Arc::clone(&rollout.plan),
            phase: rollout.phase,
            rung: rollout.rung,
            epoch: rollout.epoch,
            exposed: exposure(state, rollout),
            paused: rollout.paused.is_some(),
            watch: Watch {
                acknowledged: rollout.clock.acknowledged,
                last_tick: rollout.last_tick,
                baked_ms: rollout.clock.baked_ms,
                canary_requests: rollout.clock.canary_requests,
            },
            gate: rollout.gate_here(),
            gate_ms: rollout.clock.gate_ms,
            approved: rollout.is_approved(),
            // Only services have one: a fleet's sidecars keep what they have.
            no_way_back: match fleet_of(service) {
                None => state.no_way_back(service),
                Some(_) => None,
            },
            beside_fault: rival.map(|rival| rival.plan.service.clone()),
            witness,
        }
    }
}
