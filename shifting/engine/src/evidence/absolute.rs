//! Does an arm breach the objective, whatever the other does? (evidence §4.3)
//!
//! Below 100% a breach without a regression is the environment's fault, and the canary is not
//! blamed; at 100% there is no stable arm any more, and this is the test that goes a rung back, to ask it.

use serde::{Deserialize, Serialize};

use super::ratios::Ratios;
use super::wealth::{Late, MOST, Wealth};
#[cfg(test)]
use super::{REVERT_AT, enough};
use crate::units::Ppm;

/// How many times faster than sustainable the error budget may burn.
const BURN: f64 = 5.0;

/// Multiples of the tolerated rate that the mixture bets on.
const MULTIPLES: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 80.0];
pub(crate) const ALTERNATIVES: usize = MULTIPLES.len();
const _: () = assert!(ALTERNATIVES <= MOST);

/// No rate above this is bet on: a single good request must not ruin a bet.
const RATE_MAX: f64 = 0.95;

/// Fewest requests, and fewest bad ones, that people would call a breach.
const REQUESTS_MIN: u64 = 50;
const BAD_MIN: u64 = 3;

/// Evidence that more than 5 × (1 − objective) of an arm's requests are bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Absolute {
    ratios: Ratios,
    wealth: Wealth,
    requests: u64,
    bad: u64,
}

// === impl Absolute ===

impl Absolute {
    pub(crate) fn new(objective: Ppm, horizon: u32) -> Self {
        let tolerated = tolerated(objective);
        Self {
            ratios: Ratios::new(&MULTIPLES.map(|m| (tolerated, (m * tolerated).min(RATE_MAX)))),
            wealth: Wealth::new(MULTIPLES.len(), Late::Half, horizon),
            requests: 0,
            bad: 0,
        }
    }

    pub(crate) fn observe(&mut self, requests: u64, bad: u64) {
        if requests == 0 {
            return;
        }
        let bad = bad.min(requests);
        self.requests = self.requests.saturating_add(requests);
        self.bad = self.bad.saturating_add(bad);
        self.wealth.bet(self.ratios.factors(bad, requests));
    }

    pub(crate) fn e(&self) -> f64 {
        self.wealth.e()
    }

    /// Forgets what was seen.
    pub(crate) fn restart(&mut self, horizon: u32) {
        self.wealth = Wealth::new(self.ratios.len(), Late::Half, horizon);
        self.requests = 0;
        self.bad = 0;
    }

    /// Enough requests, and enough bad ones, for people to call it a breach.
    pub(crate) fn floors_met(&self) -> bool {
        self.requests >= REQUESTS_MIN && self.bad >= BAD_MIN
    }

    #[cfg(test)]
    fn fires(&self) -> bool {
        enough(self.e(), REVERT_AT) && self.floors_met()
    }
}

/// The rate that is still tolerated: 5 × (1 − objective). A modest objective (below 90%) would
/// put it near or above everything; half-way between the objective's rate and everything is the
/// most, so that total failure is a breach of every objective.
pub(crate) fn tolerated(objective: Ppm) -> f64 {
    let budget = 1.0 - objective.fraction();
    (BURN * budget)
        .min(f64::midpoint(budget, 1.0))
        .clamp(1e-9, 0.9)
}

/// Logarithm of the likelihood ratio of rate `q` to rate `p` after `bad` of `requests`; 0 when
/// the two rates cannot be told apart in order.
#[allow(clippy::cast_precision_loss, reason = "requests of a second")]
pub(crate) fn bernoulli(bad: u64, requests: u64, p: f64, q: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 || q <= 0.0 || q >= 1.0 {
        return 0.0;
    }
    let (bad, good) = (bad as f64, requests.saturating_sub(bad) as f64);
    let of_good = good * ((1.0 - q) / (1.0 - p)).ln();
    if bad > 0.0 {
        bad * (q / p).ln() + of_good
    } else {
        of_good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(parts: u32) -> Ppm {
        Ppm::new(parts).unwrap()
    }

    #[test]
    fn a_breach_of_the_objective_fires_and_health_does_not() {
        let mut breach = Absolute::new(objective(999_000), 600);
        let mut health = Absolute::new(objective(999_000), 600);
        for tick in 0..300 {
            if tick < 10 {
                breach.observe(500, 50);
            }
            health.observe(500, u64::from(tick % 2 == 0));
            assert!(!enough(health.e(), 20.0));
        }
        assert!(breach.fires());
    }

    #[test]
    fn few_requests_never_fire_however_bad() {
        let mut test = Absolute::new(objective(999_000), 600);
        for _ in 0..9 {
            test.observe(5, 5);
        }
        assert!(!test.fires());
    }

    #[test]
    fn total_failure_breaches_even_a_modest_objective() {
        for parts in [500_000, 800_000, 900_000, 999_990] {
            let mut test = Absolute::new(objective(parts), 600);
            for _ in 0..40 {
                test.observe(100, 100);
            }
            assert!(test.fires(), "{parts}");
        }
    }

    #[test]
    fn trouble_in_a_long_soak_is_found_within_ten_ticks() {
        let mut test = Absolute::new(objective(999_000), 600);
        for _ in 0..600 {
            test.observe(500, 0);
        }
        for _ in 0..10 {
            test.observe(500, 250);
        }
        assert!(test.fires());
    }

    #[test]
    fn the_alarm_ends_soon_after_its_cause() {
        let mut test = Absolute::new(objective(999_000), 600);
        for _ in 0..300 {
            test.observe(500, 250);
        }
        for _ in 0..30 {
            test.observe(500, 0);
        }
        assert!(!enough(test.e(), 20.0));
    }
}
