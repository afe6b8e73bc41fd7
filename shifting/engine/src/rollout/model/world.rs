//! The world that the model checker steps through.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::faults::Fault;
use super::properties;
use crate::mesh::{Mesh, Rung};
use crate::rollout::fixture::{arm, mesh};
use crate::rollout::{
    Delivery, Event, Evidence, Observation, Phase, Rejection, Rollout, State, Terms, Turn,
    invariants,
};
use crate::time::Time;
use crate::units::Ppm;

/// Requests a second through each sidecar.
const REQUESTS: u64 = 20_000;
/// A sidecar drops a share that was not renewed for so long.
const TTL_MS: u64 = 2_000;
/// An outage that the shares survive, and one that they don't.
const SHORT_MS: u64 = 1_000;
const LONG_MS: u64 = 60_000;
const SIDECARS: usize = 2;
/// Seconds that trouble lasts at most, and that are looked at in all: what is held for ever would be
/// a state a second.
const TROUBLE_MAX: u8 = 10;
const LOOKED_AT_MS: u64 = 150_000;
const BEGIN: Time = Time(1_000_000);

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A second passes, and the engine looks.
    Tick,
    /// A sidecar takes the exposure that was sent to it.
    Acknowledge(usize),
    /// A sidecar does not answer for now.
    Stall(usize),
    /// A sidecar refuses it.
    Reject(usize),
    /// A sidecar's stream breaks, or comes back.
    Disconnect(usize),
    Reconnect(usize),
    /// From now on the service behaves like this.
    Turn(Weather),
    /// The program dies and comes back, soon or late.
    Crash {
        long: bool,
    },
    /// The operator.
    Pause,
    Resume,
    Abort,
}

/// How the service and its reports behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Weather {
    Healthy,
    /// Half of the canary's requests fail.
    CanaryFails,
    /// A fifth of all requests fails.
    BothFail,
    /// Nobody reports the canary's requests.
    CanarySilent,
    /// Nobody reports anything.
    AllSilent,
    /// There are no requests.
    Idle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sidecar {
    /// What it runs with: epoch and share.
    pub(super) has: (u64, u32),
    /// What was sent and not answered yet.
    pub(super) sent: Option<(u64, u32)>,
    pub(super) rejected: Option<u64>,
    pub(super) connected: bool,
    pub(super) stalled: bool,
}

