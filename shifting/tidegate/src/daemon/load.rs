//! Everybody's load reports: the evidence of services that are judged by them, and what each host of a
//! stable version had of its requests, for services that say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tidegate_engine::compile::{Split, cluster_name, exposed_hosts};
use tidegate_engine::evidence::{Arms, HostCounts, Intake, SidecarReport};
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{Evidence, Rollout, State};
use tidegate_engine::time::Time;
use tidegate_xds::report::Report;
use tracing::info;

/// What load reports tell.
#[derive(Debug, Default)]
pub(super) struct Loads {
    intake: Intake,
    hosts: HostCounts,
    /// By service with a running rollout on a rung of hosts.
    pasts: BTreeMap<String, Past>,
}

/// What is known of the canary's hosts, as of when they became it: what is learned later would make a
/// rung easier or harder in its middle.
#[derive(Debug, PartialEq, Eq)]
struct Past {
    rollout: u64,
    hosts: Vec<SocketAddr>,
    ratio_ppm: Option<u32>,
}

// === impl Loads ===

impl Loads {
    pub(super) fn record(&mut self, report: &SidecarReport) {
        self.intake.record(report);
    }

    /// Takes in what a report says of single hosts.
    pub(super) fn note_hosts(&mut self, report: &Report, at: Time) {
        let by_host = report.upstreams.iter();
        for (cluster, sample) in by_host.filter(|(_, sample)| !sample.hosts.is_empty()) {
            let hosts = sample.hosts.iter();
            let counts = hosts.map(|(host, counts)| (*host, (counts.completed, counts.failed)));
            self.hosts.record(cluster, counts, at);
        }
    }

    /// To be called now and then.
    pub(super) fn forget_old(&mut self, now: Time) {
        self.hosts.forget_old(now);
    }

    /// As [`Intake::reconnected`].
    pub(super) fn reconnected(&mut self, sidecar: &str) {
        self.intake.reconnected(sidecar);
    }

    /// As [`Intake::departed`].
    pub(super) fn departed(&mut self, sidecar: &str) {
        self.intake.departed(sidecar);
    }

    /// `arms` are the clusters of all running rollouts. Hosts are counted while they are on the stable
    /// version of a service whose evidence is by host, rollout or not.
    pub(super) fn attend(&mut self, state: &State, arms: &BTreeSet<String>) {
        self.intake.forget_others(arms);
        let services = state.mesh().into_iter().flat_map(|mesh| &mesh.services);
        let splits = state.splits();
        let mut stable: BTreeSet<String> = services
            .filter(|(_, service)| service.evidence.by_host())
            .filter_map(|(name, _)| Some(cluster_name(name, &splits.get(name)?.stable)))
            .collect();
        let plans = state.active().map(Rollout::plan);
        let plans = plans.filter(|plan| plan.evidence.by_host());
        stable.extend(plans.map(|plan| cluster_name(&plan.service, &plan.from)));
        self.hosts.watch(&stable);
        self.pasts
            .retain(|service, _| state.active().any(|run| run.plan().service == *service));
    }

    /// What arrived since the last tick for one rollout. `grpc` are the gRPC clients.
    pub(super) fn observe(
        &mut self,
        arms: Arms<'_>,
        expected: &BTreeSet<String>,
        grpc: &BTreeSet<String>,
        now: Time,
    ) -> Evidence {
        let evidence = self.intake.observe(arms, expected, now);
        let never = expected
            .iter()
            .find(|sidecar| !grpc.contains(*sidecar) && !self.intake.has_reported(sidecar));
        let trouble = never.map(|sidecar| {
            format!(
                "{sidecar} has sent no load report yet; an Envoy does when its bootstrap is that of \
                 `tidegate bootstrap --load-reports`"
            )
        });
        Evidence {
            trouble,
            ..evidence
        }
    }

    /// [`Evidence::host_ratio_ppm`]: how much worse the canary's hosts were than their peers in the last
    /// hour on the old version. Known where the very addresses were hosts of the old version then, as
    /// when a host is upgraded in place: it is taken out of one version and declared in the other.
    pub(super) fn host_ratio_ppm(
        &mut self,
        run: &Rollout,
        split: Option<&Split>,
        mesh: &Mesh,
        now: Time,
    ) -> Option<u32> {
        let plan = run.plan();
        let canary = split?.canary.as_ref()?;
        let limit = canary.hosts.filter(|_| plan.evidence.by_host())?;
        let declared = mesh.hosts(&plan.service, &plan.to);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let exposed = exposed_hosts(declared, Some(limit));
        let hosts: Vec<SocketAddr> = exposed.into_iter().map(|host| host.address).collect();
        let known = self.pasts.get(&plan.service);
        if let Some(past) = known.filter(|it| it.rollout == run.number() && it.hosts == hosts) {
            return past.ratio_ppm;
        }
        let cluster = cluster_name(&plan.service, &plan.from);
        let history = self.hosts.history(&cluster, &hosts, now);
        let ratio_ppm = history.and_then(|history| history.upper_bound_ppm(now));
        let service = plan.service.as_str();
        match ratio_ppm {
            Some(ppm) => info!(
                service,
                ?hosts,
                "in the last hour on {}, the odds of a failure on these hosts were at most {:.2} \
                 times those on their peers: as much is tolerated",
                plan.from,
                f64::from(ppm) / 1_000_000.0
            ),
            None => info!(
                service,
                ?hosts,
                "how these hosts did beside their peers on {} in the last hour is not known",
                plan.from
            ),
        }
        let past = Past {
            rollout: run.number(),
            hosts,
            ratio_ppm,
        };
        self.pasts.insert(plan.service.clone(), past);
        ratio_ppm
    }
}

#[cfg(test)]
mod tests;
