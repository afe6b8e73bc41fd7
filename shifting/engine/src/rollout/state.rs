//! The state of all rollouts, and the questions it answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::compile::{Split, Splits};
use crate::guard::{self, InUse, Need};
use crate::mesh::{Mesh, Service, Settings};
use crate::rollout::calls::SeenCalls;
use crate::rollout::configuration::FleetState;
use crate::rollout::freeze::CivilClock;
use crate::rollout::queue::Start;
use crate::rollout::run::Context;
use crate::rollout::{
    Effect, Event, KnownGood, NoticeLevel, Observation, Phase, Plan, Quarantined, Queued, Refusal,
    Rollout, RolloutStatus, fleet_of, known_good,
};
use crate::time::Time;
use crate::units::Ppm;

/// Most finished rollouts that are kept besides the latest of each service.
const FINISHED_MAX: usize = 100;

/// The fold of the journal. Cheap to clone: what is large is shared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) services: BTreeMap<String, ServiceState>,
    /// Finished rollouts that are no service's latest, oldest first.
    finished: VecDeque<Arc<Rollout>>,
    /// The latest number given to a rollout, and epoch given to an exposure.
    number: u64,
    epoch: u64,
    /// The latest event's time; time never goes back.
    pub(crate) latest: Time,
    /// By content.
    #[serde(default)]
    pub(crate) quarantine: Arc<BTreeMap<String, Quarantined>>,
    /// The latest reading of the civil time.
    #[serde(default)]
    pub(crate) civil: Option<CivilClock>,
    /// Fleets whose configuration once differed from what is declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) fleets: BTreeMap<String, FleetState>,
    /// Which services the fleets' sidecars were seen calling.
    #[serde(default, skip_serializing_if = "is_none_seen")]
    pub(crate) calls: Arc<SeenCalls>,
}

fn is_none_seen(calls: &Arc<SeenCalls>) -> bool {
    calls.is_none()
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    /// The version that has the traffic, but for a running rollout's share.
    pub(crate) stable: String,
    /// The latest rollout, running or over.
    pub(crate) rollout: Option<Arc<Rollout>>,
    /// What was proven, oldest first.
    #[serde(default)]
    pub(crate) known_good: Arc<Vec<KnownGood>>,
    /// What waits for its turn, the next one first.
    #[serde(default)]
    pub(crate) queue: Arc<Vec<Queued>>,
}

// === impl State ===

impl State {
    /// The next state, and what must follow. The program makes the event durable before it
    /// replaces its state and acts on the effects. Cheap: only the rollout it is about is copied.
    ///
    /// # Errors
    /// A refusal changes nothing and is not to be journaled.
    pub fn apply(&self, event: &Event, now: Time) -> Result<(State, Vec<Effect>), Refusal> {
        let mut next = self.clone();
        let effects = next.fold(event, now)?;
        Ok((next, effects))
    }

    /// [`Self::apply`] for whoever needs the state before no more: to replay, or to take a second's
    /// observations on one copy. An observation copies nothing that no other state shares.
    ///
    /// # Errors
    /// A refusal changes nothing and is not to be journaled.
    pub fn step(&mut self, event: &Event, now: Time) -> Result<Vec<Effect>, Refusal> {
        if matches!(event, Event::Observed(_)) {
            // An observation is refused before it changes anything but the time, or not at all.
            let latest = self.latest;
            let folded = self.fold(event, now);
            if folded.is_err() {
                self.latest = latest;
            }
            return folded;
        }
        let (next, effects) = self.apply(event, now)?;
        *self = next;
        Ok(effects)
    }

