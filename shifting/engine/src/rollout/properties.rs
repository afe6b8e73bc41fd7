//! Whatever happens, in whatever order: the invariants hold, a replay is equal, and refusals
//! change nothing.

mod meshes;

use proptest::prelude::*;

use self::meshes::{odd_mesh, plain, strict};
use super::fixture::*;
use super::*;
use crate::time::Time;
use crate::units::Ppm;

const WEB: &str = "fleet:web";

/// What may happen; observations are made to fit the state, so that rollouts get somewhere.
#[derive(Debug, Clone)]
enum Happening {
    Start(bool, Turn, Terms),
    /// Of the service that `checkout` calls.
    StartCart(bool, Terms),
    AbortCart,
    FailingCart(u8),
    Approve,
    Cancel,
    Due,
    ClockRead(u64),
    /// From beside `checkout`, after so many hours.
    CallsSeen(u64),
    Pause,
    Resume,
    Abort(bool),
    Back(Option<bool>),
    Lift,
    Failing(u8),
    Mesh(u8),
    /// The same, with another timeout: for the sidecars to be configured with.
    Declare(u8, u8),
    AbortFleet,
    BackFleet,
    StartFleet,
    /// Ticks of the fleet's configuration rollout: so many, of which kind.
    Fleet(u8, u8),
    Recovered(Option<u64>),
    Healthy(u8),
    Odd(Box<Odd>),
}

#[derive(Debug, Clone)]
struct Odd {
    wait_ms: u64,
    epoch_back: u64,
    expected: u32,
    acknowledged: u32,
    behind: bool,
    rejected: bool,
    disconnected: bool,
    canary: (u64, u64, u64),
    stable: (u64, u64),
    fresh: (u32, u32),
}

