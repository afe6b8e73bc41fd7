//! One rollout from its start to its end, with everything that goes wrong on the way.

use tidegate_engine::mesh::{RolloutPolicy, Rung};
use tidegate_engine::rollout::invariants::{self, Before};
use tidegate_engine::rollout::{Event, Observation, Phase, Rollout, State};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;

use super::fleet::{Fleet, SIDECARS, Wanted};
use super::plan::{Canary, Interval, Plan};
use crate::declared::{self, SERVICE};
use crate::random::{Coins, Random};

/// Nobody watches longer, in times of what [`Interval::span_s`] says: what is not over then is held.
const SPANS_MAX: u64 = 5;

/// How it ended, and what was wrong with that.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) canary: Canary,
    pub(crate) phase: Phase,
    pub(crate) seconds: u64,
    pub(crate) events: u64,
    /// It went back for its errors or as a black hole, though it has none that stable does not have.
    pub(crate) blamed: bool,
    pub(crate) wrong: Option<String>,
}

struct Life<'a> {
    state: State,
    now: Time,
    plan: Plan,
    fleet: Fleet,
    random: Random,
    coins: &'a mut Coins,
    events: u64,
    wrong: Option<String>,
    /// Prints what happens.
    aloud: bool,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy)]
struct Stood {
    phase: Phase,
    share: Ppm,
    wanted: Wanted,
}

/// Short waits: a rollout takes a minute. The shares are as they are.
fn state() -> State {
    let mut mesh = declared::mesh();
    declared::change(&mut mesh, |service| {
        service.ladder = vec![
            Rung::Hosts(1),
            Rung::Share(Ppm::of(10, 100)),
            Rung::Share(Ppm::WHOLE),
        ];
        service.rollout = RolloutPolicy {
            bake_ms: 10_000,
            soak_ms: 10_000,
            hold_deadline_ms: 30_000,
            acknowledge_deadline_ms: 10_000,
            ..RolloutPolicy::default()
        };
    });
    let accepted = State::default().apply(&Event::MeshAccepted { mesh }, Time(0));
    accepted.expect("the mesh is accepted").0
}

/// A rollout to live through; shared by all.
#[derive(Debug)]
pub(crate) struct Beginning(State);

impl Default for Beginning {
    fn default() -> Self {
        let started = state().apply(&declared::start(SERVICE), Time(1_000));
        Self(started.expect("it starts").0)
    }
}

/// Lives through the rollout of this seed.
pub(crate) fn live(
    beginning: &Beginning,
    seed: u64,
    interval: Interval,
    coins: &mut Coins,
    aloud: bool,
) -> End {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random, SIDECARS, interval);
    live_through(beginning, plan, random, coins, aloud)
}

/// Lives through what is planned.
pub(crate) fn live_through(
    beginning: &Beginning,
    plan: Plan,
    random: Random,
    coins: &mut Coins,
    aloud: bool,
) -> End {
    if aloud {
        println!("{plan:#?}");
    }
    let state = beginning.0.clone();
    let wanted = wanted(rollout(&state));
    let seconds_max = SPANS_MAX * plan.interval.span_s();
    let mut life = Life {
        state,
        now: Time(1_000),
        fleet: Fleet::new(wanted, plan.interval),
        plan,
        random,
        coins,
        events: 0,
        wrong: None,
        aloud,
    };
    let mut seconds = 0;
    while seconds < seconds_max && life.wrong.is_none() && !life.phase().is_final() {
        seconds += 1;
        life.second(seconds);
    }
    let phase = life.phase();
    if phase == Phase::Committed && life.plan.canary == Canary::Harmful {
        let what = format!("promoted, though {} of its requests failed", life.plan.rate);
        life.wrong.get_or_insert(what);
    }
    let reason = rollout(&life.state).status(life.now).revert_reason;
    let own = ["errors", "black hole", "the error budget"];
    let fails = reason.is_some_and(|reason| own.iter().any(|begin| reason.starts_with(begin)));
    let innocent = matches!(life.plan.canary, Canary::Healthy | Canary::Incident);
    End {
        canary: life.plan.canary,
        blamed: innocent && fails,
        phase,
        seconds,
        events: life.events,
        wrong: life.wrong,
    }
}

