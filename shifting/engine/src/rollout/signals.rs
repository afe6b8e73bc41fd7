//! What is remembered of traffic and silence, outside the statistics.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::evidence::FRESH_ENOUGH_PPM;
use crate::mesh::LATENCY_EDGES_MS;
use crate::rollout::{ArmCounts, Evidence, ReportFaults};
use crate::time::Time;
use crate::units::Ppm;

/// Ticks over which the measured share is shown.
const RECENT: usize = 5;

/// Fewest requests without any answer that make a black hole, and for how many ticks
/// (evidence §4.6).
const BLACK_HOLE_REQUESTS: u64 = 20;
const BLACK_HOLE_TICKS: u32 = 2;
const BLACK_HOLE_INTERVALS: u64 = 3;

/// One request without an answer may be a long one; with so many stable answers nothing, either.
const SILENT_REQUESTS: u64 = 2;

/// So many times as many requests in flight for each one issued, for so many ticks, are a
/// saturated canary (evidence §4.6); fewer in flight than this are chance.
const SATURATED: u128 = 3;
const SATURATED_TICKS: u32 = 3;
const SATURATED_LEAST: u64 = 10;

/// Traffic and silence, as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Signals {
    /// When either arm had a request.
    pub(crate) any_traffic: Option<Time>,
    /// When the canary had a request.
    pub(crate) canary_traffic: Option<Time>,
    /// Since when the canary's reporters are silent while stable's are not.
    pub(crate) asymmetric_since: Option<Time>,
    /// Since when too little is reported to judge at all.
    pub(crate) outage_since: Option<Time>,
    /// Since when the share is not the decided one.
    pub(crate) share_off_since: Option<Time>,
    /// The canary's requests since its latest answer, over this many ticks, since then.
    unanswered: (u64, u32),
    unanswered_since: Option<Time>,
    /// Stable's requests since its latest answer, and since when; only where that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stable_unanswered: Option<(u64, Time)>,
    /// Issued by canary and stable in the latest ticks.
    recent: VecDeque<(u64, u64)>,
    /// Ticks in a row at which the canary was saturated.
    saturated: u32,
    /// What was odd about the reports since the rollout started.
    pub(crate) reports: ReportFaults,
    /// The latest [`Evidence::host_ratio_ppm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_ratio_ppm: Option<u32>,
}

// === impl Signals ===

