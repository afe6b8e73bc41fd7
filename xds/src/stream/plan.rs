//! What differs between what a client should have of one type and what it has.
//!
//! Looks at the names of which something changed, and at those that wait for others; `oracle` looks
//! at everything in the tests and must find the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::{Agenda, Class};
use super::held::Held;
use super::order::{Gate, Gates};
use super::proven::Proven;
use super::state::TypeState;
use super::{Variant, errors};
use crate::error_detail::ErrorDetail;
use crate::resource::{Name, Resource, TypeUrl};

#[cfg(test)]
thread_local! {
    static CLASSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many names were classed meanwhile.
#[cfg(test)]
pub(super) fn classed_by(what: impl FnOnce()) -> usize {
    CLASSED.set(0);
    what();
    CLASSED.get()
}

/// What differs, for one type, beside what is on its agenda.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To be sent now: what a gate let through.
    pub(super) passed: BTreeMap<Name, Arc<Resource>>,
    /// To be taken away now.
    pub(super) removals: Vec<Name>,
    /// State of the world: suspects that the client never took and may be using all the same. No
    /// whole set may lack them.
    pub(super) needed: BTreeSet<Name>,
    /// Held back by a gate.
    pub(super) held_back: BTreeSet<Waiting>,
    /// What waits with a clock running, and what the deadline let through.
    pub(super) clocked: BTreeSet<Waiting>,
    /// Let through by the deadline.
    pub(super) forced: BTreeSet<Waiting>,
    /// When the next gate opens by itself.
    pub(super) deadline: Option<Instant>,
    /// To be told in the place of resources.
    pub(super) errors: Vec<(Name, Arc<ErrorDetail>)>,
}

/// Something that waits at a gate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiting {
    Update(Name),
    /// To be gone: for good, or as a suspect from a trial set.
    Removal(Name),
}

/// Since when something waits.
pub(super) type Clocks = BTreeMap<(TypeUrl, Waiting), Instant>;

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) variant: Variant,
    pub(super) gates: Gates<'a>,
    pub(super) clocks: &'a Clocks,
    /// What may travel together; `None`: everything.
    pub(super) proven: Option<&'a Proven>,
    /// What some client took.
    pub(super) taken: &'a Proven,
    pub(super) gate_deadline: Duration,
    /// On a stream of one type: how long what the view lacks stays.
    pub(super) lone_grace: Option<Duration>,
    pub(super) reads_errors: bool,
    pub(super) now: Instant,
}

// === impl Plan ===

impl Plan {
    /// Whether there is something to send.
    pub(super) fn has_updates(&self, agenda: &Agenda) -> bool {
        !self.passed.is_empty() || agenda.has_updates()
    }

    /// Whether there is nothing to do, now or later, but what the client refuses.
    pub(super) fn is_level(&self, agenda: &Agenda) -> bool {
        !self.has_updates(agenda)
            && agenda.absent.is_empty()
            && agenda.refused.is_empty()
            && self.removals.is_empty()
            && self.errors.is_empty()
            && self.held_back.is_empty()
    }

    /// Whether something new comes later: an answer without it would say that it doesn't exist,
    /// and a starting Envoy would call itself ready too early.
    pub(super) fn has_more_to_come(&self, agenda: &Agenda) -> bool {
        !self.has_updates(agenda)
            && self
                .clocked
                .iter()
                .any(|waiting| matches!(waiting, Waiting::Update(_)))
    }
}

// === impl Planner ===