/// A rollout, the sidecars that carry it, and what may still go wrong.
#[derive(Clone)]
pub(super) struct World {
    pub(super) state: Arc<State>,
    pub(super) now: Time,
    pub(super) weather: Weather,
    /// Ticks in a row, at full delivery, in which half of the canary failed.
    pub(super) failing: u8,
    /// Seconds in which something was out of order.
    trouble: u8,
    pub(super) sidecars: [Sidecar; SIDECARS],
    surprises: u8,
    ran_out: bool,
    broken: Option<String>,
    pub(super) digest: u64,
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
            sidecars: [Sidecar {
                has: (0, 0),
                sent: None,
                rejected: None,
                connected: true,
                stalled: false,
            }; SIDECARS],
            surprises,
            ran_out: false,
            broken: None,
            digest: 0,
        };
        world.apply(&Event::MeshAccepted { mesh: short() }, None);
        world.apply(
            &Event::Start {
                service: "checkout".into(),
                to: "v2".into(),
                actor: "ann".into(),
                turn: Turn::Next,
                terms: Terms::default(),
            },
            None,
        );
        world.send();
        world.seal();
        world
    }

    pub(super) fn run(&self) -> &Rollout {
        self.state.latest("checkout").expect("it was started")
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

    fn paused(&self) -> bool {
        self.run().paused.is_some()
    }

    pub(super) fn ran_out(&self) -> bool {
        self.ran_out
    }

    pub(super) fn actions(&self, actions: &mut Vec<Action>) {
        let looked_at = self.now.since_ms(BEGIN) > LOOKED_AT_MS;
        if self.broken.is_some() || self.run().phase().is_final() || looked_at {
            return;
        }
        let asked = |sidecar: &Sidecar| sidecar.sent.is_some() && sidecar.connected;
        match self.sidecars.iter().position(|it| asked(it) && !it.stalled) {
            // Whoever is not stalled answers before the next tick.
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
        if self.surprises == 0 {
            return;
        }
        // The two sidecars are alike: only the first surprises.
        if asked(&self.sidecars[0]) && !self.sidecars[0].stalled {
            actions.push(Action::Reject(0));
            actions.push(Action::Stall(0));
        }
        if self.sidecars[0].connected {
            actions.push(Action::Disconnect(0));
        }
        for weather in [
            Weather::CanaryFails,
            Weather::BothFail,
            Weather::CanarySilent,
            Weather::AllSilent,
            Weather::Idle,
        ] {
            if self.weather == Weather::Healthy {
                actions.push(Action::Turn(weather));
            }
        }
        actions.push(Action::Crash { long: false });
        actions.push(Action::Crash { long: true });
        let pausable = matches!(
            self.run().phase(),
            Phase::Preparing | Phase::Judging | Phase::Soaking
        );
        if !self.paused() && pausable {
            actions.push(Action::Pause);
        }
        actions.push(Action::Abort);
    }

    pub(super) fn step(&self, action: Action, fault: Option<Fault>) -> Option<Self> {
        let mut next = self.clone();
        let surprising = !matches!(
            action,
            Action::Tick
                | Action::Acknowledge(_)
                | Action::Reconnect(_)
                | Action::Resume
                | Action::Turn(Weather::Healthy)
        );
        if surprising {
            next.surprises -= 1;
        }
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
                sidecar.rejected = Some(sidecar.sent.take()?.0);
            }
            Action::Disconnect(index) => {
                let sidecar = &mut next.sidecars[index];
                sidecar.connected = false;
                sidecar.sent = None;
            }
            Action::Reconnect(index) => {
                next.sidecars[index].connected = true;
                next.send();
            }
            Action::Turn(weather) => {
                next.weather = weather;
                next.failing = 0;
            }
            Action::Crash { long } => next.crash(long, fault),
            Action::Pause => {
                next.apply(
                    &Event::Pause {
                        service: "checkout".into(),
                        actor: "ann".into(),
                    },
                    fault,
                );
            }
            Action::Resume => {
                next.apply(
                    &Event::Resume {
                        service: "checkout".into(),
                        actor: "ann".into(),
                    },
                    fault,
                );
            }
            Action::Abort => {
                let event = Event::Abort {
                    service: "checkout".into(),
                    actor: "ann".into(),
                    reason: String::new(),
                    quarantine: false,
                };
                next.apply(&event, fault);
                next.send();
            }
        }
        next.seal();
        Some(next)
    }

    /// A second passes, renewed; the engine looks, and what it decided is sent.
    pub(super) fn tick(&mut self, fault: Option<Fault>) {
        self.now = self.now.plus_ms(1_000);
        let still = |sidecar: &Sidecar| !sidecar.connected || sidecar.stalled;
        let trouble = self.weather != Weather::Healthy || self.paused();
        self.trouble = match trouble || self.sidecars.iter().any(still) {
            true => self.trouble.saturating_add(1),
            false => 0,
        };
        let observation = self.observation();
        let exposed = observation.evidence.canary.requests > 0;
        if self.weather == Weather::CanaryFails && exposed {
            self.failing = self.failing.saturating_add(1).min(20);
        }
        let share = self.run().share();
        self.apply(&Event::Observed(observation), fault);
        if self.run().share() < share {
            self.failing = 0; // that was an answer; the next one has its own time
        }
        self.send();
    }

    fn crash(&mut self, long: bool, fault: Option<Fault>) {
        let outage_ms = if long { LONG_MS } else { SHORT_MS };
        self.now = self.now.plus_ms(outage_ms);
        let committed = self.run().phase() == Phase::Committed;
        for sidecar in &mut self.sidecars {
            // What was on its way is lost with the streams.
            sidecar.sent = None;
            if outage_ms >= TTL_MS && sidecar.has.1 > 0 && !committed {
                self.ran_out = true;
                sidecar.has.1 = 0;
            }
        }
        self.apply(
            &Event::Recovered {
                outage_ms: Some(outage_ms),
            },
            fault,
        );
        self.send();
    }

    /// One step of the fold, with everything that must hold of it.
    fn apply(&mut self, event: &Event, fault: Option<Fault>) {
        let before = Arc::clone(&self.state);
        let Ok((mut after, _)) = fault.map_or_else(
            || before.apply(event, self.now),
            |fault| fault.apply(&before, event, self.now),
        ) else {
            self.broken
                .get_or_insert_with(|| format!("{event:?} is refused"));
            return;
        };
        if let Some(fault) = fault {
            fault.spoil(&before, event, &mut after);
        }
        let broken = match before.latest("checkout") {
            None => None,
            Some(_) => invariants::check(&before, event, &after)
                .err()
                .map(|broken| broken.to_string())
                .or_else(|| properties::of_step(self, &before, event, &after)),
        };
        if let Some(broken) = broken {
            self.broken.get_or_insert(broken);
        }
        self.state = Arc::new(after);
    }

    /// Whoever is connected and has not the present exposure is sent it.
    fn send(&mut self) {
        let run = self.run();
        let wanted = (run.epoch(), run.share().get());
        for sidecar in &mut self.sidecars {
            if sidecar.connected && sidecar.has != wanted && sidecar.rejected != Some(wanted.0) {
                sidecar.sent = Some(wanted);
            }
        }
    }

    /// What the program would see: deliveries as they are, requests as they go by the shares that
    /// sidecars really have, reports as the weather lets them through.
    fn observation(&self) -> Observation {
        let epoch = self.run().epoch();
        let mut delivery = Delivery::default();
        let (mut canary, mut stable) = (0, 0);
        for (index, sidecar) in self.sidecars.iter().enumerate() {
            let name = format!("s{index}");
            let its = REQUESTS * u64::from(sidecar.has.1) / 1_000_000;
            canary += its;
            stable += REQUESTS - its;
            if !sidecar.connected {
                delivery.disconnected.push(name);
                continue;
            }
            delivery.expected += 1;
            if sidecar.has.0 == epoch {
                delivery.acknowledged += 1;
            } else {
                delivery.behind.push(name.clone());
            }
            if sidecar.rejected == Some(epoch) {
                delivery.rejected.push(Rejection {
                    sidecar: name,
                    text: "no".to_owned(),
                });
            }
        }
        let (canary_bad, stable_bad) = match self.weather {
            Weather::CanaryFails => (canary / 2, 0),
            Weather::BothFail => (canary / 5, stable / 5),
            _ => (0, 0),
        };
        let (canary_fresh, stable_fresh) = match self.weather {
            Weather::CanarySilent => (Ppm::ZERO, Ppm::WHOLE),
            Weather::AllSilent => (Ppm::ZERO, Ppm::ZERO),
            _ => (Ppm::WHOLE, Ppm::WHOLE),
        };
        let mut evidence = Evidence {
            canary: arm(canary, canary_bad),
            stable: arm(stable, stable_bad),
            canary_fresh,
            stable_fresh,
            ..Evidence::default()
        };
        match self.weather {
            Weather::CanarySilent => evidence.canary = arm(0, 0),
            Weather::AllSilent | Weather::Idle => {
                (evidence.canary, evidence.stable) = (arm(0, 0), arm(0, 0));
            }
            _ => {}
        }
        Observation {
            service: "checkout".into(),
            epoch,
            delivery,
            evidence,
            fleet: None,
            witness: None,
            parts: std::collections::BTreeMap::new(),
            callers: std::collections::BTreeMap::new(),
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
        self.now.0.hash(&mut hasher);
        self.weather.hash(&mut hasher);
        self.failing.hash(&mut hasher);
        self.trouble.hash(&mut hasher);
        self.sidecars.hash(&mut hasher);
        self.surprises.hash(&mut hasher);
        self.broken.hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

/// Two rungs and waits of a few ticks.
fn short() -> Mesh {
    let mut mesh = mesh();
    let service = mesh.services.get_mut("checkout").expect("it is there");
    service.ladder = vec![
        Rung::Share(Ppm::new(100_000).expect("a share")),
        Rung::Share(Ppm::WHOLE),
    ];
    service.rollout.bake_ms = 1_000;
    service.rollout.soak_ms = 1_000;
    service.rollout.acknowledge_deadline_ms = 3_000;
    service.rollout.hold_deadline_ms = 5_000;
    service.rollout.dead_man_ttl_ms = TTL_MS;
    mesh
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
            .field("phase", &self.run().phase())
            .field("rung", &self.run().rung_name())
            .field("sidecars", &self.sidecars)
            .field("weather", &self.weather)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
