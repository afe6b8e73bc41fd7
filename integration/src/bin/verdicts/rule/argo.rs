//! Argo Rollouts' background analysis, as in `analysis/analysis.go`: a measurement per interval,
//! a run fails when more measurements failed than the limit, an error (no value) is tried again
//! after 10 s whatever the interval, and more than 4 errors in a row end the run as well. The
//! steps of the canary go on by the clock meanwhile.

use crate::rule::window::Window;
use crate::rule::{Rule, Verdict};
use crate::traffic::Second;

/// `DefaultErrorRetryInterval` and `DefaultConsecutiveErrorLimit`.
const RETRY_S: u64 = 10;
const ERRORS_MAX: u32 = 4;

#[derive(Debug)]
pub(crate) struct Argo {
    interval_s: u64,
    success_min: f64,
    failure_limit: u32,
    next: u64,
    failed: u32,
    errors: u32,
    window: Window,
}

// === impl Argo ===

impl Argo {
    /// Measures every `interval_s` over as long; the first time when there is something to measure.
    pub(crate) fn new(interval_s: u64, success_min: f64, failure_limit: u32) -> Self {
        Self {
            interval_s,
            success_min,
            failure_limit,
            next: interval_s,
            failed: 0,
            errors: 0,
            window: Window::default(),
        }
    }

    fn measure(&mut self) -> Verdict {
        let now = self.window.now();
        match self.window.success_rate(self.interval_s) {
            None => {
                self.errors += 1;
                self.next = now + RETRY_S;
                if self.errors > ERRORS_MAX {
                    return Verdict::Revert;
                }
            }
            Some(rate) => {
                self.errors = 0;
                self.next = now + self.interval_s;
                self.failed += u32::from(rate < self.success_min - 1e-12);
                if self.failed > self.failure_limit {
                    return Verdict::Revert;
                }
            }
        }
        Verdict::Stay
    }
}

impl Rule for Argo {
    fn second(&mut self, second: &Second) -> Verdict {
        self.window.second(second);
        let now = self.window.now();
        if now >= self.next && self.measure() == Verdict::Revert {
            return Verdict::Revert;
        }
        // `pause: {duration}` between steps: the clock alone ends it.
        if now.is_multiple_of(self.interval_s) {
            return Verdict::Advance;
        }
        Verdict::Stay
    }
}
