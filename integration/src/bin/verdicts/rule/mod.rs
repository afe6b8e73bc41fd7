//! The rules that judge a canary: ours, and those of others, each from its own source.

mod argo;
mod burn;
mod flagger;
mod kayenta;
mod naive;
mod tidegate;
mod window;

pub(crate) use self::tidegate::{Tidegate, counts, upstream};

use crate::rule::argo::Argo;
use crate::rule::burn::Burn;
use crate::rule::flagger::Flagger;
use crate::rule::kayenta::Kayenta;
use crate::rule::naive::Naive;
use crate::scenario::Scenario;
use crate::traffic::Second;

/// What a rule says at the end of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stay,
    /// The canary may have more.
    Advance,
    /// The canary goes back.
    Revert,
}

/// Judges one rollout.
pub(crate) trait Rule {
    /// One second has passed.
    fn second(&mut self, second: &Second) -> Verdict;

    /// People were called, and the clock stood, at some time.
    fn held_and_paged(&self) -> bool {
        false
    }

    /// A sentence on what it thinks now, if it thinks something else than a second ago.
    fn thought(&mut self) -> Option<String> {
        None
    }
}

/// A rule with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    Tidegate,
    /// <https://docs.flagger.app/usage/how-it-works>: `interval: 1m`, `threshold: 5`, success
    /// rate of at least 99% over `interval: 1m`.
    FlaggerFive,
    /// <https://docs.flagger.app/usage/metrics>: the same with `threshold: 10`.
    FlaggerTen,
    /// <https://docs.flagger.app/tutorials/istio-progressive-delivery>: `interval: 10s`,
    /// `threshold: 10`, rate over 1 min.
    FlaggerTutorial,
    /// <https://argo-rollouts.readthedocs.io/en/stable/features/analysis>: `interval: 5m`,
    /// `successCondition: result[0] >= 0.95`, `failureLimit: 3`, rate over 5 min.
    ArgoDocs,
    /// As tight as people write it: 1 min, 99%, `failureLimit: 0`.
    ArgoTight,
    /// <https://spinnaker.io/docs/guides/user/canary/judge>: Mann-Whitney at 98%, 1-min points.
    Kayenta,
    /// A z-test of two proportions at 1%, looked at every 5 s as if for the first time.
    Naive,
    /// Google's SRE workbook, chapter 5: burn rate 14.4, over 5 min and 1 min.
    Burn,
}

// === impl Judge ===

impl Judge {
    pub(crate) const ALL: [Judge; 9] = [
        Judge::Tidegate,
        Judge::FlaggerFive,
        Judge::FlaggerTen,
        Judge::FlaggerTutorial,
        Judge::ArgoDocs,
        Judge::ArgoTight,
        Judge::Kayenta,
        Judge::Naive,
        Judge::Burn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Judge::Tidegate => "Tidegate",
            Judge::FlaggerFive => "Flagger 1m 99% threshold 5",
            Judge::FlaggerTen => "Flagger 1m 99% threshold 10",
            Judge::FlaggerTutorial => "Flagger tutorial 10s threshold 10",
            Judge::ArgoDocs => "Argo Rollouts 5m 95% limit 3",
            Judge::ArgoTight => "Argo Rollouts 1m 99% limit 0",
            Judge::Kayenta => "Kayenta Mann-Whitney 98% each 5m",
            Judge::Naive => "z-test p<0.01 each 5s",
            Judge::Burn => "burn rate 14.4x 5m and 1m",
        }
    }

    /// For one rollout under a scenario.
    pub(crate) fn rule(self, scenario: &Scenario) -> Box<dyn Rule> {
        match self {
            Judge::Tidegate => Box::new(Tidegate::at_the_rung(scenario)),
            Judge::FlaggerFive => Box::new(Flagger::new(60, 60, 5)),
            Judge::FlaggerTen => Box::new(Flagger::new(60, 60, 10)),
            Judge::FlaggerTutorial => Box::new(Flagger::new(10, 60, 10)),
            Judge::ArgoDocs => Box::new(Argo::new(300, 0.95, 3)),
            Judge::ArgoTight => Box::new(Argo::new(60, 0.99, 0)),
            Judge::Kayenta => Box::new(Kayenta::default()),
            Judge::Naive => Box::new(Naive::default()),
            Judge::Burn => Box::new(Burn::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::named;
    use crate::traffic::Arm;

    /// Seconds until the rule reverts when of 10 canary requests each second `bad` fail, and
    /// telemetry is out from a second on.
    fn reverts(judge: Judge, bad: u64, out_from: u64) -> Option<u64> {
        let mut rule = judge.rule(&named("healthy").unwrap());
        let arm = |requests, bad| Arm {
            requests,
            bad,
            slow: 0,
        };
        (1..=3_600).find(|at| {
            let second = Second {
                at: *at,
                canary: arm(10, bad),
                stable: arm(190, u64::from(at % 5 == 0)),
                told: *at < out_from,
                reporters: None,
            };
            rule.second(&second) == Verdict::Revert
        })
    }

    #[test]
    fn each_rule_reverts_when_its_source_says() {
        for (judge, seconds) in [
            (Judge::FlaggerFive, 360),
            (Judge::FlaggerTen, 660),
            (Judge::FlaggerTutorial, 110),
            (Judge::ArgoDocs, 1_200),
            (Judge::ArgoTight, 60),
            (Judge::Naive, 5),
            (Judge::Burn, 5),
        ] {
            assert_eq!(reverts(judge, 5, u64::MAX), Some(seconds), "{judge:?}");
            assert_eq!(reverts(judge, 0, u64::MAX), None, "{judge:?}");
        }
        assert!(reverts(Judge::Tidegate, 5, u64::MAX).is_some_and(|seconds| seconds <= 6));
        assert_eq!(reverts(Judge::Tidegate, 0, u64::MAX), None);
    }

    #[test]
    fn without_telemetry_some_revert_a_good_canary() {
        // Measured at 120 s, then tried again each 10 s: the fifth error.
        assert_eq!(reverts(Judge::ArgoTight, 0, 100), Some(160));
        // Failed checks at 120 s, 180 s, …: the rollback is at the tick after the fifth.
        assert_eq!(reverts(Judge::FlaggerFive, 0, 100), Some(420));
        for judge in [Judge::Tidegate, Judge::Kayenta, Judge::Burn] {
            assert_eq!(reverts(judge, 0, 100), None, "{judge:?}");
        }
    }
}
