//! The practical guard (evidence §4.1): a difference that is certain but too small to matter
//! does not revert.

use serde::{Deserialize, Serialize};

use super::regression::Pair;
use crate::time::Time;

/// Least difference between the arms' rates: 0.2 percentage points.
const LEAST: f64 = 0.002;

/// Half of the sliding window.
const HALF_WINDOW_MS: u64 = 60_000;

/// The arms' rates since the start, and in the last one to two minutes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Difference {
    total: Pair,
    previous: Pair,
    current: Pair,
    current_since: Time,
}

// === impl Difference ===

impl Difference {
    pub(crate) fn observe(&mut self, pair: Pair, now: Time) {
        if now.since_ms(self.current_since) >= HALF_WINDOW_MS {
            self.previous = std::mem::take(&mut self.current);
            self.current_since = now;
        }
        self.total.add(pair);
        self.current.add(pair);
    }

    /// Whether the canary is worse by enough to matter.
    pub(crate) fn matters(&self) -> bool {
        self.is_at_least(LEAST)
    }

    /// Whether the canary's rate is above stable's by so much, since the start or lately.
    pub(crate) fn is_at_least(&self, least: f64) -> bool {
        let mut window = self.previous;
        window.add(self.current);
        excess(self.total) >= least || excess(window) >= least
    }

    pub(crate) fn total(&self) -> Pair {
        self.total
    }
}

#[allow(clippy::cast_precision_loss, reason = "a guard with two digits")]
fn excess(pair: Pair) -> f64 {
    let rate = |bad: u64, all: u64| {
        if all == 0 {
            0.0
        } else {
            bad as f64 / all as f64
        }
    };
    rate(pair.canary_bad, pair.canary) - rate(pair.stable_bad, pair.stable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_trouble_is_not_diluted_by_earlier_health() {
        let mut difference = Difference::default();
        let mut now = Time(0);
        let mut tick = |bad| {
            difference.observe(
                Pair {
                    canary: 1000,
                    canary_bad: bad,
                    stable: 1000,
                    stable_bad: 0,
                },
                now,
            );
            now = now.plus_ms(1000);
            difference.matters()
        };
        assert!(!(0..3600).any(|_| tick(1)), "0.1 points do not matter");
        assert!((0..60).any(|_| tick(10)));
    }
}
