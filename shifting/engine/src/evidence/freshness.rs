//! Which part of an arm's traffic is reported (evidence §4.6).
//!
//! A silent sidecar's requests are unknown, never left out: it keeps its last known weight, and where
//! exposure was raised since, it is taken to have the share that the others have.

use crate::units::Ppm;

/// A report at most this many intervals old is fresh.
const FRESH_INTERVALS: u64 = 2;

/// After this many missed intervals a reporter is silent.
const SILENT_INTERVALS: u64 = 4;

/// What is known of one reporter.
#[derive(Debug, Clone)]
pub(crate) struct Reporter<'a> {
    pub(crate) name: &'a str,
    /// Age of its latest report, or time since it was first expected.
    pub(crate) age_ms: u64,
    pub(crate) reported: bool,
    /// It has reported since its arms are watched: the weights are its own.
    pub(crate) weighed: bool,
    pub(crate) canary_weight: u64,
    pub(crate) stable_weight: u64,
}

// === impl Reporter ===

impl Reporter<'_> {
    fn fresh(&self, interval_ms: u64) -> bool {
        self.reported && self.age_ms <= FRESH_INTERVALS * interval_ms
    }

    pub(crate) fn silent(&self, interval_ms: u64) -> bool {
        self.age_ms > SILENT_INTERVALS * interval_ms
    }
}

/// Fresh parts of the canary's and of stable's traffic. Without known canary traffic, stable's
/// distribution stands for it; without any, reporters weigh the same. Nobody expected: nothing
/// is fresh.
pub(crate) fn fresh_parts(reporters: &[Reporter<'_>], interval_ms: u64) -> (Ppm, Ppm) {
    if !reporters.is_empty() && reporters.iter().all(|r| r.fresh(interval_ms)) {
        return (Ppm::WHOLE, Ppm::WHOLE); // whatever their weights, each second of most rollouts
    }
    let stable = weights(reporters, |r| r.stable_weight, interval_ms);
    let stable = if stable.iter().any(|weight| *weight > 0) {
        stable
    } else {
        vec![1; reporters.len()]
    };
    let canary = weights(reporters, |r| r.canary_weight, interval_ms);
    let canary = if canary.iter().any(|weight| *weight > 0) {
        canary
    } else {
        stable.clone()
    };
    (
        fresh_part(reporters, &canary, interval_ms),
        fresh_part(reporters, &stable, interval_ms),
    )
}

/// The fresh part of the traffic of reporters all of whose requests are of one arm; their weight is
/// `stable_weight`. Without any known traffic they weigh the same. No reporters: nothing is fresh.
pub(crate) fn cohort_fresh_part(reporters: &[Reporter<'_>], interval_ms: u64) -> Ppm {
    let mut weights: Vec<u64> = reporters.iter().map(|r| r.stable_weight).collect();
    if weights.iter().all(|weight| *weight == 0) {
        weights.fill(1);
    }
    fresh_part(reporters, &weights, interval_ms)
}

/// What each reporter has of an arm. Who is not fresh may have the arm's present share of all its
/// requests by now, whatever it had when it was last heard of.
fn weights(
    reporters: &[Reporter<'_>],
    arm: impl Fn(&Reporter<'_>) -> u64,
    interval_ms: u64,
) -> Vec<u64> {
    let all = |reporter: &Reporter<'_>| {
        reporter
            .canary_weight
            .saturating_add(reporter.stable_weight)
    };
    let (mut fresh_arm, mut fresh_all) = (0_u64, 0_u64);
    for reporter in reporters.iter().filter(|r| r.fresh(interval_ms)) {
        fresh_arm = fresh_arm.saturating_add(arm(reporter));
        fresh_all = fresh_all.saturating_add(all(reporter));
    }
    let by_share = |reporter: &Reporter<'_>| {
        let part = u128::from(all(reporter)) * u128::from(fresh_arm);
        u64::try_from(part / u128::from(fresh_all.max(1))).unwrap_or(u64::MAX)
    };
    let weight = |reporter: &Reporter<'_>| {
        if reporter.fresh(interval_ms) {
            arm(reporter)
        } else {
            arm(reporter).max(by_share(reporter))
        }
    };
    reporters.iter().map(weight).collect()
}

fn fresh_part(reporters: &[Reporter<'_>], weights: &[u64], interval_ms: u64) -> Ppm {
    let weighed: Vec<u64> = reporters
        .iter()
        .zip(weights)
        .filter(|(reporter, _)| reporter.weighed)
        .map(|(_, weight)| *weight)
        .collect();
    // Who was never weighed has an unknown part: assume the mean of the others.
    let count = u64::try_from(weighed.len().max(1)).unwrap_or(u64::MAX);
    let unknown = (weighed.iter().sum::<u64>() / count).max(1);
    let (mut fresh, mut all) = (0_u64, 0_u64);
    for (reporter, weight) in reporters.iter().zip(weights) {
        let weight = if reporter.weighed { *weight } else { unknown };
        all = all.saturating_add(weight);
        if reporter.fresh(interval_ms) {
            fresh = fresh.saturating_add(weight);
        }
    }
    Ppm::of(fresh, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(age_ms: u64, canary_weight: u64, stable_weight: u64) -> Reporter<'static> {
        Reporter {
            name: "web",
            age_ms,
            reported: true,
            weighed: true,
            canary_weight,
            stable_weight,
        }
    }

    fn parts(reporters: &[Reporter<'_>]) -> (u32, u32) {
        let (canary, stable) = fresh_parts(reporters, 1_000);
        (canary.get(), stable.get())
    }

    #[test]
    fn who_fell_silent_before_a_raise_is_not_left_out_after_it() {
        // At 10% the third fell silent; the two others have everything on the canary by now.
        let reporters = [
            reporter(0, 400, 0),
            reporter(0, 400, 0),
            reporter(5_000, 40, 360),
        ];
        assert_eq!(parts(&reporters).0, 666_666);
    }

    #[test]
    fn who_has_not_reported_since_the_watch_began_counts_like_the_others() {
        let unheard = Reporter {
            weighed: false,
            ..reporter(50_000, 0, 0)
        };
        let reporters = [reporter(0, 0, 400), reporter(0, 0, 400), unheard];
        assert_eq!(parts(&reporters), (666_666, 666_666));
    }

    #[test]
    fn the_canarys_own_reporter_is_still_told_from_the_others() {
        let reporters = [
            reporter(0, 0, 900),
            reporter(0, 0, 900),
            reporter(5_000, 50, 0),
        ];
        let (canary, stable) = parts(&reporters);
        assert_eq!(canary, 0);
        assert!(stable >= 900_000, "{stable}");
    }
}
