//! Which part of an arm's traffic is reported (evidence §4.6).
//!
//! A silent sidecar's requests are unknown, never left out: it keeps its last known weight.

use crate::units::Ppm;

/// A report at most this many intervals old is fresh.
const FRESH_INTERVALS: u64 = 2;

/// After this many missed intervals a reporter is silent.
const SILENT_INTERVALS: u64 = 4;

/// What is known of one reporter.
#[derive(Debug, Clone)]
pub(crate) struct Reporter<'a> {
    pub(crate) name: &'a str,
    /// Age of its latest report, or time since it was first expected.
    pub(crate) age_ms: u64,
    pub(crate) reported: bool,
    pub(crate) canary_weight: u64,
    pub(crate) stable_weight: u64,
}

// === impl Reporter ===

impl Reporter<'_> {
    fn fresh(&self, interval_ms: u64) -> bool {
        self.reported && self.age_ms <= FRESH_INTERVALS * interval_ms
    }

    pub(crate) fn silent(&self, interval_ms: u64) -> bool {
        self.age_ms > SILENT_INTERVALS * interval_ms
    }
}

/// Fresh parts of the canary's and of stable's traffic. Without known canary traffic, stable's
/// distribution stands for it; without any, reporters weigh the same. Nobody expected: nothing
/// is fresh.
pub(crate) fn fresh_parts(reporters: &[Reporter<'_>], interval_ms: u64) -> (Ppm, Ppm) {
    let stable: Vec<u64> = reporters.iter().map(|r| r.stable_weight).collect();
    let stable = if stable.iter().any(|weight| *weight > 0) {
        stable
    } else {
        vec![1; reporters.len()]
    };
    let canary: Vec<u64> = reporters.iter().map(|r| r.canary_weight).collect();
    let canary = if canary.iter().any(|weight| *weight > 0) {
        canary
    } else {
        stable.clone()
    };
    (
        fresh_part(reporters, &canary, interval_ms),
        fresh_part(reporters, &stable, interval_ms),
    )
}

fn fresh_part(reporters: &[Reporter<'_>], weights: &[u64], interval_ms: u64) -> Ppm {
    let reported: Vec<u64> = reporters
        .iter()
        .zip(weights)
        .filter(|(reporter, _)| reporter.reported)
        .map(|(_, weight)| *weight)
        .collect();
    // Who never reported has an unknown part: assume the mean of the others.
    let count = u64::try_from(reported.len().max(1)).unwrap_or(u64::MAX);
    let unknown = (reported.iter().sum::<u64>() / count).max(1);
    let (mut fresh, mut all) = (0_u64, 0_u64);
    for (reporter, weight) in reporters.iter().zip(weights) {
        let weight = if reporter.reported { *weight } else { unknown };
        all = all.saturating_add(weight);
        if reporter.fresh(interval_ms) {
            fresh = fresh.saturating_add(weight);
        }
    }
    Ppm::of(fresh, all)
}
