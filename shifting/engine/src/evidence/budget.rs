//! What a rollout has cost, in failed requests (evidence §4.3).
//!
//! The sum of the canary's failures beyond what stable's rate at the same time explains. It is no
//! test: a canary that is only a little worse, for so long that it has cost a declared part of what
//! the objective lets fail in 30 days, goes back however little is certain. Its own chance is taken
//! off all the same: a sum of differences wanders, by about the square root of what failed, and
//! four times that is never spent by a canary that is as good as stable.
//!
//! Whole millionths of requests, so that it replays to the bit.

use serde::{Deserialize, Serialize};

use super::regression::Pair;
use crate::mesh::ErrorBudget;
use crate::time::Time;
use crate::units::Ppm;

const MICRO: i128 = 1_000_000;
const MONTH_MS: u128 = 30 * 24 * 3_600_000;

/// A share of the budget is never less than this: what the tests need to find what is broken.
/// Where a month allows few failures one burst would exceed any part of it.
const LEAST: u64 = 10;

/// Standard deviations that chance is given.
const DEVIATIONS: i128 = 4;

/// Time between two ticks that counts as traffic watched.
const STEP_MAX_MS: u64 = 3_000;

/// Who serves beside the canary in a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Stable,
    /// Nobody: it has everything.
    Nobody,
    /// Nobody, and what fails is put aside until it is known whose fault it is.
    NobodyApart,
}

/// Failed requests that a rollout has cost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// Failures beyond stable's rate, millionths.
    excess: i64,
    /// Variance of `excess` if both arms are alike, millionths.
    variance: i64,
    /// The same two, of the time at 100%, which is held against the canary only while it lasts: nobody
    /// can tell there whose fault a failure is.
    #[serde(default, skip_serializing_if = "Sums::is_nothing")]
    alone: Sums,
    /// Requests of both arms while time was watched, and the time.
    requests: u64,
    watched_ms: u64,
    latest: Option<Time>,
}

/// Failures beyond stable's rate, and their variance, millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Sums {
    excess: i64,
    variance: i64,
}

// === impl Sums ===

impl Sums {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Budget ===

impl Budget {
    /// One tick. `before`: what was counted before it in the whole rollout. Stable's rate is that
    /// of the tick; where it has no requests, and at 100%, that of before.
    pub(crate) fn observe(&mut self, pair: Pair, before: Pair, beside: Beside, now: Time) {
        if let Some(latest) = self.latest {
            let step_ms = now.since_ms(latest).min(STEP_MAX_MS);
            self.watched_ms = self.watched_ms.saturating_add(step_ms);
            if step_ms > 0 {
                let both = pair.canary.saturating_add(pair.stable);
                self.requests = self.requests.saturating_add(both);
            }
        }
        self.latest = Some(now);
        let own = beside == Beside::Stable && pair.stable > 0;
        let (stable, stable_bad) = if own {
            (pair.stable, pair.stable_bad)
        } else {
            (before.stable, before.stable_bad)
        };
        if stable == 0 {
            return; // nothing to compare with
        }
        if pair.canary_bad == 0 && stable_bad == 0 {
            return; // nothing failed: neither sum changes
        }
        let (n, x) = (count(pair.canary), count(pair.canary_bad));
        let (m, y) = (count(stable), count(stable_bad.min(stable)));
        let excess = x * MICRO - n * y * MICRO / m;
        // n·p·(1 − p)·(1 + n/m) with p = (x + y)/(n + m).
        let (bad, all) = (x.min(n) + y, n + m);
        let variance = (n * bad * MICRO / all) * (all - bad) / m;
        let add = |sum: &mut i64, more: i128| {
            *sum = sum.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
        };
        if beside == Beside::NobodyApart {
            add(&mut self.alone.excess, excess);
            add(&mut self.alone.variance, variance);
        } else {
            add(&mut self.excess, excess);
            add(&mut self.variance, variance);
        }
    }

    /// The canary gets everything, again: what failed when it had everything before was not its fault.
    pub(crate) fn forget_alone(&mut self) {
        self.alone = Sums::default();
    }

    /// Failures beyond stable's rate, and their variance, that count now. `alone`: it has everything.
    fn sums(&self, alone: bool) -> (i128, i128) {
        let aside = if alone { self.alone } else { Sums::default() };
        (
            i128::from(self.excess) + i128::from(aside.excess),
            i128::from(self.variance) + i128::from(aside.variance),
        )
    }

    /// Failed requests that the rollout cost; nothing when the canary is the better one. `alone`: it
    /// has everything now.
    pub(crate) fn spent(&self, alone: bool) -> u64 {
        u64::try_from(self.sums(alone).0 / MICRO).unwrap_or(0)
    }

    /// Failed requests that it may cost.
    pub(crate) fn allowed(&self, budget: ErrorBudget, objective: Ppm) -> u64 {
        let share = match budget {
            ErrorBudget::Requests(requests) => return requests,
            ErrorBudget::Share(share) => share,
        };
        let month = u128::from(self.requests) * MONTH_MS / u128::from(self.watched_ms.max(1));
        let may_fail = u128::from(1_000_000 - objective.get());
        let parts = may_fail * u128::from(share.get());
        let allowed = month.saturating_mul(parts) / 1_000_000_000_000;
        u64::try_from(allowed).unwrap_or(u64::MAX).max(LEAST)
    }

