//! Adds up what sidecars report into one [`Evidence`] per tick and service.
//!
//! It lives in the program and is not journaled: what it answers is, with the tick that asked.
//! Only the clusters that are asked about are kept, so its memory is bounded by sidecars × running
//! rollouts × 2, or by sidecars × the clusters of [`Cohorts`](super::Cohorts).

use std::collections::{BTreeMap, BTreeSet};

use super::freshness::{Reporter, fresh_parts};
use super::report::{SidecarReport, UpstreamCounts};
use super::upstream::Upstream;
use crate::mesh::REPORT_INTERVAL_MS;
use crate::rollout::{ArmCounts, Evidence, ReportFaults};
use crate::time::Time;

/// A rollout that nobody asked about for so long is not watched any more.
const FORGET_AFTER_MS: u64 = 60_000;

/// Most sidecars that are kept, and most names of silent ones in an [`Evidence`].
const SIDECARS_MAX: usize = 100_000;
const SILENT_MAX: usize = 100;

/// Two streams of a sidecar overlap for less than this; a report that is older is of a clock that
/// was set back.
const LATE_MAX_MS: u64 = 10_000;

/// Clocks further apart than this are counted (evidence §4.6).
const SKEW_MS: u64 = 2_000;

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
pub(super) struct Sidecar {
    /// When it reported first, or was first expected.
    since: Time,
    latest: Option<Time>,
    /// The sidecar's own time of the newest report.
    taken_ms: Option<u64>,
    /// It has reported a histogram: its silence about latency means that nothing ended.
    histograms: bool,
    upstreams: BTreeMap<String, Upstream>,
}

/// A report among those of its sidecar, by when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Newer,
    /// At the same time as the newest: a part of it, or it again.
    Same,
    /// Overtaken by a newer one, as by two streams of which one ends.
    Late,
}

