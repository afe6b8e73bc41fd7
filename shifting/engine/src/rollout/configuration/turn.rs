//! When the turn of what is declared for a fleet has come, and what it waits for until then.

use serde::{Deserialize, Serialize};

use super::{FleetState, subject};
use crate::mesh::Mesh;
use crate::rollout::lease::Held;
use crate::rollout::queue::not_now;
use crate::rollout::run::Context;
use crate::rollout::{Event, Lease, NoticeLevel, Phase, Plan, Refusal, Rollout, State};
use crate::time::Time;

/// A fleet whose sidecars are not configured as declared, and that no rollout changes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The fleet.
    pub fleet: String,
    /// The revision that is declared.
    pub revision: String,
    /// What it would change, a sentence each.
    pub changes: Vec<String>,
    /// What it waits for, as a sentence.
    pub reason: String,
    /// What an operator can do.
    pub command: String,
}

/// What declaring a mesh would lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The mesh's content hash.
    pub revision: String,
    /// The configuration rollouts that would be to come. Hosts and versions are taken up at once.
    pub pending: Vec<Pending>,
    /// Running configuration rollouts that would be taken back first, as `fleet:NAME`.
    pub superseded: Vec<String>,
}

// === impl State ===

impl State {
    /// The fleets whose declared configuration is not what their sidecars have, and why not yet.
    /// One whose rollout runs is not among them.
    #[must_use]
    pub fn pending(&self, now: Time) -> Vec<Pending> {
        let pending = |fleet: &String| {
            let state = self.fleets.get(fleet)?;
            let declared = self.declared_settings(fleet)?;
            if state.running().is_some() || declared == state.settings {
                return None;
            }
            let next = self.next_settings(fleet)?;
            let revision = next.revision(fleet);
            let subject = subject(fleet);
            let start = format!("tidegate rollout start {subject} {revision}");
            let (reason, command) = if let Some(entry) = self.quarantine_of(&revision) {
                let lift = format!("tidegate quarantine lift {subject} {revision} --reason \"…\"");
                (entry.refusal(now).to_string(), lift)
            } else if state.given_up == Some(declared.revision(fleet)) {
                let reason = "it went back once and is not tried again by itself".to_owned();
                (reason, start)
            } else {
                let reason = self
                    .configuration_wait(fleet, now)
                    .unwrap_or_else(|| "it begins in the next second".to_owned());
                (reason, format!("tidegate rollout status {subject}"))
            };
            Some(Pending {
                fleet: fleet.clone(),
                changes: state.settings.changes(&next),
                revision,
                reason,
                command,
            })
        };
        self.fleets.keys().filter_map(pending).collect()
    }

    /// What declaring a mesh would lead to; nothing is changed.
    ///
    /// # Errors
    /// The refusals of [`Event::MeshDeclared`].
    pub fn preview(&self, mesh: &Mesh, now: Time) -> Result<Preview, Refusal> {
        let declared = Event::MeshDeclared { mesh: mesh.clone() };
        let (next, _) = self.apply(&declared, now)?;
        let goes_back = |run: &&Rollout| {
            let after = next.latest(&run.plan.service);
            after.is_some_and(|after| after.phase != run.phase && after.phase == Phase::Reverting)
        };
        Ok(Preview {
            revision: mesh.revision(),
            pending: next.pending(now),
            superseded: self
                .active()
                .filter(goes_back)
                .map(|run| run.plan.service.clone())
                .collect(),
        })
    }

    /// What the configuration of a fleet waits for, if it may begin by itself at all.
    fn configuration_wait(&self, fleet: &str, now: Time) -> Option<String> {
        let subject = subject(fleet);
        if let Some(holder) = self.holders(&subject).first() {
            return Some(format!("it waits for the end of {holder}"));
        }
        self.freeze_of(&subject, now).map(|frozen| frozen.reason)
    }

    /// The fleets whose configuration begins now, none of which would overlap another.
    pub(crate) fn due_configurations(&self, now: Time) -> Vec<(String, Lease)> {
        let mut due: Vec<(String, Lease)> = Vec::new();
        for fleet in self.fleets.keys() {
            if self.is_due(fleet, now) {
                let (own, lease) = (subject(fleet), self.lease(&subject(fleet)));
                let held = Held::new(&own, &lease);
                let free = due
                    .iter()
                    .all(|(other, lease)| Held::new(other, lease).shared(held).is_none());
                if free {
                    due.push((own, lease));
                }
            }
        }
        due
    }

    fn is_due(&self, fleet: &str, now: Time) -> bool {
        let (Some(state), Some(declared)) = (self.fleets.get(fleet), self.declared_settings(fleet))
        else {
            return false;
        };
        let quarantined = self
            .next_settings(fleet)
            .is_some_and(|next| self.quarantine_of(&next.revision(fleet)).is_some());
        state.running().is_none()
            && declared != state.settings
            && state.given_up != Some(declared.revision(fleet))
            && !quarantined
            && self.configuration_wait(fleet, now).is_none()
    }

    /// The turn of what is declared for a fleet has come.
    pub(crate) fn configure(&mut self, fleet: &str, context: &mut Context) -> Result<(), Refusal> {
        if !self.is_due(fleet, context.now) {
            let why = "no turn of its configuration has come".to_owned();
            return Err(not_now(&subject(fleet), why));
        }
        let next = self.next_settings(fleet);
        let plan = next.and_then(|next| self.change(fleet, next));
        if let Some(plan) = plan {
            self.begin(plan, "the declared mesh", context);
        }
        Ok(())
    }

    /// An operator asks for what is declared, although it went back once.
    pub(crate) fn start_configuration(
        &mut self,
        fleet: &str,
        to: &str,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let plan = self.plan_configuration(fleet, to)?;
        // It begins by itself when what it waits for is over, and so do the steps after it.
        if let Some(state) = self.fleets.get_mut(fleet) {
            state.given_up = None;
        }
        if let Some(wait) = self.configuration_wait(fleet, context.now) {
            let text = format!("{actor} asked for `{to}`; {wait}");
            context.notice(&subject(fleet), NoticeLevel::Info, text);
            return Ok(());
        }
        self.begin(plan, actor, context);
        Ok(())
    }

    /// What a rollout of a fleet's declared configuration would do.
    pub(crate) fn plan_configuration(&self, fleet: &str, to: &str) -> Result<Plan, Refusal> {
        let name = subject(fleet);
        let Some(next) = self.next_settings(fleet) else {
            return Err(self.unknown_fleet(fleet));
        };
        let revision = next.revision(fleet);
        let state = self.fleets.get(fleet);
        if let Some(run) = state.and_then(FleetState::running) {
            return Err(Refusal::Running {
                service: name,
                from: run.plan.from.clone(),
                to: run.plan.to.clone(),
                phase: run.place().to_owned(),
            });
        }
        if to != revision {
            let why = format!("what is to come next is the revision {revision}, not `{to}`");
            return Err(not_now(&name, why));
        }
        if let Some(entry) = self.quarantine_of(&revision) {
            return Err(entry.refusal(self.latest));
        }
        self.change(fleet, next).ok_or(Refusal::AlreadyThere {
            service: name,
            version: revision,
        })
    }
}
