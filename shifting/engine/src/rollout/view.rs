//! A rollout for people.

use crate::rollout::{Plan, Rollout, RolloutStatus};
use crate::time::Time;

// === impl Rollout ===

impl Rollout {
    /// For people, at the time `now`; what only the whole state knows is left out, see
    /// [`State::status`](crate::rollout::State::status).
    #[must_use]
    pub fn status(&self, now: Time) -> RolloutStatus {
        let delivery = self.deliveries.latest.clone().unwrap_or_default();
        RolloutStatus {
            number: self.number,
            plan: Plan::clone(&self.plan),
            actor: self.actor.clone(),
            phase: self.phase,
            rung: self.rung_name().to_owned(),
            started: self.started,
            since: self.since,
            now,
            share_wanted: self.share(),
            sidecars_acknowledged: delivery.acknowledged,
            sidecars_expected: self.deliveries.expected(),
            behind: delivery.behind,
            rejected: delivery.rejected,
            share_measured: self.signals.measured_share(),
            canary: self.canary,
            stable: self.stable,
            evidence: self.battery.status(),
            witness: self.witness_status(now).map(Box::new),
            proof: self.battery.proof_status(),
            budget: self.cost(),
            reports: self.signals.reports,
            host_ratio_ppm: self.signals.host_ratio_ppm,
            decision: self.decision.clone(),
            revert_reason: self.revert_reason.clone(),
            revert_cause: self.reverted.as_ref().map(|reverted| reverted.cause),
            way_back: None,
            known_good: Vec::new(),
            exposed: self.is_configuration().then(|| self.exposed_sidecars()),
            found_overlaps: self.found.clone(),
            approvals: self.approvals.clone(),
            queue: Vec::new(),
            history: self.history.to_vec(),
        }
    }
}
