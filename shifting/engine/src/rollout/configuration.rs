//! Configuration rollouts: the subject is a fleet's sidecars, the arms are sidecars on the old and
//! on the new revision of its settings (design M5, issue 4).
//!
//! A mesh that is declared changes what its fleets *should* be configured with. What they are
//! configured with changes by a rollout only, which begins by itself when its turn has come: it
//! waits for running rollouts of the fleet's services, for other fleets that reach the same
//! services, and for freezes. What went back is not tried again by itself; another declared mesh,
//! or an operator, makes it another try.
//!
//! Only fleets that once differed from what is declared are kept here: of all others the mesh says
//! it all.

mod back;
mod plan;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mesh::{Mesh, Settings};
use crate::rollout::known_good::GENERATIONS;
use crate::rollout::run::Context;
use crate::rollout::state::join;
use crate::rollout::{
    Cause, Exposed, KnownGood, NoticeLevel, Phase, Plan, Refusal, Rollout, State,
};

pub use turn::{Pending, Preview};

/// What the rollout of a fleet's configuration is called wherever a rollout is named by its
/// service: `fleet:NAME`. No service has such a name.
#[must_use]
pub fn subject(fleet: &str) -> String {
    format!("fleet:{fleet}")
}

/// The fleet of a [`subject`]; `None` for a service.
#[must_use]
pub fn fleet_of(subject: &str) -> Option<&str> {
    subject.strip_prefix("fleet:")
}

/// What a configuration rollout brings; fixed when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The fleet.
    pub fleet: String,
    /// What its sidecars have, and have again if it goes back.
    pub before: Settings,
    /// What they are to have.
    pub after: Settings,
    /// The services whose requests it is judged by: those that are treated differently.
    pub touched: BTreeSet<String>,
    /// What changes, a sentence each.
    pub changes: Vec<String>,
}

/// A fleet whose sidecars are, or once were, not all configured as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FleetState {
    /// What its sidecars have, but for those that a running rollout exposes.
    pub(crate) settings: Settings,
    /// The latest rollout, running or over.
    pub(crate) rollout: Option<Arc<Rollout>>,
    /// The revision of what is declared, of which nothing is begun by itself any more.
    pub(crate) given_up: Option<String>,
    /// What was proven, oldest first.
    pub(crate) known_good: Arc<Vec<KnownSettings>>,
}

/// Settings that a fleet ran well with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownSettings {
    pub(crate) good: KnownGood,
    pub(crate) settings: Settings,
}

/// By what a fleet's sidecars are configured now.
#[derive(Debug, Clone)]
pub struct FleetConfiguration {
    /// The mesh as most of them see it.
    pub mesh: Arc<Mesh>,
    /// While a configuration rollout runs: the mesh as the others see it, and who they are.
    pub candidate: Option<(Arc<Mesh>, Exposed)>,
}

/// By fleet.
pub type FleetConfigurations = BTreeMap<String, FleetConfiguration>;
// === impl FleetState ===

impl FleetState {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            rollout: None,
            given_up: None,
            known_good: Arc::default(),
        }
    }

    pub(crate) fn running(&self) -> Option<&Rollout> {
        self.rollout
            .as_deref()
            .filter(|rollout| !rollout.phase.is_final())
    }
}

// === impl State ===

impl State {
    /// What every fleet's sidecars must be configured by now.
    #[must_use]
    pub fn configurations(&self) -> FleetConfigurations {
        let Some(mesh) = &self.mesh else {
            return BTreeMap::new();
        };
        let configuration = |fleet: &String| {
            let over = |settings: &Settings| {
                if Settings::of(mesh, fleet).as_ref() == Some(settings) {
                    Arc::clone(mesh)
                } else {
                    Arc::new(settings.over(mesh, fleet))
                }
            };
            let state = self.fleets.get(fleet);
            let candidate = state.and_then(FleetState::running).and_then(|run| {
                let change = run.plan.configuration.as_ref()?;
                Some((over(&change.after), run.exposed_sidecars()))
            });
            FleetConfiguration {
                mesh: state.map_or_else(|| Arc::clone(mesh), |state| over(&state.settings)),
                candidate,
            }
        };
        mesh.fleets
            .keys()
            .map(|fleet| (fleet.clone(), configuration(fleet)))
            .collect()
    }

    /// What every fleet's sidecars would be configured by if all of them had what is declared.
    #[must_use]
    pub fn declared_configurations(&self) -> FleetConfigurations {
        let mesh = self.mesh.iter();
        mesh.flat_map(|mesh| mesh.fleets.keys().map(move |fleet| (fleet, mesh)))
            .map(|(fleet, mesh)| {
                let configuration = FleetConfiguration {
                    mesh: Arc::clone(mesh),
                    candidate: None,
                };
                (fleet.clone(), configuration)
            })
            .collect()
    }

    /// What a fleet's sidecars have, but for those that a running rollout exposes.
    #[must_use]
    pub fn settings(&self, fleet: &str) -> Option<Settings> {
        match self.fleets.get(fleet) {
            Some(state) => Some(state.settings.clone()),
            None => Settings::of(self.mesh.as_deref()?, fleet),
        }
    }

