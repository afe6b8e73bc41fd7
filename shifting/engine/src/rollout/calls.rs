//! The observed call graph: which services are called from beside which, by what sidecars count.
//!
//! What is kept is what was seen: the sidecars of this fleet sent requests to that service, then. Who
//! calls is the service beside whose hosts they stand, as the mesh in force declares it
//! ([`Fleet::service`](crate::mesh::Fleet::service)): one that was declared wrongly and is put right
//! takes its calls with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::rollout::run::Context;
use crate::rollout::{Event, NoticeLevel, State};
use crate::time::Time;

/// What is seen all the time is recorded again after so long: calls cost the journal a record or two
/// an hour, whatever their number.
pub(crate) const REFRESH_MS: u64 = 3_600_000;

/// With what is due is recorded what would be due soon, so that each service's calls, which begin at
/// different times, don't become a record each.
const SOON_MS: u64 = REFRESH_MS / 2;

/// What was not seen for so long is no neighbour any more. A week, so that what happens on one day of
/// the week stays known, and a day, so that it may come late.
const FORGET_MS: u64 = 8 * 24 * 3_600_000;

/// By fleet and service: when that fleet's sidecars were last seen sending requests to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SeenCalls(BTreeMap<String, BTreeMap<String, Time>>);

/// One call of the graph by which rollouts hold one another's services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The service that calls.
    pub caller: String,
    /// The service that is called.
    pub callee: String,
    /// `calls` says so.
    pub declared: bool,
    /// When sidecars beside the caller were last seen sending it requests, to the hour; `None` when they
    /// were not seen in the last 8 days.
    pub last_seen: Option<Time>,
}

/// By caller and callee: when that was last seen.
pub(crate) type ObservedCalls = BTreeMap<(String, String), Time>;

/// By service: those that were seen calling it or being called by it, and when last.
pub(crate) type SeenNeighbours<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Time>>;

// === impl SeenCalls ===

impl SeenCalls {
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, fleet: &str, service: &str) -> Option<Time> {
        self.0.get(fleet)?.get(service).copied()
    }

    /// Caller, callee, and when that was last seen, once for each fleet beside the caller.
    fn calls<'a>(
        &'a self,
        mesh: &'a Mesh,
        now: Time,
    ) -> impl Iterator<Item = (&'a str, &'a str, Time)> {
        self.0.iter().flat_map(move |(fleet, services)| {
            let caller = mesh.fleets.get(fleet).and_then(|it| it.service.as_deref());
            services
                .iter()
                .filter(move |(callee, at)| is_known(mesh, callee) && !is_old(**at, now))
                .filter_map(move |(callee, at)| Some((caller?, callee.as_str(), *at)))
                .filter(|(caller, callee, _)| caller != callee)
        })
    }
}

fn is_known(mesh: &Mesh, service: &str) -> bool {
    mesh.services.contains_key(service)
}

fn is_old(at: Time, now: Time) -> bool {
    now.since_ms(at) >= FORGET_MS
}

// === impl State ===

impl State {
    /// The event by which the journal learns of calls that were just seen, by fleet; `None` while it
    /// knows all of them well enough.
    #[must_use]
    pub fn calls_to_record(
        &self,
        seen: &BTreeMap<String, BTreeSet<String>>,
        now: Time,
    ) -> Option<Event> {
        let older_than = |ms: u64| {
            let is_older = move |fleet: &str, service: &str| {
                let last = self.calls.at(fleet, service);
                last.is_none_or(|at| now.since_ms(at) >= ms)
            };
            self.told(seen, is_older)
        };
        if older_than(REFRESH_MS).is_empty() {
            return None; // nearly every second
        }
        let calls = older_than(SOON_MS);
        Some(Event::CallsSeen { calls })
    }

    /// What of it is about fleets that stand beside a service, and about services that are declared.
    fn told(
        &self,
        seen: &BTreeMap<String, BTreeSet<String>>,
        filter: impl Fn(&str, &str) -> bool,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let Some(mesh) = self.mesh() else {
            return BTreeMap::new();
        };
        let of_fleet = |(fleet, services): (&String, &BTreeSet<String>)| {
            let caller = mesh.fleets.get(fleet)?.service.as_deref()?;
            let services: BTreeSet<String> = services
                .iter()
                .filter(|service| *service != caller && is_known(mesh, service))
                .filter(|service| filter(fleet, service))
                .cloned()
                .collect();
            (!services.is_empty()).then(|| (fleet.clone(), services))
        };
        seen.iter().filter_map(of_fleet).collect()
    }

