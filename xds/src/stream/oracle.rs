//! The same answers, found by looking at everything: what every look of a session in the unit
//! tests is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::agenda::Agenda;
use super::held::Held;
use super::order::{Gate, endpoints_came_since, is_fetched};
use super::plan::{Plan, Planner, Waiting};
use super::proven::Proven;
use super::state::TypeState;
use super::{Session, Types, Variant, errors};
use crate::limits::RESPONSE_BYTES_TARGET;
use crate::resource::{Name, References, Resource, TypeUrl};
use crate::snapshot::Snapshot;

/// Views with more resources are looked at by nobody but the session: comparing each look at a
/// thousand resources would take the tests minutes, and finds nothing that few don't.
const RESOURCES_MAX: usize = 100;

/// A plan as it was made from everything.
#[derive(Default)]
struct Whole {
    updates: Vec<Arc<Resource>>,
    absent: Vec<Name>,
    removals: Vec<Name>,
    set: BTreeMap<Name, Arc<Resource>>,
    set_unknown: bool,
    /// Something that may be in use can be neither in the set nor missing from it.
    lost: bool,
    refused: usize,
    gates: Plan,
}

/// Fails if a plan isn't what a look at everything finds.
pub(super) fn check(
    planner: &Planner<'_>,
    type_url: &TypeUrl,
    state: &TypeState,
    agenda: &Agenda,
    plan: &Plan,
) {
    if is_large(planner.gates.view) {
        return;
    }
    let whole = planner.whole(type_url, state);
    let mut updates: BTreeSet<&Name> = plan.passed.keys().collect();
    updates.extend(&agenda.together);
    updates.extend(agenda.doubtful.keys());
    updates.extend(&agenda.suspects);
    let expected: BTreeSet<&Name> = whole.updates.iter().map(|update| update.name()).collect();
    assert_eq!(updates, expected, "updates of {type_url}");
    assert!(
        agenda
            .suspects
            .iter()
            .all(|name| state.isolate.contains(name))
    );
    let others = agenda.together.iter().chain(agenda.doubtful.keys());
    assert!(others.clone().all(|name| !state.isolate.contains(name)));
    assert_eq!(whole.absent, Vec::from_iter(agenda.absent.clone()));
    assert_eq!(whole.removals, plan.removals, "removals of {type_url}");
    assert_eq!(whole.refused, agenda.refused.len(), "refused of {type_url}");
    assert_eq!(whole.gates.needed, plan.needed);
    assert_eq!(whole.gates.held_back, plan.held_back);
    assert_eq!(whole.gates.clocked, plan.clocked);
    assert_eq!(whole.gates.forced, plan.forced);
    assert_eq!(whole.gates.deadline, plan.deadline);
}

/// Fails if a batch isn't what a look at all updates finds.
pub(super) fn check_batch(
    planner: &Planner<'_>,
    type_url: &TypeUrl,
    state: &TypeState,
    proven: Option<&Proven>,
    found: &[Arc<Resource>],
) {
    if is_large(planner.gates.view) {
        return;
    }
    let whole = planner.whole(type_url, state);
    let updates = whole.updates.iter();
    let isolated = |resource: &&Arc<Resource>| state.isolate.contains(resource.name());
    let suspects = updates.clone().filter(isolated);
    let others = updates.filter(|resource| !isolated(resource));
    let taken = |resource: &&Arc<Resource>| proven.is_none_or(|proven| proven.contains(resource));
    let mut batch: Vec<Arc<Resource>> = Vec::new();
    let mut bytes = 0;
    let together = others.clone().filter(taken);
    for resource in together.take(type_url.per_response_max()) {
        bytes += resource.body().len() + resource.name().len();
        if !batch.is_empty() && bytes > RESPONSE_BYTES_TARGET {
            break;
        }
        batch.push(resource.clone());
    }
    if batch.is_empty() {
        batch.extend(others.chain(suspects).take(1).cloned());
    }
    assert_eq!(batch, found, "batch of {type_url}");
}

/// Fails if a whole set isn't what a look at everything finds, where nothing was rejected.
pub(super) fn check_set(
    planner: &Planner<'_>,
    type_url: &TypeUrl,
    state: &TypeState,
    found: Option<&BTreeMap<Name, Arc<Resource>>>,
) {
    if !state.isolate.is_empty() || !state.rejected.is_empty() || is_large(planner.gates.view) {
        return;
    }
    let whole = planner.whole(type_url, state);
    if whole.lost || whole.set_unknown && !state.set_known {
        assert_eq!(found, None);
    } else {
        assert_eq!(found, Some(&whole.set));
    }
}