    fn declared_settings(&self, fleet: &str) -> Option<Settings> {
        Settings::of(self.mesh.as_deref()?, fleet)
    }

    /// What the next rollout of a fleet's configuration is to bring: of what is declared, what
    /// changes the least critical services.
    pub(crate) fn next_settings(&self, fleet: &str) -> Option<Settings> {
        let declared = self.declared_settings(fleet)?;
        let step = self
            .settings(fleet)?
            .step_to(&declared, |service| self.tier(service));
        Some(step)
    }

    /// What every fleet's sidecars have that the mesh in force declares otherwise: what a later
    /// [`State::frozen`](crate::rollout::State::frozen) needs to serve the same.
    #[must_use]
    pub fn staged_settings(&self) -> BTreeMap<String, Settings> {
        let differs = |fleet: &str, settings: &Settings| {
            self.declared_settings(fleet)
                .is_some_and(|declared| declared != *settings)
        };
        self.fleets
            .iter()
            .filter(|(fleet, state)| differs(fleet, &state.settings))
            .map(|(fleet, state)| (fleet.clone(), state.settings.clone()))
            .collect()
    }

    /// A mesh was declared; `before` is what each fleet had. Nothing of a fleet's configuration
    /// changes by that.
    pub(crate) fn stage(&mut self, before: BTreeMap<String, Settings>, context: &mut Context) {
        for (fleet, settings) in before {
            let Some(declared) = self.declared_settings(&fleet) else {
                continue;
            };
            if !self.fleets.contains_key(&fleet) {
                if settings == declared {
                    continue;
                }
                let state = FleetState::new(settings);
                self.fleets.insert(fleet.clone(), state);
            }
            let revision = declared.revision(&fleet);
            let next = self.next_settings(&fleet).map(|next| next.revision(&fleet));
            let Some(state) = self.fleets.get_mut(&fleet) else {
                continue;
            };
            if state.given_up.as_ref() != Some(&revision) {
                state.given_up = None;
            }
            if let Some(run) = state.rollout.as_mut()
                && !matches!(run.phase, Phase::Reverting | Phase::Committing)
                && !run.phase.is_final()
                && Some(&run.plan.to) != next.as_ref()
            {
                let reason = format!("superseded: the mesh declares revision {revision} now");
                Arc::make_mut(run).revert(Cause::Superseded, reason, NoticeLevel::Info, context);
            }
        }
    }
    /// The plan that brings `after` to a fleet; `None` when it has that.
    fn change(&self, fleet: &str, after: Settings) -> Option<Plan> {
        let before = self.settings(fleet)?;
        let mesh = self.mesh()?;
        (before != after).then(|| plan::plan(mesh, fleet, before, after))
    }

    pub(crate) fn unknown_fleet(&self, fleet: &str) -> Refusal {
        let known = self.mesh().map(|mesh| join(mesh.fleets.keys()));
        Refusal::UnknownFleet {
            fleet: fleet.to_owned(),
            known: known.unwrap_or_else(|| "none".to_owned()),
        }
    }

    /// What goes back is not tried again by itself, unless it merely made way for another revision.
    pub(crate) fn give_up(&mut self, fleet: &str) {
        let declared = self
            .declared_settings(fleet)
            .map(|declared| declared.revision(fleet));
        let Some(state) = self.fleets.get_mut(fleet) else {
            return;
        };
        let goes_back = |run: &Rollout| {
            let cause = run.reverted.as_ref().map(|reverted| reverted.cause);
            cause.is_some_and(|cause| cause != Cause::Superseded)
        };
        if state.rollout.as_deref().is_some_and(goes_back) {
            state.given_up = declared;
        }
    }

    /// The fleet whose configuration rollout begins.
    pub(crate) fn begin_fleet(&mut self, fleet: &str) -> Option<&mut FleetState> {
        let settings = self.settings(fleet)?;
        let state = self.fleets.entry(fleet.to_owned());
        Some(state.or_insert_with(|| FleetState::new(settings)))
    }

    /// A configuration rollout took a step.
    pub(crate) fn after_configuration_step(
        &mut self,
        fleet: &str,
        before: Phase,
        context: &mut Context,
    ) {
        let Some(state) = self.fleets.get_mut(fleet) else {
            return;
        };
        let Some(run) = state.rollout.clone() else {
            return;
        };
        let Some(change) = run.plan.configuration.as_deref() else {
            return;
        };
        if run.phase == before {
            return;
        }
        match run.phase {
            Phase::Committed => {
                state.settings = change.after.clone();
                if run.is_proven() {
                    let known = Arc::make_mut(&mut state.known_good);
                    known.retain(|other| other.good.version != run.plan.to);
                    known.push(KnownSettings {
                        good: KnownGood {
                            version: run.plan.to.clone(),
                            content: run.plan.to.clone(),
                            rollout: run.number,
                            since: context.now,
                        },
                        settings: change.after.clone(),
                    });
                    let surplus = known.len().saturating_sub(GENERATIONS);
                    known.drain(..surplus);
                }
            }
            Phase::Reverting => {
                self.give_up(fleet);
                self.quarantine_if_at_fault(&subject(fleet), context);
            }
            _ => {}
        }
    }
}
