//! What a rollout keeps others from: its service and that one's neighbours in the call graph, the
//! declared and the observed one together. Two rollouts that reach the same service would be blamed
//! for one another's faults, so the second waits for the end of the first; an operator may say
//! otherwise, and that is kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::rollout::attribution::overlap;
use crate::rollout::calls::{REFRESH_MS, SeenNeighbours};
use crate::rollout::{After, Plan, Rollout, State, fleet_of};
use crate::time::Time;

/// What a start asks for beside its version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// It begins although a running rollout holds its service, or one that it holds itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
    /// The versions of other services that are to be committed first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
}

/// What a rollout holds until it is over, beside its own service; fixed when it starts. What is seen
/// to be a neighbour later is held too, from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The services that its own calls, and those that call it, as declared.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub neighbours: BTreeSet<String>,
    /// Those that nobody declared, and when they were last seen calling it or being called.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub observed: BTreeMap<String, Time>,
    /// The services whose running rollouts it began beside although they hold the same: whoever
    /// started it said so.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub overlaps: BTreeSet<String>,
}

// === impl Terms ===

impl Terms {
    /// Nothing beside the version.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Lease ===

impl Lease {
    /// What a rollout of `service` would hold as declared; that of a fleet's configuration holds all
    /// services that the fleet reaches, and the one beside whose hosts it stands.
    pub(crate) fn declared(service: &str, mesh: Option<&Mesh>) -> Self {
        let neighbours = mesh.map(|mesh| match fleet_of(service) {
            Some(fleet) => {
                let reached = mesh.services_of(fleet).map(|(name, _)| name);
                let beside = mesh.fleets.get(fleet).and_then(|it| it.service.as_deref());
                reached.chain(beside).map(str::to_owned).collect()
            }
            None => mesh.neighbours(service),
        });
        Self {
            neighbours: neighbours.unwrap_or_default(),
            ..Self::default()
        }
    }

    fn by_now(rollout: &Rollout, seen: &SeenNeighbours<'_>) -> Self {
        let mut lease = rollout.plan.lease.clone();
        lease.observe(seen, &rollout.plan.service);
        lease
    }

    /// Holds what was seen, too.
    fn observe(&mut self, seen: &SeenNeighbours<'_>, service: &str) {
        for (neighbour, at) in seen.get(service).into_iter().flatten() {
            if !self.neighbours.contains(*neighbour) {
                self.observed.insert((*neighbour).to_owned(), *at);
            }
        }
    }

    /// Holds no more than the service itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self == Self::default()
    }
}

/// A service with what its rollout holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a> {
    pub(crate) service: &'a str,
    pub(crate) lease: &'a Lease,
}

// === impl Held ===

impl<'a> Held<'a> {
    pub(crate) fn new(service: &'a str, lease: &'a Lease) -> Self {
        Self { service, lease }
    }

    fn holds(self, service: &str) -> bool {
        self.service == service || self.neighbours().any(|neighbour| neighbour == service)
    }

    fn neighbours(self) -> impl Iterator<Item = &'a str> {
        let Lease {
            neighbours,
            observed,
            ..
        } = self.lease;
        neighbours.iter().chain(observed.keys()).map(String::as_str)
    }

    /// A service that both hold.
    pub(crate) fn shared(self, other: Held<'a>) -> Option<&'a str> {
        // The two services themselves say the most.
        [self.service, other.service]
            .into_iter()
            .chain(self.neighbours())
            .find(|service| self.holds(service) && other.holds(service))
    }

    /// Why it holds a service that is not its own.
    fn tie(self, neighbour: &str, now: Time) -> Option<Tie> {
        let last_seen = self.lease.observed.get(neighbour);
        let known = match last_seen {
            Some(at) => format!("observed, last seen {}", seen_words(*at, now)),
            None => "declared".to_owned(),
        };
        (self.service != neighbour).then(|| Tie {
            observed: last_seen.is_some(),
            text: format!("`{}` and `{neighbour}` {known}", self.service),
        })
    }
}

/// What is seen all the time is recorded once an hour, so that is as exact as it is known.
fn seen_words(at: Time, now: Time) -> String {
    match now.since_ms(at) {
        0..REFRESH_MS => "within the last hour".to_owned(),
        _ => format!("{} ago", now.since_words(at)),
    }
}

/// Why a rollout holds a service that is not its own.
#[derive(Debug)]
struct Tie {
    observed: bool,
    text: String,
}

