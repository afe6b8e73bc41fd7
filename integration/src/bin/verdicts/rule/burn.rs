//! Multi-window burn rate alert as a canary rule (Google's SRE workbook, "Alerting on SLOs"): the
//! canary burns its error budget 14.4 times too fast over 5 min and over 1 min; at least 50
//! requests and 3 failures. Steps go on by the clock.

use crate::rule::window::{Window, rate};
use crate::rule::{Rule, Verdict};
use crate::traffic::Second;

/// 14.4 × (1 − 99.9%).
const RATE_MAX: f64 = 0.0144;
const REQUESTS_MIN: u64 = 50;
const BAD_MIN: u64 = 3;
const STEP_S: u64 = 300;
const LOOK_S: u64 = 5;

#[derive(Debug, Default)]
pub(crate) struct Burn {
    window: Window,
}

impl Rule for Burn {
    fn second(&mut self, second: &Second) -> Verdict {
        self.window.second(second);
        let ((long, long_bad), _) = self.window.last(300);
        let ((short, short_bad), _) = self.window.last(60);
        let looks = self.window.now().is_multiple_of(LOOK_S) && self.window.told();
        if looks
            && long >= REQUESTS_MIN
            && long_bad >= BAD_MIN
            && rate(long, long_bad) > RATE_MAX
            && rate(short, short_bad) > RATE_MAX
        {
            return Verdict::Revert;
        }
        if self.window.now().is_multiple_of(STEP_S) {
            return Verdict::Advance;
        }
        Verdict::Stay
    }
}
