//! After an outage of the program. Exposure is never raised by coming back (invariant S8).

use std::sync::Arc;

use crate::rollout::run::Context;
use crate::rollout::{Cause, NoticeLevel, Phase, Rollout, State};

// === impl State ===

impl State {
    pub(crate) fn recover(&mut self, outage_ms: Option<u64>, context: &mut Context) {
        let shared_ttl_ms = self.dead_man_ttl_ms();
        let services = self.services.values_mut().map(|state| &mut state.rollout);
        let fleets = self.fleets.values_mut().map(|state| &mut state.rollout);
        let rollouts = services
            .chain(fleets)
            .filter_map(Option::as_mut)
            .filter(|rollout| !rollout.phase.is_final());
        for rollout in rollouts {
            let own_ttl_ms = rollout.plan.policy.dead_man_ttl_ms;
            let ttl_ms = shared_ttl_ms.unwrap_or(own_ttl_ms);
            Arc::make_mut(rollout).recover(outage_ms, ttl_ms, context);
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// `ttl_ms`: sidecars drop the share when nobody renews it for so long.
    pub(crate) fn recover(&mut self, outage_ms: Option<u64>, ttl_ms: u64, context: &mut Context) {
        let outage = match outage_ms {
            Some(ms) => format!("nobody watched for {}.{} s", ms / 1000, ms % 1000 / 100),
            None => "nobody watched for an unknown time".to_owned(),
        };
        // A revision stays where it is: sidecars drop shares only.
        let dropped = !self.is_configuration() && outage_ms.is_none_or(|ms| ms >= ttl_ms);
        if self.is_exposed() && dropped {
            let reason = format!(
                "{outage}, and sidecars drop the canary by themselves after {}.{} s; \
                 every one of them may be back at {} by now",
                ttl_ms / 1000,
                ttl_ms % 1000 / 100,
                self.plan.from
            );
            self.revert(Cause::Outage, reason, NoticeLevel::Page, context);
            self.restart_rung(context.now);
            return;
        }
        self.restart_rung(context.now);
        let text = match self.phase {
            Phase::Judging | Phase::Soaking => format!(
                "{outage}; {} begins anew at the same exposure, the evidence is kept",
                self.place()
            ),
            _ => format!("{outage}; {} goes on", self.place()),
        };
        self.tell(NoticeLevel::Warning, text, context);
        if self.phase != Phase::Reverting {
            self.decision = match self.paused {
                Some(_) => self.paused_wait(context.now),
                None => self.first_wait(context.now),
            };
        }
    }
}
