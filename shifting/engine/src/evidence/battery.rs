//! All tests of one rollout, over its whole life.

use serde::{Deserialize, Serialize};

use super::absolute::Absolute;
use super::difference::Difference;
use super::regression::{Pair, Regression};
use super::share::ShareTest;
use super::wealth::log_average;
use super::{HOLD_AT, REVERT_AT, reaches};
use crate::mesh::Slo;
use crate::rollout::{Evidence, EvidenceStatus};
use crate::time::Time;
use crate::units::Ppm;

/// E-value of a slight suspicion.
const SLIGHT: f64 = 2.0;

/// What a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Requests that failed or were lost.
    Errors,
    /// Requests slower than the SLO's threshold.
    Latency,
}

/// What the tests found, as a sentence and a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Logarithm of the e-value of all metrics together (evidence §4.8: their mean).
    pub ln_e: f64,
    /// The metric with the largest e-value: what to blame.
    pub metric: Metric,
    /// What was counted.
    pub sentence: String,
}

/// All tests of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Battery {
    errors: Judged,
    latency: Option<Judged>,
    share: ShareTest,
    horizon: u32,
}

/// One metric's tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Judged {
    regression: Regression,
    canary: Absolute,
    stable: Absolute,
    difference: Difference,
}

// === impl Battery ===

impl Battery {
    /// Tests against `slo`, for a rollout whose watched time is planned to be `horizon` ticks.
    #[must_use]
    pub fn new(slo: &Slo, horizon: u32) -> Self {
        Self {
            errors: Judged::new(slo.success, horizon),
            latency: slo
                .latency
                .as_ref()
                .map(|objective| Judged::new(objective.share, horizon)),
            share: ShareTest::new(Ppm::ZERO, horizon),
            horizon,
        }
    }

    /// One tick's evidence; `rho` as in evidence §4.1.
    pub fn observe(&mut self, evidence: &Evidence, rho: f64, now: Time) {
        let (canary, stable) = (&evidence.canary, &evidence.stable);
        let errors = Pair {
            canary: canary.requests,
            canary_bad: canary.bad,
            stable: stable.requests,
            stable_bad: stable.bad,
        };
        self.errors.observe(errors, rho, now);
        if let Some(latency) = &mut self.latency {
            let slow = Pair {
                canary: canary.timed,
                canary_bad: canary.slow,
                stable: stable.timed,
                stable_bad: stable.slow,
            };
            latency.observe(slow, rho, now);
        }
    }

    /// Starts to test the share of a new exposure.
    pub fn expect_share(&mut self, wanted: Ppm) {
        self.share = ShareTest::new(wanted, self.horizon);
    }

    /// One tick's requests under an exposure that everyone has acknowledged.
    pub fn observe_share(&mut self, evidence: &Evidence) {
        self.share
            .observe(evidence.canary.issued, evidence.stable.issued);
    }

    /// Logarithm of the evidence that the share is not the wanted one, and what was measured.
    #[must_use]
    pub fn share(&self) -> (f64, Ppm) {
        (self.share.ln_e(), self.share.measured())
    }

    /// How much worse the canary is than stable.
    #[must_use]
    pub fn regression(&self) -> Finding {
        let (errors, latency) = (
            self.errors.regression.ln_e(),
            self.latency.as_ref().map(|judged| judged.regression.ln_e()),
        );
        let (ln_e, metric) = combine(errors, latency);
        Finding {
            ln_e,
            metric,
            sentence: self.compare(metric),
        }
    }

    /// [`Self::regression`] when it is certain and matters: the canary must go back.
    #[must_use]
    pub fn regressed(&self) -> Option<Finding> {
        self.regression_at(REVERT_AT)
    }

    /// [`Self::regression`] when it is likely and matters: the canary must not advance. Without
    /// the practical guard a past burst would hold for ever where stable never fails, because
    /// requests that succeed in both arms say nothing about the odds.
    #[must_use]
    pub fn suspected(&self) -> Option<Finding> {
        self.regression_at(HOLD_AT)
    }

    fn regression_at(&self, mark: f64) -> Option<Finding> {
        let finding = self.regression();
        let matters = self
            .judged(finding.metric)
            .is_some_and(|judged| judged.difference.matters());
        (reaches(finding.ln_e, mark) && matters).then_some(finding)
    }

    /// Whether the canary breaches the objective by itself, and how.
    #[must_use]
    pub fn canary_breach(&self) -> Option<Finding> {
        self.breach(|judged| &judged.canary)
    }