impl Signals {
    /// One tick. `everything`: the exposure is 100%, and the canary is the only arm.
    pub(crate) fn observe(&mut self, evidence: &Evidence, everything: bool, now: Time) {
        let (canary, stable) = (&evidence.canary, &evidence.stable);
        self.reports.add(&evidence.reports);
        self.host_ratio_ppm = evidence.host_ratio_ppm;
        if seen(canary) {
            self.canary_traffic = Some(now);
        }
        if seen(canary) || seen(stable) {
            self.any_traffic = Some(now);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((canary.issued, stable.issued));
        let canary_fresh = fresh(evidence.canary_fresh);
        let stable_fresh = fresh(evidence.stable_fresh);
        let outage = if everything {
            !canary_fresh
        } else {
            !stable_fresh
        };
        keep(&mut self.outage_since, outage, now);
        let asymmetric = !everything && stable_fresh && !canary_fresh;
        keep(&mut self.asymmetric_since, asymmetric, now);
        self.observe_answers(canary, now);
        self.saturated = if !everything && saturated(canary, stable) {
            self.saturated.saturating_add(1)
        } else {
            0
        };
    }

    /// The canary has more and more requests in flight compared with stable.
    pub(crate) fn saturated(&self) -> bool {
        self.saturated >= SATURATED_TICKS
    }

    /// The canary's requests in the latest ticks, and how many ticks; `None` without requests.
    pub(crate) fn canary_pace(&self) -> Option<(u64, u64)> {
        let issued = self.recent.iter().map(|tick| tick.0).sum();
        let ticks = u64::try_from(self.recent.len()).unwrap_or(u64::MAX);
        (issued > 0).then_some((issued, ticks))
    }

    fn observe_answers(&mut self, canary: &ArmCounts, now: Time) {
        if canary.requests > canary.lost {
            self.unanswered = (0, 0);
            self.unanswered_since = None;
        } else if canary.issued > 0 || self.unanswered.0 > 0 {
            self.unanswered.0 = self.unanswered.0.saturating_add(canary.issued);
            self.unanswered.1 = self.unanswered.1.saturating_add(1);
            self.unanswered_since.get_or_insert(now);
        }
    }

    /// One tick of stable, of which it is asked whether it answers.
    pub(crate) fn observe_stable_answers(&mut self, stable: &ArmCounts, now: Time) {
        if stable.requests > stable.lost {
            self.stable_unanswered = None;
        } else if stable.issued > 0 {
            let (requests, _) = self.stable_unanswered.get_or_insert((0, now));
            *requests = requests.saturating_add(stable.issued);
        }
    }

    /// Stable's requests without an answer, when it has given none for the latter half of the time
    /// that makes the canary's a black hole.
    pub(crate) fn stable_is_silent(
        &self,
        stable: &ArmCounts,
        interval_ms: u64,
        now: Time,
    ) -> Option<u64> {
        let (requests, since) = self.stable_unanswered?;
        let patience_ms = patience_ms(stable).max(BLACK_HOLE_INTERVALS * interval_ms);
        (requests >= SILENT_REQUESTS && now.since_ms(since) >= patience_ms / 2).then_some(requests)
    }

    /// How many requests the canary swallowed without any answer, for longer than nearly all of
    /// stable's take (evidence §4.6).
    pub(crate) fn black_hole(
        &self,
        stable: &ArmCounts,
        interval_ms: u64,
        now: Time,
    ) -> Option<u64> {
        let (requests, ticks) = self.unanswered;
        let since = self.unanswered_since?;
        // Nothing can be heard of an answer before the reports after the next.
        let patience_ms = patience_ms(stable).max(BLACK_HOLE_INTERVALS * interval_ms);
        let patient = now.since_ms(since) >= patience_ms;
        (requests >= BLACK_HOLE_REQUESTS && ticks >= BLACK_HOLE_TICKS && patient)
            .then_some(requests)
    }

    /// The canary's share of requests in the latest ticks; `None` without traffic.
    pub(crate) fn measured_share(&self) -> Option<Ppm> {
        let (canary, stable) = self
            .recent
            .iter()
            .fold((0_u64, 0_u64), |sum, tick| (sum.0 + tick.0, sum.1 + tick.1));
        let both = canary.saturating_add(stable);
        (both > 0).then(|| Ppm::of(canary, both))
    }

    /// It is over: the measured share is that of the latest tick, not of the seconds before.
    pub(crate) fn keep_latest_share(&mut self) {
        self.recent.drain(..self.recent.len().saturating_sub(1));
    }

    /// A new exposure, or nobody watched: waits begin anew.
    pub(crate) fn restart(&mut self) {
        let recent = std::mem::take(&mut self.recent);
        *self = Self {
            recent,
            reports: self.reports,
            ..Self::default()
        };
    }
}

/// Whether an arm had a request.
pub(crate) fn seen(arm: &ArmCounts) -> bool {
    arm.requests > 0 || arm.issued > 0
}

/// Whether enough of an arm's traffic is reported.
pub(crate) fn fresh(part: Ppm) -> bool {
    part.get() >= FRESH_ENOUGH_PPM
}

/// In flight per request issued is the time that one takes (Little's law); without any request in
/// flight on stable there is nothing to compare with, and one stands for it.
fn saturated(canary: &ArmCounts, stable: &ArmCounts) -> bool {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    canary.in_flight >= SATURATED_LEAST
        && stable.issued > 0
        && product(canary.in_flight, stable.issued)
            > product(stable.in_flight.max(1), canary.issued).saturating_mul(SATURATED)
}

fn keep(since: &mut Option<Time>, holds: bool, now: Time) {
    if holds {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}

/// How long the first answer may take: until 99% of stable's requests are answered, since a
/// service of slow requests is no black hole. Without histograms, 5 s; when stable's slowest
/// hundredth is above the last edge, 20 s.
fn patience_ms(stable: &ArmCounts) -> u64 {
    let all: u64 = stable.buckets.iter().sum();
    if all == 0 {
        return 5_000;
    }
    let mut below = 0_u64;
    for (count, edge) in stable.buckets.iter().zip(LATENCY_EDGES_MS) {
        below += count;
        if below >= all - all / 100 {
            return u64::from(edge) + 1_000;
        }
    }
    20_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_stable_needs() {
        let mut stable = ArmCounts::default();
        assert_eq!(patience_ms(&stable), 5_000);
        stable.buckets[1] = 100;
        assert_eq!(patience_ms(&stable), 1_010);
        stable.buckets[9] = 100;
        assert_eq!(patience_ms(&stable), 20_000);
    }

    #[test]
    fn what_was_lost_is_no_answer() {
        let mut signals = Signals::default();
        let lost = ArmCounts {
            issued: 10,
            requests: 10,
            bad: 10,
            lost: 10,
            ..ArmCounts::default()
        };
        let evidence = Evidence {
            canary: lost,
            ..Evidence::default()
        };
        for second in 0..6 {
            signals.observe(&evidence, false, Time(second * 1_000));
        }
        let swallowed = signals.black_hole(&ArmCounts::default(), 1_000, Time(5_000));
        assert_eq!(swallowed, Some(60));
    }
}
