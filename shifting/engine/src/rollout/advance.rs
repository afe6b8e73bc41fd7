//! What is asked for before a rung is left, and what the rollout may cost: the evidence to advance
//! and the error budget (evidence §4.3, §4.4).

use std::fmt;

use crate::evidence::{ADVANCE_AT, Metric, Shortfall};
use crate::rollout::judge::Hold;
use crate::rollout::{BudgetStatus, Evidence, Phase, Reason, Rollout};
use crate::time::Time;
use crate::units::Ppm;

/// So many failures at once, at so many times the rate that the objective sustains, are not chance.
const FAILING_LEAST: u64 = 3;
const FAILING_BURN_RATE: u32 = 10;

/// The hold that lacks evidence to advance.
pub(crate) const PROOF: &str = "proof";

// === impl Rollout ===

impl Rollout {
    /// The rules that came with evidence to advance, budgets and edges are in force.
    pub(crate) fn has_rules(&self) -> bool {
        self.plan.policy.rules >= 1
    }

    /// Before the canary's first request.
    pub(crate) fn fix_edges(&mut self) {
        if self.has_rules() {
            let rules = self.plan.policy.rules;
            self.battery
                .freeze_edges(rules, &self.plan.slo, &self.stable);
            self.fix_edges_of_witness();
        }
    }

    /// A rung below 100% has to be proven, each by itself; at 100% there is the soak.
    pub(crate) fn ask_for_proof(&mut self) {
        if self.has_rules() && self.phase == Phase::Judging && !self.takes_everything() {
            let burn_rate = self.plan.policy.advance_burn_rate;
            self.battery.ask_for_proof(&self.plan.slo, burn_rate);
        } else {
            self.battery.ask_for_no_proof();
        }
    }

    /// An operator lets it go on although the evidence is overdue: for this rung.
    pub(crate) fn vouch_for_proof(&mut self) {
        let lacking = self.clock.noted.as_deref() == Some(PROOF);
        self.clock.vouched |= self.clock.overdue && lacking;
    }

    /// What is missing of the evidence to advance.
    pub(crate) fn proof_missing(&self, now: Time) -> Option<Hold> {
        if self.clock.vouched {
            return None;
        }
        let shortfall = self.battery.shortfall()?;
        let (timed, all) = (shortfall.counted.0, self.clock.canary_requests);
        if shortfall.metric == Metric::Latency && timed < all / 2 {
            let reason = format!(
                "the service has a latency objective, and the latency of only {timed} of {all} \
                 canary requests on this rung is reported"
            );
            return Some(Hold::new(PROOF, reason).clock_runs());
        }
        let seconds = self.proof_seconds(&shortfall);
        let wait_ms = seconds.map(|seconds| seconds.saturating_mul(1_000));
        let soon = wait_ms.filter(|wait_ms| *wait_ms < self.hold_left_ms());
        let until = soon.map(|wait_ms| now.plus_ms(wait_ms));
        let reason = Reason::lacking(Lacking { shortfall, seconds });
        Some(Hold::new(PROOF, reason).until(until).clock_runs())
    }

    /// How long it takes at the traffic of the latest ticks; `None` when that is not in sight.
    fn proof_seconds(&self, shortfall: &Shortfall) -> Option<u64> {
        let (issued, ticks) = self.signals.canary_pace()?;
        Some(shortfall.requests?.saturating_mul(ticks).div_ceil(issued))
    }

    /// Much of what the canary answered in the latest interval failed: whatever was proven
    /// before, this is no moment to advance.
    pub(crate) fn failing_now(&self, evidence: &Evidence) -> Option<Hold> {
        let (requests, bad) = (evidence.canary.requests, evidence.canary.bad);
        let allowed = Ppm::WHOLE.get() - self.plan.slo.success.get();
        let burn_rate = self.plan.policy.advance_burn_rate.max(FAILING_BURN_RATE);
        let most = u128::from(requests) * u128::from(allowed) * u128::from(burn_rate);
        let failing = bad >= FAILING_LEAST && u128::from(bad) * 1_000_000 > most;
        (self.has_rules() && failing).then(|| {
            let reason = format!("{bad} of the canary's latest {requests} requests failed");
            Hold::new("evidence", reason).clock_runs()
        })
    }

    /// What the rollout cost, and may cost.
    pub(crate) fn cost(&self) -> Option<BudgetStatus> {
        self.has_rules().then(|| {
            let budget = self.plan.policy.error_budget;
            self.battery.budget(budget, &self.plan.slo)
        })
    }

    /// The rollout cost more than it may.
    pub(crate) fn budget_fault(&self) -> Option<String> {
        let policy = &self.plan.policy;
        let over = self.has_rules()
            && self
                .battery
                .over_budget(policy.error_budget, &self.plan.slo);
        if !over {
            return None;
        }
        let cost = self.cost()?;
        Some(format!(
            "the error budget of the rollout is spent: {} requests failed more than stable's rate \
             explains, {} may (error_budget: {})",
            cost.spent, cost.allowed, self.plan.policy.error_budget
        ))
    }
}

/// Evidence to advance that is missing, and how many seconds of the present traffic it takes.
#[derive(Debug, Clone)]
pub(crate) struct Lacking {
    shortfall: Shortfall,
    seconds: Option<u64>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shortfall = &self.shortfall;
        let (requests, bad) = shortfall.counted;
        let what = match shortfall.metric {
            Metric::Errors => "fail",
            Metric::Latency => "are slow",
        };
        write!(
            f,
            "not proven yet that fewer than {} {what}: {bad} of {requests} on this rung, e-value \
             {:.1} of {ADVANCE_AT:.0}; ",
            shortfall.limit, shortfall.e_value
        )?;
        let Some(missing) = shortfall.requests else {
            return f.write_str("not in sight at the present rates");
        };
        write!(f, "about {missing} more canary requests, ")?;
        match self.seconds {
            Some(seconds) => write!(f, "at the present traffic {}", span(seconds)),
            None => f.write_str("and it has none now"),
        }
    }
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}
