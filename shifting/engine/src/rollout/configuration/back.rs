//! Back to settings that a fleet ran well with, through the same ladder.

use super::{FleetState, subject};
use crate::rollout::known_good::BAKE_DIVISOR;
use crate::rollout::queue::not_now;
use crate::rollout::run::Context;
use crate::rollout::{Pace, Refusal, State, WayBack};

// === impl State ===

impl State {
    /// Where a fleet's configuration could go back to now; `None` where it never changed.
    pub(crate) fn way_back_of_fleet(&self, fleet: &str) -> Option<WayBack> {
        let (state, name) = (self.fleets.get(fleet)?, subject(fleet));
        if let Some(run) = state.running() {
            // What they had is kept with the rollout, and can always be served again.
            return Some(WayBack {
                version: Some(run.plan.from.clone()),
                ready: true,
                text: format!("tidegate rollout abort {name}"),
            });
        }
        let known = state.known_good.iter().rev();
        let target = known
            .map(|known| (&known.good.version, &known.settings))
            .find(|(_, settings)| **settings != state.settings);
        Some(match target {
            Some((revision, _)) => WayBack {
                version: Some(revision.clone()),
                ready: true,
                text: format!("tidegate rollout back {name} --to {revision}"),
            },
            None => WayBack {
                version: None,
                ready: false,
                text: "no other revision of it is known good; declare the earlier mesh again"
                    .to_owned(),
            },
        })
    }

    /// Back to the settings that were known good before, through the same ladder.
    pub(crate) fn configure_back(
        &mut self,
        fleet: &str,
        to: Option<&str>,
        actor: &str,
        context: &mut Context,
    ) -> Result<(), Refusal> {
        let name = subject(fleet);
        if self.declared_settings(fleet).is_none() {
            return Err(self.unknown_fleet(fleet));
        }
        let state = self.fleets.get(fleet);
        if let Some(run) = state.and_then(FleetState::running) {
            let why = format!(
                "a rollout to {} is running; the way back from it is `tidegate rollout abort {name}`",
                run.plan.to
            );
            return Err(not_now(&name, why));
        }
        let known = state.into_iter().flat_map(|state| state.known_good.iter());
        let target = known.rev().find(|known| {
            let differs = state.is_some_and(|state| state.settings != known.settings);
            differs && to.is_none_or(|to| known.good.version == to)
        });
        let Some(target) = target else {
            let why = "no other revision of it is known good; declare the earlier mesh again";
            return Err(not_now(&name, why.to_owned()));
        };
        let mut after = target.settings.clone();
        if let Some(declared) = self.declared_settings(fleet) {
            // What came within reach since then stays there: what is in use is not deleted.
            for (service, settings) in declared.services {
                after.services.entry(service).or_insert(settings);
            }
        }
        let given_up = self
            .declared_settings(fleet)
            .map(|declared| declared.revision(fleet));
        let Some(mut plan) = self.change(fleet, after) else {
            return Err(not_now(&name, "it has that already".to_owned()));
        };
        plan.pace = Pace::KnownGood;
        plan.policy.bake_ms = plan.policy.bake_ms.div_ceil(BAKE_DIVISOR);
        plan.warnings.push(format!(
            "it is known good: every rung, but a bake of {} s; the declared mesh differs, and is \
             not tried again by itself",
            plan.policy.bake_ms / 1000
        ));
        self.let_overlap(&mut plan, actor);
        if let Some(state) = self.fleets.get_mut(fleet) {
            state.given_up = given_up;
        }
        self.begin(plan, actor, context);
        Ok(())
    }
}