/// Everything that can be asked about what a client has, and how it stands at the gates.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    held: Vec<(TypeUrl, Name, String)>,
    came: BTreeSet<(Name, Name)>,
}

impl State {
    /// Beside when something was sent or acknowledged.
    pub(super) fn of(types: &Types, view: Option<&Snapshot>) -> Self {
        let mut held = Vec::new();
        if view.is_some_and(is_large) {
            return Self::default();
        }
        for (type_url, state) in types {
            let names: BTreeSet<&Name> = state.held.names().collect();
            for name in names {
                let mut entry = state.held.get(name).unwrap().into_owned();
                (entry.acked_by, entry.sent_by) = (0, 0);
                held.push((type_url.clone(), name.clone(), brief(&entry)));
            }
        }
        let mut came = BTreeSet::new();
        let clusters = types.get(&TypeUrl::CLUSTER);
        let endpoints = types.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT);
        if let (Some(clusters), Some(endpoints)) = (clusters, endpoints) {
            for name in clusters.held.names() {
                let cluster = clusters.held.get(name).unwrap();
                for content in cluster.contents() {
                    let Some(assignment) = &content.references().assignment else {
                        continue;
                    };
                    let have = endpoints.held.get(assignment);
                    if have.is_some_and(|have| endpoints_came_since(&have, cluster.sent_by)) {
                        came.insert((name.clone(), assignment.clone()));
                    }
                }
            }
        }
        Self { held, came }
    }
}

fn brief(held: &Held) -> String {
    let content = |resource: &Arc<Resource>| format!("{:?}", resource.stamp());
    let contents: Vec<String> = held.contents().map(content).collect();
    format!(
        "{contents:?} {:?} {} {:?} {} {} {:?} {}",
        held.acked.is_some(),
        held.unsure,
        held.claimed,
        held.removing,
        held.removal_refused,
        held.expires_at,
        held.expired
    )
}

/// Fails if a session that has nothing to say doesn't know what a look at everything tells.
pub(super) fn check_session(session: &mut Session) {
    let Some(view) = session.view.clone().filter(|view| !is_large(view)) else {
        return;
    };
    for state in session.types.values() {
        let timed: BTreeSet<&Name> = state.held.timed().map(|(name, _)| name).collect();
        for name in state.held.names() {
            let held = state.held.get(name).unwrap();
            assert!(held.expires_at.is_none() && !held.expired || timed.contains(name));
        }
    }
    let busy = |state: &TypeState| state.dirty || state.in_flight.is_some();
    if session.types.values().any(|state| busy(state)) {
        return;
    }
    let complete = is_complete(session, &view);
    assert_eq!(session.is_complete(&view), complete);
}

fn is_large(view: &Snapshot) -> bool {
    view.type_urls()
        .any(|type_url| view.len(type_url) > RESOURCES_MAX)
}

fn is_complete(session: &Session, view: &Snapshot) -> bool {
    let asked = |type_url: &TypeUrl, name: &str| {
        let state = session.types.get(type_url);
        let covers = |resource: &Arc<Resource>| {
            state.is_some_and(|state| state.subscription.covers_resource(resource))
        };
        view.get(type_url, name).is_none_or(covers)
    };
    let types = session.types.values();
    let held = types.flat_map(|state| state.held.names().map(|name| state.held.get(name)));
    let mut acknowledged = held.filter_map(|held| held?.acked.clone());
    let beyond = |type_url: &TypeUrl| *type_url != TypeUrl::RUNTIME;
    let mut subscribed = session.types.iter();
    let begun =
        subscribed.any(|(type_url, state)| beyond(type_url) && !state.subscription.is_empty());
    session.only.is_some()
        || (begun || !view.type_urls().any(beyond))
            && acknowledged.all(|resource| {
                let references = resource.references();
                let mut routes = references.routes.iter();
                let mut assignment = references.assignment.iter();
                routes.all(|name| asked(&TypeUrl::ROUTE_CONFIGURATION, name))
                    && assignment.all(|name| asked(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name))
            })
}

