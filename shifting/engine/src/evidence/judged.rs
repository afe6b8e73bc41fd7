//! The tests against the canary on one metric.

use serde::{Deserialize, Serialize};

use super::absolute::Absolute;
use super::difference::Difference;
use super::regression::{Bets, Pair, Regression};
use crate::time::Time;
use crate::units::Ppm;

/// One metric's tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) regression: Regression,
    pub(crate) canary: Absolute,
    pub(crate) stable: Absolute,
    pub(crate) difference: Difference,
}

// === impl Judged ===

impl Judged {
    pub(crate) fn new(objective: Ppm, bets: Bets, horizon: u32) -> Self {
        Self {
            regression: Regression::new(bets, horizon),
            canary: Absolute::new(objective, horizon),
            stable: Absolute::new(objective, horizon),
            difference: Difference::default(),
        }
    }

    pub(crate) fn observe(&mut self, pair: Pair, rho: f64, now: Time) {
        self.regression.observe(pair, rho);
        self.canary.observe(pair.canary, pair.canary_bad);
        self.stable.observe(pair.stable, pair.stable_bad);
        self.difference.observe(pair, now);
    }
}
