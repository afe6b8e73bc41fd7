//! What may start: the checks of a rollout before it exists.

use crate::rollout::state::join;
use crate::rollout::{Phase, Plan, Refusal, State, fleet_of, plan};

// === impl State ===

impl State {
    /// What a rollout of `service` to version `to` would do.
    ///
    /// # Errors
    /// The refusals of [`Event::Start`](crate::rollout::Event::Start).
    pub fn plan(&self, service: &str, to: &str) -> Result<Plan, Refusal> {
        let mut plan = match fleet_of(service) {
            Some(fleet) => self.plan_configuration(fleet, to)?,
            None => self.checked(service, to)?,
        };
        self.warn_of_waits(&mut plan);
        Ok(plan)
    }

    /// What may be done, once its turn has come.
    pub(crate) fn checked(&self, service: &str, to: &str) -> Result<Plan, Refusal> {
        let plan = self.possible(service, to)?;
        self.acceptable(service, to)?;
        Ok(plan)
    }

    /// Whether the version is declared, has hosts and is not in quarantine, whatever runs now.
    pub(crate) fn acceptable(&self, service: &str, to: &str) -> Result<(), Refusal> {
        let (declared, _) = self.service(service)?;
        let Some(version) = declared.versions.get(to) else {
            return Err(Refusal::UnknownVersion {
                service: service.to_owned(),
                version: to.to_owned(),
                known: join(declared.versions.keys()),
            });
        };
        if version.hosts.is_empty() {
            return Err(Refusal::NotNow {
                service: service.to_owned(),
                why: format!("version `{to}` has no hosts; declare at least one"),
            });
        }
        match self.quarantine_of(&declared.content(service, to)) {
            Some(quarantined) => Err(quarantined.refusal(self.latest)),
            None => Ok(()),
        }
    }

    /// What can be done at all, wise or not.
    pub(crate) fn possible(&self, service: &str, to: &str) -> Result<Plan, Refusal> {
        let (declared, state) = self.service(service)?;
        let Some(version) = declared.versions.get(to) else {
            return Err(Refusal::UnknownVersion {
                service: service.to_owned(),
                version: to.to_owned(),
                known: join(declared.versions.keys()),
            });
        };
        let not_now = |why: String| Refusal::NotNow {
            service: service.to_owned(),
            why,
        };
        if let Some(running) = state.running()
            && running.phase == Phase::Reverting
        {
            return Err(not_now(format!(
                "a rollout to `{}` is still going back to `{}`; start again when `tidegate \
                 rollout watch {service}` returns",
                running.plan.to, running.plan.from
            )));
        }
        if let Some(running) = state.running() {
            return Err(Refusal::Running {
                service: service.to_owned(),
                from: running.plan.from.clone(),
                to: running.plan.to.clone(),
                phase: running.place().to_owned(),
            });
        }
        if state.stable == to {
            return Err(Refusal::AlreadyThere {
                service: service.to_owned(),
                version: to.to_owned(),
            });
        }
        if version.hosts.is_empty() {
            let why = format!("version `{to}` has no hosts; declare at least one");
            return Err(not_now(why));
        }
        let mut plan = plan::plan(service, declared, &state.stable, to);
        plan.lease = self.lease(service);
        plan.warnings
            .extend(self.relatives_in_quarantine(service, to));
        Ok(plan)
    }
}