impl Planner<'_> {
    fn whole(&self, type_url: &TypeUrl, state: &TypeState) -> Whole {
        let mut whole = Whole::default();
        let view = self.gates.view;
        let wanted = view.iter(type_url);
        for resource in wanted.filter(|wanted| state.subscription.covers_resource(wanted)) {
            self.consider(type_url, state, resource, &mut whole);
        }
        for name in state.owed.iter() {
            if !state.held.contains(name) && self.wanted(type_url, state, name).is_none() {
                whole.absent.push(name.clone());
            }
            whole.updates.extend(self.kept(type_url, state, name));
        }
        let removable = self.variant == Variant::Delta || type_url.is_full_state();
        let names: BTreeSet<&Name> = state.held.names().collect();
        for name in names.into_iter().filter(|_| removable) {
            if self.wanted(type_url, state, name).is_none() {
                self.consider_removal(type_url, state, name, &mut whole);
            }
        }
        whole
    }

    fn consider(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        resource: &Arc<Resource>,
        whole: &mut Whole,
    ) {
        let (name, view) = (resource.name(), self.gates.view);
        let held = state.held.get(name);
        let exact = held.as_ref().is_some_and(|held| held.is_exactly(resource));
        if exact && !state.owes(resource) {
            whole.set.insert(name.clone(), resource.clone());
            return;
        }
        if state.is_refused(resource) {
            whole.refused += 1;
            return;
        }
        let gate = if exact {
            Gate::Open
        } else {
            update_gate(self.gates.types(), view, resource)
        };
        let in_doubt = held.as_ref().is_some_and(|held| held.is_in_doubt());
        let suspect = *type_url == TypeUrl::CLUSTER && state.isolate.contains(name);
        if self.variant == Variant::Sotw && suspect && in_doubt {
            let gate = match absence_gate(self.gates.types(), view, name) {
                Gate::SetRefused(start) => Gate::Wait(start),
                gate => gate,
            };
            let absence = Waiting::Removal(name.clone());
            if !self.passes(type_url, absence, gate, &mut whole.gates) {
                whole.gates.needed.insert(name.clone());
            }
        }
        let waiting = Waiting::Update(name.clone());
        if self.passes(type_url, waiting, gate, &mut whole.gates) {
            whole.updates.push(resource.clone());
            whole.set.insert(name.clone(), resource.clone());
            return;
        }
        match held.and_then(|held| held.acked.clone()) {
            Some(old) => {
                whole.set.insert(name.clone(), old);
            }
            None => whole.set_unknown |= self.gates.reconnected.is_some(),
        }
    }

    fn consider_removal(
        &self,
        type_url: &TypeUrl,
        state: &TypeState,
        name: &Name,
        whole: &mut Whole,
    ) {
        if self.gates.view.fetches(type_url, name) {
            return;
        }
        if errors::keeps(self.gates.view, type_url, name) {
            let held = state.held.get(name);
            let old = held.and_then(|held| self.lasting(&held));
            whole.set.extend(old.map(|old| (name.clone(), old)));
            return;
        }
        let held = state.held.get(name).filter(|held| !held.removal_refused);
        let Some(held) = held else {
            whole.refused += 1;
            return;
        };
        let gates = &self.gates;
        let gate = match self.lone_grace {
            Some(_) => Gate::Wait(None),
            None => removal_gate(gates.types(), gates.view, type_url, name, gates.reconnected),
        };
        let gate = match gate {
            Gate::SetRefused(start) if *type_url == TypeUrl::CLUSTER && held.acked.is_none() => {
                Gate::Wait(start)
            }
            gate => gate,
        };
        let waiting = Waiting::Removal(name.clone());
        let passes = self.passes(type_url, waiting, gate, &mut whole.gates);
        if passes {
            whole.removals.push(name.clone());
        }
        let old = self.lasting(&held);
        whole.lost |= old.is_none() && !passes && !held.doubtful.is_empty();
        if let Some(old) = old.filter(|_| held.acked.is_some() || !passes) {
            whole.set.insert(name.clone(), old);
        }
    }
}

fn update_gate(types: &Types, view: &Snapshot, resource: &Resource) -> Gate {
    let Some(clusters) = types.get(&TypeUrl::CLUSTER) else {
        return Gate::Open;
    };
    let mut gate = Gate::Open;
    for name in &resource.references().clusters {
        let target = view
            .get(&TypeUrl::CLUSTER, name)
            .filter(|target| clusters.subscription.covers_resource(target));
        if let Some(target) = target {
            gate = gate.and(cluster_gate(types, clusters, view, target));
        }
    }
    gate
}