fn odd() -> impl Strategy<Value = Odd> {
    (
        (0_u64..40_000, 0_u64..3, 0_u32..4, 0_u32..4),
        (any::<bool>(), prop::bool::weighted(0.05), any::<bool>()),
        (
            (0_u64..600, 0_u64..600, 0_u64..600),
            (0_u64..600, 0_u64..600),
        ),
        (
            prop_oneof![Just(0_u32), Just(899_999), Just(900_000), Just(1_000_000)],
            prop_oneof![Just(0_u32), Just(899_999), Just(900_000), Just(1_000_000)],
        ),
    )
        .prop_map(|(numbers, flags, arms, fresh)| Odd {
            wait_ms: numbers.0,
            epoch_back: numbers.1,
            expected: numbers.2,
            acknowledged: numbers.3,
            behind: flags.0,
            rejected: flags.1,
            disconnected: flags.2,
            canary: arms.0,
            stable: arms.1,
            fresh,
        })
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => Just(Turn::Next),
        1 => Just(Turn::Queue),
        1 => Just(Turn::Supersede),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    let after = prop_oneof![
        8 => Just(vec![]),
        1 => Just(vec!["cart"]),
        1 => Just(vec!["cart@v2"]),
        1 => Just(vec!["checkout@v2"]),
    ];
    (prop::bool::weighted(0.2), after).prop_map(|(overlap, after)| Terms {
        overlap,
        after: after.iter().map(|text| text.parse().unwrap()).collect(),
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (any::<bool>(), turn(), terms())
            .prop_map(|(forward, turn, terms)| Happening::Start(forward, turn, terms)),
        2 => (any::<bool>(), terms())
            .prop_map(|(forward, terms)| Happening::StartCart(forward, terms)),
        1 => Just(Happening::AbortCart),
        1 => (1_u8..12).prop_map(Happening::FailingCart),
        2 => Just(Happening::Approve),
        1 => Just(Happening::Cancel),
        4 => Just(Happening::Due),
        1 => (0_u64..7 * 86_400).prop_map(Happening::ClockRead),
        2 => prop_oneof![9 => Just(0_u64), 1 => Just(200)].prop_map(Happening::CallsSeen),
        1 => Just(Happening::Pause),
        2 => Just(Happening::Resume),
        1 => prop::bool::weighted(0.2).prop_map(Happening::Abort),
        1 => prop::option::of(any::<bool>()).prop_map(Happening::Back),
        1 => Just(Happening::Lift),
        1 => (1_u8..12).prop_map(Happening::Failing),
        1 => (0_u8..10).prop_map(Happening::Mesh),
        2 => (0_u8..10, 0_u8..3).prop_map(|(kind, timeout)| Happening::Declare(kind, timeout)),
        1 => Just(Happening::AbortFleet),
        1 => Just(Happening::BackFleet),
        1 => Just(Happening::StartFleet),
        10 => (1_u8..60, 0_u8..16).prop_map(|(ticks, kind)| Happening::Fleet(ticks, kind)),
        1 => prop::option::of(0_u64..20_000).prop_map(Happening::Recovered),
        20 => (1_u8..30).prop_map(Happening::Healthy),
        6 => odd().prop_map(|odd| Happening::Odd(Box::new(odd))),
    ]
}

fn observe(world: &World, odd: &Odd) -> Option<Observation> {
    let rollout = world.state.latest("checkout")?;
    let mut observation = world.healthy();
    observation.epoch = rollout.epoch().saturating_sub(odd.epoch_back);
    let name = |given: bool, name: &str| if given { vec![name.to_owned()] } else { vec![] };
    observation.delivery = Delivery {
        expected: odd.expected,
        acknowledged: odd.acknowledged,
        behind: name(odd.behind, "web-1"),
        rejected: name(odd.rejected, "web-2")
            .into_iter()
            .map(|sidecar| Rejection {
                sidecar,
                text: "no".into(),
            })
            .collect(),
        disconnected: name(odd.disconnected, "web-3"),
    };
    let (n, bad, slow) = odd.canary;
    observation.evidence.canary = ArmCounts {
        slow,
        ..arm(n, bad)
    };
    observation.evidence.stable = arm(odd.stable.0, odd.stable.1);
    observation.evidence.canary_fresh = Ppm::new(odd.fresh.0).unwrap();
    observation.evidence.stable_fresh = Ppm::new(odd.fresh.1).unwrap();
    Some(observation)
}

/// Applies one event; a refusal must change nothing, an acceptance must be repeatable, in place too.
fn step(world: &mut World, event: Event) {
    let before = world.state.clone();
    let twice = before.apply(&event, world.now);
    let mut in_place = before.clone();
    let effects = in_place.step(&event, world.now);
    match &twice {
        Ok((next, follow)) => assert_eq!((&in_place, effects.as_ref()), (next, Ok(follow))),
        Err(refusal) => assert_eq!((&in_place, effects.as_ref()), (&before, Err(refusal))),
    }
    // `World::apply` checks the invariants.
    match world.apply(event) {
        Ok(()) => {
            assert_eq!(twice.map(|(state, _)| state), Ok(world.state.clone()));
        }
        Err(refusal) => {
            assert_eq!(world.state, before);
            assert_eq!(twice.map(|_| ()), Err(refusal));
        }
    }
}

fn happen(world: &mut World, happening: &Happening) {
    let service = || "checkout".to_owned();
    let actor = || "ann".to_owned();
    let event = match happening {
        Happening::Start(forward, turn, terms) => Event::Start {
            service: service(),
            // A third version, to be queued behind the second.
            to: match (forward, world.runs("checkout")) {
                (true, false) => "v2",
                (true, _) => "v3",
                (false, _) => "v1",
            }
            .into(),
            actor: actor(),
            turn: *turn,
            terms: terms.clone(),
        },
        Happening::StartCart(forward, terms) => Event::Start {
            service: "cart".to_owned(),
            to: if *forward { "v2" } else { "v1" }.to_owned(),
            actor: actor(),
            turn: Turn::Next,
            terms: terms.clone(),
        },
        Happening::AbortCart => Event::Abort {
            service: "cart".to_owned(),
            actor: actor(),
            reason: String::new(),
            quarantine: false,
        },
        Happening::Pause => Event::Pause {
            service: service(),
            actor: actor(),
        },
        Happening::Resume => Event::Resume {
            service: service(),
            actor: actor(),
        },
        Happening::Back(to) => Event::Back {
            service: service(),
            to: to.map(|forward| if forward { "v2" } else { "v1" }.to_owned()),
            actor: actor(),
        },
        Happening::Approve => Event::Approve {
            service: service(),
            actor: actor(),
        },
        Happening::Cancel => Event::Cancel {
            service: service(),
            to: "v3".into(),
            actor: actor(),
        },
        Happening::Due => {
            for event in world.state.due(world.now) {
                step(world, event);
            }
            return;
        }
        Happening::ClockRead(seconds) => Event::ClockRead {
            unix_ms: 1_795_000_000_000 + 1000 * seconds,
        },
        Happening::CallsSeen(hours) => {
            world.now = world.now.plus_ms(hours * 3_600_000);
            let cart = std::iter::once("cart".to_owned()).collect();
            Event::CallsSeen {
                calls: std::iter::once(("beside-checkout".to_owned(), cart)).collect(),
            }
        }
        Happening::Lift => Event::LiftQuarantine {
            service: service(),
            version: "v2".into(),
            actor: actor(),
            reason: "fixed elsewhere".into(),
        },
        Happening::Abort(quarantine) => Event::Abort {
            service: service(),
            actor: actor(),
            reason: String::new(),
            quarantine: *quarantine,
        },
        Happening::Mesh(kind) => Event::MeshAccepted {
            mesh: odd_mesh(*kind),
        },
        Happening::Declare(kind, timeout) => {
            let mut mesh = odd_mesh(*kind);
            for service in mesh.services.values_mut() {
                service.traffic.timeout_ms = 10_000 + u64::from(*timeout);
            }
            Event::MeshDeclared { mesh }
        }
        Happening::AbortFleet => Event::Abort {
            service: WEB.to_owned(),
            actor: actor(),
            reason: String::new(),
            quarantine: false,
        },
        Happening::BackFleet => Event::Back {
            service: WEB.to_owned(),
            to: None,
            actor: actor(),
        },
        Happening::StartFleet => {
            let pending = world.state.pending(world.now);
            let Some(pending) = pending.first() else {
                return;
            };
            Event::Start {
                service: subject(&pending.fleet),
                to: pending.revision.clone(),
                actor: actor(),
                turn: Turn::Next,
                terms: Terms::default(),
            }
        }
        Happening::Fleet(ticks, kind) => {
            for _ in 0..*ticks {
                world.now = world.now.plus_ms(1000);
                let run = world.state.latest(WEB);
                let Some(run) = run.filter(|run| !run.phase().is_final()) else {
                    return;
                };
                let mut observation = healthy_fleet(run);
                let fleet = observation.fleet.as_mut().unwrap();
                let evidence = &mut observation.evidence;
                match kind {
                    0..=9 => {}
                    10 => evidence.canary.bad = evidence.canary.requests / 2,
                    11 => fleet.health.canary.restarts = 1,
                    12 => observation.delivery.acknowledged = 4,
                    13 => fleet.next.clear(),
                    14 => observation.fleet = None,
                    _ => evidence.stable_fresh = Ppm::ZERO,
                }
                step(world, Event::Observed(observation));
            }
            return;
        }
        Happening::Recovered(outage_ms) => Event::Recovered {
            outage_ms: *outage_ms,
        },
        Happening::Healthy(ticks) => {
            for _ in 0..*ticks {
                world.now = world.now.plus_ms(1000);
                for service in ["cart", "checkout"] {
                    if world.runs(service) {
                        let healthy = world.healthy_of(service);
                        step(world, Event::Observed(healthy));
                    }
                }
            }
            return;
        }
        Happening::Failing(ticks) | Happening::FailingCart(ticks) => {
            let cart = matches!(happening, Happening::FailingCart(_));
            let service = if cart { "cart" } else { "checkout" };
            for _ in 0..*ticks {
                world.now = world.now.plus_ms(1000);
                if world.runs(service) {
                    let mut failing = world.healthy_of(service);
                    failing.evidence.canary.bad = failing.evidence.canary.requests / 2;
                    step(world, Event::Observed(failing));
                }
            }
            return;
        }
        Happening::Odd(odd) => {
            world.now = world.now.plus_ms(odd.wait_ms);
            let Some(observation) = observe(world, odd) else {
                return;
            };
            Event::Observed(observation)
        }
    };
    step(world, event);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn invariants_hold_and_a_replay_from_any_prefix_is_equal(
        happenings in prop::collection::vec(happening(), 1..60),
        cut in any::<prop::sample::Index>(),
        with_waits in any::<bool>(),
    ) {
        let mut world = World::new(if with_waits { strict() } else { plain() });
        step(&mut world, Event::ClockRead { unix_ms: 1_795_000_000_000 });
        step(&mut world, Event::Start {
            service: "checkout".into(),
            to: "v2".into(),
            actor: "ann".into(),
            turn: Turn::Next,
            terms: Terms::default(),
        });
        for happening in &happenings {
            happen(&mut world, happening);
        }
        let cut = cut.index(world.journal.len());
        let mut state = State::default();
        for (index, (event, at)) in world.journal.iter().enumerate() {
            if index == cut {
                let text = serde_json::to_string(&state).unwrap();
                state = serde_json::from_str(&text).unwrap();
            }
            state = state.apply(event, *at).unwrap().0;
        }
        prop_assert_eq!(state, world.state);
    }

    #[test]
    fn nothing_ever_advances_on_ticks_that_lack_something(
        lacks in prop::collection::vec(0_u8..9, 1..120),
    ) {
        let mut world = World::started();
        world.reach("1 host");
        let share = world.run().share();
        for lack in lacks {
            // Otherwise healthy, acknowledged by everyone, for long enough to pass the rung.
            world.tick(|o| match lack {
                0 => o.evidence.canary_fresh = Ppm::new(899_999).unwrap(),
                1 => o.evidence.stable_fresh = Ppm::ZERO,
                2 | 3 => o.evidence.canary = ArmCounts::default(),
                4 | 5 => o.evidence.stable = ArmCounts::default(),
                6 => o.evidence = Evidence::default(),
                7 => o.delivery.behind = vec!["web-1".into()],
                _ => o.epoch -= 1,
            });
            prop_assert!(world.run().share() <= share);
            if world.phase() != Phase::Judging {
                return Ok(());
            }
        }
    }

    #[test]
    fn after_an_abort_nothing_raises_exposure(
        before in 0_u8..60,
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut world = World::started();
        happen(&mut world, &Happening::Healthy(before));
        if !world.runs("checkout") {
            return Ok(());
        }
        world.abort().unwrap();
        let number = world.run().number();
        for happening in &happenings {
            happen(&mut world, happening);
            if world.run().number() != number {
                break;
            }
            prop_assert_eq!(invariants::exposure(&world.state, world.run()), Ppm::ZERO);
        }
    }
}

#[test]
fn a_stranger_to_time_does_no_harm() {
    let mut world = World::started();
    for now in [u64::MAX, 0, u64::MAX, 1] {
        world.now = Time(now);
        let healthy = world.healthy();
        if world.state.active().count() == 1 {
            step(&mut world, Event::Observed(healthy));
        }
    }
}
