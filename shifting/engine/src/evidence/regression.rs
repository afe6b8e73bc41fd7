//! Is the canary worse than stable, at the same time? (evidence §4.1, §4.2)
//!
//! Given how many requests failed in a tick in both arms together, the canary's part of them
//! should be its part of the requests. An incident that hits both arms cancels out.

use serde::{Deserialize, Serialize};

use super::exponential::exp;
use super::wealth::{Late, Wealth};

/// The odds ratios that the mixture bets on, all with the same capital, and how the e-values of
/// failures and of slowness are weighed: fixed when a rollout starts, by its rules of judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bets {
    /// Rules 0 and 1: those of evidence §4.1.
    Wide,
    /// From rules 2 on: dense where 1% to 5% of failures are, since each bet that wins nothing
    /// costs its capital. Nothing above 40: from there on one failure is clipped as well, or
    /// stable has too few requests for more to be gained.
    Dense,
}

/// With more bad requests in a tick the powers below may overflow: 200^128 is 3·10^294.
const BAD_MAX: f64 = 128.0;

/// One metric's counts in one tick: how many, and how many of them were bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) canary: u64,
    pub(crate) canary_bad: u64,
    pub(crate) stable: u64,
    pub(crate) stable_bad: u64,
}

/// Evidence that the canary's odds of a bad request are more than `rho` times stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Regression {
    bets: Bets,
    wealth: Wealth,
}

// === impl Bets ===

impl Bets {
    /// Those of the rules of judgement that a rollout started with.
    pub(crate) fn of(rules: u32) -> Self {
        if rules >= 2 { Bets::Dense } else { Bets::Wide }
    }

    pub(crate) fn ratios(self) -> &'static [f64] {
        match self {
            Bets::Wide => &[1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 200.0],
            Bets::Dense => &[1.5, 2.25, 4.0, 7.0, 15.0, 40.0],
        }
    }

    pub(crate) fn late(self) -> Late {
        match self {
            Bets::Wide => Late::Half,
            Bets::Dense => Late::Quarter,
        }
    }

    /// Weight of the failures' e-value beside that of slowness; the mean of e-values is one with
    /// any weights. Most of what is wrong with a new version fails requests.
    pub(crate) fn errors_part(self) -> f64 {
        match self {
            Bets::Wide => 0.5,
            Bets::Dense => 0.75,
        }
    }
}

// === impl Pair ===

impl Pair {
    /// Adds another tick's counts.
    pub(crate) fn add(&mut self, other: Pair) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.canary, other.canary);
        sum(&mut self.canary_bad, other.canary_bad);
        sum(&mut self.stable, other.stable);
        sum(&mut self.stable_bad, other.stable_bad);
    }
}

// === impl Regression ===

impl Regression {
    pub(crate) fn new(bets: Bets, horizon: u32) -> Self {
        Self {
            bets,
            wealth: Wealth::new(bets.ratios().len(), bets.late(), horizon),
        }
    }

    /// One tick. `rho` is the odds ratio that is still tolerated: 1.5, or 2 where few hosts
    /// differ from the rest by nature (evidence §4.7f).
    pub(crate) fn observe(&mut self, pair: Pair, rho: f64) {
        if pair.canary == 0 {
            return; // no exposure, no evidence
        }
        if pair.canary_bad == 0 && pair.stable_bad == 0 {
            self.wealth.pass(); // nothing failed: that tells nothing of the odds
        } else {
            self.wealth.bet(factors(self.bets.ratios(), pair, rho));
        }
    }

    pub(crate) fn bets(&self) -> Bets {
        self.bets
    }

    pub(crate) fn e(&self) -> f64 {
        self.wealth.e()
    }
}

/// r^x / (1 + (r − 1)·theta)^k for each ratio r, x bad requests on the canary and k in all.
#[allow(clippy::cast_precision_loss, reason = "requests of a second")]
fn factors(ratios: &[f64], pair: Pair, rho: f64) -> impl Iterator<Item = f64> + '_ {
    let (canary, stable) = (pair.canary as f64, pair.stable as f64);
    let canary_bad = pair.canary_bad.min(pair.canary) as f64;
    let bad = canary_bad + pair.stable_bad.min(pair.stable) as f64;
    let theta = rho * canary / (rho * canary + stable);
    ratios.iter().map(move |r| {
        let expected = (r - 1.0) * theta;
        if bad <= BAD_MAX {
            power(*r, canary_bad) / power(1.0 + expected, bad)
        } else {
            exp(canary_bad * r.ln() - bad * expected.ln_1p())
        }
    })
}

/// `base` to a whole number from 0 to 128: few multiplications, the same on every machine.
fn power(base: f64, exponent: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is saturated when it is cast"
    )]
    let mut exponent = exponent as u8;
    let (mut square, mut product) = (base, 1.0);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    product
}

