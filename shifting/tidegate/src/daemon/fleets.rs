//! What the world looks like to a configuration rollout: its arms are sidecars, and what they do
//! beside their requests is evidence too.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::compile::cluster_name;
use tidegate_engine::evidence::{Cohorts, Intake, SidecarReport};
use tidegate_engine::rollout::{
    ArmHealth, Evidence, Exposed, FleetHealth, FleetObservation, NAMED_MAX, Rollout, State, order,
};
use tidegate_engine::time::Time;
use tidegate_xds::server::{ClientKind, ClientStatus};

use super::cross_tables::CrossTables;
use super::health::Health;

/// Collects what configuration rollouts need of reports. An intake of its own, since counts are
/// taken: a traffic rollout may watch the same clusters.
#[derive(Debug, Default)]
pub(super) struct Fleets {
    intake: Intake,
    /// A configuration rollout runs.
    attended: bool,
    /// By node id: restarts and connections as of the latest tick.
    counted: BTreeMap<String, (u64, u64)>,
}

/// What a tick of a configuration rollout is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) run: &'a Rollout,
    pub(super) state: &'a State,
    /// The fleet's, connected or not.
    pub(super) clients: &'a [&'a ClientStatus],
    /// Those of them that the rollout needed once.
    pub(super) needed: &'a BTreeSet<String>,
    pub(super) health: &'a Health,
    pub(super) now: Time,
}

// === impl Fleets ===

impl Fleets {
    /// The clusters whose requests running configuration rollouts are judged by.
    pub(super) fn attend(&mut self, state: &State) -> BTreeSet<String> {
        let clusters: BTreeSet<String> = state
            .active()
            .flat_map(|run| clusters(run, state))
            .collect();
        self.attended = !clusters.is_empty();
        if !self.attended {
            *self = Self::default();
        }
        clusters
    }

    pub(super) fn record(&mut self, report: &SidecarReport) {
        if self.attended {
            self.intake.record(report);
        }
    }

    pub(super) fn reconnected(&mut self, sidecar: &str) {
        self.intake.reconnected(sidecar);
    }

    pub(super) fn departed(&mut self, sidecar: &str) {
        self.intake.departed(sidecar);
    }

    /// One tick of one configuration rollout.
    pub(super) fn observe(
        &mut self,
        look: Look<'_>,
        tables: &mut CrossTables,
    ) -> (Evidence, FleetObservation) {
        let exposed = look.run.exposed_sidecars();
        let connected = look.clients.iter().filter(|status| status.connected);
        let (canary, stable): (BTreeSet<String>, BTreeSet<String>) = connected
            .map(|status| status.client.node_id.clone())
            .partition(|sidecar| exposed.includes(sidecar));
        let clusters = clusters(look.run, look.state);
        let cohorts = Cohorts {
            clusters: &clusters,
            canary: &canary,
            stable: &stable,
            threshold_ms: look
                .run
                .plan()
                .slo
                .latency
                .as_ref()
                .map(|latency| latency.threshold_ms),
        };
        let evidence = self.intake.observe_cohorts(cohorts, look.now);
        let fleet = FleetObservation {
            next: next(&look, &exposed),
            health: self.health(&look, &exposed),
            crossed: tables.of_fleet(&look, &canary, &stable),
        };
        (evidence, fleet)
    }

    fn health(&mut self, look: &Look<'_>, exposed: &Exposed) -> FleetHealth {
        let mut health = FleetHealth::default();
        for status in look.clients {
            let sidecar = &status.client.node_id;
            if !status.connected && !look.needed.contains(sidecar) {
                continue;
            }
            let arm = if exposed.includes(sidecar) {
                &mut health.canary
            } else {
                &mut health.stable
            };
            arm.sidecars += 1;
            arm.gone += u64::from(!status.connected);
            self.count(sidecar, look.health, arm);
        }
        health
    }

    /// What happened to a sidecar since the latest tick. Before that nothing is known of it.
    fn count(&mut self, sidecar: &str, health: &Health, arm: &mut ArmHealth) {
        let Some(known) = health.of(sidecar) else {
            return;
        };
        if let Some(bytes) = known.memory_bytes {
            arm.memory_bytes = arm.memory_bytes.saturating_add(bytes);
            arm.measured += 1;
        }
        let counts = (known.restarts, known.connections);
        let before = self.counted.insert(sidecar.to_owned(), counts);
        let (restarts, connections) = before.unwrap_or(counts);
        arm.restarts += counts.0.saturating_sub(restarts);
        arm.reconnects += counts.1.saturating_sub(connections);
    }
}

/// The clusters that carry the traffic of the services that a configuration rollout changes.
fn clusters(run: &Rollout, state: &State) -> BTreeSet<String> {
    let Some(change) = run.plan().configuration.as_deref() else {
        return BTreeSet::new();
    };
    let splits = state.splits();
    let touched = change.touched.iter();
    touched
        .filter_map(|service| Some((service, splits.get(service)?)))
        .flat_map(|(service, split)| {
            let canary = split.canary.as_ref().map(|canary| &canary.version);
            let versions = std::iter::once(&split.stable).chain(canary);
            versions
                .map(|version| cluster_name(service, version))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Who is to get the revision next. Sidecars that report go first: nobody could judge by one that
/// doesn't.
fn next(look: &Look<'_>, exposed: &Exposed) -> Vec<String> {
    let reports = |sidecar: &str| {
        let known = look.health.of(sidecar);
        known.is_some_and(|known| known.uptime_s.is_some())
    };
    let waiting = look
        .clients
        .iter()
        .filter(|status| status.connected && !exposed.includes(&status.client.node_id))
        .map(|status| &status.client);
    let is_envoy: BTreeSet<&str> = waiting
        .clone()
        .filter(|client| client.kind != ClientKind::Grpc)
        .map(|client| client.node_id.as_str())
        .collect();
    let revision = &look.run.plan().to;
    let places = waiting.map(|client| (client.node_id.as_str(), client.zone.as_str()));
    let mut ordered = order(revision, places);
    ordered.sort_by_key(|sidecar| !(reports(sidecar) && is_envoy.contains(sidecar)));
    ordered.truncate(NAMED_MAX);
    ordered.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "fleets_tests.rs"]
mod tests;
