//! One sidecar's requests to one cluster, between two ticks.
//!
//! Requests that are overdue in flight count as slow before they end (evidence §4.2: else a
//! hanging canary looks fast). A lower bound is certain: what is in flight, less everything that
//! was issued within the threshold. When such a request ends it is not counted again: the
//! running maximum of the cumulative is what counts.

use std::collections::VecDeque;

use super::UpstreamCounts;
use super::lost::Ledger;
use crate::mesh::LATENCY_EDGES_MS;
use crate::rollout::{ArmCounts, ReportFaults};
use crate::time::Time;

/// Reports of issued requests that are kept; the largest threshold needs four.
const HISTORY: usize = 32;

const EDGES: usize = LATENCY_EDGES_MS.len();

/// One sidecar's requests to one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    ledger: Ledger,
    /// Issued by report, with the report's time; oldest first.
    issued: VecDeque<(Time, u64)>,
    /// Before this nothing is known of when requests in flight were issued; `None` when all is
    /// known since the cluster's birth.
    known_since: Option<Time>,
    /// By edge, known slow: ended above it, timed out, lost. Cumulative.
    slow_ended: [u64; EDGES],
    /// By edge, the largest of `slow_ended` + overdue in flight so far.
    slow_counted: [u64; EDGES],
    /// Since the last tick.
    pending: ArmCounts,
    /// There is something pending.
    reported: bool,
    /// Of reports since the last tick.
    faults: ReportFaults,
    /// What is known of its part of the traffic: falls by a tenth with each report.
    weight: u64,
    /// The next report is a baseline.
    rebase: bool,
    /// A sample is missing, or came when a newer one had come: the balance begins anew with the
    /// next report, whose counts are taken.
    unbalanced: bool,
    /// The latest report.
    latest: UpstreamCounts,
}

// === impl Upstream ===

impl Upstream {
    /// A cluster that the sidecar had before it was watched: its first report is a baseline.
    pub(crate) fn baseline(counts: &UpstreamCounts, at: Time) -> Self {
        let mut upstream = Self::born();
        upstream.known_since = Some(at);
        upstream.ledger = Ledger::starting(counts.active.unwrap_or(0));
        upstream.weigh(counts, 1);
        upstream
    }

    /// A cluster that is new to the sidecar: everything it ever did is known.
    pub(crate) fn born() -> Self {
        Self {
            ledger: Ledger::default(),
            issued: VecDeque::new(),
            known_since: None,
            slow_ended: [0; EDGES],
            slow_counted: [0; EDGES],
            pending: ArmCounts::default(),
            reported: false,
            faults: ReportFaults::default(),
            weight: 0,
            rebase: false,
            unbalanced: false,
            latest: UpstreamCounts::default(),
        }
    }

    /// Counts may have been missed: the next report is a baseline.
    pub(crate) fn rebase(&mut self) {
        self.rebase = true;
    }

    /// A sample is missing at `at`: what was issued or ended until then is unknown, hence what is in
    /// flight can be neither lost nor overdue.
    pub(crate) fn lose_balance(&mut self, at: Time) {
        self.unbalanced = true;
        self.issued.clear();
        self.known_since = Some(at);
    }

    /// The same counts as in the latest report. Where nothing was counted that says nothing.
    pub(crate) fn is_repeated(&self, counts: &UpstreamCounts) -> bool {
        let idle = counts.requests == 0 && counts.completed == 0;
        !idle && *counts == self.latest
    }

    /// A report that a newer one has overtaken: it counts, but what was in flight then does not.
    pub(crate) fn record_late(
        &mut self,
        counts: &UpstreamCounts,
        at: Time,
        interval_ms: u64,
        threshold_ms: Option<u32>,
    ) {
        let overtaken = UpstreamCounts {
            active: None,
            ..counts.clone()
        };
        let histograms = counts.latency.is_some();
        self.record(&overtaken, at, 1, interval_ms, threshold_ms, histograms);
        self.lose_balance(at);
    }