    /// A refusal may leave half of a change behind.
    fn fold(&mut self, event: &Event, now: Time) -> Result<Vec<Effect>, Refusal> {
        self.latest = self.latest.max(now);
        let mut context = Context {
            now: self.latest,
            epoch: self.epoch,
            effects: Vec::new(),
            frozen: None,
            crowded: None,
        };
        match event {
            Event::MeshAccepted { mesh } => self.accept(mesh, &mut context)?,
            Event::MeshDeclared { mesh } => self.declare(mesh, &mut context)?,
            Event::Configure { fleet } => self.configure(fleet, &mut context)?,
            Event::Start {
                service,
                to,
                actor,
                turn,
                terms,
            } => {
                let start = Start {
                    service,
                    to,
                    actor,
                    terms,
                };
                match fleet_of(service) {
                    Some(fleet) => self.start_configuration(fleet, to, actor, &mut context)?,
                    None => self.start(&start, *turn, &mut context)?,
                }
            }
            Event::Pause { service, actor } => self.pause(service, actor, &mut context)?,
            Event::Resume { service, actor } => self.resume(service, actor, &mut context)?,
            Event::Abort {
                service,
                actor,
                reason,
                quarantine,
            } => self.abort(service, actor, reason, *quarantine, &mut context)?,
            Event::Back { service, to, actor } => {
                let to = to.as_deref();
                match fleet_of(service) {
                    Some(fleet) => self.configure_back(fleet, to, actor, &mut context)?,
                    None => self.back(service, to, actor, &mut context)?,
                }
            }
            Event::LiftQuarantine {
                service,
                version,
                actor,
                reason,
            } => self.lift(service, version, actor, reason, &mut context)?,
            Event::Approve { service, actor } => self.approve(service, actor, &mut context)?,
            Event::Cancel { service, to, actor } => {
                self.cancel(service, to, actor, &mut context)?;
            }
            Event::Admit { service } => self.admit(service, &mut context)?,
            Event::ClockRead { unix_ms } => {
                self.civil = Some(CivilClock {
                    unix_ms: *unix_ms,
                    at: self.latest,
                });
            }
            Event::CallsSeen { calls } => self.note_calls(calls, &mut context),
            Event::Observed(observation) => self.observe(observation, &mut context)?,
            Event::Recovered { outage_ms } => self.recover(*outage_ms, &mut context),
        }
        self.epoch = context.epoch;
        Ok(context.effects)
    }

    /// What was last served, without its rollouts: for a program whose journal cannot be read. It
    /// is no state to go on from, since what was remembered is missing. `settings` are those of
    /// fleets that are not configured as `mesh` declares ([`Self::staged_settings`]).
    #[must_use]
    pub fn frozen(mesh: Mesh, splits: &Splits, settings: BTreeMap<String, Settings>) -> Self {
        let services = splits
            .iter()
            .map(|(name, split)| (name.clone(), ServiceState::new(&split.stable)))
            .collect();
        Self {
            mesh: Some(Arc::new(mesh)),
            services,
            fleets: settings
                .into_iter()
                .map(|(fleet, settings)| (fleet, FleetState::new(settings)))
                .collect(),
            ..Self::default()
        }
    }

    /// What every service's traffic split must be now.
    #[must_use]
    pub fn splits(&self) -> Splits {
        self.services
            .iter()
            .map(|(name, service)| (name.clone(), service.split()))
            .collect()
    }

    /// The running rollouts; each needs an [`Observation`] per tick (1 s).
    pub fn active(&self) -> impl Iterator<Item = &Rollout> {
        let configurations = self.fleets.values().filter_map(FleetState::running);
        let services = self.services.values().filter_map(ServiceState::running);
        services.chain(configurations)
    }

    /// After so many milliseconds without renewal sidecars drop every canary's share, the shortest
    /// of all since shares lie in one layer and expire together; `None` when no share is above 0.
    #[must_use]
    pub fn dead_man_ttl_ms(&self) -> Option<u64> {
        self.active()
            .filter(|run| run.share() > Ppm::ZERO && run.plan.configuration.is_none())
            .map(|run| run.plan().policy.dead_man_ttl_ms)
            .min()
    }

    /// The latest rollout of a service, or of a fleet's configuration, running or over.
    #[must_use]
    pub fn latest(&self, service: &str) -> Option<&Rollout> {
        match fleet_of(service) {
            Some(fleet) => self.fleets.get(fleet)?.rollout.as_deref(),
            None => self.services.get(service)?.rollout.as_deref(),
        }
    }