/// A running rollout of another service that holds what a start needs.
#[derive(Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) rollout: &'a Rollout,
    /// What both hold.
    shared: String,
    ties: Vec<Tie>,
}

// === impl Holder ===

impl Holder<'_> {
    /// The same for whoever waits: also what is held because it is declared says so.
    pub(crate) fn explained(&self) -> String {
        self.sentence(|_| true)
    }

    fn sentence(&self, told: impl Fn(&Tie) -> bool) -> String {
        let plan = &self.rollout.plan;
        let ties: Vec<&str> = self
            .ties
            .iter()
            .filter(|tie| told(tie))
            .map(|tie| tie.text.as_str())
            .collect();
        let why = match ties.as_slice() {
            [] => String::new(),
            ties => format!(" ({})", ties.join("; ")),
        };
        format!(
            "the rollout of `{}` to `{}`, at {}, which holds `{}` too{why}",
            plan.service,
            plan.to,
            self.rollout.place(),
            self.shared,
        )
    }
}

impl std::fmt::Display for Holder<'_> {
    /// As journals keep it: what is declared is not said, as it was not before anything was observed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence(|tie| tie.observed))
    }
}

// === impl State ===

impl State {
    /// What a rollout of `service` would hold.
    pub(crate) fn lease(&self, service: &str) -> Lease {
        let mut lease = Lease::declared(service, self.mesh());
        lease.observe(&self.seen_neighbours(), service);
        lease
    }

    /// What a rollout holds by now.
    pub(crate) fn lease_of(&self, rollout: &Rollout) -> Lease {
        Lease::by_now(rollout, &self.seen_neighbours())
    }

    /// The running rollouts that a rollout of `service` would overlap, by service.
    pub(crate) fn holders(&self, service: &str) -> Vec<Holder<'_>> {
        self.holders_beside(service, &self.lease(service))
    }

    fn holders_beside(&self, service: &str, lease: &Lease) -> Vec<Holder<'_>> {
        let (own, seen) = (Held::new(service, lease), self.seen_neighbours());
        let others = self.active().filter(|run| run.plan.service != service);
        let holder = |rollout| {
            let lease = Lease::by_now(rollout, &seen);
            let other = Held::new(&rollout.plan.service, &lease);
            let shared = other.shared(own)?.to_owned();
            let ties = [own, other].map(|held| held.tie(&shared, self.latest));
            Some(Holder {
                rollout,
                ties: ties.into_iter().flatten().collect(),
                shared,
            })
        };
        others.filter_map(holder).collect()
    }

    /// Pairs of running rollouts that overlap and did not know it, and why; only those of which one is
    /// of a service in `services`, whose neighbours are new.
    pub(crate) fn found_overlaps(
        &self,
        services: &BTreeSet<&str>,
    ) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for one in self.active() {
            let name = one.plan.service.as_str();
            if !services.contains(name) {
                continue;
            }
            for holder in self.holders_beside(name, &self.lease_of(one)) {
                let other = holder.rollout;
                let both_are_new = services.contains(other.plan.service.as_str());
                let told_already = both_are_new && other.number < one.number;
                if !told_already && !overlap(one, other) {
                    let why = holder.ties.into_iter().map(|tie| tie.text);
                    let why = why.collect::<Vec<_>>().join("; ");
                    found.push((name.to_owned(), other.plan.service.clone(), why));
                }
            }
        }
        found
    }

    /// By the word of `actor` the plan goes beside what it overlaps.
    pub(crate) fn let_overlap(&self, plan: &mut Plan, actor: &str) {
        for holder in self.holders(&plan.service) {
            let service = holder.rollout.plan.service.clone();
            plan.warnings.push(format!(
                "by {actor}'s word it overlaps {holder}: a fault of one may be blamed on the other"
            ));
            plan.lease.overlaps.insert(service);
        }
    }

    /// What a start would wait for, for people.
    pub(crate) fn warn_of_waits(&self, plan: &mut Plan) {
        for holder in self.holders(&plan.service) {
            plan.warnings.push(format!(
                "it waits for the end of {}; --overlap starts it all the same, and then a fault of \
                 one may be blamed on the other",
                holder.explained()
            ));
        }
        if let Some(full) = self.full(&plan.service, &[]) {
            plan.warnings.push(format!("it waits for {full}"));
        }
        self.warn_of_caps(plan);
    }
}