/// The other way round: the logarithm of a factor whose mean is at most 1 while the canary's odds
/// are at least `rho` (≥ 1) times stable's, and that grows when they are `rho`·`r` times, `r` < 1.
///
/// Above, the canary's mean part of `k` bad requests is at most `rho·n / (rho·n + m)`, n and m the
/// arms' requests. Here a lower bound is needed, since the bets fall with the canary's failures;
/// from the same identity, mean·(m + rho·n) = rho·n·k − (rho − 1)·(k·mean − mean of squares), it is
/// `rho·n / (rho·n + m + (rho − 1)·k)`.
#[allow(clippy::cast_precision_loss, reason = "requests of a second")]
pub(crate) fn log_factor_below(pair: Pair, rho: f64, r: f64) -> f64 {
    let (canary, stable) = (pair.canary as f64, pair.stable as f64);
    let canary_bad = pair.canary_bad.min(pair.canary) as f64;
    let bad = canary_bad + pair.stable_bad.min(pair.stable) as f64;
    let theta = rho * canary / (rho * canary + stable + (rho - 1.0) * bad);
    canary_bad * r.ln() - bad * ((r - 1.0) * theta).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::enough;

    fn pair(canary: u64, canary_bad: u64, stable: u64, stable_bad: u64) -> Pair {
        Pair {
            canary,
            canary_bad,
            stable,
            stable_bad,
        }
    }

    #[test]
    fn powers_are_those_of_the_logarithms_and_many_bad_requests_do_no_harm() {
        for (canary_bad, stable_bad) in [(0, 1), (1, 0), (3, 2), (60, 68), (60, 69), (128, 0)] {
            for bets in [Bets::Wide, Bets::Dense] {
                let pair = pair(200, canary_bad, 3_800, stable_bad);
                let theta = 300.0 / 4_100.0;
                let bad = (canary_bad + stable_bad) as f64;
                for (r, factor) in bets.ratios().iter().zip(factors(bets.ratios(), pair, 1.5)) {
                    let ln = canary_bad as f64 * r.ln() - bad * ((r - 1.0) * theta).ln_1p();
                    assert!((factor.ln() - ln).abs() < 1e-9, "{pair:?} {r}: {factor}");
                }
            }
        }
    }

    #[test]
    fn each_factor_has_mean_one_at_the_edge_of_the_null() {
        // Given k bad requests, Binomial(k, theta) of them are the canary's (evidence §4.1).
        let ratios = [Bets::Wide, Bets::Dense].map(Bets::ratios).concat();
        for (canary, stable, bad) in [(10_u64, 190_u64, 3_u64), (50, 50, 6), (1, 500, 2)] {
            let theta = 1.5 * canary as f64 / (1.5 * canary as f64 + stable as f64);
            for alternative in 0..ratios.len() {
                let mean: f64 = (0..=bad)
                    .map(|x| {
                        let choose = (0..x).fold(1.0, |c, i| c * (bad - i) as f64 / (i + 1) as f64);
                        let p =
                            choose * theta.powi(x as i32) * (1.0 - theta).powi((bad - x) as i32);
                        // Counts large enough that nothing is clamped.
                        let n = pair(canary * 100, x, stable * 100, bad - x);
                        p * factors(&ratios, n, 1.5).nth(alternative).unwrap()
                    })
                    .sum();
                assert!((mean - 1.0).abs() < 1e-9, "{mean}");
            }
        }
    }

    #[test]
    fn the_reversed_factors_have_a_mean_of_at_most_one_for_any_odds_from_rho_on() {
        // The canary's part of k bad requests is Fisher's noncentral hypergeometric.
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        for (canary, stable, bad) in [(10_u64, 190_u64, 3_u64), (5, 5, 4), (2, 30, 20), (8, 4, 3)] {
            for (rho, odds) in [(1.5, 1.5), (1.5, 2.5), (2.0, 2.0), (1.0, 1.0), (9.0, 9.0)] {
                let range = bad.saturating_sub(stable)..=bad.min(canary);
                let weight = |x: u64| {
                    choose(canary, x) * choose(stable, bad - x) * f64::powi(odds, x as i32)
                };
                let all: f64 = range.clone().map(weight).sum();
                for r in [0.9, 0.67, 0.25] {
                    let mean: f64 = range
                        .clone()
                        .map(|x| {
                            let n = pair(canary, x, stable, bad - x);
                            weight(x) / all * log_factor_below(n, rho, r).exp()
                        })
                        .sum();
                    assert!(mean <= 1.0 + 1e-9, "{canary} {stable} {bad} {odds}: {mean}");
                }
            }
        }
    }

    #[test]
    fn without_a_stable_arm_it_is_mute() {
        let mut test = Regression::new(Bets::Dense, 600);
        for _ in 0..50 {
            test.observe(pair(500, 250, 0, 0), 1.5);
        }
        assert!((test.e() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn half_of_the_canary_failing_reverts_within_five_ticks() {
        let mut test = Regression::new(Bets::Dense, 600);
        for _ in 0..4 {
            assert!(!enough(test.e(), 1000.0));
            test.observe(pair(10, 5, 190, 0), 1.5);
        }
        assert!(enough(test.e(), 1000.0));
    }

    #[test]
    fn both_arms_failing_alike_is_no_evidence_against_the_canary() {
        let mut test = Regression::new(Bets::Dense, 600);
        for _ in 0..300 {
            test.observe(pair(50, 10, 450, 90), 1.5);
            assert!(!enough(test.e(), 20.0));
        }
    }

    #[test]
    fn more_bad_than_counted_is_clamped() {
        let mut test = Regression::new(Bets::Dense, 600);
        test.observe(pair(1, u64::MAX, 1, u64::MAX), 1.5);
        assert!(test.e().is_finite());
    }
}