fn cluster_gate(types: &Types, clusters: &TypeState, view: &Snapshot, target: &Resource) -> Gate {
    let held = clusters.held.get(target.name());
    let Some(held) = held.filter(|held| held.is_exactly(target)) else {
        return if clusters.is_refused(target) {
            Gate::Closed
        } else if clusters.is_stuck(target) {
            Gate::SetRefused(None)
        } else {
            Gate::Wait(None)
        };
    };
    let Some(assignment) = &target.references().assignment else {
        return Gate::Open;
    };
    let Some(endpoints) = types.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT) else {
        return Gate::Wait(None);
    };
    let have = endpoints.held.get(assignment);
    if have.is_some_and(|have| have.acked.is_some() && have.acked_by >= held.sent_by) {
        return Gate::Open;
    }
    let wanted = view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, assignment);
    let stuck = wanted.is_some_and(|wanted| endpoints.is_stuck(wanted));
    if stuck {
        Gate::Closed
    } else {
        Gate::Wait(None)
    }
}

fn absence_gate(types: &Types, view: &Snapshot, name: &str) -> Gate {
    for type_url in [
        TypeUrl::LISTENER,
        TypeUrl::ROUTE_CONFIGURATION,
        TypeUrl::VIRTUAL_HOST,
    ] {
        let Some(state) = types.get(&type_url) else {
            continue;
        };
        let leads = |of: &Arc<Resource>| of.references().clusters.contains(name);
        for keeper in state.held.names() {
            let held = state.held.get(keeper).unwrap();
            let keeps = held.is_foreign() || held.contents().any(leads);
            if keeps && view.get(&type_url, keeper).is_some_and(leads) {
                return Gate::Closed;
            }
        }
    }
    removal_gate(types, view, &TypeUrl::CLUSTER, name, None)
}

fn removal_gate(
    types: &Types,
    view: &Snapshot,
    type_url: &TypeUrl,
    name: &str,
    reconnected: Option<Instant>,
) -> Gate {
    let parents: &[TypeUrl] = if *type_url == TypeUrl::CLUSTER {
        &[
            TypeUrl::LISTENER,
            TypeUrl::ROUTE_CONFIGURATION,
            TypeUrl::VIRTUAL_HOST,
        ]
    } else if *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
        &[TypeUrl::CLUSTER]
    } else if *type_url == TypeUrl::ROUTE_CONFIGURATION {
        &[TypeUrl::LISTENER]
    } else if is_fetched(type_url) {
        &[TypeUrl::LISTENER, TypeUrl::CLUSTER]
    } else {
        return Gate::Open;
    };
    let leads = |references: &References| {
        if *type_url == TypeUrl::CLUSTER {
            references.clusters.contains(name)
        } else if *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
            references.assignment.as_deref() == Some(name)
        } else if is_fetched(type_url) {
            let mut fetched = references.fetched.iter();
            fetched.any(|(of, to)| of == type_url && **to == *name)
        } else {
            references.routes.contains(name)
        }
    };
    let mut gate = Gate::Open;
    for parent_type in parents {
        let Some(parent) = types.get(parent_type) else {
            if reconnected.is_some() && *parent_type != TypeUrl::VIRTUAL_HOST {
                gate = gate.and(Gate::Wait(reconnected));
            }
            continue;
        };
        for parent_name in parent.held.names() {
            let held = parent.held.get(parent_name).unwrap();
            if !held.is_foreign() && !held.contents().any(|of| leads(of.references())) {
                continue;
            }
            if is_fetched(type_url) {
                return Gate::Closed;
            }
            let sent_at = parent.in_flight.as_ref().map(|in_flight| in_flight.sent_at);
            gate = gate
                .and(Gate::Wait(sent_at))
                .and(match view.get(parent_type, parent_name) {
                    Some(successor) if parent.is_stuck(successor) => Gate::Closed,
                    Some(successor) => match update_gate(types, view, successor) {
                        Gate::Wait(_) => Gate::Open,
                        other => other,
                    },
                    None => removal_gate(types, view, parent_type, parent_name, reconnected),
                });
        }
    }
    gate
}
