//! What a rollout keeps others from: its service and that one's neighbours in the declared call
//! graph. Two rollouts that reach the same service would be blamed for one another's faults, so the
//! second waits for the end of the first; an operator may say otherwise, and that is kept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::mesh::Mesh;
use crate::rollout::{After, Plan, Rollout, State, fleet_of};

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

/// What a rollout holds until it is over, beside its own service; fixed when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The services that its own calls, and those that call it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub neighbours: BTreeSet<String>,
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
    /// What a rollout of `service` would hold; that of a fleet's configuration holds all services
    /// that the fleet reaches.
    pub(crate) fn of(service: &str, mesh: Option<&Mesh>) -> Self {
        let neighbours = mesh.map(|mesh| match fleet_of(service) {
            Some(fleet) => mesh
                .services_of(fleet)
                .map(|(name, _)| name.to_owned())
                .collect(),
            None => mesh.neighbours(service),
        });
        Self {
            neighbours: neighbours.unwrap_or_default(),
            overlaps: BTreeSet::new(),
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

    pub(crate) fn by(plan: &'a Plan) -> Self {
        Self::new(&plan.service, &plan.lease)
    }

    fn holds(self, service: &str) -> bool {
        self.service == service || self.lease.neighbours.contains(service)
    }

    /// A service that both hold.
    pub(crate) fn shared(self, other: Held<'a>) -> Option<&'a str> {
        let neighbours = self.lease.neighbours.iter().map(String::as_str);
        // The two services themselves say the most.
        [self.service, other.service]
            .into_iter()
            .chain(neighbours)
            .find(|service| self.holds(service) && other.holds(service))
    }
}

/// A running rollout of another service that holds what a start needs.
#[derive(Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) rollout: &'a Rollout,
    /// What both hold.
    pub(crate) shared: String,
}

// === impl Holder ===

impl std::fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = &self.rollout.plan;
        write!(
            f,
            "the rollout of `{}` to `{}`, at {}, which holds `{}` too",
            plan.service,
            plan.to,
            self.rollout.place(),
            self.shared
        )
    }
}

// === impl State ===

impl State {
    /// The running rollouts that a rollout of `service` would overlap, by service.
    pub(crate) fn holders(&self, service: &str) -> Vec<Holder<'_>> {
        let lease = Lease::of(service, self.mesh());
        let own = Held::new(service, &lease);
        self.active()
            .filter(|run| run.plan.service != service)
            .filter_map(|rollout| {
                let shared = Held::by(&rollout.plan).shared(own)?.to_owned();
                Some(Holder { rollout, shared })
            })
            .collect()
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
                "it waits for the end of {holder}; --overlap starts it all the same, and then a \
                 fault of one may be blamed on the other"
            ));
        }
        if let Some(full) = self.full(&plan.service, &[]) {
            plan.warnings.push(format!("it waits for {full}"));
        }
        self.warn_of_caps(plan);
    }
}
