//! All tests of one rollout, over its whole life.

use serde::{Deserialize, Serialize};

use super::absolute::Absolute;
use super::advance::{Proofs, Shortfall};
use super::budget::{Beside, Budget};
use super::difference::Difference;
use super::edges::Edge;
use super::judged::Judged;
use super::regression::{Bets, Pair, Regression};
use super::share::ShareTest;
use super::wealth::mix;
use super::{HOLD_AT, REVERT_AT, enough};
use crate::mesh::{ErrorBudget, RULES, Slo};
use crate::rollout::{ArmCounts, BudgetStatus, Evidence};
use crate::time::Time;
use crate::units::Ppm;

/// The rules by which a small difference below the promised threshold tells nothing.
const RULES_OF_GUARDED_EDGES: u32 = 5;

/// The rules by which what fails at 100% is the canary's fault only once stable was asked.
pub(crate) const RULES_OF_ASKING_STABLE: u32 = 6;

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
    /// The e-value of all metrics together (evidence §4.8: their mean, weighted for a regression).
    pub e_value: f64,
    /// The metric with the largest e-value: what to blame.
    pub metric: Metric,
    /// What was counted.
    pub sentence: String,
}

/// All tests of one rollout, or of as much of one as somebody wants to simulate: tell it what was
/// counted in each second, look at it as often as you like.
///
/// ```
/// use tidegate_engine::evidence::{Battery, REVERT_AT, reaches};
/// use tidegate_engine::mesh::Slo;
/// use tidegate_engine::rollout::{ArmCounts, Evidence};
/// use tidegate_engine::time::Time;
/// use tidegate_engine::units::Ppm;
///
/// let slo = Slo { success: Ppm::of(999, 1000), latency: None };
/// let mut battery = Battery::new(&slo, 600);
/// battery.expect_share(Ppm::of(5, 100));
/// battery.ask_for_proof(&slo, 2);
/// for second in 1..=5 {
///     let arm = |requests, bad| ArmCounts { requests, bad, issued: requests, ..Default::default() };
///     let evidence = Evidence { canary: arm(10, 5), stable: arm(190, 0), ..Default::default() };
///     battery.observe_proof(&evidence, 1.5); // before `observe`
///     battery.observe(&evidence, 1.5, Time(second * 1000));
///     battery.observe_share(&evidence);
/// }
/// assert!(battery.regressed().is_some());
/// assert!(reaches(battery.e_values().errors, REVERT_AT));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Battery {
    pub(super) errors: Judged,
    pub(super) latency: Option<Judged>,
    /// Latency at further edges; none before the first rung.
    pub(super) edges: Vec<Edge>,
    pub(super) share: ShareTest,
    /// Evidence to advance; `None` where none is asked for.
    pub(super) proofs: Option<Proofs>,
    pub(super) budget: Budget,
    /// [`RULES_OF_ASKING_STABLE`] are in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) asks_stable: bool,
    pub(super) horizon: u32,
}

// === impl Battery ===

impl Battery {
    /// Tests against `slo`, for a rollout whose watched time is planned to be `horizon` ticks.
    #[must_use]
    pub fn new(slo: &Slo, horizon: u32) -> Self {
        Self::by_rules(RULES, slo, horizon)
    }

    /// The same by earlier rules of judgement, which a journal may name ([`RULES`]).
    #[must_use]
    pub fn by_rules(rules: u32, slo: &Slo, horizon: u32) -> Self {
        let bets = Bets::of(rules);
        Self {
            errors: Judged::new(slo.success, bets, horizon),
            latency: slo
                .latency
                .as_ref()
                .map(|objective| Judged::new(objective.share, bets, horizon)),
            edges: Vec::new(),
            share: ShareTest::new(Ppm::ZERO, horizon),
            proofs: None,
            budget: Budget::default(),
            asks_stable: rules >= RULES_OF_ASKING_STABLE,
            horizon,
        }
    }

    /// Fixes the edges at which latency is compared besides the objective's threshold: those next
    /// to the median and the slowest tenth and hundredth of `stable`, which is what was counted
    /// before the canary's first request. Without a latency objective there are none.
    pub fn freeze_edges(&mut self, rules: u32, slo: &Slo, stable: &ArmCounts) {
        let guarded = rules >= RULES_OF_GUARDED_EDGES;
        self.edges = slo.latency.as_ref().map_or_else(Vec::new, |objective| {
            let bets = self.errors.regression.bets();
            let terms = (bets, self.horizon);
            Edge::freeze(stable, objective.threshold_ms, guarded, terms)
        });
    }

    /// Asks for evidence to advance anew, on a rung of its own: that the canary burns the budget
    /// of `slo` less than `burn_rate` times as fast as it may (evidence §4.4).
    pub fn ask_for_proof(&mut self, slo: &Slo, burn_rate: u32) {
        self.proofs = Some(Proofs::new(slo, burn_rate, self.horizon));
    }

