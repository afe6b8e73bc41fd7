//! The world of the fleet's model check: three sidecars, their processes and streams, and what the
//! program sees of them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::faults::Fault;
use crate::mesh::{Mesh, RolloutPolicy, Rung, Settings};
use crate::rollout::fixture::mesh;
use crate::rollout::{Event, Phase, Rollout, State, invariants};
use crate::time::Time;
use crate::units::Ppm;

pub(super) const WEB: &str = "fleet:web";

/// With their zones.
pub(super) const SIDECARS: [(&str, &str); 3] = [("s1", "a"), ("s2", "b"), ("s3", "b")];
const SHORT_MS: u64 = 1_000;
const LONG_MS: u64 = 60_000;
/// Seconds that trouble lasts at most, and that are looked at in all.
const TROUBLE_MAX: u8 = 8;
const LOOKED_AT_MS: u64 = 150_000;
/// The timeout of the mesh that somebody declares in the middle.
const REDECLARED_MS: u64 = 5_000;
const BEGIN: Time = Time(1_000_000);

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A second passes, and the engine looks.
    Tick,
    /// A sidecar takes what was sent to it.
    Acknowledge(usize),
    /// A sidecar does not answer for now.
    Stall(usize),
    /// A sidecar refuses it.
    Reject(usize),
    /// A sidecar's stream breaks, or its process dies; it comes back.
    Disconnect(usize),
    Die(usize),
    Reconnect(usize),
    /// From now on requests and reports behave like this.
    Turn(Weather),
    /// The program dies and comes back, soon or late.
    Crash {
        long: bool,
    },
    /// Operators.
    Pause,
    Resume,
    Abort,
    /// Somebody declares yet another timeout.
    Redeclare,
}

/// How requests and reports behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Weather {
    Healthy,
    /// Half of the requests through sidecars on the new revision fail.
    CandidateFails,
    /// A fifth of all requests fails.
    AllFail,
    /// Nobody on the new revision reports.
    CandidateSilent,
    /// Nobody reports.
    AllSilent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sidecar {
    /// The timeout that it runs with: which revision it has.
    pub(super) has: u64,
    /// What was sent and not answered yet.
    pub(super) sent: Option<u64>,
    /// What it refused.
    pub(super) rejected: Option<u64>,
    pub(super) connected: bool,
    pub(super) stalled: bool,
    /// Its process began anew, and nobody was told yet.
    pub(super) restarted: bool,
}

/// A configuration rollout, its sidecars, and what may still go wrong.
#[derive(Clone)]
pub(super) struct World {
    pub(super) state: Arc<State>,
    pub(super) now: Time,
    pub(super) weather: Weather,
    /// Ticks in a row in which half of the candidate's requests failed.
    pub(super) failing: u8,
    trouble: u8,
    /// A process on the old revision died: then one on the new revision may, too.
    pub(super) others_died: bool,
    pub(super) sidecars: [Sidecar; 3],
    surprises: u8,
    broken: Option<String>,
    pub(super) digest: u64,
}

/// With this timeout; waits of a few ticks.
fn declared(timeout_ms: u64) -> Mesh {
    let mut mesh = mesh();
    let fleet = mesh.fleets.get_mut("web").expect("it is there");
    fleet.ladder = Some(vec![Rung::Hosts(1), Rung::Share(Ppm::WHOLE)]);
    fleet.rollout = Some(RolloutPolicy {
        bake_ms: 1_000,
        soak_ms: 1_000,
        acknowledge_deadline_ms: 3_000,
        hold_deadline_ms: 5_000,
        advance_burn_rate: 100,
        ..RolloutPolicy::default()
    });
    let service = mesh.services.get_mut("checkout").expect("it is there");
    service.traffic.timeout_ms = timeout_ms;
    mesh
}

pub(super) fn timeout(settings: &Settings) -> u64 {
    let service = settings.services.get("checkout");
    service.expect("it is reached").traffic.timeout_ms
}

// === impl World ===

impl World {
    pub(super) fn new(surprises: u8) -> Self {
        let mut world = Self {
            state: Arc::default(),
            now: BEGIN,
            weather: Weather::Healthy,
            failing: 0,
            trouble: 0,
            others_died: false,
            sidecars: [Sidecar {
                has: 15_000,
                sent: None,
                rejected: None,
                connected: true,
                stalled: false,
                restarted: false,
            }; 3],
            surprises,
            broken: None,
            digest: 0,
        };
        for timeout_ms in [15_000, 10_000] {
            let mesh = declared(timeout_ms);
            world.apply(&Event::MeshDeclared { mesh }, None);
        }
        world.serve_turns(None);
        world.seal();
        world
    }

    pub(super) fn run(&self) -> &Rollout {
        self.state.latest(WEB).expect("it began")
    }

    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn committed(&self) -> bool {
        self.run().phase() == Phase::Committed
    }

