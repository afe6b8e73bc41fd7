//! From the records of the client and the hosts to figures. Pure.

use std::collections::BTreeMap;

use tidegate_engine::rollout::Phase;
use tidegate_engine::units::Ppm;

use super::hosts::{Arm, Seen};
use super::load::Answered;

/// The end of a rung that is not judged: what the control plane decided is known here to about a
/// tick of the engine.
const EDGE_US: u64 = 1_500_000;

/// A rung that the rollout stood on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) name: String,
    pub(super) phase: Phase,
    pub(super) share: Ppm,
    /// Since when, on the scenario's clock.
    pub(super) since_us: u64,
}

/// What the hosts saw while the rollout stood on a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RungShare {
    pub(super) rung: Rung,
    /// Requests that reached the new version, of `total`.
    pub(super) canary: u64,
    pub(super) total: u64,
}

/// Failed requests by where they failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// All of them: no answer, or another status than 200.
    pub(super) all: u64,
    pub(super) on_canary: u64,
    pub(super) on_stable: u64,
    /// No host ever saw them.
    pub(super) before_any_host: u64,
}

/// Counts failures, each where it happened: the version that answered, else the version of the
/// host that had the request last.
pub(super) fn failures(answers: &[Answered], seen: &[Seen]) -> Failures {
    let reached: BTreeMap<u64, Arm> = seen.iter().map(|seen| (seen.request, seen.arm)).collect();
    let mut failures = Failures::default();
    for answered in answers.iter().filter(|answered| answered.result != Ok(200)) {
        failures.all += 1;
        match answered
            .arm
            .or_else(|| reached.get(&answered.request).copied())
        {
            Some(Arm::Canary) => failures.on_canary += 1,
            Some(Arm::Stable) => failures.on_stable += 1,
            None => failures.before_any_host += 1,
        }
    }
    failures
}

/// Arrival of the first request with which the new version did something wrong.
pub(super) fn first_fault_us(seen: &[Seen]) -> Option<u64> {
    seen.iter()
        .filter(|seen| seen.arm == Arm::Canary && seen.fault.is_some())
        .map(|seen| seen.arrived_us)
        .min()
}

/// Arrival of the last request at the new version before `until_us`.
pub(super) fn last_canary_us(seen: &[Seen], until_us: u64) -> Option<u64> {
    seen.iter()
        .filter(|seen| seen.arm == Arm::Canary && seen.arrived_us < until_us)
        .map(|seen| seen.arrived_us)
        .max()
}

/// Requests at (the new version, both) from `from_us` up to `until_us`.
pub(super) fn share(seen: &[Seen], from_us: u64, until_us: u64) -> (u64, u64) {
    seen.iter()
        .filter(|seen| (from_us..until_us).contains(&seen.arrived_us))
        .fold((0, 0), |(canary, total), seen| {
            (canary + u64::from(seen.arm == Arm::Canary), total + 1)
        })
}

/// What the hosts saw on each rung, without the rung's last moments. A rung that was left at once
/// has no requests.
pub(super) fn rung_shares(seen: &[Seen], rungs: &[Rung], end_us: u64) -> Vec<RungShare> {
    let ends = rungs
        .iter()
        .skip(1)
        .map(|rung| rung.since_us)
        .chain([end_us]);
    rungs
        .iter()
        .zip(ends)
        .map(|(rung, end)| {
            let (canary, total) = share(seen, rung.since_us, end.saturating_sub(EDGE_US));
            RungShare {
                rung: rung.clone(),
                canary,
                total,
            }
        })
        .collect()
}

// === impl RungShare ===

