//! Adds up what sidecars report into one [`Evidence`] per tick and service.
//!
//! It lives in the program and is not journaled: what it answers is, with the tick that asked.
//! Only the clusters of running rollouts are kept, so its memory is bounded by sidecars × running
//! rollouts × 2.

use std::collections::{BTreeMap, BTreeSet};

use super::freshness::{Reporter, fresh_parts};
use super::upstream::Upstream;
use crate::rollout::{ArmCounts, Evidence};
use crate::time::Time;

/// How often sidecars report, milliseconds.
const INTERVAL_MS: u64 = 1_000;

/// A rollout that nobody asked about for so long is not watched any more.
const FORGET_AFTER_MS: u64 = 60_000;

/// Most sidecars that are kept, and most names of silent ones in an [`Evidence`].
const SIDECARS_MAX: usize = 100_000;
const SILENT_MAX: usize = 100;

/// One sidecar's numbers for one interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SidecarReport {
    /// The sidecar's node id.
    pub sidecar: String,
    /// When it arrived.
    pub at: Time,
    /// By cluster name, `service/version`.
    pub upstreams: BTreeMap<String, UpstreamCounts>,
}

/// One sidecar's numbers for one cluster and interval. Counters are deltas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamCounts {
    /// Requests issued to the cluster's hosts.
    pub requests: u64,
    /// Requests completed. May exceed `requests`: a refused connection completes a request that
    /// was never issued (envoy facts §6).
    pub completed: u64,
    /// Responses 2xx, 3xx, 4xx, 5xx.
    pub responses: [u64; 4],
    /// Requests that timed out; they are among the 5xx, and not in `latency`.
    pub timeouts: u64,
    /// gRPC failures; HTTP knows them as 200.
    pub grpc_failures: u64,
    /// Connections that failed.
    pub connect_failures: u64,
    /// Requests in flight at the end; `None` when the source does not tell.
    pub active: Option<u64>,
    /// Requests by latency, one bucket per edge of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS) (up to and including the edge) and
    /// one above the last; `None` when there is no histogram in the report.
    pub latency: Option<[u64; 10]>,
}

/// The two clusters of a rollout and what slow means to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arms<'a> {
    /// Cluster of the new version, `service/version`.
    pub canary: &'a str,
    /// Cluster of the old version.
    pub stable: &'a str,
    /// The SLO's latency threshold, if there is one; an edge of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS).
    pub threshold_ms: Option<u32>,
}

/// Adds up what sidecars report.
#[derive(Debug, Clone)]
pub struct Intake {
    sidecars: BTreeMap<String, Sidecar>,
    /// By cluster.
    watched: BTreeMap<String, Watch>,
    interval_ms: u64,
}

#[derive(Debug, Clone)]
struct Sidecar {
    /// When it reported first, or was first expected.
    since: Time,
    latest: Option<Time>,
    /// It has reported a histogram: its silence about latency means that nothing ended.
    histograms: bool,
    upstreams: BTreeMap<String, Upstream>,
}

#[derive(Debug, Clone)]
struct Watch {
    threshold_ms: Option<u32>,
    since: Time,
    asked: Time,
}

// === impl Intake ===

impl Default for Intake {
    fn default() -> Self {
        Self::new(INTERVAL_MS)
    }
}

impl Intake {
    /// For sidecars that report every `interval_ms` milliseconds.
    #[must_use]
    pub fn new(interval_ms: u64) -> Self {
        Self {
            sidecars: BTreeMap::new(),
            watched: BTreeMap::new(),
            interval_ms: interval_ms.max(1),
        }
    }

    /// Takes in a report. The first one of a sidecar is only a baseline.
    pub fn record(&mut self, report: &SidecarReport) {
        if !self.sidecars.contains_key(&report.sidecar) && self.sidecars.len() >= SIDECARS_MAX {
            return; // It stays unknown, hence not fresh: nothing advances on it.
        }
        let sidecar = self
            .sidecars
            .entry(report.sidecar.clone())
            .or_insert_with(|| Sidecar::new(report.at));
        sidecar.histograms |= report.upstreams.values().any(|u| u.latency.is_some());
        for (cluster, watch) in &self.watched {
            let Some(counts) = report.upstreams.get(cluster) else {
                continue;
            };
            if let Some(upstream) = sidecar.upstreams.get_mut(cluster) {
                upstream.record(
                    counts,
                    report.at,
                    self.interval_ms,
                    watch.threshold_ms,
                    sidecar.histograms,
                );
                continue;
            }
            // A cluster is new to the sidecar if an earlier report came without it while it was
            // watched; otherwise it may have a history that nobody saw.
            let born = sidecar.latest.is_some_and(|latest| latest > watch.since);
            let upstream = if born {
                let mut upstream = Upstream::born();
                upstream.record(
                    counts,
                    report.at,
                    self.interval_ms,
                    watch.threshold_ms,
                    sidecar.histograms,
                );
                upstream
            } else {
                Upstream::baseline(counts, report.at)
            };
            sidecar.upstreams.insert(cluster.clone(), upstream);
        }
        sidecar.latest = Some(sidecar.latest.map_or(report.at, |at| at.max(report.at)));
    }