/// A report, and what is known of it as a whole.
#[derive(Debug)]
struct Arrived<'a> {
    report: &'a SidecarReport,
    order: Order,
    faults: ReportFaults,
    interval_ms: u64,
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
        Self::new(REPORT_INTERVAL_MS)
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

    /// Takes in a report. The first one of a sidecar is only a baseline. What is odd about it is
    /// counted in the [`Evidence`] of the rollouts that it is about.
    pub fn record(&mut self, report: &SidecarReport) {
        if !self.sidecars.contains_key(&report.sidecar) {
            if self.sidecars.len() >= SIDECARS_MAX {
                return; // It stays unknown, hence not fresh: nothing advances on it.
            }
            let sidecar = Sidecar::new(report.at);
            self.sidecars.insert(report.sidecar.clone(), sidecar);
        }
        let Some(sidecar) = self.sidecars.get_mut(&report.sidecar) else {
            return;
        };
        sidecar.histograms |= report.upstreams.values().any(|u| u.latency.is_some());
        let order = Order::of(report, sidecar);
        let arrived = Arrived {
            report,
            order,
            faults: order.faults(report, sidecar, self.interval_ms),
            interval_ms: self.interval_ms,
        };
        for (cluster, watch) in &self.watched {
            sidecar.take_in(cluster, &arrived, watch);
        }
        sidecar.note(report, order);
    }

    /// A sidecar's report stream began anew: counts may have been missed in between, so its next
    /// report is a baseline again. Its freshness and its weights stay.
    pub fn reconnected(&mut self, sidecar: &str) {
        let Some(sidecar) = self.sidecars.get_mut(sidecar) else {
            return;
        };
        sidecar.taken_ms = None;
        let faults = ReportFaults {
            resets: 1,
            ..ReportFaults::default()
        };
        for upstream in sidecar.upstreams.values_mut() {
            upstream.rebase();
            upstream.note_faults(&faults);
        }
    }

    /// Whether a sidecar has reported since it was expected.
    #[must_use]
    pub fn has_reported(&self, sidecar: &str) -> bool {
        let sidecar = self.sidecars.get(sidecar);
        sidecar.is_some_and(|sidecar| sidecar.latest.is_some())
    }

    /// Forgets all clusters but these: of the others, reports may say nothing any more. One that is watched
    /// again begins with a baseline.
    pub fn forget_others(&mut self, clusters: &BTreeSet<String>) {
        self.watched.retain(|cluster, _| clusters.contains(cluster));
        for sidecar in self.sidecars.values_mut() {
            sidecar
                .upstreams
                .retain(|cluster, _| clusters.contains(cluster));
        }
    }

    /// A sidecar is gone for good; it is forgotten.
    pub fn departed(&mut self, sidecar: &str) {
        self.sidecars.remove(sidecar);
    }

    /// What arrived since the last tick for one rollout. `expected` are the connected sidecars
    /// that reach the service. The first call starts the watch and answers no requests.
    /// ([`Intake::observe_cohorts`] compares sidecars instead of clusters.)
    pub fn observe(&mut self, arms: Arms<'_>, expected: &BTreeSet<String>, now: Time) -> Evidence {
        let both = || [arms.canary, arms.stable].into_iter();
        self.watch(both(), arms.threshold_ms, now);
        self.expect_reports_of(expected, now);
        let (mut canary, mut stable) = (ArmCounts::default(), ArmCounts::default());
        let mut reports = ReportFaults::default();
        for sidecar in self.sidecars.values_mut() {
            let mut faults = ReportFaults::default();
            sidecar.take_all(arms.canary, &mut canary, &mut faults);
            sidecar.take_all(arms.stable, &mut stable, &mut faults);
            reports.add(&faults);
        }
        let since = self.watched_since(both());
        let reporters: Vec<Reporter<'_>> = expected
            .iter()
            .map(|name| {
                let sidecar = self.sidecars.get(name);
                let weight = |cluster| sidecar.map_or(0, |sidecar| sidecar.weight(cluster));
                Reporter {
                    canary_weight: weight(arms.canary),
                    stable_weight: weight(arms.stable),
                    ..Self::reporter_of(name, sidecar, since, now)
                }
            })
            .collect();
        let (canary_fresh, stable_fresh) = fresh_parts(&reporters, self.interval_ms);
        Evidence {
            canary,
            stable,
            canary_fresh,
            stable_fresh,
            silent: self.silent(&reporters),
            interval_ms: self.interval_ms,
            trouble: None,
            reports,
            host_ratio_ppm: None, // Who knows each host's counts adds it.
        }
    }

    /// Watches these clusters from now on, or goes on doing so. Forgets what nobody asks about.
    pub(super) fn watch<'a>(
        &mut self,
        clusters: impl Iterator<Item = &'a str>,
        threshold_ms: Option<u32>,
        now: Time,
    ) {
        for cluster in clusters {
            if let Some(watch) = self.watched.get_mut(cluster) {
                watch.threshold_ms = threshold_ms;
                watch.asked = now;
            } else {
                let watch = Watch {
                    threshold_ms,
                    since: now,
                    asked: now,
                };
                self.watched.insert(cluster.to_owned(), watch);
            }
        }
        let before = self.watched.len();
        self.watched
            .retain(|_, watch| now.since_ms(watch.asked) <= FORGET_AFTER_MS);
        if self.watched.len() == before {
            return; // Sidecars have nothing else either.
        }
        for sidecar in self.sidecars.values_mut() {
            sidecar
                .upstreams
                .retain(|cluster, _| self.watched.contains_key(cluster));
        }
    }

    /// Who has not reported yet is expected from now on.
    pub(super) fn expect_reports_of<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a String>,
        now: Time,
    ) {
        for name in names {
            if !self.sidecars.contains_key(name) && self.sidecars.len() < SIDECARS_MAX {
                self.sidecars.insert(name.clone(), Sidecar::new(now));
            }
        }
    }

    /// Everyone who is known, by name.
    pub(super) fn sidecars(&mut self) -> impl Iterator<Item = (&str, &mut Sidecar)> {
        let sidecars = self.sidecars.iter_mut();
        sidecars.map(|(name, sidecar)| (name.as_str(), sidecar))
    }

    /// How often sidecars report, milliseconds.
    pub(super) fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// When the watch on all these clusters had begun.
    pub(super) fn watched_since<'a>(&self, clusters: impl Iterator<Item = &'a str>) -> Time {
        clusters
            .filter_map(|cluster| self.watched.get(cluster))
            .map(|watch| watch.since)
            .max()
            .unwrap_or_default()
    }

    /// The last known part of the traffic to a cluster that a sidecar has.
    pub(super) fn weight(&self, sidecar: &str, cluster: &str) -> u64 {
        let sidecar = self.sidecars.get(sidecar);
        sidecar.map_or(0, |sidecar| sidecar.weight(cluster))
    }

    /// A sidecar as one that reports; `since` is when the watch on its clusters began. Without weights.
    pub(super) fn reporter<'a>(&self, name: &'a str, since: Time, now: Time) -> Reporter<'a> {
        Self::reporter_of(name, self.sidecars.get(name), since, now)
    }

    fn reporter_of<'a>(
        name: &'a str,
        sidecar: Option<&Sidecar>,
        since: Time,
        now: Time,
    ) -> Reporter<'a> {
        Reporter {
            name,
            age_ms: sidecar.map_or(u64::MAX, |sidecar| {
                now.since_ms(sidecar.latest.unwrap_or(sidecar.since))
            }),
            reported: sidecar.is_some_and(|sidecar| sidecar.latest.is_some()),
            weighed: sidecar
                .and_then(|sidecar| sidecar.latest)
                .is_some_and(|latest| since < latest),
            canary_weight: 0,
            stable_weight: 0,
        }
    }

    /// Who of these is silent, as far as an [`Evidence`] names them.
    pub(super) fn silent(&self, reporters: &[Reporter<'_>]) -> Vec<String> {
        reporters
            .iter()
            .filter(|reporter| reporter.silent(self.interval_ms))
            .take(SILENT_MAX)
            .map(|reporter| reporter.name.to_owned())
            .collect()
    }
}