impl RungShare {
    /// Whether more requests went to the new version than the rung allows: beyond what chance
    /// explains (4 standard deviations) and by more than a percentage point. Only rungs on the
    /// way up have a limit; on the way back the old exposure is still draining.
    pub(super) fn over_limit(&self) -> bool {
        if !matches!(self.rung.phase, Phase::Preparing | Phase::Judging) {
            return false;
        }
        let (limit, total) = (self.rung.share.fraction(), self.total as f64);
        let chance = 4.0 * (total * limit * (1.0 - limit)).sqrt();
        self.canary as f64 > limit * total + chance.max(total * 0.01)
    }
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::Fault;
    use super::super::load::Failure;
    use super::*;

    fn seen(request: u64, arrived_us: u64, arm: Arm) -> Seen {
        Seen {
            request,
            arrived_us,
            arm,
            fault: None,
        }
    }

    fn answered(request: u64, result: Result<u16, Failure>, arm: Option<Arm>) -> Answered {
        Answered {
            request,
            due_us: 0,
            ended_us: 1,
            result,
            arm,
        }
    }

    #[test]
    fn a_failure_counts_where_it_happened() {
        let hosts = [
            seen(1, 0, Arm::Stable),
            seen(2, 0, Arm::Canary),
            seen(3, 0, Arm::Canary),
        ];
        let answers = [
            answered(1, Ok(200), Some(Arm::Stable)),
            answered(2, Ok(500), Some(Arm::Canary)),
            answered(3, Ok(504), None), // the sidecar gave up on a hanging host
            answered(4, Ok(503), None), // no host could be reached
            answered(5, Err(Failure::Timeout), None),
        ];
        let expected = Failures {
            all: 4,
            on_canary: 2,
            on_stable: 0,
            before_any_host: 2,
        };
        assert_eq!(failures(&answers, &hosts), expected);
    }

    #[test]
    fn first_fault_and_last_canary_are_found_whatever_the_order() {
        let mut hosts = vec![
            seen(1, 50, Arm::Canary),
            seen(2, 10, Arm::Canary),
            seen(3, 90, Arm::Stable),
            seen(4, 70, Arm::Canary),
        ];
        assert_eq!(first_fault_us(&hosts), None);
        hosts[0].fault = Some(Fault::Failed);
        hosts[3].fault = Some(Fault::Slow);
        assert_eq!(first_fault_us(&hosts), Some(50));
        assert_eq!(last_canary_us(&hosts, u64::MAX), Some(70));
        assert_eq!(last_canary_us(&hosts, 70), Some(50));
    }

    fn judged(share_ppm: u32, canary: u64, total: u64) -> RungShare {
        let rung = Rung {
            name: "5%".into(),
            phase: Phase::Judging,
            share: Ppm::new(share_ppm).unwrap(),
            since_us: 0,
        };
        RungShare {
            rung,
            canary,
            total,
        }
    }

    #[test]
    fn chance_is_not_over_the_limit_and_a_wrong_weight_is() {
        assert!(!judged(50_000, 300, 6_000).over_limit());
        assert!(!judged(50_000, 355, 6_000).over_limit());
        assert!(judged(50_000, 600, 6_000).over_limit());
        assert!(judged(0, 200, 6_000).over_limit());
        assert!(!judged(1_000_000, 6_000, 6_000).over_limit());
        assert!(!judged(50_000, 0, 0).over_limit());
    }

    #[test]
    fn each_rung_has_its_own_requests_without_its_last_moments() {
        let rung = |name: &str, since_us| Rung {
            name: name.into(),
            phase: Phase::Judging,
            share: Ppm::ZERO,
            since_us,
        };
        let hosts: Vec<_> = (0..10)
            .map(|second| {
                let arm = if second < 5 { Arm::Stable } else { Arm::Canary };
                seen(second, second * 1_000_000, arm)
            })
            .collect();
        let rungs = [rung("1 host", 1_000_000), rung("5%", 6_000_000)];
        let counts: Vec<_> = rung_shares(&hosts, &rungs, 10_000_000)
            .iter()
            .map(|share| (share.canary, share.total))
            .collect();
        assert_eq!(counts, [(0, 4), (3, 3)]);
    }
}
