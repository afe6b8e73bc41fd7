//! What differs between what a client should have of one type and what it has.
//!
//! Pure comparison; it costs one look at every subscribed resource, and is made only when
//! something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::order::{Gate, removal_gate, update_gate};
use super::proven::Proven;
use super::state::TypeState;
use super::{Types, Variant};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::Snapshot;

/// What differs, for one type.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To be sent now.
    pub(super) updates: Vec<Arc<Resource>>,
    /// Asked for, not existing, and not held: to be told as removed now (rule D3b).
    pub(super) absent: Vec<Name>,
    /// To be taken away now.
    pub(super) removals: Vec<Name>,
    /// Everything that the client should have or may keep: the whole set of a state-of-the-world
    /// response, in the order of names.
    pub(super) set: BTreeMap<Name, Arc<Resource>>,
    /// Held back by a gate.
    pub(super) held_back: BTreeSet<Waiting>,
    /// A held-back resource is one whose earlier content isn't known, so that a whole set can
    /// neither hold nor lack it.
    pub(super) set_unknown: bool,
    /// Refused by the client.
    pub(super) refused: usize,
    /// Of those, what waits with a clock running, and what the deadline let through.
    pub(super) clocked: BTreeSet<Waiting>,
    /// Let through by the deadline.
    pub(super) forced: BTreeSet<Waiting>,
    /// When the next gate opens by itself.
    pub(super) deadline: Option<Instant>,
}

/// Something that waits at a gate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiting {
    Update(Name),
    Removal(Name),
}

/// Since when something waits.
pub(super) type Clocks = BTreeMap<(TypeUrl, Waiting), Instant>;

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) variant: Variant,
    pub(super) types: &'a Types,
    pub(super) view: &'a Snapshot,
    pub(super) clocks: &'a Clocks,
    pub(super) proven: &'a Proven,
    pub(super) gate_deadline: Duration,
    /// On a stream of one type: how long what the view lacks stays.
    pub(super) lone_grace: Option<Duration>,
    pub(super) reconnected: Option<Instant>,
    pub(super) now: Instant,
}

// === impl Plan ===

impl Plan {
    /// Whether there is nothing to do, now or later, but what the client refuses.
    pub(super) fn is_level(&self) -> bool {
        self.updates.is_empty()
            && self.absent.is_empty()
            && self.removals.is_empty()
            && self.held_back.is_empty()
            && self.refused == 0
    }

    /// Whether something new comes later: an answer without it would say that it doesn't exist,
    /// and a starting Envoy would call itself ready too early.
    pub(super) fn has_more_to_come(&self) -> bool {
        self.updates.is_empty()
            && self
                .clocked
                .iter()
                .any(|waiting| matches!(waiting, Waiting::Update(_)))
    }
}

// === impl Planner ===

impl Planner<'_> {
    pub(super) fn plan(&self, type_url: &TypeUrl, state: &TypeState) -> Plan {
        let mut plan = Plan::default();
        if state.subscription.wildcard {
            for resource in self.view.iter(type_url) {
                self.consider(type_url, state, resource, &mut plan);
            }
        } else {
            for name in &state.subscription.names {
                if let Some(resource) = self.view.get(type_url, name) {
                    self.consider(type_url, state, resource, &mut plan);
                }
            }
        }
        for name in &state.owed {
            if !state.held.contains_key(name) && self.view.get(type_url, name).is_none() {
                plan.absent.push(name.clone());
            }
        }
        // Absence never deletes in a state-of-the-world response that isn't a whole set (rule S2).
        let removable = self.variant == Variant::Delta || type_url.is_full_state();
        for name in state.held.keys().filter(|_| removable) {
            if self.view.get(type_url, name).is_none() {
                self.consider_removal(type_url, state, name, &mut plan);
            }
        }
        plan
    }

    fn consider(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        resource: &Arc<Resource>,
        plan: &mut Plan,
    ) {
        let name = resource.name();
        let held = state.held.get(name);
        let exact = held.is_some_and(|held| held.is_exactly(resource));
        if exact && !state.owed.contains(name) {
            plan.set.insert(name.clone(), resource.clone());
            return;
        }
        if state.is_refused(resource) {
            plan.refused += 1;
            return;
        }
        let gate = if exact {
            Gate::Open
        } else {
            update_gate(self.types, self.view, resource)
        };
        if self.passes(type_url, Waiting::Update(name.clone()), gate, plan) {
            plan.updates.push(resource.clone());
            plan.set.insert(name.clone(), resource.clone());
            return;
        }
        match held.and_then(|held| held.acked.as_ref()) {
            Some(old) => {
                plan.set.insert(name.clone(), old.clone());
            }
            None => plan.set_unknown |= self.reconnected.is_some(),
        }
    }

    fn consider_removal(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        name: &Name,
        plan: &mut Plan,
    ) {
        let Some(held) = state.held.get(name).filter(|held| !held.removal_refused) else {
            plan.refused += 1;
            return;
        };
        let gate = match self.lone_grace {
            Some(_) => Gate::Wait(None),
            None => removal_gate(self.types, self.view, type_url, name, self.reconnected),
        };
        let passes = self.passes(type_url, Waiting::Removal(name.clone()), gate, plan);
        if passes {
            plan.removals.push(name.clone());
        }
        // Even what may go stays in the set that carries additions: union first, then the new
        // set (rule O1). If every set with it was refused, but not for its sake, as far as others
        // took it, the client may run it all the same.
        let refused = held.doubtful.iter().rev().filter(|_| !passes);
        let innocent = || refused.into_iter().find(|it| self.proven.contains(it));
        if let Some(old) = held.acked.as_ref().or_else(innocent) {
            plan.set.insert(name.clone(), old.clone());
        }
    }

    /// Whether a gate lets something through now, by itself or by its deadline.
    fn passes(&self, type_url: &TypeUrl, waiting: Waiting, gate: Gate, plan: &mut Plan) -> bool {
        let start = match gate {
            Gate::Open => return true,
            Gate::Closed => {
                plan.held_back.insert(waiting);
                return false;
            }
            Gate::Wait(start) => start,
        };
        plan.clocked.insert(waiting.clone());
        let key = (type_url.clone(), waiting);
        let since = self.clocks.get(&key).copied().unwrap_or(self.now);
        let wait = self.lone_grace.unwrap_or(self.gate_deadline);
        let deadline = start.map_or(since, |start| start.max(since)) + wait;
        if self.now >= deadline {
            // On a stream of one type the grace is the rule, and nothing to be counted.
            if self.lone_grace.is_none() {
                plan.forced.insert(key.1);
            }
            return true;
        }
        plan.deadline = Some(
            plan.deadline
                .map_or(deadline, |earlier| earlier.min(deadline)),
        );
        plan.held_back.insert(key.1);
        false
    }
}
