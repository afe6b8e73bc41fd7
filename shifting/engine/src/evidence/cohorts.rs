//! Two sets of sidecars, compared by their requests to the same clusters: those on a new
//! configuration and the others, or two halves that should not differ.
//!
//! [`Arms`](super::Arms) are two clusters that all sidecars call; here the clusters are the same
//! and the callers differ. Counts are taken: who compares both ways has an [`Intake`] for each.

use std::collections::BTreeSet;

use super::Intake;
use super::freshness::{Reporter, cohort_fresh_part};
use crate::rollout::{ArmCounts, Evidence, ReportFaults};
use crate::time::Time;

/// Two sets of sidecars that are compared by their requests to the same clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cohorts<'a> {
    /// The clusters, `service/version`.
    pub clusters: &'a BTreeSet<String>,
    /// Node ids of the sidecars in question. Who is in both sets is here.
    pub canary: &'a BTreeSet<String>,
    /// Node ids of those that they are compared with.
    pub stable: &'a BTreeSet<String>,
    /// What slow means to all these clusters, if it means something; an edge of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS).
    pub threshold_ms: Option<u32>,
}

// === impl Intake ===

impl Intake {
    /// What arrived since the last tick for two sets of sidecars. The first call starts the watch
    /// and answers no requests; a cluster that is added later has a baseline of its own.
    ///
    /// A sidecar may change sets between two calls: what it reported up to the call counts for the
    /// set that it is in then, and its part of the traffic goes with it. What others reported is
    /// dropped, for it is of no known arm, and must not become one's by a later call.
    ///
    /// A set's fresh part is the weight of its fresh sidecars in the weight of all of them; each
    /// set has its own, and nothing of one says anything of the other. An empty set has no requests
    /// and a fresh part of 0, as nothing of it is known: before the first sidecar moves, an empty
    /// canary beside a fresh stable is no silence, and who decides asks whether the set is empty.
    pub fn observe_cohorts(&mut self, cohorts: Cohorts<'_>, now: Time) -> Evidence {
        let clusters = || cohorts.clusters.iter().map(String::as_str);
        self.watch(clusters(), cohorts.threshold_ms, now);
        self.expect_reports_of(cohorts.canary.union(cohorts.stable), now);
        let (mut canary, mut stable) = (ArmCounts::default(), ArmCounts::default());
        let mut reports = ReportFaults::default();
        for (name, sidecar) in self.sidecars() {
            let faults = sidecar.take_faults(clusters());
            let mut counts = ArmCounts::default();
            for cluster in clusters() {
                counts.add(&sidecar.take(cluster));
            }
            let arm = if cohorts.canary.contains(name) {
                &mut canary
            } else if cohorts.stable.contains(name) {
                &mut stable
            } else {
                continue;
            };
            arm.add(&counts);
            reports.add(&faults);
        }
        let everyone = cohorts.canary.union(cohorts.stable);
        let reporters = self.cohort(everyone, cohorts.clusters, now);
        let (of_canary, of_stable): (Vec<_>, Vec<_>) = reporters
            .iter()
            .cloned()
            .partition(|reporter| cohorts.canary.contains(reporter.name));
        let interval_ms = self.interval_ms();
        Evidence {
            canary,
            stable,
            canary_fresh: cohort_fresh_part(&of_canary, interval_ms),
            stable_fresh: cohort_fresh_part(&of_stable, interval_ms),
            silent: self.silent(&reporters),
            interval_ms,
            trouble: None,
            reports,
            host_ratio_ppm: None, // The arms are callers, not hosts.
        }
    }

    /// Sidecars with their parts of the traffic to all these clusters together.
    fn cohort<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        clusters: &BTreeSet<String>,
        now: Time,
    ) -> Vec<Reporter<'a>> {
        let since = self.watched_since(clusters.iter().map(String::as_str));
        let weight = |name: &str| {
            let each = clusters.iter().map(|cluster| self.weight(name, cluster));
            each.fold(0_u64, u64::saturating_add)
        };
        names
            .map(|name| Reporter {
                stable_weight: weight(name),
                ..self.reporter(name, since, now)
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "cohorts_tests.rs"]
mod tests;