// === impl Sidecar ===

impl Sidecar {
    fn new(since: Time) -> Self {
        Self {
            since,
            latest: None,
            taken_ms: None,
            histograms: false,
            upstreams: BTreeMap::new(),
        }
    }

    /// Adds its requests to a cluster since the last tick, and what was odd about its reports on it:
    /// each report once however many clusters it is about.
    fn take_all(&mut self, cluster: &str, arm: &mut ArmCounts, faults: &mut ReportFaults) {
        if let Some(upstream) = self.upstreams.get_mut(cluster) {
            upstream.take_into(arm);
            *faults = faults.or(&upstream.take_faults());
        }
    }

    /// The last known part of the traffic to a cluster that it has.
    fn weight(&self, cluster: &str) -> u64 {
        let upstream = self.upstreams.get(cluster);
        upstream.map_or(0, Upstream::weight)
    }

    /// Its requests to a cluster since the last tick.
    pub(super) fn take(&mut self, cluster: &str) -> ArmCounts {
        let upstream = self.upstreams.get_mut(cluster);
        upstream.map_or_else(ArmCounts::default, Upstream::take)
    }

    /// What was odd about its reports on these clusters since the last tick, each report once
    /// however many of them it is about.
    pub(super) fn take_faults<'a>(
        &mut self,
        clusters: impl Iterator<Item = &'a str>,
    ) -> ReportFaults {
        let mut faults = ReportFaults::default();
        for cluster in clusters {
            if let Some(upstream) = self.upstreams.get_mut(cluster) {
                faults = faults.or(&upstream.take_faults());
            }
        }
        faults
    }

    /// Takes in what a report says of one cluster, if it does.
    fn take_in(&mut self, cluster: &str, arrived: &Arrived<'_>, watch: &Watch) {
        let Arrived { report, order, .. } = arrived;
        let counts = report.upstreams.get(cluster);
        let plausible = counts.filter(|counts| !counts.implausible());
        let Some(upstream) = self.upstreams.get_mut(cluster) else {
            if let Some(counts) = plausible {
                self.meet(cluster, counts, arrived, watch);
            }
            return;
        };
        upstream.note_faults(&arrived.faults);
        let (at, interval_ms, threshold_ms) = (report.at, arrived.interval_ms, watch.threshold_ms);
        let (intervals, histograms) = (arrived.intervals(), self.histograms);
        match (counts, plausible) {
            (None, _) if report.unreadable > 0 => upstream.lose_balance(at),
            (None, _) => {}
            (Some(_), None) => {
                upstream.rebase();
                upstream.note_faults(&ReportFaults {
                    backwards: 1,
                    ..ReportFaults::default()
                });
            }
            (_, Some(counts)) => {
                if *order == Order::Same && upstream.is_repeated(counts) {
                    upstream.note_faults(&ReportFaults {
                        repeated: 1,
                        ..ReportFaults::default()
                    });
                } else if *order == Order::Late {
                    upstream.record_late(counts, at, interval_ms, threshold_ms);
                } else {
                    upstream.record(counts, at, intervals, interval_ms, threshold_ms, histograms);
                }
            }
        }
    }

    /// The first report on a cluster. It is new to the sidecar if an earlier report came without it
    /// while it was watched; otherwise it may have a history that nobody saw.
    fn meet(
        &mut self,
        cluster: &str,
        counts: &UpstreamCounts,
        arrived: &Arrived<'_>,
        watch: &Watch,
    ) {
        let (at, interval_ms) = (arrived.report.at, arrived.interval_ms);
        let born = self.latest.is_some_and(|latest| latest > watch.since);
        let mut upstream = if born {
            let mut upstream = Upstream::born();
            let (threshold_ms, intervals) = (watch.threshold_ms, arrived.intervals());
            let histograms = self.histograms;
            upstream.record(counts, at, intervals, interval_ms, threshold_ms, histograms);
            upstream
        } else {
            Upstream::baseline(counts, at)
        };
        upstream.note_faults(&arrived.faults);
        self.upstreams.insert(cluster.to_owned(), upstream);
    }

    /// A report is a sign of life, but for one whose time stands still.
    fn note(&mut self, report: &SidecarReport, order: Order) {
        if order == Order::Same && report.taken.is_some() {
            return;
        }
        self.latest = Some(self.latest.map_or(report.at, |at| at.max(report.at)));
        if order != Order::Late {
            self.taken_ms = report.taken.map(|taken| taken.at_ms);
        }
    }
}