    /// The latest rollout of every service and of every fleet's configuration.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = &Rollout> {
        let services = self.services.values().map(|state| &state.rollout);
        let fleets = self.fleets.values().map(|state| &state.rollout);
        services.chain(fleets).filter_map(Option::as_deref)
    }

    /// The mesh in force.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        self.mesh.as_deref()
    }

    /// The version that has the service's traffic, but for a running rollout's share.
    #[must_use]
    pub fn stable(&self, service: &str) -> Option<&str> {
        Some(self.services.get(service)?.stable.as_str())
    }

    /// The latest rollout of a service, for people.
    #[must_use]
    pub fn status(&self, service: &str, now: Time) -> Option<RolloutStatus> {
        self.latest(service)
            .map(|rollout| self.completed(rollout.status(now)))
    }

    /// The latest rollout of every service, for people.
    #[must_use]
    pub fn statuses(&self, now: Time) -> Vec<RolloutStatus> {
        self.rollouts()
            .map(|rollout| self.completed(rollout.status(now)))
            .collect()
    }

    /// With what only the whole state knows.
    fn completed(&self, mut status: RolloutStatus) -> RolloutStatus {
        let service = &status.plan.service;
        status.way_back = self.way_back(service);
        status.known_good = self.known_good(service);
        status.queue = self.queue(Some(service), status.now);
        status
    }

    /// Earlier finished rollouts of all services, oldest first; a bounded number.
    pub fn finished(&self) -> impl Iterator<Item = &Rollout> {
        self.finished.iter().map(Arc::as_ref)
    }

    pub(crate) fn service(&self, name: &str) -> Result<(&Service, &ServiceState), Refusal> {
        let declared = self.mesh.as_ref().and_then(|mesh| mesh.services.get(name));
        match (declared, self.services.get(name)) {
            (Some(declared), Some(state)) => Ok((declared, state)),
            _ => Err(Refusal::UnknownService {
                service: name.to_owned(),
                known: match &self.mesh {
                    Some(mesh) if !mesh.services.is_empty() => join(mesh.services.keys()),
                    _ => "none".to_owned(),
                },
            }),
        }
    }

    /// The running rollout, to be changed.
    pub(crate) fn running_mut(&mut self, service: &str) -> Result<&mut Rollout, Refusal> {
        let not_running = || Refusal::NotRunning {
            service: service.to_owned(),
        };
        let latest = match fleet_of(service) {
            Some(fleet) => self
                .fleets
                .get_mut(fleet)
                .and_then(|state| state.rollout.as_mut()),
            None => {
                self.service(service)?;
                self.services
                    .get_mut(service)
                    .and_then(|state| state.rollout.as_mut())
            }
        };
        latest
            .filter(|rollout| !rollout.phase.is_final())
            .map(Arc::make_mut)
            .ok_or_else(not_running)
    }

    /// Starts a planned rollout; the one it replaces goes to the finished ones.
    pub(crate) fn begin(&mut self, plan: Plan, actor: &str, context: &mut Context) {
        self.number = self.number.saturating_add(1);
        let service = plan.service.clone();
        let rollout = Rollout::new(self.number, actor, plan, context);
        let latest = match fleet_of(&service) {
            Some(fleet) => self.begin_fleet(fleet).map(|state| &mut state.rollout),
            None => self
                .services
                .get_mut(&service)
                .map(|state| &mut state.rollout),
        };
        let Some(latest) = latest else { return };
        if let Some(old) = latest.replace(Arc::new(rollout)) {
            if self.finished.len() >= FINISHED_MAX {
                self.finished.pop_front();
            }
            self.finished.push_back(old);
        }
    }

    /// The mesh is declared; what it changes of fleets' configuration is to walk the ladder.
    fn declare(&mut self, mesh: &Mesh, context: &mut Context) -> Result<(), Refusal> {
        let fleets = self.mesh.iter().flat_map(|mesh| mesh.fleets.keys());
        let before = fleets
            .filter_map(|fleet| Some((fleet.clone(), self.settings(fleet)?)))
            .collect();
        self.accept(mesh, context)?;
        self.stage(before, context);
        Ok(())
    }

    fn accept(&mut self, mesh: &Mesh, context: &mut Context) -> Result<(), Refusal> {
        if let Some(current) = &self.mesh {
            guard::check(current, &self.in_use(), mesh)?;
        }
        for (name, service) in &mesh.services {
            match self.services.get_mut(name) {
                None => {
                    self.services
                        .insert(name.clone(), ServiceState::new(&service.initial));
                }
                Some(state) => {
                    let before = self.mesh.as_ref().and_then(|m| m.services.get(name));
                    state.redeclared(name, before, service, context);
                }
            }
        }
        let calls = self.observed_calls(context.now);
        let before = self.mesh.replace(Arc::new(mesh.clone()));
        self.tell_found(&calls, context);
        self.tell_of_ways_back(before.as_deref(), context);
        Ok(())
    }

    fn in_use(&self) -> InUse {
        self.services
            .iter()
            .map(|(name, service)| (name.clone(), service.in_use()))
            .collect()
    }

    fn observe(&mut self, observation: &Observation, context: &mut Context) -> Result<(), Refusal> {
        let service = &observation.service;
        let no_way_back = self.no_way_back(service);
        context.frozen = self.freeze_of(service, context.now);
        context.crowded = self.crowded(observation);
        let rivals = self.rivals(observation);
        let (at_fault, over) = self.beside(service);
        let rollout = self.running_mut(service)?;
        let before = rollout.phase;
        rollout.parts.clone_from(&observation.parts);
        rollout.cross(&rivals, observation, context.now);
        rollout.note_rival(at_fault, over, context.now);
        rollout.no_way_back = no_way_back;
        rollout.tick(observation, context);
        let after = rollout.phase;
        let to = (after == Phase::Committed).then(|| rollout.plan.to.clone());
        let goes_back = after == Phase::Reverting && before != Phase::Reverting;
        if goes_back {
            self.attribute(service, context);
        }
        if let Some(fleet) = fleet_of(service) {
            self.after_configuration_step(fleet, before, context);
            return Ok(());
        }
        if goes_back {
            self.quarantine_if_at_fault(service, context);
        }
        if let Some(to) = to {
            if let Some(state) = self.services.get_mut(service) {
                state.stable = to;
            }
            self.remember_good(service, context.now);
        }
        Ok(())
    }
}