    /// A sidecar's report stream began anew: counts may have been missed in between, so its next
    /// report is a baseline again. Its freshness and its weights stay.
    pub fn reconnected(&mut self, sidecar: &str) {
        if let Some(sidecar) = self.sidecars.get_mut(sidecar) {
            for upstream in sidecar.upstreams.values_mut() {
                upstream.rebase();
            }
        }
    }

    /// A sidecar is gone for good; it is forgotten.
    pub fn departed(&mut self, sidecar: &str) {
        self.sidecars.remove(sidecar);
    }

    /// What arrived since the last tick for one rollout. `expected` are the connected sidecars
    /// that reach the service. The first call starts the watch and answers no requests.
    pub fn observe(&mut self, arms: Arms<'_>, expected: &BTreeSet<String>, now: Time) -> Evidence {
        self.watch(arms, now);
        for name in expected {
            if !self.sidecars.contains_key(name) && self.sidecars.len() < SIDECARS_MAX {
                self.sidecars.insert(name.clone(), Sidecar::new(now));
            }
        }
        let (mut canary, mut stable) = (ArmCounts::default(), ArmCounts::default());
        for sidecar in self.sidecars.values_mut() {
            if let Some(upstream) = sidecar.upstreams.get_mut(arms.canary) {
                canary.add(&upstream.take());
            }
            if let Some(upstream) = sidecar.upstreams.get_mut(arms.stable) {
                stable.add(&upstream.take());
            }
        }
        let reporters: Vec<Reporter<'_>> = expected
            .iter()
            .map(|name| self.reporter(name, arms, now))
            .collect();
        let (canary_fresh, stable_fresh) = fresh_parts(&reporters, self.interval_ms);
        Evidence {
            canary,
            stable,
            canary_fresh,
            stable_fresh,
            silent: reporters
                .iter()
                .filter(|reporter| reporter.silent(self.interval_ms))
                .take(SILENT_MAX)
                .map(|reporter| reporter.name.to_owned())
                .collect(),
            interval_ms: self.interval_ms,
            trouble: None,
        }
    }

    fn watch(&mut self, arms: Arms<'_>, now: Time) {
        for cluster in [arms.canary, arms.stable] {
            let watch = self.watched.entry(cluster.to_owned()).or_insert(Watch {
                threshold_ms: arms.threshold_ms,
                since: now,
                asked: now,
            });
            watch.threshold_ms = arms.threshold_ms;
            watch.asked = now;
        }
        self.watched
            .retain(|_, watch| now.since_ms(watch.asked) <= FORGET_AFTER_MS);
        for sidecar in self.sidecars.values_mut() {
            sidecar
                .upstreams
                .retain(|cluster, _| self.watched.contains_key(cluster));
        }
    }

    /// When the watch on both arms began.
    fn watched_since(&self, arms: Arms<'_>) -> Time {
        [arms.canary, arms.stable]
            .iter()
            .filter_map(|cluster| self.watched.get(*cluster))
            .map(|watch| watch.since)
            .max()
            .unwrap_or_default()
    }

    fn reporter<'a>(&self, name: &'a str, arms: Arms<'_>, now: Time) -> Reporter<'a> {
        let sidecar = self.sidecars.get(name);
        let weight = |cluster: &str| {
            sidecar
                .and_then(|sidecar| sidecar.upstreams.get(cluster))
                .map_or(0, Upstream::weight)
        };
        Reporter {
            name,
            age_ms: sidecar.map_or(u64::MAX, |sidecar| {
                now.since_ms(sidecar.latest.unwrap_or(sidecar.since))
            }),
            reported: sidecar.is_some_and(|sidecar| sidecar.latest.is_some()),
            weighed: sidecar
                .and_then(|sidecar| sidecar.latest)
                .is_some_and(|latest| self.watched_since(arms) < latest),
            canary_weight: weight(arms.canary),
            stable_weight: weight(arms.stable),
        }
    }
}

// === impl Sidecar ===

impl Sidecar {
    fn new(since: Time) -> Self {
        Self {
            since,
            latest: None,
            histograms: false,
            upstreams: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