    /// Nothing is asked for any more: at 100%, or at rest.
    pub fn ask_for_no_proof(&mut self) {
        self.proofs = None;
    }

    /// One tick's evidence for the canary, under an exposure that everyone has acknowledged. Comes
    /// before [`Self::observe`] of the same tick: a bet is made before the draw.
    pub fn observe_proof(&mut self, evidence: &Evidence, rho: f64) {
        let (errors, latency) = pairs(evidence);
        let before = (self.errors.difference.total(), self.slow_total());
        if let Some(proofs) = &mut self.proofs {
            proofs.observe((errors, before.0), (latency, before.1), rho);
        }
    }

    /// One tick's evidence against the canary; `rho` as in evidence §4.1.
    pub fn observe(&mut self, evidence: &Evidence, rho: f64, now: Time) {
        let (errors, slow) = pairs(evidence);
        let before = self.errors.difference.total();
        let beside = match (self.share.wants_everything(), self.asks_stable) {
            (false, _) => Beside::Stable,
            (true, false) => Beside::Nobody,
            (true, true) => Beside::NobodyApart,
        };
        self.budget.observe(errors, before, beside, now);
        self.errors.observe(errors, rho, now);
        if let Some(latency) = &mut self.latency {
            latency.observe(slow, rho, now);
        }
        for edge in &mut self.edges {
            edge.observe(&evidence.canary, &evidence.stable, rho, now);
        }
    }

    /// What is still lacking to advance, of the metric that lacks the most; `None` when every
    /// metric is proven, or none is asked for.
    #[must_use]
    pub fn shortfall(&self) -> Option<Shortfall> {
        let proofs = self.proofs.as_ref()?;
        proofs.shortfall(self.errors.difference.total(), self.slow_total())
    }

    /// What the rollout cost more than the old version would have, and may cost. What it cost at 100%
    /// is put aside while both have requests and stable shows whose fault that was; when it is over it
    /// counts.
    #[must_use]
    pub fn budget(&self, budget: ErrorBudget, slo: &Slo) -> BudgetStatus {
        let all = !self.share.wants_both();
        BudgetStatus {
            spent: self.budget.spent(all),
            allowed: self.budget.allowed(budget, slo.success),
            exceeded: self.budget.exceeded(budget, slo.success, all),
        }
    }

    /// The rollout cost more than it may.
    #[must_use]
    pub fn over_budget(&self, budget: ErrorBudget, slo: &Slo) -> bool {
        let alone = self.share.wants_everything();
        self.budget.exceeded(budget, slo.success, alone)
    }

    /// Starts to test the share of a new exposure.
    pub fn expect_share(&mut self, wanted: Ppm) {
        if wanted == Ppm::WHOLE && !self.share.wants_everything() {
            self.budget.forget_alone();
        }
        self.share = ShareTest::new(wanted, self.horizon);
    }

    /// One tick's requests under an exposure that everyone has acknowledged.
    pub fn observe_share(&mut self, evidence: &Evidence) {
        self.share
            .observe(evidence.canary.issued, evidence.stable.issued);
    }

    /// The e-value of "the share is not the wanted one", and what was measured.
    #[must_use]
    pub fn share(&self) -> (f64, Ppm) {
        (self.share.e(), self.share.measured())
    }

    /// How much worse the canary is than stable.
    #[must_use]
    pub fn regression(&self) -> Finding {
        let (e_value, metric) = self.worse();
        Finding {
            e_value,
            metric,
            sentence: match (metric, self.worst_edge()) {
                (Metric::Latency, Some(edge)) => compare(
                    edge.difference.total(),
                    &format!("took more than {} ms", edge.threshold_ms()),
                ),
                _ => self.compare(metric),
            },
        }
    }

    /// The e-value of "the canary is slower": the mean over the edges.
    #[allow(clippy::cast_precision_loss, reason = "a handful of edges")]
    pub(super) fn slower(&self) -> Option<f64> {
        let threshold = self.latency.as_ref()?.regression.e();
        let edges = self.edges.iter().map(Edge::e);
        Some((threshold + edges.sum::<f64>()) / (1 + self.edges.len()) as f64)
    }

    /// The further edge that speaks more against the canary than the objective's threshold does.
    fn worst_edge(&self) -> Option<&Edge> {
        let threshold = self.latency.as_ref()?.regression.e();
        let e = |edge: &&Edge| edge.e();
        self.edges
            .iter()
            .max_by(|a, b| e(a).total_cmp(&e(b)))
            .filter(|edge| e(edge) > threshold)
    }