// === impl Arrived ===

impl Arrived<'_> {
    /// Since the sidecar's report before.
    fn intervals(&self) -> u64 {
        self.faults.skipped.saturating_add(1)
    }
}

// === impl Order ===

impl Order {
    fn of(report: &SidecarReport, sidecar: &Sidecar) -> Self {
        let (time, newest) = match (report.taken, sidecar.taken_ms) {
            (Some(taken), Some(newest)) => (taken.at_ms, newest),
            _ => (report.at.0, sidecar.latest.map_or(0, |latest| latest.0)),
        };
        if sidecar.latest.is_none() || time > newest {
            Order::Newer
        } else if time == newest {
            Order::Same
        } else if newest - time <= LATE_MAX_MS {
            Order::Late
        } else {
            Order::Newer // its clock was set back
        }
    }

    /// What is odd about the report as a whole.
    fn faults(self, report: &SidecarReport, sidecar: &Sidecar, interval_ms: u64) -> ReportFaults {
        let gap_ms = sidecar
            .latest
            .map_or(0, |latest| report.at.since_ms(latest));
        let intervals = gap_ms.saturating_add(interval_ms / 2) / interval_ms;
        let skew_ms = report
            .taken
            .map_or(0, |taken| taken.at_ms.abs_diff(taken.received_ms));
        ReportFaults {
            skipped: intervals.saturating_sub(1),
            late: u64::from(self == Order::Late),
            skewed: u64::from(skew_ms > SKEW_MS),
            unreadable: report.unreadable,
            ..ReportFaults::default()
        }
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "odd_reports.rs"]
mod odd_reports;
