//! What a decision costs: events per second on one core, and a thousand rollouts at once.

use std::io;

use tidegate_engine::mesh::Rung;
use tidegate_engine::rollout::{Delivery, Event, Evidence, Observation, Phase, State};
use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;
use tidegate_integration::bench::measure::cpu_ns;
use tidegate_integration::bench::report::{Goal, Report, Row, Section};

use crate::declared::{self, SERVICE};
use crate::random::{Coins, Random};
use crate::rule::counts;
use crate::traffic::Arm;

/// Requests per second of each service, and its canary's part.
const RPS: u64 = 200;
const SHARE: f64 = 0.05;
const RATE: f64 = 0.001;
const SLOW: f64 = 0.005;

/// Different seconds; they come round and round, but not to the same rollout.
const SECONDS: usize = 997;

/// Events of one rollout, an hour long, which begins anew until there were enough.
const HOUR: usize = 3_600;
const EVENTS: usize = 280 * HOUR;

/// Rollouts at once, and the seconds for which they are watched.
const ROLLOUTS: usize = 1_000;
const WATCHED_S: usize = 60;

const EVENTS_PER_SECOND_MIN: f64 = 1_000_000.0;
const CORE_PERCENT_MAX: f64 = 5.0;

/// Measures both.
///
/// # Errors
/// If the kernel does not tell the CPU time.
pub(crate) fn throughput(seed: u64, report: &mut Report) -> io::Result<()> {
    let evidence = seconds(seed);
    let one = one_rollout(&evidence)?;
    let many = many_rollouts(&evidence)?;
    let mut section = Section::new("What decisions cost (CPU time of one thread)");
    section.rows.push(
        Row::default()
            .with("what", "one rollout, an observation each second")
            .with("events/s on one core", one.events_per_s)
            .with("ns/event", 1e9 / one.events_per_s)
            .with("% of a core", serde_json::Value::Null),
    );
    let percent = many.cpu_s / WATCHED_S as f64 * 100.0;
    section.rows.push(
        Row::default()
            .with("what", format!("{ROLLOUTS} rollouts at 1 s ticks"))
            .with("events/s on one core", many.events_per_s)
            .with("ns/event", 1e9 / many.events_per_s)
            .with("% of a core", percent),
    );
    report.add(section);
    report.goals.push(Goal::at_least(
        "engine events per second on one core",
        one.events_per_s,
        EVENTS_PER_SECOND_MIN,
    ));
    report.goals.push(Goal::at_most(
        format!("% of a core for {ROLLOUTS} rollouts at 1 s ticks"),
        percent,
        CORE_PERCENT_MAX,
    ));
    Ok(())
}

struct Cost {
    events_per_s: f64,
    cpu_s: f64,
}

/// The events one after the other, as a replay takes them.
fn one_rollout(evidence: &[Evidence]) -> io::Result<Cost> {
    let (beginning, begun) = judging(1);
    let service = format!("{SERVICE}-0");
    let epoch = beginning.latest(&service).map_or(0, |run| run.epoch());
    let events: Vec<Event> = evidence
        .iter()
        .map(|evidence| observed(&service, epoch, evidence))
        .collect();
    measured(EVENTS, || {
        let mut source = events.iter().cycle();
        for _ in 0..EVENTS / HOUR {
            let (mut state, mut now) = (beginning.clone(), begun);
            for event in source.by_ref().take(HOUR) {
                now = now.plus_ms(1_000);
                state.step(event, now).expect("it is running");
            }
            assert_eq!(
                state.latest(&service).map(|run| run.phase()),
                Some(Phase::Judging)
            );
        }
    })
}

/// All rollouts' events of a second on a copy of the state, as the program takes them.
fn many_rollouts(evidence: &[Evidence]) -> io::Result<Cost> {
    let (mut state, mut now) = judging(ROLLOUTS);
    let mut source = evidence.iter().cycle();
    let ticks: Vec<Vec<Event>> = (0..WATCHED_S)
        .map(|_| {
            state
                .active()
                .map(|run| {
                    let evidence = source.next().expect("it is a cycle");
                    observed(&run.plan().service, run.epoch(), evidence)
                })
                .collect()
        })
        .collect();
    measured(ROLLOUTS * WATCHED_S, || {
        for tick in &ticks {
            now = now.plus_ms(1_000);
            let mut next = state.clone();
            for event in tick {
                next.step(event, now).expect("it is running");
            }
            state = next;
        }
        assert_eq!(state.active().count(), ROLLOUTS);
    })
}

fn measured(events: usize, work: impl FnOnce()) -> io::Result<Cost> {
    let process = std::process::id();
    let before = cpu_ns(process)?;
    work();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a minute")]
    let cpu_s = (cpu_ns(process)? - before) as f64 / 1e9;
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let events_per_s = events as f64 / cpu_s;
    Ok(Cost {
        events_per_s,
        cpu_s,
    })
}

/// Rollouts that stand at 5% for a long time.
fn judging(count: usize) -> (State, Time) {
    let mut mesh = declared::many(count);
    declared::change(&mut mesh, |service| {
        service.ladder = vec![Rung::Share(Ppm::of(5, 100)), Rung::Share(Ppm::WHOLE)];
        service.rollout.bake_ms = 3_600_000_000;
        service.slo.latency.as_mut().expect("it has one").share = Ppm::of(98, 100);
    });
    let mut now = Time(0);
    let mut state = State::default();
    let services: Vec<String> = mesh.services.keys().cloned().collect();
    state
        .step(&Event::MeshAccepted { mesh }, now)
        .expect("the mesh is accepted");
    for service in &services {
        state
            .step(&declared::start(service), now)
            .expect("it starts");
    }
    let quiet = Evidence {
        stable: counts(Arm {
            requests: RPS,
            ..Arm::default()
        }),
        canary_fresh: Ppm::WHOLE,
        stable_fresh: Ppm::WHOLE,
        ..Evidence::default()
    };
    while state.active().any(|run| run.phase() != Phase::Judging) {
        now = now.plus_ms(1_000);
        assert!(now < Time(60_000), "the first rung is reached");
        for service in &services {
            let epoch = state.latest(service).map_or(0, |rollout| rollout.epoch());
            state
                .step(&observed(service, epoch, &quiet), now)
                .expect("it is running");
        }
    }
    (state, now)
}

fn observed(service: &str, epoch: u64, evidence: &Evidence) -> Event {
    Event::Observed(Observation {
        service: service.to_owned(),
        epoch,
        fleet: None,
        witness: None,
        parts: std::collections::BTreeMap::new(),
        callers: std::collections::BTreeMap::new(),
        delivery: Delivery {
            expected: 3,
            acknowledged: 3,
            ..Delivery::default()
        },
        evidence: evidence.clone(),
    })
}

/// Different seconds of a healthy service.
fn seconds(seed: u64) -> Vec<Evidence> {
    let (mut random, mut coins) = (Random::new(seed), Coins::default());
    (0..SECONDS)
        .map(|_| {
            let requests = coins.throw(RPS, SHARE, &mut random);
            let mut arm = |requests| {
                counts(Arm {
                    requests,
                    bad: coins.throw(requests, RATE, &mut random),
                    slow: coins.throw(requests, SLOW, &mut random),
                })
            };
            Evidence {
                canary: arm(requests),
                stable: arm(RPS - requests),
                canary_fresh: Ppm::WHOLE,
                stable_fresh: Ppm::WHOLE,
                ..Evidence::default()
            }
        })
        .collect()
}