    /// [`Self::regression`] without the sentence, which costs more than all tests of a tick.
    #[must_use]
    pub fn worse(&self) -> (f64, Metric) {
        let errors = &self.errors.regression;
        combine(errors.bets().errors_part(), errors.e(), self.slower())
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
        let (e_value, metric) = self.worse();
        if !enough(e_value, mark) {
            return None;
        }
        let difference = match (metric, self.worst_edge()) {
            (Metric::Latency, Some(edge)) => Some(&edge.difference),
            (metric, _) => self.judged(metric).map(|judged| &judged.difference),
        };
        let matters = difference.is_some_and(Difference::matters);
        matters.then(|| self.regression())
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
        !enough(self.absolute(|judged| &judged.canary).0, mark)
    }

    /// Whether a breach that was not the canary's alone is over: stable keeps the objective again,
    /// or the canary is proven to. A few good seconds of few requests are no proof.
    #[must_use]
    pub fn environment_clear(&self) -> bool {
        let proven = self.proofs.as_ref().is_none_or(Proofs::own_proven);
        self.canary_clear() && (proven || self.stable_breach().is_none())
    }

    /// An operator vouches for the environment: breaches count from now on.
    pub fn forget_breaches(&mut self) {
        let horizon = self.horizon;
        for judged in std::iter::once(&mut self.errors).chain(self.latency.as_mut()) {
            judged.canary.restart(horizon);
            judged.stable.restart(horizon);
        }
    }

    /// The canary had everything, and stable is to show whose fault that was: what was counted since
    /// then, and before, is no comparison. What bets won of it when it was one stays.
    pub(crate) fn compare_anew(&mut self) {
        self.forget_breaches();
        let judged = std::iter::once(&mut self.errors).chain(self.latency.as_mut());
        let edges = self.edges.iter_mut().map(|edge| &mut edge.difference);
        for difference in judged.map(|judged| &mut judged.difference).chain(edges) {
            *difference = Difference::default();
        }
    }

    /// What was counted against the canary was another's fault: the comparisons begin anew.
    pub(crate) fn forget_regressions(&mut self) {
        let (bets, horizon) = (self.errors.regression.bets(), self.horizon);
        let judged = std::iter::once(&mut self.errors).chain(self.latency.as_mut());
        let edges = self.edges.iter_mut().map(|edge| &mut edge.regression);
        for regression in judged.map(|judged| &mut judged.regression).chain(edges) {
            *regression = Regression::new(bets, horizon);
        }
    }

    fn slow_total(&self) -> Pair {
        self.latency
            .as_ref()
            .map(|judged| judged.difference.total())
            .unwrap_or_default()
    }

    fn judged(&self, metric: Metric) -> Option<&Judged> {
        match metric {
            Metric::Errors => Some(&self.errors),
            Metric::Latency => self.latency.as_ref(),
        }
    }

    pub(super) fn absolute(&self, arm: impl Fn(&Judged) -> &Absolute) -> (f64, Metric) {
        combine(
            0.5,
            arm(&self.errors).e(),
            self.latency.as_ref().map(|judged| arm(judged).e()),
        )
    }

    fn breach(&self, arm: impl Fn(&Judged) -> &Absolute) -> Option<Finding> {
        let (e_value, metric) = self.absolute(&arm);
        let floors_met = self
            .judged(metric)
            .is_some_and(|judged| arm(judged).floors_met());
        (enough(e_value, REVERT_AT) && floors_met).then(|| Finding {
            e_value,
            metric,
            sentence: self.compare(metric),
        })
    }

    fn compare(&self, metric: Metric) -> String {
        let total = self
            .judged(metric)
            .map(|judged| judged.difference.total())
            .unwrap_or_default();
        let verb = match metric {
            Metric::Errors => "failed",
            Metric::Latency => "were slower than the objective",
        };
        compare(total, verb)
    }
}

/// Such as `48 of 96 canary requests failed (50%), 2 of 2900 on stable (0.0689%)`.
fn compare(total: Pair, verb: &str) -> String {
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

/// One tick's failed and slow requests.
fn pairs(evidence: &Evidence) -> (Pair, Pair) {
    let (canary, stable) = (&evidence.canary, &evidence.stable);
    let errors = Pair {
        canary: canary.requests,
        canary_bad: canary.bad,
        stable: stable.requests,
        stable_bad: stable.bad,
    };
    let slow = Pair {
        canary: canary.timed,
        canary_bad: canary.slow,
        stable: stable.timed,
        stable_bad: stable.slow,
    };
    (errors, slow)
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

/// The mean of the e-values, in which `part` is the errors', and the larger one's metric.
fn combine(part: f64, errors: f64, latency: Option<f64>) -> (f64, Metric) {
    match latency {
        None => (errors, Metric::Errors),
        Some(latency) if latency > errors => (mix(part, errors, latency), Metric::Latency),
        Some(latency) => (mix(part, errors, latency), Metric::Errors),
    }
}
