//! How much worse a host is than its peers by nature (evidence §4.7f).
//!
//! Hosts differ: a bad disk, a noisy neighbour, a zone that is far. A rung of one host would blame
//! the version for its host, hence the host's own past is its handicap: the upper 95% bound of its
//! odds ratio to its peers, both on the old version, in the last hour.
//!
//! The bound is a confidence sequence. For each ratio of a grid, evidence is collected against "the
//! host's ratio is at least this"; the bound is the least ratio that is refuted by 20. The factors
//! rise with the ratio that is tested, so all false refutations are one event: at most 5%.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ADVANCE_AT;
use super::exponential::exp;
use super::regression::{Pair, log_factor_below};
use super::wealth::mean;
use crate::time::Time;

/// The ratios of the grid: from 1 in steps of a tenth, to about 10. What is beyond is not known.
const STEP: f64 = 1.1;
const STEPS: i32 = 25;

/// Ratios below the tested one that are bet on, as parts of it.
const BETS: [f64; 4] = [0.9, 0.7, 0.45, 0.2];

/// An hour, minute by minute.
const MINUTE_MS: u64 = 60_000;
const MINUTES: usize = 60;

/// A host's requests beside its peers', in the last hour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostHistory {
    minutes: VecDeque<(Time, Pair)>,
}

// === impl HostHistory ===

impl HostHistory {
    /// Requests and bad ones of the host and of all its peers, that ended up to `now`. All on the
    /// old version: what is counted later would teach the bound what it is to judge.
    pub fn record(&mut self, host: (u64, u64), peers: (u64, u64), now: Time) {
        let pair = Pair {
            canary: host.0,
            canary_bad: host.1,
            stable: peers.0,
            stable_bad: peers.1,
        };
        match self.minutes.back_mut() {
            Some((since, sum)) if now.since_ms(*since) < MINUTE_MS => sum.add(pair),
            _ => self.minutes.push_back((now, pair)),
        }
        if self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
    }

    /// The 95% upper bound of the host's odds of a bad request to those of its peers, in millionths,
    /// at least 1. `None` when the hour up to `now` says too little.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to 10, in millionths"
    )]
    pub fn upper_bound_ppm(&self, now: Time) -> Option<u32> {
        let hour_ms = MINUTE_MS * 60;
        let minutes: Vec<Pair> = self
            .minutes
            .iter()
            .filter(|(since, _)| now.since_ms(*since) <= hour_ms)
            .map(|(_, pair)| *pair)
            .collect();
        (0..STEPS)
            .map(|step| STEP.powi(step))
            .find(|ratio| refuted(&minutes, *ratio))
            .map(|ratio| (ratio * 1_000_000.0).round() as u32)
    }
}

/// Whether it is refuted that the host's odds are at least `ratio` times its peers'.
fn refuted(minutes: &[Pair], ratio: f64) -> bool {
    let mut wealth = [0.0; BETS.len()];
    minutes.iter().filter(|pair| pair.canary > 0).any(|pair| {
        for (sum, bet) in wealth.iter_mut().zip(BETS) {
            *sum += log_factor_below(*pair, ratio, bet);
        }
        mean(&wealth.map(exp)) >= ADVANCE_AT
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::random::Random;

    /// The bound after an hour at 10 requests/s on the host and 190 on its peers.
    fn bound(seed: u64, host: f64, peers: f64) -> Option<u32> {
        let (mut history, mut random) = (HostHistory::default(), Random::new(seed));
        let mut now = Time(0);
        for _ in 0..60 {
            let bad = (random.binomial(600, host), random.binomial(11_400, peers));
            history.record((600, bad.0), (11_400, bad.1), now);
            now = now.plus_ms(MINUTE_MS);
        }
        history.upper_bound_ppm(now)
    }

    #[test]
    fn the_bound_is_above_the_truth_in_nineteen_of_twenty_hours() {
        for (host, peers, odds) in [(0.005, 0.005, 1.0), (0.0149, 0.005, 3.0)] {
            let below = (0..300)
                .filter(|seed| bound(*seed, host, peers).is_some_and(|b| f64::from(b) < odds * 1e6))
                .count();
            assert!(below <= 15, "{odds}: {below} of 300");
        }
    }

    #[test]
    fn it_comes_near_the_truth_within_the_hour() {
        let mut bounds: Vec<u32> = (0..21)
            .filter_map(|seed| bound(seed, 0.0149, 0.005))
            .collect();
        bounds.sort_unstable();
        assert_eq!(bounds.len(), 21, "always known");
        assert!((3_000_000..4_500_000).contains(&bounds[10]), "{bounds:?}");
    }

    #[test]
    fn without_failures_nothing_is_known() {
        assert_eq!(bound(1, 0.0, 0.0), None);
        assert_eq!(HostHistory::default().upper_bound_ppm(Time(0)), None);
    }

    #[test]
    fn only_the_last_hour_counts_and_the_memory_is_bounded() {
        let mut history = HostHistory::default();
        for minute in 0..500 {
            history.record((600, 3), (11_400, 57), Time(minute * MINUTE_MS));
        }
        assert_eq!(history.minutes.len(), MINUTES);
        let later = Time(500 * MINUTE_MS + 3_600_000);
        assert!(history.upper_bound_ppm(Time(500 * MINUTE_MS)).is_some());
        assert_eq!(history.upper_bound_ppm(later), None);
    }
}
