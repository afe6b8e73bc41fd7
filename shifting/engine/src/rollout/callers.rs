//! Callers whose rollout another one overlaps, where it is known which sidecars send for which version.

use std::collections::BTreeSet;

use crate::rollout::attribution::{RULES_OF_TABLES, overlap};
use crate::rollout::{Rollout, State};

/// The sidecars beside the hosts of both versions of a service whose rollout is under way.
#[derive(Debug)]
pub struct Callers<'a> {
    /// The rollout of that service.
    pub rollout: &'a Rollout,
    /// Node ids of the sidecars beside its new version's hosts; at least one.
    pub on_new: BTreeSet<String>,
    /// Those beside its old version's; at least one.
    pub on_old: BTreeSet<String>,
}

// === impl State ===

impl State {
    /// The running rollouts of services that a service's rollout overlaps, whoever calls whom, and whose
    /// sidecars the mesh names ([`Host::sidecar`](crate::mesh::Host::sidecar)): what they send to both
    /// versions is to be counted by both arms ([`Observation::callers`]).
    ///
    /// [`Observation::callers`]: crate::rollout::Observation::callers
    pub fn callers<'a>(&'a self, run: &'a Rollout) -> impl Iterator<Item = Callers<'a>> {
        let counts = |run: &Rollout| {
            let rules = run.plan.policy.rules >= RULES_OF_TABLES;
            rules && !run.is_configuration() && !run.phase.is_final()
        };
        let rollouts = self.rollouts().filter(move |_| counts(run));
        rollouts
            .filter(move |other| counts(other) && overlap(run, other))
            .filter_map(|rollout| {
                let plan = rollout.plan();
                let callers = Callers {
                    rollout,
                    on_new: self.sidecars_beside(&plan.service, &plan.to),
                    on_old: self.sidecars_beside(&plan.service, &plan.from),
                };
                (!callers.on_new.is_empty() && !callers.on_old.is_empty()).then_some(callers)
            })
    }

    /// The sidecars through which a version's hosts send, as far as the mesh says.
    fn sidecars_beside(&self, service: &str, version: &str) -> BTreeSet<String> {
        let service = self.mesh().and_then(|mesh| mesh.services.get(service));
        let version = service.and_then(|service| service.versions.get(version));
        let hosts = version.into_iter().flat_map(|version| &version.hosts);
        hosts.filter_map(|host| host.sidecar.clone()).collect()
    }
}
