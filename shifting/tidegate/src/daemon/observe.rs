//! What the world looks like at a tick: deliveries from the xDS server, evidence from reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_engine::compile::cluster_name;
use tidegate_engine::evidence::{AaStatus, Arms, Intake, SidecarReport, UpstreamCounts};
use tidegate_engine::mesh::{EvidenceSource, LATENCY_EDGES_MS};
use tidegate_engine::plan::Traffic;
use tidegate_engine::rollout::{Delivery, Observation, Rejection, Rollout, State};
use tidegate_engine::time::Time;
use tidegate_xds::report::{Asked, Latency, Report, Source, UpstreamSample};
use tidegate_xds::server::{ClientKind, ClientStatus, Server};

use super::a_a::AaWatch;
use super::calls::CallWatch;
use super::cross_tables::CrossTables;
use super::fleets::{self, Fleets};
use super::health::Health;
use super::load::Loads;
use super::meter::Meter;
use super::scraped::{self, Scraped};
use super::views::{Views, kind_of};
use crate::clock::Clock;
use crate::prometheus::Poll;

/// Collects reports between ticks and remembers whom a rollout needs.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// What sidecars report by themselves: Envoys' metrics, and gRPC clients' load reports.
    intake: Intake,
    /// Everybody's load reports, for services that say so.
    loads: Loads,
    scraped: Scraped,
    a_a: AaWatch,
    meter: Meter,
    health: Health,
    fleets: Fleets,
    tables: CrossTables,
    calls: CallWatch,
    /// By service: the number of the running rollout, and the sidecars that were connected at some
    /// time of it.
    needed: BTreeMap<String, (u64, BTreeSet<String>)>,
    /// Connected at the last tick.
    connected: BTreeSet<String>,
    /// Those that were gRPC clients at the last tick, by node id.
    grpc: BTreeSet<String>,
    /// By node id: when the latest report came.
    last_reports: BTreeMap<String, Time>,
}

/// A sidecar that has not reported for this long is not shown as having reported.
const FORGET_REPORTS_MS: u64 = 3_600_000;

/// A sidecar that has no configuration stream and has not reported for this long is gone.
const GONE_AFTER_MS: u64 = 10_000;

// === impl Observer ===

impl Observer {
    pub(crate) fn record(&mut self, report: Report, clock: &Clock) {
        let at = clock.at(report.received_at);
        let is_grpc = self.grpc.contains(&report.node_id);
        let of_load = report.source == Source::Load;
        // An Envoy may send both. It counts every request in each.
        let own = !of_load || is_grpc;
        if own {
            self.health.record(&report, at);
            self.calls.record(&report);
            for (cluster, sample) in &report.upstreams {
                self.meter.record(cluster, sample, at);
            }
        }
        if of_load {
            self.loads.note_hosts(&report, at);
        }
        let upstreams = report
            .upstreams
            .into_iter()
            .map(|(name, sample)| (name, counts(&sample, is_grpc)))
            .collect();
        self.last_reports.insert(report.node_id.clone(), at);
        let report = SidecarReport {
            sidecar: report.node_id,
            at,
            taken: None, // The streams' own times are not read.
            unreadable: report.faults,
            upstreams,
        };
        if own {
            self.intake.record(&report);
            self.fleets.record(&report);
            self.tables.record(&report);
            self.a_a.record(&report);
        }
        if of_load {
            self.loads.record(&report);
        }
    }

    /// Takes in what a Prometheus told, or that it told nothing.
    pub(crate) fn record_poll(&mut self, poll: Poll, clock: &Clock) {
        self.scraped.record(poll, clock);
    }

    /// What reports must tell from now on: the two arms of every running rollout, from its start
    /// to its end, and each service's stable version, whose traffic is what a plan goes by. What
    /// is known of arms whose rollout is over is forgotten, for it ages unseen.
    pub(crate) fn attend(&mut self, state: &State) -> Asked {
        let traffic = state.active().filter(|run| !run.is_configuration());
        let plans = traffic.map(|run| run.plan());
        let arms: BTreeSet<String> = plans
            .flat_map(|plan| [&plan.from, &plan.to].map(|arm| cluster_name(&plan.service, arm)))
            .collect();
        self.intake.forget_others(&arms);
        self.loads.attend(state, &arms);
        self.calls.attend(state);
        self.tables.attend(state);
        let splits = state.splits();
        let stable = splits
            .iter()
            .map(|(service, split)| cluster_name(service, &split.stable));
        let touched = self.fleets.attend(state);
        Asked::upstreams(arms.into_iter().chain(stable).chain(touched))
    }

