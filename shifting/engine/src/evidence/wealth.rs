//! The wealth of a gambler who bets against the null: the e-process under every test.
//!
//! Part of the capital is bet from the first tick on each alternative. The rest enters little by
//! little (the restart mix of evidence §4.1), so that trouble which starts after an hour of health
//! is not paid for with what was lost in that hour. What did not enter yet is cash. The sum starts
//! at 1 and is a supermartingale under the null, hence Ville's inequality.
//!
//! Factors and e-values are numbers, not logarithms: the cap keeps them far from overflow, and what
//! is averaged and compared many times a tick needs no logarithm.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::{REVERT_AT, bits};

/// One tick multiplies wealth by at most 10, so that one burst never reverts (evidence §4.1).
pub(crate) const CLIP: f64 = 10.0;

/// Evidence is not banked beyond 20 times what decides: lowering wealth keeps the test valid, and
/// a hold can end soon after its cause.
const CAP: f64 = REVERT_AT * 20.0;

/// Most alternatives of any test.
pub(crate) const MOST: usize = 8;

/// Part of the capital that enters late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Late {
    /// Half, where trouble may start at any time.
    Half,
    /// A quarter, where most trouble is there from the first tick on: it finds that a few ticks
    /// sooner, and what starts later hardly a tick later.
    Quarter,
    /// An eighth, where what is looked for is there from the first tick on if it is there at all.
    Eighth,
}

/// E-process over a fixed list of alternatives. What was lost below the smallest number there is
/// stays lost: that too only lowers wealth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wealth {
    /// Bet from the first tick, by alternative.
    #[serde(with = "bits")]
    held: Stakes,
    /// Entered tick by tick, by alternative.
    #[serde(with = "bits")]
    entered: Stakes,
    /// Bits of all of it: it is asked for many times a tick.
    e: u64,
    /// Bets taken.
    ticks: u64,
    /// Ticks over which half of the late capital enters.
    horizon: u32,
    late: Late,
}

/// What stands on each alternative, at most [`MOST`]; in place, for tests are many and copied often.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stakes {
    on: [f64; MOST],
    alternatives: usize,
}

// === impl Late ===

impl Late {
    pub(crate) fn part(self) -> f64 {
        match self {
            Late::Half => 0.5,
            Late::Quarter => 0.25,
            Late::Eighth => 0.125,
        }
    }
}

// === impl Wealth ===

impl Wealth {
    /// Capital 1, spread over `alternatives`; trouble is expected within `horizon` ticks.
    pub(crate) fn new(alternatives: usize, late: Late, horizon: u32) -> Self {
        Self {
            held: std::iter::repeat_n(1.0, alternatives).collect(),
            entered: std::iter::repeat_n(0.0, alternatives).collect(),
            e: 1.0_f64.to_bits(),
            ticks: 0,
            horizon: horizon.max(60),
            late,
        }
    }

    /// One tick. `factors` has one per alternative; under the null each is at most 1 in the mean.
    /// A factor that is not a number is no evidence.
    pub(crate) fn bet(&mut self, factors: impl IntoIterator<Item = f64>) {
        self.ticks = self.ticks.saturating_add(1);
        let entering = weight(self.ticks, self.horizon);
        let alternatives = self.held.iter_mut().zip(self.entered.iter_mut());
        for ((held, entered), factor) in alternatives.zip(factors) {
            let factor = if factor.is_nan() {
                1.0
            } else {
                factor.min(CLIP)
            };
            *held = (*held * factor).min(CAP);
            *entered = ((*entered + entering) * factor).min(CAP);
        }
        self.settle();
    }