fn rollout(state: &State) -> &Rollout {
    state.latest(SERVICE).expect("it was started")
}

fn wanted(rollout: &Rollout) -> Wanted {
    Wanted {
        epoch: rollout.epoch(),
        share: rollout.share().fraction(),
    }
}

// === impl Life ===

impl Life<'_> {
    fn phase(&self) -> Phase {
        rollout(&self.state).phase()
    }

    fn second(&mut self, at: u64) {
        self.now = self.now.plus_ms(1_000);
        let wanted = wanted(rollout(&self.state));
        self.fleet.second(
            &self.plan,
            at,
            self.now,
            wanted,
            self.coins,
            &mut self.random,
        );
        self.operators(at);
        self.kills(at);
        if self.phase().is_final() {
            return;
        }
        let wanted = self::wanted(rollout(&self.state));
        let (delivery, evidence) = self.fleet.observe(wanted, self.now);
        self.apply(&Event::Observed(Observation {
            service: SERVICE.to_owned(),
            epoch: wanted.epoch,
            fleet: None,
            witness: None,
            parts: std::collections::BTreeMap::new(),
            callers: std::collections::BTreeMap::new(),
            delivery,
            evidence,
        }));
    }

    fn operators(&mut self, at: u64) {
        let service = || SERVICE.to_owned();
        let actor = || "ann".to_owned();
        if let Some((from, until)) = self.plan.paused {
            if from == at {
                self.command(&Event::Pause {
                    service: service(),
                    actor: actor(),
                });
            }
            if until == at {
                self.command(&Event::Resume {
                    service: service(),
                    actor: actor(),
                });
            }
        }
        if self.plan.aborted == Some(at) {
            self.command(&declared::abort(SERVICE));
        }
    }

    fn kills(&mut self, at: u64) {
        let kills: Vec<Option<u64>> = self
            .plan
            .kills
            .iter()
            .filter(|(when, _)| *when == at)
            .map(|(_, outage_ms)| *outage_ms)
            .collect();
        for outage_ms in kills {
            // The clock goes on from the latest record; an unknown outage adds nothing to it.
            self.now = self.now.plus_ms(outage_ms.unwrap_or(0));
            let ttl_ms = RolloutPolicy::default().dead_man_ttl_ms;
            let dropped = outage_ms.is_none_or(|ms| ms >= ttl_ms);
            self.fleet.control_plane_restarted(dropped);
            self.apply(&Event::Recovered { outage_ms });
        }
    }

    /// Operators may be refused.
    fn command(&mut self, event: &Event) {
        if self.state.apply(event, self.now).is_ok() {
            self.apply(event);
        }
    }

    /// Takes the step in place, and compares with as much of what was before as invariants look at.
    fn apply(&mut self, event: &Event) {
        self.events += 1;
        let before = Before::of(&self.state, event);
        let stood = Stood::of(rollout(&self.state));
        match self.state.step(event, self.now) {
            Ok(effects) if self.aloud => {
                for effect in &effects {
                    println!("{:>7} ms  {effect:?}", self.now.0);
                }
            }
            Ok(_) => {}
            Err(refusal) => {
                self.wrong = Some(format!("refused: {refusal}"));
                return;
            }
        }
        if let Err(broken) = invariants::check_step(&before, event, &self.state) {
            self.wrong = Some(broken.to_string());
        }
        self.look_for_wrong_advance(stood);
    }

    /// Whatever the engine was told: may exposure rise, as things truly are?
    fn look_for_wrong_advance(&mut self, before: Stood) {
        let after = Stood::of(rollout(&self.state));
        let rises = after.share > before.share;
        let settles = before.phase != after.phase
            && matches!(after.phase, Phase::Soaking | Phase::Committing);
        if !rises && !settles {
            return;
        }
        if let Some(objection) = self.fleet.objection(before.wanted, self.now) {
            let what = format!(
                "{:?} at {} became {:?} at {}, though {objection}",
                before.phase, before.share, after.phase, after.share
            );
            self.wrong.get_or_insert(what);
        }
    }
}

// === impl Stood ===

impl Stood {
    fn of(rollout: &Rollout) -> Self {
        Self {
            phase: rollout.phase(),
            share: rollout.share(),
            wanted: wanted(rollout),
        }
    }
}