    pub(super) fn reverted(&self) -> bool {
        self.run().phase() == Phase::Reverted
    }

    pub(super) fn paused(&self) -> bool {
        self.run().paused.is_some()
    }

    /// Nothing runs and nothing is to come.
    pub(super) fn over(&self) -> bool {
        self.run().phase().is_final() && self.state.due(self.now).is_empty()
    }

    pub(super) fn actions(&self, actions: &mut Vec<Action>) {
        let looked_at = self.now.since_ms(BEGIN) > LOOKED_AT_MS;
        if self.broken.is_some() || self.over() || looked_at {
            return;
        }
        let asked = |sidecar: &Sidecar| sidecar.sent.is_some() && sidecar.connected;
        match self.sidecars.iter().position(|it| asked(it) && !it.stalled) {
            Some(prompt) => actions.push(Action::Acknowledge(prompt)),
            None if self.trouble < TROUBLE_MAX => actions.push(Action::Tick),
            None => {}
        }
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            if asked(sidecar) && sidecar.stalled {
                actions.push(Action::Acknowledge(index));
            }
            if !sidecar.connected {
                actions.push(Action::Reconnect(index));
            }
        }
        if self.paused() {
            actions.push(Action::Resume);
        }
        if self.weather != Weather::Healthy {
            actions.push(Action::Turn(Weather::Healthy));
        }
        if self.surprises > 0 {
            self.surprising(actions);
        }
    }

    fn surprising(&self, actions: &mut Vec<Action>) {
        // The first one of each kind: all others are alike.
        let candidate = self.index_on(true);
        for index in [candidate, self.index_on(false)].into_iter().flatten() {
            let sidecar = &self.sidecars[index];
            if sidecar.sent.is_some() && sidecar.connected && !sidecar.stalled {
                actions.push(Action::Reject(index));
                actions.push(Action::Stall(index));
            }
            if sidecar.connected {
                actions.push(Action::Disconnect(index));
                actions.push(Action::Die(index));
            }
        }
        if self.weather == Weather::Healthy {
            actions.extend(
                [
                    Weather::CandidateFails,
                    Weather::AllFail,
                    Weather::CandidateSilent,
                    Weather::AllSilent,
                ]
                .map(Action::Turn),
            );
        }
        actions.push(Action::Crash { long: false });
        actions.push(Action::Crash { long: true });
        let moving = matches!(
            self.run().phase(),
            Phase::Preparing | Phase::Judging | Phase::Soaking
        );
        if !self.paused() && moving {
            actions.push(Action::Pause);
        }
        if !self.run().phase().is_final() {
            actions.push(Action::Abort);
        }
        let again = declared(REDECLARED_MS);
        if self.state.mesh() != Some(&again) {
            actions.push(Action::Redeclare);
        }
    }

    /// The first sidecar that is, or is not, to have the new revision.
    fn index_on(&self, candidate: bool) -> Option<usize> {
        let exposed = self.run().exposed_sidecars();
        SIDECARS
            .iter()
            .position(|(id, _)| exposed.includes(id) == candidate)
    }

    pub(super) fn step(&self, action: Action, fault: Option<Fault>) -> Option<Self> {
        let mut next = self.clone();
        let usual = matches!(
            action,
            Action::Tick
                | Action::Acknowledge(_)
                | Action::Reconnect(_)
                | Action::Resume
                | Action::Turn(Weather::Healthy)
        );
        if !usual {
            next.surprises -= 1;
        }
        let (service, actor) = (WEB.to_owned(), "ann".to_owned());
        match action {
            Action::Tick => next.tick(fault),
            Action::Acknowledge(index) => {
                let sidecar = &mut next.sidecars[index];
                sidecar.has = sidecar.sent.take()?;
                sidecar.stalled = false;
            }
            Action::Stall(index) => next.sidecars[index].stalled = true,
            Action::Reject(index) => {
                let sidecar = &mut next.sidecars[index];
                sidecar.rejected = sidecar.sent.take();
            }
            Action::Disconnect(index) | Action::Die(index) => {
                let sidecar = &mut next.sidecars[index];
                sidecar.connected = false;
                sidecar.sent = None;
                sidecar.restarted |= matches!(action, Action::Die(_));
                let exposed = self.run().exposed_sidecars();
                let candidate = exposed.includes(SIDECARS[index].0);
                next.others_died |= sidecar.restarted && !candidate;
            }
            Action::Reconnect(index) => {
                next.sidecars[index].connected = true;
                next.send();
            }
            Action::Turn(weather) => {
                next.weather = weather;
                next.failing = 0;
            }
            Action::Crash { long } => {
                let outage_ms = if long { LONG_MS } else { SHORT_MS };
                next.now = next.now.plus_ms(outage_ms);
                next.sidecars.iter_mut().for_each(|it| it.sent = None);
                let outage_ms = Some(outage_ms);
                next.apply(&Event::Recovered { outage_ms }, fault);
                next.send();
            }
            Action::Pause => next.apply(&Event::Pause { service, actor }, fault),
            Action::Resume => next.apply(&Event::Resume { service, actor }, fault),
            Action::Abort => {
                let event = Event::Abort {
                    service,
                    actor,
                    reason: String::new(),
                    quarantine: false,
                };
                next.apply(&event, fault);
                next.send();
            }
            Action::Redeclare => {
                let mesh = declared(REDECLARED_MS);
                next.apply(&Event::MeshDeclared { mesh }, fault);
                next.send();
            }
        }
        next.seal();
        Some(next)
    }

    /// A second passes; turns that have come begin, the engine looks, and what it decided is sent.
    pub(super) fn tick(&mut self, fault: Option<Fault>) {
        self.now = self.now.plus_ms(1_000);
        let still = |sidecar: &Sidecar| !sidecar.connected || sidecar.stalled;
        let trouble = self.weather != Weather::Healthy || self.paused();
        self.trouble = match trouble || self.sidecars.iter().any(still) {
            true => self.trouble.saturating_add(1),
            false => 0,
        };
        self.serve_turns(fault);
        if !self.run().phase().is_final() {
            let observation = self.observation();
            if self.weather == Weather::CandidateFails && observation.evidence.canary.bad > 0 {
                self.failing = self.failing.saturating_add(1).min(20);
            }
            self.apply(&Event::Observed(observation), fault);
        }
        for sidecar in &mut self.sidecars {
            sidecar.restarted &= !sidecar.connected;
        }
        self.send();
    }

    fn serve_turns(&mut self, fault: Option<Fault>) {
        for event in self.state.due(self.now) {
            self.apply(&event, fault);
        }
    }

    /// One step of the fold, with everything that must hold of it.
    fn apply(&mut self, event: &Event, fault: Option<Fault>) {
        let before = Arc::clone(&self.state);
        let seen = fault.map(|fault| fault.disguise(event));
        let seen = seen.as_ref().unwrap_or(event);
        let Ok((mut after, _)) = before.apply(seen, self.now) else {
            let refused = || format!("{event:?} is refused");
            self.broken.get_or_insert_with(refused);
            return;
        };
        if let Some(fault) = fault {
            fault.spoil(&before, event, &mut after);
        }
        let broken = invariants::check(&before, event, &after).err();
        let broken = broken
            .map(|broken| broken.to_string())
            .or_else(|| self.wrong(&before, event, &after));
        if let Some(broken) = broken {
            self.broken.get_or_insert(broken);
        }
        self.state = Arc::new(after);
    }

    /// The timeout that each sidecar should have.
    pub(super) fn wanted(&self) -> [u64; 3] {
        let run = self.run();
        let exposed = run.exposed_sidecars();
        let settings = self.state.settings("web").expect("it is declared");
        let change = run.plan().configuration.as_deref();
        let after = change.filter(|_| !run.phase().is_final());
        SIDECARS.map(|(id, _)| {
            let candidate = after.filter(|_| exposed.includes(id));
            timeout(candidate.map_or(&settings, |change| &change.after))
        })
    }

    /// Whoever is connected and has not what it should have is sent it.
    fn send(&mut self) {
        for (wanted, sidecar) in self.wanted().into_iter().zip(&mut self.sidecars) {
            let refused = sidecar.rejected == Some(wanted);
            let lacks = sidecar.connected && sidecar.has != wanted && !refused;
            sidecar.sent = lacks.then_some(wanted);
        }
    }

    /// Computes what tells this world from others.
    fn seal(&mut self) {
        let mut hasher = std::hash::DefaultHasher::new();
        // What is only told, and sums of what was seen, decides nothing.
        let mut run = self.run().clone();
        run.history = Arc::default();
        let text = serde_json::to_string(&run).expect("plain data");
        text.hash(&mut hasher);
        let settings = self.state.settings("web");
        settings.as_ref().map(timeout).hash(&mut hasher);
        self.state.due(self.now).len().hash(&mut hasher);
        self.state.mesh().map(Mesh::revision).hash(&mut hasher);
        (self.now.0, self.weather, self.failing, self.trouble).hash(&mut hasher);
        (self.sidecars, self.others_died, self.surprises).hash(&mut hasher);
        self.broken.hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("rollout", &self.run().number())
            .field("phase", &self.run().phase())
            .field("rung", &self.run().rung_name())
            .field("decision", &self.run().decision)
            .field("exposed", &self.run().exposed_sidecars())
            .field("sidecars", &self.sidecars)
            .field("weather", &self.weather)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