    /// When each sidecar reported last.
    pub(crate) fn last_reports(&mut self, now: Time) -> BTreeMap<String, Time> {
        self.last_reports
            .retain(|_, at| now.since_ms(*at) < FORGET_REPORTS_MS);
        self.last_reports.clone()
    }

    /// How each sidecar's process is, as of the latest observation and the reports since.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// By fleet, the services that its sidecars sent requests to since the latest tick.
    pub(crate) fn take_calls(&mut self) -> BTreeMap<String, BTreeSet<String>> {
        self.calls.take()
    }

    /// Traffic of each cluster in the last minute.
    pub(crate) fn traffic(&mut self, now: Time) -> BTreeMap<String, Traffic> {
        self.meter.traffic(now)
    }

    /// How often two halves of each service's sidecars would have been told apart.
    pub(crate) fn a_a(&self) -> Arc<Vec<AaStatus>> {
        self.a_a.published()
    }

    /// One observation for each running rollout.
    pub(crate) fn observe(
        &mut self,
        state: &State,
        views: &Views,
        server: &Server,
        now: Time,
    ) -> Vec<Observation> {
        let clients = server.clients();
        self.note_connections(&clients, now);
        self.a_a.tick(state, connected(&clients), now);
        self.loads.forget_old(now);
        self.needed
            .retain(|service, _| state.active().any(|run| run.plan().service == *service));
        let Some(mesh) = state.mesh() else {
            return Vec::new();
        };
        let (mut observations, none) = (Vec::new(), BTreeSet::new());
        let splits = state.splits();
        for run in state.active() {
            let plan = run.plan();
            let change = plan.configuration.as_deref();
            let is_reached = |fleet: &String| match change {
                Some(change) => change.fleet == *fleet,
                None => mesh
                    .services
                    .get(&plan.service)
                    .is_some_and(|service| service.fleets.contains(fleet)),
            };
            let clients: Vec<&ClientStatus> = clients
                .iter()
                .filter(|status| is_reached(&status.client.cluster))
                .collect();
            let delivery = self.delivery(run, &clients, views);
            if change.is_some() {
                let look = fleets::Look {
                    run,
                    state,
                    clients: &clients,
                    needed: self.needed.get(&plan.service).map_or(&none, |it| &it.1),
                    health: &self.health,
                    now,
                };
                let (evidence, fleet) = self.fleets.observe(look, &mut self.tables);
                observations.push(Observation {
                    service: plan.service.clone(),
                    epoch: run.epoch(),
                    delivery,
                    evidence,
                    fleet: Some(Box::new(fleet)),
                    witness: None,
                    parts: BTreeMap::new(),
                    callers: BTreeMap::new(),
                });
                continue;
            }
            let expected: BTreeSet<String> = clients
                .iter()
                .filter(|status| status.connected)
                .map(|status| status.client.node_id.clone())
                .collect();
            let arms = Arms {
                canary: &cluster_name(&plan.service, &plan.to),
                stable: &cluster_name(&plan.service, &plan.from),
                threshold_ms: plan
                    .slo
                    .latency
                    .as_ref()
                    .map(|latency| latency.threshold_ms),
            };
            let scraped = plan.evidence.prometheus().map(|prometheus| {
                let interval_ms = prometheus.scrape_interval_ms;
                let sidecars = expected.len();
                self.scraped
                    .observe(&plan.service, interval_ms, arms, sidecars, now)
            });
            let reported = || match plan.evidence {
                EvidenceSource::LoadReports => self.loads.observe(arms, &expected, &self.grpc, now),
                _ => self.intake.observe(arms, &expected, now),
            };
            let (mut evidence, witness) = scraped::roles(&plan.evidence, reported, scraped);
            let split = splits.get(&plan.service);
            evidence.host_ratio_ppm = self.loads.host_ratio_ppm(run, split, mesh, now);
            observations.push(Observation {
                service: plan.service.clone(),
                epoch: run.epoch(),
                delivery,
                evidence,
                fleet: None,
                witness: witness.map(Box::new),
                parts: self.meter.parts(mesh, &plan.service, now),
                callers: self.tables.of_callers(run, state, now),
            });
        }
        self.scraped
            .retain(|service| state.active().any(|run| run.plan().service == service));
        observations
    }