    /// It cost more than it may, and not by chance. `alone`: it has everything now.
    pub(crate) fn exceeded(&self, budget: ErrorBudget, objective: Ppm, alone: bool) -> bool {
        let (excess, variance) = self.sums(alone);
        let least = match budget {
            ErrorBudget::Requests(requests) => requests,
            ErrorBudget::Share(_) => LEAST,
        };
        if excess <= i128::from(least) * MICRO {
            return false; // nearly always, and without a division
        }
        let deviation = (variance.max(0) * MICRO).isqrt();
        let allowed = i128::from(self.allowed(budget, objective)) * MICRO;
        excess - DEVIATIONS * deviation > allowed
    }
}

/// No arm has more requests in a tick; the products stay within 128 bits.
fn count(requests: u64) -> i128 {
    i128::from(requests.min(1_000_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::random::Random;

    const OBJECTIVE: u32 = 999_000;

    fn one_percent() -> ErrorBudget {
        ErrorBudget::Share(Ppm::of(1, 100))
    }

    /// Ticks until it is exceeded, of an hour's; requests and rates of canary and stable.
    fn exceeded(seed: u64, canary: (u64, f64), stable: (u64, f64)) -> Option<u64> {
        let (mut budget, mut before) = (Budget::default(), Pair::default());
        let mut random = Random::new(seed);
        (0..3_600).find(|second| {
            let pair = Pair {
                canary: canary.0,
                canary_bad: random.binomial(canary.0, canary.1),
                stable: stable.0,
                stable_bad: random.binomial(stable.0, stable.1),
            };
            budget.observe(pair, before, Beside::Stable, Time(second * 1_000));
            before.add(pair);
            budget.exceeded(one_percent(), Ppm::new(OBJECTIVE).unwrap(), false)
        })
    }

    #[test]
    fn one_percent_of_a_month_at_200_requests_a_second_is_5184() {
        let mut budget = Budget::default();
        for second in 0..60 {
            let pair = Pair {
                canary: 10,
                canary_bad: 0,
                stable: 190,
                stable_bad: 0,
            };
            budget.observe(pair, Pair::default(), Beside::Stable, Time(second * 1_000));
        }
        let objective = Ppm::new(OBJECTIVE).unwrap();
        assert_eq!(budget.allowed(one_percent(), objective), 5_184);
        assert_eq!(budget.allowed(ErrorBudget::Requests(7), objective), 7);
        assert_eq!(budget.spent(false), 0);
    }

    #[test]
    fn healthy_canaries_never_exceed_it_however_much_fails_in_both_arms() {
        for rate in [0.0, 0.001, 0.03, 0.5, 0.9] {
            for (canary, stable) in [(10, 190), (1, 19), (1, 1), (50, 50)] {
                let tripped = (0..8)
                    .filter(|seed| exceeded(*seed, (canary, rate), (stable, rate)).is_some())
                    .count();
                assert_eq!(tripped, 0, "{rate} at {canary} and {stable} requests/s");
            }
        }
    }

    #[test]
    fn what_is_slightly_worse_for_long_exceeds_it() {
        // 50 requests/s fail 0.4 each second more than stable's: 2,592 are 1% of a month.
        let second = exceeded(1, (50, 0.5), (50, 0.1)).unwrap();
        assert!((125..180).contains(&second), "{second}");
        // One request a second in all: a month's 1% is 26, and chance is taken off.
        assert!(exceeded(1, (1, 0.3), (1, 0.0)).is_some());
    }

    #[test]
    fn at_everything_stables_last_rate_is_what_it_is_compared_with() {
        let before = Pair {
            stable: 1_000,
            stable_bad: 100,
            ..Pair::default()
        };
        let (mut alone, mut second) = (Budget::default(), Time(0));
        for _ in 0..100 {
            // What is left of stable fails whole, and excuses nothing.
            let pair = Pair {
                canary: 100,
                canary_bad: 60,
                stable: 1,
                stable_bad: 1,
            };
            alone.observe(pair, before, Beside::Nobody, second);
            second = second.plus_ms(1_000);
        }
        assert_eq!(alone.spent(false), 5_000);
        let mut unknown = Budget::default();
        let pair = Pair {
            canary: 100,
            canary_bad: 100,
            ..Pair::default()
        };
        unknown.observe(pair, Pair::default(), Beside::Nobody, Time(0));
        assert_eq!(unknown.spent(false), 0, "nothing to compare with");
    }

    #[test]
    fn a_gap_is_not_watched_and_huge_counts_do_no_harm() {
        let mut budget = Budget::default();
        let huge = Pair {
            canary: u64::MAX,
            canary_bad: u64::MAX,
            stable: u64::MAX,
            stable_bad: 0,
        };
        for now in [0, 1_000, 3_600_000, 5] {
            budget.observe(huge, huge, Beside::Stable, Time(now));
        }
        assert_eq!(budget.watched_ms, 4_000);
        assert!(budget.exceeded(ErrorBudget::Requests(1), Ppm::WHOLE, false));
    }
}
