//! Flagger's check, as in `pkg/controller/scheduler.go` and `scheduler_metrics.go`: failed checks
//! add up and are never forgiven, a check without a value is a failed one, and the rollback
//! happens at the tick after the one that reached the threshold.

use crate::rule::window::Window;
use crate::rule::{Rule, Verdict};
use crate::traffic::Second;

const SUCCESS_MIN: f64 = 0.99;

#[derive(Debug)]
pub(crate) struct Flagger {
    interval_s: u64,
    window_s: u64,
    threshold: u32,
    failed: u32,
    window: Window,
}

// === impl Flagger ===

impl Flagger {
    pub(crate) fn new(interval_s: u64, window_s: u64, threshold: u32) -> Self {
        Self {
            interval_s,
            window_s,
            threshold,
            failed: 0,
            window: Window::default(),
        }
    }
}

impl Rule for Flagger {
    fn second(&mut self, second: &Second) -> Verdict {
        self.window.second(second);
        if !self.window.now().is_multiple_of(self.interval_s) {
            return Verdict::Stay;
        }
        if self.failed >= self.threshold {
            return Verdict::Revert;
        }
        let passed = self
            .window
            .success_rate(self.window_s)
            .is_some_and(|rate| rate >= SUCCESS_MIN - 1e-12);
        if passed {
            return Verdict::Advance;
        }
        self.failed += 1;
        Verdict::Stay
    }
}