impl Planner<'_> {
    /// Brings the agenda up to date, and asks the gates.
    pub(super) fn plan(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        agenda: &mut Agenda,
        changed: &[Name],
    ) -> Plan {
        self.review(type_url, state, agenda, changed);
        let mut plan = Plan::default();
        for (name, hint) in &mut agenda.gated {
            let Some(resource) = self.gates.view.get(type_url, name) else {
                continue;
            };
            let (gate, at) = self.gates.update_gate(resource, hint.as_ref());
            *hint = at;
            if self.passes(type_url, Waiting::Update(name.clone()), gate, &mut plan) {
                plan.passed.insert(name.clone(), resource.clone());
            }
        }
        for name in &agenda.leaving {
            let gate = self.removal_gate(type_url, state, name);
            if self.passes(type_url, Waiting::Removal(name.clone()), gate, &mut plan) {
                plan.removals.push(name.clone());
            }
        }
        if self.variant == Variant::Sotw && *type_url == TypeUrl::CLUSTER {
            for name in &agenda.suspects {
                self.find_needed(state, name, &mut plan);
            }
        }
        plan.errors = errors::due(self, type_url, state);
        plan
    }

    /// Whether a suspect has to be in every set. What leads to it may wait for what can't be taken
    /// while this is in the set: without a deadline both would wait for good (rule O4).
    fn find_needed(&self, state: &TypeState, name: &Name, plan: &mut Plan) {
        if !state.held.get(name).is_some_and(|held| held.is_in_doubt()) {
            return;
        }
        let gate = match self.gates.of_this_stream().absence_gate(name) {
            Gate::SetRefused(start) => Gate::Wait(start),
            gate => gate,
        };
        let absence = Waiting::Removal(name.clone());
        if !self.passes(&TypeUrl::CLUSTER, absence, gate, plan) {
            plan.needed.insert(name.clone());
        }
    }

    fn removal_gate(&self, type_url: &TypeUrl, state: &TypeState, name: &Name) -> Gate {
        if self.lone_grace.is_some() {
            return Gate::Wait(None);
        }
        let never_taken = || {
            state
                .held
                .get(name)
                .is_some_and(|held| held.acked.is_none())
        };
        match self.gates.removal_gate(type_url, name) {
            // The successor of what leads here waits for a set, and no set can be taken while this
            // is in it: without a deadline both would wait for good (rule O4).
            Gate::SetRefused(start) if *type_url == TypeUrl::CLUSTER && never_taken() => {
                Gate::Wait(start)
            }
            gate => gate,
        }
    }

    /// What the client should have under a name.
    pub(super) fn wanted(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        name: &str,
    ) -> Option<&Arc<Resource>> {
        let resource = self.gates.view.resolve(type_url, name);
        resource.filter(|it| state.subscription.covers_resource(it))
    }

    /// What is sent to who asks again for what can't be had for a moment: what it had.
    pub(super) fn kept(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        name: &str,
    ) -> Option<Arc<Resource>> {
        let keeps = errors::keeps(self.gates.view, type_url, name) && !self.reads_errors;
        let held = state.held.get(name).filter(|_| keeps);
        held.and_then(|held| held.acked.clone())
            .filter(|_| state.owed.contains(name))
    }

    fn review(&self, type_url: &TypeUrl, state: &TypeState, agenda: &mut Agenda, changed: &[Name]) {
        let touched = agenda.take_touched();
        if let Some(proven) = self.proven {
            agenda.listen(proven);
        }
        match touched {
            Some(touched) => {
                // What changed was touched, too, as a rule, and by the same allocation.
                let mut known: Vec<*const u8> = touched.iter().map(place).collect();
                known.sort_unstable();
                let others = changed.iter();
                let others = others.filter(|name| known.binary_search(&place(name)).is_err());
                let class = |name| (name, self.class(type_url, state, name));
                agenda.put_each(touched.iter().chain(others).map(class).collect());
            }
            None => {
                if let Some(differing) = state.differing(self.gates.view, type_url) {
                    for name in differing {
                        agenda.put_new(name, self.class(type_url, state, name));
                    }
                    if let Some(proven) = self.proven {
                        agenda.hear(proven);
                    }
                    return;
                }
                let view = self.gates.view.iter(type_url);
                let subscription = &state.subscription;
                let resolved = |name: &Name| Some(self.gates.view.resolve(type_url, name)?.name());
                let wanted: Vec<&Name> = match subscription.wildcard || subscription.has_collections
                {
                    true => view.map(|resource| resource.name()).collect(),
                    false => subscription.names.iter().filter_map(resolved).collect(),
                };
                let others = state.held.names().chain(state.owed.iter());
                for name in wanted.into_iter().chain(others) {
                    agenda.put_new(name, self.class(type_url, state, name));
                }
            }
        }
        if let Some(proven) = self.proven {
            agenda.hear(proven);
        }
    }

    /// What a name needs, as far as that doesn't depend on other types.
    pub(super) fn class(&self, type_url: &TypeUrl, state: &TypeState, name: &Name) -> Class {
        #[cfg(test)]
        CLASSED.set(CLASSED.get() + 1);
        let in_view = self.gates.view.get(type_url, name);
        let held = state.held.get(name);
        if let Some(resource) = in_view.filter(|it| state.subscription.covers_resource(it)) {
            let exact = held.is_some_and(|held| held.is_exactly(resource));
            return if exact && !state.owes(resource) {
                Class::Nothing
            } else if state.is_refused(resource) {
                Class::Refused
            } else if !exact && !resource.references().clusters.is_empty() {
                Class::Gated
            } else if state.isolate.contains(name) {
                Class::Suspect
            } else if self.proven.is_none_or(|proven| proven.contains(resource)) {
                Class::Together
            } else {
                Class::Doubtful(Proven::key(resource))
            };
        }
        // Absence never deletes in a state-of-the-world response that isn't a whole set (rule S2).
        let removable = self.variant == Variant::Delta || type_url.is_full_state();
        match held {
            None if self.wanted(type_url, state, name).is_some() => Class::Nothing,
            None if state.owed.contains(name) => Class::Absent,
            Some(_) if errors::keeps(self.gates.view, type_url, name) => {
                match self.kept(type_url, state, name) {
                    Some(_) => Class::Together,
                    None => Class::Nothing,
                }
            }
            Some(_) if self.gates.view.fetches(type_url, name) => Class::Nothing,
            Some(held) if removable && held.removal_refused => Class::Refused,
            Some(_) if removable => Class::Leaving,
            _ => Class::Nothing,
        }
    }

    /// Everything that the client should have or may keep: the whole set of a state-of-the-world
    /// response, with these suspects in it and the others as they were. Even what may go stays in
    /// the set that carries additions: union first, then the new set (rule O1).
    ///
    /// `None` if the earlier content of something that can't be in the set isn't known, or it may be
    /// in use, so that the set can neither hold nor lack it.
    pub(super) fn whole_set(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        plan: &Plan,
        trial: &BTreeSet<Name>,
    ) -> Option<BTreeMap<Name, Arc<Resource>>> {
        let agenda = &state.agenda;
        // What the client has from another replica, or of before a restart, isn't known until it takes
        // a set; less than everything could delete what it uses (see `earlier`).
        let from_earlier = self.gates.reconnected.is_some() && !state.set_known;
        let mut set = BTreeMap::new();
        let view = self.gates.view;
        let subscription = &state.subscription;
        let covered = |resource: &&Arc<Resource>| subscription.covers_resource(resource);
        let wanted: Vec<&Arc<Resource>> =
            match subscription.wildcard || subscription.has_collections {
                true => view.iter(type_url).filter(covered).collect(),
                false => {
                    let names = subscription.names.iter();
                    names.filter_map(|name| view.get(type_url, name)).collect()
                }
            };
        for resource in wanted {
            let name = resource.name();
            let waits = agenda.gated.contains_key(name) && !plan.passed.contains_key(name);
            let suspect = is_suspect(state, plan, name) && !trial.contains(name);
            let refused = agenda.refused.contains(name);
            if !waits && !suspect && !refused {
                set.insert(name.clone(), resource.clone());
                continue;
            }
            let held = state.held.get(name);
            if let Some(old) = held.and_then(|held| held.acked.clone()) {
                set.insert(name.clone(), old);
            } else if from_earlier || suspect && plan.needed.contains(name) {
                return None;
            }
        }
        let errors = view.errors(type_url).map(|(name, _)| name);
        let kept = errors.filter(|name| errors::keeps(view, type_url, name));
        for name in agenda.leaving.iter().chain(kept) {
            let Some(held) = state.held.get(name) else {
                continue;
            };
            match (self.lasting(&held), plan.removals.contains(name)) {
                (Some(old), passes) if held.acked.is_some() || !passes => {
                    set.insert(name.clone(), old);
                }
                // It may have been applied, and something may lead to it.
                (None, false) if !held.doubtful.is_empty() => return None,
                _ => {}
            }
        }
        Some(set)
    }

    /// Whether there is no whole set before a deadline lets something go that it can neither hold nor
    /// lack.
    pub(super) fn waits_for_a_removal(&self, state: &TypeState, plan: &Plan) -> bool {
        state.agenda.leaving.iter().any(|name| {
            let waiting = Waiting::Removal(name.clone());
            let waits = plan.clocked.contains(&waiting) && plan.held_back.contains(&waiting);
            let in_the_way =
                |held: &Held| self.lasting(held).is_none() && !held.doubtful.is_empty();
            waits && state.held.get(name).is_some_and(|held| in_the_way(&held))
        })
    }

    /// What a client keeps of a resource that the view doesn't have any more, until it may go: what
    /// it acknowledged. If every set with it was refused, but not for its sake, as far as others
    /// took it, the client may run it all the same.
    pub(super) fn lasting(&self, held: &Held) -> Option<Arc<Resource>> {
        let doubtful = held.doubtful.iter().rev();
        let innocent = || doubtful.into_iter().find(|it| self.taken.contains(it));
        held.acked.as_ref().or_else(innocent).cloned()
    }

    /// Whether a gate lets something through now, by itself or by its deadline.
    pub(super) fn passes(
        &self,
        type_url: &TypeUrl,
        waiting: Waiting,
        gate: Gate,
        plan: &mut Plan,
    ) -> bool {
        let start = match gate {
            Gate::Open => return true,
            Gate::SetRefused(_) | Gate::Closed => {
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

/// Whether something that may be sent goes after all others, for it was rejected in company.
pub(super) fn is_suspect(state: &TypeState, plan: &Plan, name: &Name) -> bool {
    state.agenda.suspects.contains(name)
        || plan.passed.contains_key(name) && state.isolate.contains(name)
}

/// Where a name lies.
fn place(name: &Name) -> *const u8 {
    Arc::as_ptr(name).cast()
}
