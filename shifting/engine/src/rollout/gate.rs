//! What stands between a rung that passed and the next: a pause for a time, a person's approval,
//! a freeze window, a fleet's cap. The evidence goes on being judged meanwhile.

use serde::{Deserialize, Serialize};

use crate::rollout::cap::Crowded;
use crate::rollout::judge::Hold;
use crate::rollout::run::Context;
use crate::rollout::{NoticeLevel, Phase, Refusal, Rollout, State};
use crate::time::Time;

/// Who let a rollout leave a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Index of the rung in the plan.
    pub rung: usize,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Time,
}

// === impl Rollout ===

impl Rollout {
    /// What is still to be waited for although everything passed. A pause counts watched time.
    pub(crate) fn gate(&mut self, step_ms: u64, context: &mut Context) -> Option<Hold> {
        let gate = self.gate_here();
        let rest_ms = gate.pause_ms.saturating_sub(self.clock.gate_ms);
        if rest_ms > 0 {
            self.clock.gate_ms = self.clock.gate_ms.saturating_add(step_ms);
            let until = context.now.plus_ms(rest_ms);
            let reason = format!(
                "{} passed; its gate pauses for another {}",
                self.place(),
                until.since_words(context.now)
            );
            let hold = Hold::new("wait", reason).until(Some(until));
            return Some(hold.clock_runs());
        }
        if gate.approval && !self.is_approved() {
            let text = format!("{} passed; a person has to let it go on", self.place());
            if self.clock.noted.as_deref() != Some("approval") {
                let service = self.plan.service.clone();
                let text = format!("{text}: tidegate rollout approve {service}");
                context.notice(&service, NoticeLevel::Warning, text);
            }
            let hold = Hold {
                owner: "an operator".into(),
                ..Hold::new("approval", text)
            };
            return Some(hold.clock_runs());
        }
        if let Some(frozen) = &context.frozen
            && self.plan.pace.heeds_freeze()
        {
            let hold = Hold::new("freeze", frozen.reason.clone()).until(frozen.until);
            return Some(hold.clock_runs());
        }
        context.crowded.as_ref().map(Crowded::hold)
    }

    /// The gate of the rung that it stands on, if it is the one to pass next: the gate of the last
    /// rung stands between the soak and the commit.
    pub(crate) fn gate_here(&self) -> crate::mesh::Gate {
        let last = self.rung.saturating_add(1) >= self.plan.rungs.len();
        let here = match self.phase {
            Phase::Judging => !last,
            Phase::Soaking => true,
            _ => false,
        };
        self.planned_rung()
            .filter(|_| here && self.plan.pace.heeds_freeze())
            .map_or_else(Default::default, |rung| rung.gate)
    }

    pub(crate) fn is_approved(&self) -> bool {
        self.approvals.iter().any(|given| given.rung == self.rung)
    }
}

// === impl State ===

impl State {
    /// A person lets a rollout leave the rung that it stands on, once that has passed.
    pub(crate) fn approve(
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
        if !rollout.gate_here().approval {
            return refused(format!(
                "no approval is needed to go on from {}",
                rollout.place()
            ));
        }
        if rollout.is_approved() {
            return refused(format!("{} is approved already", rollout.place()));
        }
        rollout.approvals.push(Approval {
            rung: rollout.rung,
            actor: actor.to_owned(),
            at: context.now,
        });
        let text = format!("{actor} approved what follows {}", rollout.place());
        rollout.tell(NoticeLevel::Info, text, context);
        Ok(())
    }
}