    /// Whether stable breaches the objective by itself, and how.
    #[must_use]
    pub fn stable_breach(&self) -> Option<Finding> {
        self.breach(|judged| &judged.stable)
    }

    /// Whether the canary is clear of the suspicion of a breach. While stable breaches the
    /// objective, a slight suspicion suffices: the canary has few requests to be suspected by.
    #[must_use]
    pub fn canary_clear(&self) -> bool {
        let mark = match self.stable_breach() {
            Some(_) => SLIGHT,
            None => HOLD_AT,
        };
        !reaches(self.absolute(|judged| &judged.canary).0, mark)
    }

    /// An operator vouches for the environment: breaches count from now on.
    pub fn forget_breaches(&mut self) {
        let horizon = self.horizon;
        for judged in std::iter::once(&mut self.errors).chain(self.latency.as_mut()) {
            judged.canary.restart(horizon);
            judged.stable.restart(horizon);
        }
    }

    /// For people.
    #[must_use]
    pub fn status(&self) -> Vec<EvidenceStatus> {
        let entry = |test: &str, ln_e: f64| EvidenceStatus {
            test: test.to_owned(),
            e_value: ln_e.exp(),
            hold_at: HOLD_AT,
            revert_at: REVERT_AT,
        };
        let mut all = vec![entry("errors", self.errors.regression.ln_e())];
        if let Some(latency) = &self.latency {
            all.push(entry("latency", latency.regression.ln_e()));
            all.push(entry("combined", self.regression().ln_e));
        }
        all.push(entry("absolute errors", self.errors.canary.ln_e()));
        if let Some(latency) = &self.latency {
            all.push(entry("absolute latency", latency.canary.ln_e()));
        }
        all
    }

    fn judged(&self, metric: Metric) -> Option<&Judged> {
        match metric {
            Metric::Errors => Some(&self.errors),
            Metric::Latency => self.latency.as_ref(),
        }
    }

    fn absolute(&self, arm: impl Fn(&Judged) -> &Absolute) -> (f64, Metric) {
        combine(
            arm(&self.errors).ln_e(),
            self.latency.as_ref().map(|judged| arm(judged).ln_e()),
        )
    }

    fn breach(&self, arm: impl Fn(&Judged) -> &Absolute) -> Option<Finding> {
        let (ln_e, metric) = self.absolute(&arm);
        let floors_met = self
            .judged(metric)
            .is_some_and(|judged| arm(judged).floors_met());
        (reaches(ln_e, REVERT_AT) && floors_met).then(|| Finding {
            ln_e,
            metric,
            sentence: self.compare(metric),
        })
    }

    /// Such as `48 of 96 canary requests failed (50%), 2 of 2900 on stable (0.0689%)`.
    fn compare(&self, metric: Metric) -> String {
        let total = self
            .judged(metric)
            .map(|judged| judged.difference.total())
            .unwrap_or_default();
        let verb = match metric {
            Metric::Errors => "failed",
            Metric::Latency => "were slower than the objective",
        };
        format!(
            "{} of {} canary requests {verb} ({}), {} of {} on stable ({})",
            total.canary_bad,
            total.canary,
            Ppm::of(total.canary_bad, total.canary),
            total.stable_bad,
            total.stable,
            Ppm::of(total.stable_bad, total.stable),
        )
    }
}

// === impl Judged ===

impl Judged {
    fn new(objective: Ppm, horizon: u32) -> Self {
        Self {
            regression: Regression::new(horizon),
            canary: Absolute::new(objective, horizon),
            stable: Absolute::new(objective, horizon),
            difference: Difference::default(),
        }
    }

    fn observe(&mut self, pair: Pair, rho: f64, now: Time) {
        self.regression.observe(pair, rho);
        self.canary.observe(pair.canary, pair.canary_bad);
        self.stable.observe(pair.stable, pair.stable_bad);
        self.difference.observe(pair, now);
    }
}

// === impl Metric ===

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Metric::Errors => "errors",
            Metric::Latency => "latency",
        })
    }
}

/// The mean of the e-values, and the larger one's metric.
fn combine(errors: f64, latency: Option<f64>) -> (f64, Metric) {
    match latency {
        None => (errors, Metric::Errors),
        Some(latency) if latency > errors => (log_average(errors, latency), Metric::Latency),
        Some(latency) => (log_average(errors, latency), Metric::Errors),
    }
}
