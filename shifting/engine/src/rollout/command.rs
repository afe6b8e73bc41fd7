//! What operators ask.

use crate::rollout::run::{Context, Paused};
use crate::rollout::{Cause, NoticeLevel, Phase, Refusal, State, fleet_of};

// === impl State ===

impl State {
    pub(crate) fn pause(
        &mut self,
        service: &str,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let rollout = self.running_mut(service)?;
        let refused = |why: String| {
            Err(Refusal::NotNow {
                service: service.to_owned(),
                why,
            })
        };
        match rollout.phase {
            Phase::Preparing | Phase::Judging | Phase::Soaking => {}
            Phase::Committing => {
                return refused(format!(
                    "the commit is under way and does not stop half-way; take it back with \
                     `tidegate rollout abort {service}`"
                ));
            }
            Phase::Reverting | Phase::Committed | Phase::Reverted => {
                return refused("the canary is being taken back; that waits for nothing".into());
            }
        }
        if let Some(paused) = &rollout.paused {
            return refused(format!("paused by {} already", paused.actor));
        }
        rollout.paused = Some(Paused {
            actor: actor.to_owned(),
            since: context.now,
        });
        rollout.clock.running = false;
        let text = format!("{actor} paused it; the exposure stays, the clock stands");
        rollout.tell(NoticeLevel::Info, text, context);
        rollout.decision = rollout.paused_wait(context.now);
        Ok(())
    }

    /// Ends a pause, or vouches for what an overdue hold is about: the environment, the evidence
    /// to advance that a rung lacks, or what the witness objects to. It does not overrule what
    /// sidecars report against the canary.
    pub(crate) fn resume(
        &mut self,
        service: &str,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let rollout = self.running_mut(service)?;
        if rollout.paused.is_none() && !rollout.environment && !rollout.clock.overdue {
            return Err(Refusal::NotNow {
                service: service.to_owned(),
                why: format!(
                    "it is not paused, and no hold of it is overdue; it is at {}",
                    rollout.place()
                ),
            });
        }
        rollout.paused = None;
        if std::mem::take(&mut rollout.environment) {
            rollout.battery.forget_breaches();
            rollout.forget_breaches_of_witness();
        }
        rollout.vouch_for_proof();
        rollout.vouch_for_witness(context.now);
        rollout.clock.held_ms = 0;
        rollout.clock.overdue = false;
        rollout.tell(NoticeLevel::Info, format!("{actor} let it go on"), context);
        rollout.decision = rollout.first_wait(context.now);
        Ok(())
    }

    /// Accepted in every state before the commit is complete, and sticky (invariant S5).
    pub(crate) fn abort(
        &mut self,
        service: &str,
        actor: &str,
        reason: &str,
        quarantine: bool,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let rollout = self.running_mut(service)?;
        let because = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        if rollout.phase == Phase::Reverting {
            rollout.note(
                format!("{actor} asked to abort{because}; it is being taken back already"),
                context.now,
            );
        } else {
            rollout.revert(
                Cause::Operator,
                format!("aborted by {actor}{because}"),
                NoticeLevel::Info,
                context,
            );
        }
        if let Some(fleet) = fleet_of(service) {
            self.give_up(fleet);
        }
        if quarantine {
            self.quarantine(service, context);
        }
        Ok(())
    }
}