    /// One report. `histograms`: whether the sidecar reports latency at all; `threshold_ms` is
    /// the SLO's; `intervals` have passed since its report before.
    pub(crate) fn record(
        &mut self,
        counts: &UpstreamCounts,
        at: Time,
        intervals: u64,
        interval_ms: u64,
        threshold_ms: Option<u32>,
        histograms: bool,
    ) {
        self.weigh(counts, intervals);
        self.latest = counts.clone();
        if std::mem::take(&mut self.rebase) {
            self.ledger = Ledger::starting(counts.active.unwrap_or(0));
            self.issued.clear();
            self.known_since = Some(at);
            self.slow_counted = self.slow_ended;
            return;
        }
        let lost = counts.active.map_or(0, |active| {
            if std::mem::take(&mut self.unbalanced) {
                self.ledger = Ledger::starting(active);
                return 0;
            }
            self.ledger.settle(
                counts.requests,
                counts.completed,
                active,
                counts.connect_failures,
            )
        });
        let server_errors = counts.responses.last().copied().unwrap_or(0);
        // A gRPC failure is an HTTP 200; a failure that Envoy made itself is counted as both.
        let bad = server_errors.max(counts.grpc_failures) + lost;
        let ended = counts.responses.iter().sum::<u64>() + lost;
        self.reported = true;
        let pending = &mut self.pending;
        pending.requests += ended.max(bad);
        pending.bad += bad;
        pending.lost += lost;
        pending.issued += counts.requests;
        for (sum, bucket) in pending
            .buckets
            .iter_mut()
            .zip(counts.latency.unwrap_or_default())
        {
            *sum += bucket;
        }
        if self.issued.len() == HISTORY {
            self.issued.pop_front();
        }
        self.issued.push_back((at, counts.requests));
        if let (Some(threshold_ms), true) = (threshold_ms, histograms) {
            self.time(counts, lost, at, interval_ms, threshold_ms);
        }
    }

    fn time(
        &mut self,
        counts: &UpstreamCounts,
        lost: u64,
        at: Time,
        interval_ms: u64,
        threshold_ms: u32,
    ) {
        let buckets = counts.latency.unwrap_or_default();
        let all: u64 = buckets.iter().sum();
        let mut fast = 0;
        for (index, edge_ms) in LATENCY_EDGES_MS.into_iter().enumerate() {
            fast += buckets.get(index).copied().unwrap_or(0);
            let overdue = self.overdue(at, interval_ms, edge_ms);
            let newly_slow = self.count_slow(index, all - fast + counts.timeouts + lost, overdue);
            if let Some(slow) = self.pending.slow_at.get_mut(index) {
                *slow += newly_slow;
            }
            if edge_ms == threshold_ms {
                self.pending.slow += newly_slow;
                self.pending.timed += fast + newly_slow;
            }
        }
    }

    /// Adds what ended slowly; answers how many requests are known to be slow for the first time.
    fn count_slow(&mut self, edge: usize, ended: u64, overdue: u64) -> u64 {
        let (Some(sum), Some(counted)) = (
            self.slow_ended.get_mut(edge),
            self.slow_counted.get_mut(edge),
        ) else {
            return 0;
        };
        *sum += ended;
        let cumulative = *sum + overdue;
        let newly_slow = cumulative.saturating_sub(*counted);
        *counted = cumulative.max(*counted);
        newly_slow
    }

    /// At least this many requests have been in flight for longer than the threshold.
    fn overdue(&self, at: Time, interval_ms: u64, threshold_ms: u32) -> u64 {
        if self.ledger.active() == 0 {
            return 0;
        }
        // Half an interval more, for reports that arrive early or late.
        let span_ms = u64::from(threshold_ms) + interval_ms / 2;
        if self
            .known_since
            .is_some_and(|since| at.since_ms(since) < span_ms)
        {
            return 0;
        }
        let young: u64 = self
            .issued
            .iter()
            .filter(|(when, _)| at.since_ms(*when) <= span_ms)
            .map(|(_, issued)| issued)
            .sum();
        self.ledger.active().saturating_sub(young)
    }

    /// What was counted since the last tick.
    pub(crate) fn take(&mut self) -> ArmCounts {
        let mut counts = std::mem::take(&mut self.pending);
        self.reported = false;
        counts.in_flight = self.ledger.active();
        counts
    }

    /// The same, added to `arm`.
    pub(crate) fn take_into(&mut self, arm: &mut ArmCounts) {
        if self.reported {
            arm.add(&self.take());
        } else {
            arm.in_flight = arm.in_flight.saturating_add(self.ledger.active());
        }
    }

    /// Something was odd about a report.
    pub(crate) fn note_faults(&mut self, faults: &ReportFaults) {
        if !faults.is_none() {
            self.faults.add(faults);
        }
    }

    /// What was odd since the last tick.
    pub(crate) fn take_faults(&mut self) -> ReportFaults {
        std::mem::take(&mut self.faults)
    }

    /// Its last known part of the traffic.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// After a gap a source may tell of all that it missed: that is no larger part of the traffic,
    /// beside which who is still silent would be left out.
    fn weigh(&mut self, counts: &UpstreamCounts, intervals: u64) {
        let mut requests = counts.requests.max(counts.responses.iter().sum());
        if intervals > 1 {
            let known = self.weight / 1_000;
            requests = requests.min(known.max(requests / intervals));
        }
        self.weight = if self.weight == 0 {
            requests.saturating_mul(1_000)
        } else {
            (self.weight - self.weight / 10).saturating_add(requests.saturating_mul(100))
        };
    }
}
