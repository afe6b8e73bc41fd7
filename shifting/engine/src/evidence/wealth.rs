//! The wealth of a gambler who bets against the null: the e-process under every test.
//!
//! Part of the capital is bet from the first tick on each alternative. The rest enters little by
//! little (the restart mix of evidence §4.1), so that trouble which starts after an hour of health
//! is not paid for with what was lost in that hour. What did not enter yet is cash. The sum starts
//! at 1 and is a supermartingale under the null, hence Ville's inequality.

use serde::{Deserialize, Serialize};

use super::exponential::exp;
use super::{REVERT_AT, bits};

/// One tick multiplies wealth by at most 10, so that one burst never reverts (evidence §4.1).
pub(crate) const CLIP: f64 = std::f64::consts::LN_10;

/// Evidence is not banked beyond 20 times what decides: lowering wealth keeps the test valid, and
/// a hold can end soon after its cause.
const CAP: f64 = REVERT_AT * 20.0;

/// Part of the capital that enters late: half where trouble may start at any time, an eighth where
/// what is looked for is there from the first tick on.
const LATE: f64 = 0.5;
const LATE_STEADY: f64 = 0.125;

/// E-process over a fixed list of alternatives. What was lost below the smallest number there is
/// stays lost: that too only lowers wealth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wealth {
    /// Bet from the first tick, by alternative.
    #[serde(with = "bits")]
    held: Vec<f64>,
    /// Entered tick by tick, by alternative.
    #[serde(with = "bits")]
    entered: Vec<f64>,
    /// Bits of the logarithm of all of it: it is asked for many times a tick.
    ln_e: u64,
    /// Bets taken.
    ticks: u64,
    /// Ticks over which half of the late capital enters.
    horizon: u32,
    /// Little of the capital enters late.
    #[serde(default)]
    steady: bool,
}

// === impl Wealth ===

impl Wealth {
    /// Capital 1, spread over `alternatives`; trouble is expected within `horizon` ticks.
    pub(crate) fn new(alternatives: usize, horizon: u32) -> Self {
        Self {
            held: vec![1.0; alternatives],
            entered: vec![0.0; alternatives],
            ln_e: 0.0_f64.to_bits(),
            ticks: 0,
            horizon: horizon.max(60),
            steady: false,
        }
    }

    /// As [`Self::new`], for what holds from the first tick on if it holds at all.
    pub(crate) fn steady(alternatives: usize, horizon: u32) -> Self {
        Self {
            steady: true,
            ..Self::new(alternatives, horizon)
        }
    }

    /// One tick. `log_factors` has one logarithm per alternative; under the null each factor is
    /// at most 1 in the mean. A factor that is not a number is no evidence.
    pub(crate) fn bet(&mut self, log_factors: &[f64]) {
        self.bet_each(log_factors.iter().copied());
    }

    /// The same, one after the other.
    pub(crate) fn bet_each(&mut self, log_factors: impl Iterator<Item = f64>) {
        self.ticks = self.ticks.saturating_add(1);
        let entering = weight(self.ticks, self.horizon);
        let alternatives = self.held.iter_mut().zip(self.entered.iter_mut());
        for ((held, entered), factor) in alternatives.zip(log_factors) {
            // Not `min`, which would make the most of what is not a number.
            let factor = exp(if factor > CLIP { CLIP } else { factor });
            *held = (*held * factor).min(CAP);
            *entered = ((*entered + entering) * factor).min(CAP);
        }
        self.settle();
    }