    /// Counts may have been missed while a sidecar was away; what one that is gone had in flight
    /// ended with it.
    fn note_connections(&mut self, clients: &[ClientStatus], now: Time) {
        for status in clients {
            let id = &status.client.node_id;
            self.health
                .note_connections(id, status.connections, status.connected, now);
        }
        self.health.forget_old(now);
        for status in clients.iter().filter(|status| !status.connected) {
            let id = &status.client.node_id;
            let silent = |at: &Time| now.since_ms(*at) >= GONE_AFTER_MS;
            if self.last_reports.get(id).is_none_or(silent) {
                self.intake.departed(id);
                self.loads.departed(id);
                self.fleets.departed(id);
                self.tables.departed(id);
                self.a_a.departed(id);
            }
        }
        self.grpc = clients
            .iter()
            .filter(|status| status.client.kind == ClientKind::Grpc)
            .map(|status| status.client.node_id.clone())
            .collect();
        let connected: BTreeSet<String> = clients
            .iter()
            .filter(|status| status.connected)
            .map(|status| status.client.node_id.clone())
            .collect();
        for sidecar in connected.difference(&self.connected) {
            self.intake.reconnected(sidecar);
            self.loads.reconnected(sidecar);
            self.fleets.reconnected(sidecar);
            self.tables.reconnected(sidecar);
            self.a_a.reconnected(sidecar);
        }
        self.connected = connected;
    }

    fn delivery(&mut self, run: &Rollout, clients: &[&ClientStatus], views: &Views) -> Delivery {
        let service = run.plan().service.clone();
        let (number, needed) = self.needed.entry(service).or_default();
        if *number != run.number() {
            *number = run.number();
            needed.clear();
        }
        let mut delivery = Delivery::default();
        for status in clients {
            let id = &status.client.node_id;
            if !status.connected {
                if needed.contains(id) {
                    delivery.disconnected.push(id.clone());
                }
                continue;
            }
            needed.insert(id.clone());
            delivery.expected += 1;
            let client = &status.client;
            let wanted = views.id(&client.cluster, kind_of(client.kind), &client.node_id);
            if wanted.is_some() && status.acknowledged.as_deref() == wanted.as_deref() {
                delivery.acknowledged += 1;
            } else {
                delivery.behind.push(id.clone());
            }
            for rejection in &status.rejections {
                delivery.rejected.push(Rejection {
                    sidecar: id.clone(),
                    text: rejection.text.to_string(),
                });
            }
        }
        delivery
    }
}

/// Fleet and node id of who is connected.
fn connected(clients: &[ClientStatus]) -> impl Iterator<Item = (&str, &str)> {
    let connected = clients.iter().filter(|status| status.connected);
    connected.map(|status| {
        let client = &status.client;
        (client.cluster.as_str(), client.node_id.as_str())
    })
}

/// What a gRPC client's own limits dropped failed for whoever called, and it counts it nowhere else.
fn counts(sample: &UpstreamSample, is_grpc: bool) -> UpstreamCounts {
    let mut responses = sample.responses;
    if let (true, Some(errors)) = (is_grpc, responses.last_mut()) {
        *errors = errors.saturating_add(sample.dropped);
    }
    let mut counts = UpstreamCounts {
        requests: sample.requests,
        completed: sample.completed,
        responses,
        timeouts: sample.timeouts,
        grpc_failures: sample.grpc_failures,
        connect_failures: sample.connect_failures,
        active: sample.active,
        latency: sample.latency.as_ref().map(buckets),
    };
    counts.fail_unanswered(sample.unanswered_retries());
    counts
}

/// Cumulative buckets at any edges → counts between the edges of the engine. Requests between
/// two reported edges are counted in the slower bucket: never faster than they were.
fn buckets(latency: &Latency) -> [u64; 10] {
    let mut counts = [0; 10];
    let mut below = 0;
    for (edge_ms, cumulative) in &latency.buckets {
        let slot = LATENCY_EDGES_MS
            .iter()
            .position(|edge| *edge_ms <= f64::from(*edge));
        let count = cumulative.saturating_sub(below);
        below = below.max(*cumulative);
        if let Some(place) = counts.get_mut(slot.unwrap_or(LATENCY_EDGES_MS.len())) {
            *place += count;
        }
    }
    if let Some(above) = counts.last_mut() {
        *above += latency.count.saturating_sub(below);
    }
    counts
}

#[cfg(test)]
mod tests;
