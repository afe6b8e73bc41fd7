//! Is the canary slower, also below the objective's threshold? (evidence §4.2)
//!
//! "Slower than tau" is an error like any other, counted exactly at the edges of the buckets. The
//! edges next to stable's median and slowest tenth and hundredth are frozen before the canary has
//! its first request: a choice made afterwards would be made by what it is to judge.
//!
//! Nobody was promised anything at these edges, and what happens beyond them comes in bursts: the first
//! requests on new connections, a host that pauses for a moment. Where stable has hardly any, a handful
//! of them is certain evidence of a difference, and no reason to go back. So an edge tells something
//! only while the difference there is one of many requests ([`LEAST`]); a canary that is slower in
//! general is, at the edges next to the median and the slowest tenth.

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use super::regression::{Bets, Pair, Regression};
use crate::mesh::LATENCY_EDGES_MS;
use crate::rollout::ArmCounts;
use crate::time::Time;

/// Quantiles of stable's latency, and the fewest requests that tell one: ten beyond it.
const QUANTILES: [(u64, u64); 3] = [(500, 20), (900, 100), (990, 1_000)];

/// Least difference between the arms at an edge: 5 percentage points. A canary that takes 1.5 times as
/// long as stable differs by 12 at the slowest tenth, and by 20 at the median, if latencies are spread
/// as in evidence §6(d).
const LEAST: f64 = 0.05;

/// Evidence that more of the canary's requests than of stable's are slower than one edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edge {
    /// Index into [`LATENCY_EDGES_MS`].
    index: usize,
    pub(crate) regression: Regression,
    pub(crate) difference: Difference,
    /// A small difference at it tells nothing: rules 5.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    guarded: bool,
}

// === impl Edge ===

impl Edge {
    /// The edges to watch besides the objective's threshold, by stable's requests so far.
    pub(crate) fn freeze(
        stable: &ArmCounts,
        threshold_ms: u32,
        guarded: bool,
        (bets, horizon): (Bets, u32),
    ) -> Vec<Self> {
        let all: u64 = stable.buckets.iter().sum();
        let mut edges: Vec<Self> = Vec::new();
        for (permille, fewest) in QUANTILES {
            let Some(index) = quantile(&stable.buckets, permille).filter(|_| all >= fewest) else {
                continue;
            };
            let known = LATENCY_EDGES_MS.get(index) == Some(&threshold_ms)
                || edges.iter().any(|edge| edge.index == index);
            if !known {
                edges.push(Self {
                    index,
                    regression: Regression::new(bets, horizon),
                    difference: Difference::default(),
                    guarded,
                });
            }
        }
        edges
    }

    pub(crate) fn observe(&mut self, canary: &ArmCounts, stable: &ArmCounts, rho: f64, now: Time) {
        let (canary, canary_bad) = self.timed(canary);
        let (stable, stable_bad) = self.timed(stable);
        let pair = Pair {
            canary,
            canary_bad,
            stable,
            stable_bad,
        };
        self.regression.observe(pair, rho);
        self.difference.observe(pair, now);
    }

    /// The e-value of "it is slower"; at most 1 where the difference is too small to tell.
    pub(crate) fn e(&self) -> f64 {
        let e = self.regression.e();
        match self.guarded && !self.difference.is_at_least(LEAST) {
            true => e.min(1.0),
            false => e,
        }
    }

    /// Upper end of what is fast, milliseconds.
    pub(crate) fn threshold_ms(&self) -> u32 {
        LATENCY_EDGES_MS.get(self.index).copied().unwrap_or(0)
    }

    /// Requests of which it is known on which side of the edge they are, and the slow ones.
    fn timed(&self, arm: &ArmCounts) -> (u64, u64) {
        let fast: u64 = arm.buckets.iter().take(self.index + 1).sum();
        let slow = arm.slow_at.get(self.index).copied().unwrap_or(0);
        (fast.saturating_add(slow), slow)
    }
}

/// The edge below which this part of the requests is; `None` when it is above the last edge.
fn quantile(buckets: &[u64; 10], permille: u64) -> Option<usize> {
    let all: u64 = buckets.iter().sum();
    let mut below = 0_u64;
    buckets
        .iter()
        .position(|count| {
            below += count;
            below.saturating_mul(1_000) >= all.saturating_mul(permille)
        })
        .filter(|index| *index < LATENCY_EDGES_MS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(buckets: [u64; 10]) -> Vec<u32> {
        let stable = ArmCounts {
            buckets,
            ..ArmCounts::default()
        };
        Edge::freeze(&stable, 250, true, (Bets::Dense, 600))
            .iter()
            .map(Edge::threshold_ms)
            .collect()
    }

    #[test]
    fn the_edges_next_to_stables_quantiles_are_watched_once_each() {
        assert_eq!(
            frozen([0, 600, 0, 350, 0, 0, 0, 50, 0, 0]),
            [10, 50, 1_000],
            "median, slowest tenth, slowest hundredth"
        );
        assert_eq!(frozen([995, 5, 0, 0, 0, 0, 0, 0, 0, 0]), [5]);
    }

    #[test]
    fn the_objectives_threshold_and_what_is_beyond_the_last_edge_are_left_out() {
        assert!(frozen([0, 0, 0, 0, 0, 900, 0, 0, 0, 100]).is_empty());
    }

    #[test]
    fn few_requests_tell_no_quantile() {
        assert!(frozen([10, 9, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
        assert_eq!(frozen([10, 89, 0, 0, 0, 0, 0, 0, 0, 0]), [10]);
        assert!(frozen([0; 10]).is_empty());
    }

    /// The first requests on new connections, as the demo's once were: 9 of 408 above 10 ms, where stable
    /// has 2 of 12,597.
    #[test]
    fn a_few_slow_answers_below_the_threshold_tell_nothing_and_many_do() {
        let arm = |requests: u64, slow: u64| {
            let mut arm = ArmCounts::default();
            arm.buckets[0] = requests - slow;
            arm.slow_at[0] = slow;
            arm
        };
        let edge = |guarded: bool, slow: &[u64]| {
            let mut edge = Edge {
                index: 0,
                regression: Regression::new(Bets::Dense, 600),
                difference: Difference::default(),
                guarded,
            };
            for (second, slow) in slow.iter().enumerate() {
                let now = Time(second as u64 * 1_000);
                edge.observe(&arm(16, *slow), &arm(485, 0), 2.0, now);
            }
            edge.e()
        };
        let mut few = vec![0; 26];
        (few[2], few[6], few[9], few[20]) = (2, 3, 2, 2);
        assert!(edge(false, &few) > 1_000.0, "it reverted");
        assert!(edge(true, &few) <= 1.0);
        assert!(edge(true, &[4; 26]) > 1_000.0, "a quarter is no burst");
    }
}
