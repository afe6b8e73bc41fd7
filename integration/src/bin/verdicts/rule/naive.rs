//! What one writes first: is the canary's failure rate higher than stable's, by a z-test of two
//! proportions with p < 0.01, on everything counted so far, looked at every 5 s.

use crate::rule::window::{Window, rate};
use crate::rule::{Rule, Verdict};
use crate::traffic::Second;

/// Upper 1% point of the normal distribution.
const Z: f64 = 2.326;
const LOOK_S: u64 = 5;
const STEP_S: u64 = 300;

#[derive(Debug, Default)]
pub(crate) struct Naive {
    window: Window,
}

impl Rule for Naive {
    fn second(&mut self, second: &Second) -> Verdict {
        self.window.second(second);
        let now = self.window.now();
        if now.is_multiple_of(LOOK_S) && self.window.told() {
            let ((canary, canary_bad), (stable, stable_bad)) = self.window.last(now);
            let pooled = rate(canary + stable, canary_bad + stable_bad);
            #[expect(clippy::cast_precision_loss, reason = "counts of an hour")]
            let variance = pooled * (1.0 - pooled) * (1.0 / canary as f64 + 1.0 / stable as f64);
            let difference = rate(canary, canary_bad) - rate(stable, stable_bad);
            if canary > 0 && stable > 0 && difference > Z * variance.sqrt() {
                return Verdict::Revert;
            }
        }
        if now.is_multiple_of(STEP_S) {
            return Verdict::Advance;
        }
        Verdict::Stay
    }
}