// === impl ServiceState ===

impl ServiceState {
    fn new(initial: &str) -> Self {
        Self {
            stable: initial.to_owned(),
            rollout: None,
            known_good: Arc::default(),
            queue: Arc::default(),
        }
    }

    pub(crate) fn running(&self) -> Option<&Rollout> {
        self.rollout
            .as_deref()
            .filter(|rollout| !rollout.phase.is_final())
    }

    /// The version that has the traffic by default, and the one beside it with its share.
    pub(crate) fn parts(&self) -> (&str, Option<(&str, Ppm)>) {
        self.running()
            .map_or((self.stable.as_str(), None), Rollout::parts)
    }

    fn split(&self) -> Split {
        self.running().map_or_else(
            || Split {
                stable: self.stable.clone(),
                canary: None,
            },
            Rollout::split,
        )
    }

    /// The versions that may not vanish, and why.
    fn in_use(&self) -> BTreeMap<String, Need> {
        let mut versions = BTreeMap::new();
        versions.insert(self.stable.clone(), Need::hosts(1, "carries its traffic"));
        if let Some(running) = self.running() {
            let plan = &running.plan;
            let least = known_good::least_hosts(plan);
            versions.insert(plan.to.clone(), Need::hosts(1, "takes part in a rollout"));
            versions.insert(
                plan.from.clone(),
                Need::hosts(least, "is the way back of a rollout"),
            );
        }
        versions
    }

    /// The service is declared anew: nothing of it moves traffic.
    fn redeclared(
        &mut self,
        name: &str,
        before: Option<&Service>,
        after: &Service,
        context: &mut Context,
    ) {
        let Some(before) = before else { return };
        if before.initial != after.initial && after.initial != self.stable {
            context.notice(
                name,
                NoticeLevel::Info,
                format!(
                    "`initial` of `{name}` is now `{}`; that moves nothing, `{}` keeps its \
                     traffic; to move it: tidegate rollout start {name} {}",
                    after.initial, self.stable, after.initial
                ),
            );
        }
        let changed = before.slo != after.slo
            || before.ladder != after.ladder
            || before.rollout != after.rollout;
        if changed
            && let Some(rollout) = self.rollout.as_mut()
            && !rollout.phase.is_final()
        {
            Arc::make_mut(rollout).note(
                "the service's objectives, ladder or waits were declared anew; this rollout keeps \
                 the plan it started with"
                    .to_owned(),
                context.now,
            );
        }
    }
}

pub(crate) fn join<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}