    /// One tick that tells nothing.
    pub(crate) fn pass(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
        let entering = weight(self.ticks, self.horizon);
        for entered in &mut self.entered {
            *entered += entering;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let entered = mean(&self.entered) + outstanding(self.ticks, self.horizon);
        let late = self.late();
        let whole = (1.0 - late) * mean(&self.held) + late * entered;
        self.ln_e = whole.ln().to_bits();
    }

    /// Logarithm of the e-value; 0 is no evidence.
    pub(crate) fn ln_e(&self) -> f64 {
        f64::from_bits(self.ln_e)
    }

    /// Logarithm of a part of the e-value (what is held, without what enters late) after so many
    /// more draws, each of which multiplies the alternatives by these logarithms in the mean.
    pub(crate) fn projected(&self, growth: &[f64], draws: f64) -> f64 {
        let held: Vec<f64> = self
            .held
            .iter()
            .zip(growth)
            .map(|(held, growth)| held.ln() + growth * draws)
            .collect();
        (1.0 - self.late()).ln() + log_mean(&held)
    }

    fn late(&self) -> f64 {
        if self.steady { LATE_STEADY } else { LATE }
    }
}

/// What enters at tick `t` (from 1): the same on each tick of the horizon, then falling with the
/// square; in sum at most 1.
#[allow(clippy::cast_precision_loss, reason = "tick counts are far below 2^52")]
fn weight(t: u64, horizon: u32) -> f64 {
    let horizon = f64::from(horizon);
    let late = (horizon / t as f64).min(1.0);
    late * late / (2.0 * horizon)
}

/// A lower bound of what did not enter after `t` ticks.
#[allow(clippy::cast_precision_loss, reason = "tick counts are far below 2^52")]
fn outstanding(t: u64, horizon: u32) -> f64 {
    let (t, horizon) = (t as f64, f64::from(horizon));
    if t <= horizon {
        1.0 - t / (2.0 * horizon)
    } else {
        // The sum of horizon/(2·s²) over s > t is more than the integral from t + 1.
        horizon / (2.0 * (t + 1.0))
    }
}

/// ln(e^a + e^b) without overflow.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// Logarithm of the mean of e^v: the mean of e-values, by their logarithms, is one under any
/// dependence (evidence §4.8).
pub(crate) fn log_mean(values: &[f64]) -> f64 {
    let sum = values
        .iter()
        .fold(f64::NEG_INFINITY, |sum, value| log_add(sum, *value));
    sum - log_count(values.len())
}

/// In two sums, which do not wait for each other.
#[allow(clippy::cast_precision_loss, reason = "a handful of alternatives")]
fn mean(values: &[f64]) -> f64 {
    let (front, back) = values.split_at(values.len() / 2);
    (front.iter().sum::<f64>() + back.iter().sum::<f64>()) / values.len().max(1) as f64
}

/// Logarithm of a weighted mean of two e-values: `part` of `a`, the rest of `b`.
pub(crate) fn log_mix(part: f64, a: f64, b: f64) -> f64 {
    log_add(part.ln() + a, (1.0 - part).ln() + b)
}

#[allow(clippy::cast_precision_loss, reason = "a handful of alternatives")]
fn log_count(count: usize) -> f64 {
    (count.max(1) as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::reaches;

    #[test]
    fn the_capital_that_enters_never_exceeds_one() {
        for horizon in [60, 600] {
            let spent: f64 = (1..1_000_000).map(|t| weight(t, horizon)).sum();
            assert!(spent <= 1.0, "{spent}");
            let early: f64 = (1..=500).map(|t| weight(t, horizon)).sum();
            assert!(early + outstanding(500, horizon) <= 1.0 + 1e-9);
        }
    }

    #[test]
    fn a_fresh_process_is_no_evidence_and_stays_so_without_information() {
        let mut wealth = Wealth::new(8, 600);
        assert!(wealth.ln_e().abs() < 1e-12);
        for _ in 0..600 {
            wealth.bet(&[0.0; 8]);
        }
        assert!(wealth.ln_e().abs() < 1e-3, "{}", wealth.ln_e());
    }

    #[test]
    fn three_clipped_ticks_are_a_thousand_despite_rounding() {
        assert!(reaches(CLIP + CLIP + CLIP, 1000.0));
        assert!(!reaches(CLIP + CLIP + 2.29, 1000.0));
    }

    #[test]
    fn one_burst_never_reverts() {
        let mut wealth = Wealth::new(8, 600);
        wealth.bet(&[1e9; 8]);
        assert!(!reaches(wealth.ln_e(), 20.0));
    }

    #[test]
    fn late_trouble_is_not_paid_for_with_earlier_health() {
        let mut wealth = Wealth::new(1, 600);
        for _ in 0..600 {
            wealth.bet(&[-1.0]);
        }
        let mut ticks = 0;
        while !reaches(wealth.ln_e(), 1000.0) {
            wealth.bet(&[CLIP]);
            ticks += 1;
        }
        assert!(ticks <= 8, "{ticks}");
    }

    #[test]
    fn not_a_number_is_no_evidence() {
        let mut wealth = Wealth::new(1, 600);
        wealth.bet(&[f64::NAN]);
        assert!(wealth.ln_e().abs() < 1e-3);
    }
}