    /// One tick that tells nothing.
    pub(crate) fn pass(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
        let entering = weight(self.ticks, self.horizon);
        for entered in self.entered.iter_mut() {
            *entered += entering;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let entered = mean(&self.entered) + outstanding(self.ticks, self.horizon);
        let late = self.late.part();
        let whole = (1.0 - late) * mean(&self.held) + late * entered;
        self.e = whole.to_bits();
    }

    /// The e-value; 1 is no evidence.
    pub(crate) fn e(&self) -> f64 {
        f64::from_bits(self.e)
    }

    /// A part of the e-value (what is held, without what enters late) after so many more draws,
    /// each of which multiplies the alternatives by these logarithms in the mean.
    pub(crate) fn projected(&self, growth: &[f64], draws: f64) -> f64 {
        let alternatives = self.held.iter().zip(growth);
        let held: f64 = alternatives
            .map(|(held, growth)| held * (growth * draws).exp())
            .sum();
        (1.0 - self.late.part()) * held / count(self.held.len())
    }

    /// About the same as a sum of exponentials: each alternative's part now, and its growth.
    pub(crate) fn growing(&self, growth: &[f64]) -> impl Iterator<Item = (f64, f64)> {
        let weight = (1.0 - self.late.part()) / count(self.held.len());
        let alternatives = self.held.iter().zip(growth);
        alternatives.map(move |(held, growth)| (weight * held, *growth))
    }
}

// === impl Stakes ===

impl Deref for Stakes {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        self.on.get(..self.alternatives).unwrap_or(&self.on)
    }
}

impl DerefMut for Stakes {
    fn deref_mut(&mut self) -> &mut [f64] {
        let alternatives = self.alternatives.min(MOST);
        self.on.split_at_mut(alternatives).0
    }
}

impl FromIterator<f64> for Stakes {
    fn from_iter<I: IntoIterator<Item = f64>>(stakes: I) -> Self {
        let mut all = Self {
            on: [0.0; MOST],
            alternatives: 0,
        };
        for (place, stake) in all.on.iter_mut().zip(stakes) {
            *place = stake;
            all.alternatives += 1;
        }
        all
    }
}

/// What enters at tick `t` (from 1): the same on each tick of the horizon, then falling with the
/// square; in sum at most 1.
#[allow(clippy::cast_precision_loss, reason = "tick counts are far below 2^52")]
fn weight(t: u64, horizon: u32) -> f64 {
    let (t, horizon) = (t as f64, f64::from(horizon));
    if t <= horizon {
        0.5 / horizon
    } else {
        horizon / (2.0 * t * t)
    }
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

/// The mean of e-values is one under any dependence (evidence §4.8). In two sums, which do not
/// wait for each other.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let (front, back) = values.split_at(values.len() / 2);
    (front.iter().sum::<f64>() + back.iter().sum::<f64>()) / count(values.len())
}

/// A weighted mean of two e-values: `part` of `a`, the rest of `b`.
pub(crate) fn mix(part: f64, a: f64, b: f64) -> f64 {
    part * a + (1.0 - part) * b
}

#[allow(clippy::cast_precision_loss, reason = "a handful of alternatives")]
fn count(values: usize) -> f64 {
    values.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::enough;

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
        let mut wealth = Wealth::new(8, Late::Half, 600);
        assert!((wealth.e() - 1.0).abs() < 1e-12);
        for _ in 0..600 {
            wealth.bet([1.0; 8]);
        }
        assert!((wealth.e() - 1.0).abs() < 1e-3, "{}", wealth.e());
    }

    #[test]
    fn three_clipped_ticks_are_a_thousand_despite_rounding() {
        assert!(enough(CLIP * CLIP * CLIP * (1.0 - 1e-12), 1000.0));
        assert!(!enough(CLIP * CLIP * 9.99, 1000.0));
    }

    #[test]
    fn one_burst_never_reverts() {
        let mut wealth = Wealth::new(8, Late::Half, 600);
        wealth.bet([f64::INFINITY; 8]);
        assert!(!enough(wealth.e(), 20.0));
    }

    #[test]
    fn late_trouble_is_not_paid_for_with_earlier_health() {
        let mut wealth = Wealth::new(1, Late::Half, 600);
        for _ in 0..600 {
            wealth.bet([(-1.0_f64).exp()]);
        }
        let mut ticks = 0;
        while !enough(wealth.e(), 1000.0) {
            wealth.bet([CLIP]);
            ticks += 1;
        }
        assert!(ticks <= 8, "{ticks}");
    }

    #[test]
    fn not_a_number_is_no_evidence() {
        let mut wealth = Wealth::new(1, Late::Half, 600);
        wealth.bet([f64::NAN]);
        assert!((wealth.e() - 1.0).abs() < 1e-3);
    }
}