    /// Calls were seen. Nothing that runs goes back for it or is stopped: two rollouts that turn out to
    /// overlap are told of each other, and are blamed as if somebody had let them.
    pub(crate) fn note_calls(
        &mut self,
        seen: &BTreeMap<String, BTreeSet<String>>,
        context: &mut Context,
    ) {
        let now = context.now;
        let before = self.observed_calls(now);
        let told = self.told(seen, |_, _| true);
        let calls = Arc::make_mut(&mut self.calls);
        for (fleet, services) in told {
            let known = calls.0.entry(fleet).or_default();
            known.extend(services.into_iter().map(|service| (service, now)));
        }
        if let Some(mesh) = &self.mesh {
            calls.0.retain(|fleet, services| {
                services.retain(|service, at| is_known(mesh, service) && !is_old(*at, now));
                mesh.fleets.contains_key(fleet) && !services.is_empty()
            });
        }
        self.tell_found(&before, context);
    }

    /// Tells running rollouts of each other that overlap by calls that were not known `before`.
    pub(crate) fn tell_found(&mut self, before: &ObservedCalls, context: &mut Context) {
        let mut new = self.observed_calls(context.now);
        new.retain(|call, _| !before.contains_key(call));
        let services: BTreeSet<&str> = new
            .keys()
            .flat_map(|(caller, callee)| [caller.as_str(), callee.as_str()])
            .collect();
        for (one, other, why) in self.found_overlaps(&services) {
            for (run, rival) in [(&one, &other), (&other, &one)] {
                if let Ok(run) = self.running_mut(run) {
                    run.found.insert(rival.clone());
                    let text = format!(
                        "it overlaps the rollout of `{rival}`, which was not known when they began \
                         ({why}); neither goes back for that, and a fault of one may be blamed on the \
                         other"
                    );
                    run.tell(NoticeLevel::Warning, text, context);
                }
            }
        }
    }

    /// Caller and callee, and when that was last seen.
    pub(crate) fn observed_calls(&self, now: Time) -> ObservedCalls {
        let mut calls = ObservedCalls::new();
        let mesh = self.mesh().into_iter();
        for (caller, callee, at) in mesh.flat_map(|mesh| self.calls.calls(mesh, now)) {
            let last = calls.entry((caller.to_owned(), callee.to_owned()));
            let last = last.or_insert(at);
            *last = at.max(*last);
        }
        calls
    }

    /// Who was seen calling whom, as of the latest event.
    pub(crate) fn seen_neighbours(&self) -> SeenNeighbours<'_> {
        let mut neighbours = SeenNeighbours::new();
        let mesh = self.mesh().into_iter();
        for (caller, callee, at) in mesh.flat_map(|mesh| self.calls.calls(mesh, self.latest)) {
            for (one, other) in [(caller, callee), (callee, caller)] {
                let last = neighbours
                    .entry(one)
                    .or_default()
                    .entry(other)
                    .or_insert(at);
                *last = at.max(*last);
            }
        }
        neighbours
    }

    /// The call graph, declared and observed, by caller and callee.
    #[must_use]
    pub fn call_graph(&self, now: Time) -> Vec<Call> {
        let mut graph: BTreeMap<(String, String), Call> = BTreeMap::new();
        let call = |(caller, callee): &(String, String)| Call {
            caller: caller.clone(),
            callee: callee.clone(),
            declared: false,
            last_seen: None,
        };
        let services = self.mesh().into_iter().flat_map(|mesh| &mesh.services);
        for (caller, declared) in services {
            for callee in declared.calls.iter().filter(|callee| *callee != caller) {
                let key = (caller.clone(), callee.clone());
                let entry = call(&key);
                graph.entry(key).or_insert(entry).declared = true;
            }
        }
        for (key, at) in self.observed_calls(now) {
            let entry = call(&key);
            graph.entry(key).or_insert(entry).last_seen = Some(at);
        }
        graph.into_values().collect()
    }

    /// The fleets of which nobody says beside which service their sidecars stand: what they call is not
    /// known to be anybody's.
    #[must_use]
    pub fn fleets_beside_nothing(&self) -> Vec<String> {
        let fleets = self.mesh().into_iter().flat_map(|mesh| &mesh.fleets);
        fleets
            .filter(|(_, declared)| declared.service.is_none())
            .map(|(fleet, _)| fleet.clone())
            .collect()
    }
}
