//! A service's rollout and a caller's that overlap, where the mesh says which sidecars send for which
//! version of the caller: the table of both tells whose fault it is (issue 4, item 5).

use super::*;
use crate::evidence::{Cell, Cells};
use crate::mesh::Rung;

const BOTH: [&str; 2] = ["cart", "checkout"];

/// Parts of a thousand that fail.
#[derive(Debug, Clone, Copy, Default)]
struct Failing {
    /// Calls to the new callee.
    callee: u64,
    /// Calls of the new caller.
    caller: u64,
    /// Calls of the new caller to the new callee.
    both: u64,
    /// What is asked of the new caller, whatever it calls.
    own: u64,
    /// Whoever asks the caller sees nothing of its failed calls.
    hidden: bool,
}

/// `checkout` calls `cart`, and both are at 5% side by side.
fn overlapping(named: bool) -> World {
    let mut mesh = mesh();
    let mut cart = mesh.services["checkout"].clone();
    cart.ladder = vec![Rung::Share(Ppm::of(5, 100)), Rung::Share(Ppm::WHOLE)];
    cart.rollout.bake_ms = 600_000;
    let mut checkout = cart.clone();
    checkout.calls.insert("cart".to_owned());
    for (version, declared) in &mut checkout.versions {
        for (number, host) in declared.hosts.iter_mut().enumerate() {
            host.sidecar = named.then(|| format!("beside-{version}-{number}"));
        }
    }
    mesh.services.insert("cart".to_owned(), cart);
    mesh.services.insert("checkout".to_owned(), checkout);
    let mut world = World::new(mesh);
    start(&mut world, "cart", false);
    start(&mut world, "checkout", true);
    let judged = |world: &World, name: &str| {
        let run = world.state.latest(name).unwrap();
        run.phase() == Phase::Judging
    };
    for _ in 0..120 {
        let both = BOTH.iter().all(|name| judged(&world, name));
        second(&mut world, Failing::default(), 0);
        if both {
            return world;
        }
    }
    panic!("never: {:?}", world.state.statuses(world.now));
}

fn start(world: &mut World, service: &str, overlap: bool) {
    let event = Event::Start {
        service: service.into(),
        to: "v2".into(),
        actor: "ann".into(),
        turn: Turn::Next,
        terms: Terms {
            overlap,
            ..Terms::default()
        },
    };
    world.apply(event).unwrap();
}

fn cell(requests: u64, failing: u64) -> Cell {
    Cell {
        requests,
        bad: requests * failing / 1_000,
        timed: requests,
        slow: 0,
    }
}

/// 10,000 requests to `checkout`, each with a call to `cart`, which `others` call as well.
fn second(world: &mut World, failing: Failing, others: u64) {
    world.now = world.now.plus_ms(1_000);
    let share = |name: &str| world.state.latest(name).map_or(Ppm::ZERO, Rollout::share);
    let part = |requests: u64, share: Ppm| requests * u64::from(share.get()) / 1_000_000;
    let new = part(10_000, share("checkout"));
    let old = 10_000 - new;
    let callee = |requests: u64| part(requests, share("cart"));
    let cells = Cells {
        neither: cell(old - callee(old), 0),
        version: cell(callee(old), failing.callee),
        revision: cell(new - callee(new), failing.caller),
        both: cell(callee(new), failing.both),
    };
    let arm = |sent: &[Cell], more: u64, bad: u64| {
        let requests = more + sent.iter().map(|it| it.requests).sum::<u64>();
        ArmCounts {
            requests,
            bad: (bad + sent.iter().map(|it| it.bad).sum::<u64>()).min(requests),
            issued: requests,
            timed: requests,
            ..ArmCounts::default()
        }
    };
    let mut observations = Vec::new();
    if world.runs("cart") {
        let mut of_callee = world.healthy_of("cart");
        let evidence = &mut of_callee.evidence;
        let from_others = callee(others);
        let bad = from_others * failing.callee / 1_000;
        evidence.canary = arm(&[cells.version, cells.both], from_others, bad);
        evidence.stable = arm(&[cells.neither, cells.revision], others - from_others, 0);
        let counted = world.state.callers(world.state.latest("cart").unwrap());
        of_callee.callers = counted
            .map(|callers| (callers.rollout.plan().service.clone(), cells))
            .collect();
        observations.push(of_callee);
    }
    if world.runs("checkout") {
        let mut of_caller = world.healthy_of("checkout");
        let own = new * failing.own / 1_000;
        let seen = |cell: Cell| Cell {
            bad: if failing.hidden { 0 } else { cell.bad },
            ..cell
        };
        let calls = [cells.revision, cells.both].map(seen);
        of_caller.evidence.canary = arm(&calls, 0, own);
        of_caller.evidence.stable = arm(&[cells.neither, cells.version].map(seen), 0, 0);
        // It calls nobody whose rollout is under way but `cart`, which calls nobody.
        let counted = world.state.callers(world.state.latest("checkout").unwrap());
        assert_eq!(counted.count(), 0);
        observations.push(of_caller);
    }
    for observation in observations {
        world.apply(Event::Observed(observation)).unwrap();
    }
}

/// Whose doing it was that `cart` and `checkout` went back; `None` for one that did not.
fn causes(world: &World) -> [Option<Cause>; 2] {
    BOTH.map(|name| {
        let run = world.state.latest(name).unwrap();
        run.reverted.as_ref().map(|reverted| reverted.cause)
    })
}

fn after_two_minutes(named: bool, failing: Failing, others: u64) -> World {
    let mut world = overlapping(named);
    for _ in 0..120 {
        second(&mut world, failing, others);
    }
    world
}

const ALONE: Option<Cause> = Some(Cause::Fault);
const SHARED: Option<Cause> = Some(Cause::Shared);

#[test]
fn a_bad_callee_or_a_bad_caller_is_blamed_and_the_other_goes_on() {
    let callee = Failing {
        callee: 200,
        both: 200,
        ..Failing::default()
    };
    let caller = Failing {
        caller: 200,
        both: 200,
        ..Failing::default()
    };
    for (failing, expected) in [(callee, [ALONE, None]), (caller, [None, ALONE])] {
        let world = after_two_minutes(true, failing, 1_000);
        assert_eq!(causes(&world), expected, "{failing:?}");
    }
}

#[test]
fn both_are_blamed_when_both_are_worse_without_the_other_where_the_mesh_tells_who_sends() {
    let failing = Failing {
        callee: 200,
        caller: 200,
        both: 360,
        ..Failing::default()
    };
    for (named, expected) in [(false, [SHARED; 2]), (true, [ALONE; 2])] {
        let world = after_two_minutes(named, failing, 0);
        assert_eq!(causes(&world), expected, "named: {named}");
    }
}

#[test]
fn what_fails_only_where_both_meet_is_nobodys_fault_also_when_only_one_is_suspected() {
    let failing = Failing {
        both: 900,
        ..Failing::default()
    };
    // Among a million calls of others those of the new caller are lost to sight.
    for (others, named, expected) in [
        (0, true, [SHARED; 2]),
        (1_000_000, true, [None, SHARED]),
        (1_000_000, false, [None, ALONE]),
    ] {
        let world = after_two_minutes(named, failing, others);
        assert_eq!(causes(&world), expected, "{others} others, named: {named}");
        let pages = world.pages().join("\n");
        let told = pages.contains("where both meet only");
        assert_eq!(told, named, "{pages}");
        let lost = pages.contains("has a part in what fails: `cart`");
        assert_eq!(lost, named && others > 0, "{pages}");
    }
}

/// Where the callee takes everything there is nothing left to compare it with: it goes one rung back,
/// and its old version fails the new caller as well. By earlier rules it went back for the objective
/// alone.
#[test]
fn a_callee_at_100_percent_is_not_blamed_for_a_caller_whose_own_margin_is_silent() {
    let cases = [
        (false, 5, ALONE),
        (true, 5, SHARED),
        (false, crate::mesh::RULES, None),
        (true, crate::mesh::RULES, None),
    ];
    for (named, rules, expected) in cases {
        let mut world = overlapping(named);
        let mut mesh = world.state.mesh().unwrap().clone();
        for service in mesh.services.values_mut() {
            service.rollout.bake_ms = 5_000;
            service.rollout.rules = rules;
        }
        let mut world = {
            world.state = State::default();
            world.apply(Event::MeshAccepted { mesh }).unwrap();
            world
        };
        start(&mut world, "cart", false);
        for _ in 0..300 {
            if world.state.latest("cart").unwrap().share() == Ppm::WHOLE {
                break;
            }
            second(&mut world, Failing::default(), 0);
        }
        start(&mut world, "checkout", true);
        for _ in 0..120 {
            second(&mut world, Failing::default(), 0);
            if world.state.latest("checkout").unwrap().phase() == Phase::Judging {
                break;
            }
        }
        assert_eq!(world.state.latest("cart").unwrap().share(), Ppm::WHOLE);
        let failing = Failing {
            caller: 900,
            both: 900,
            hidden: true,
            ..Failing::default()
        };
        for _ in 0..60 {
            second(&mut world, failing, 0);
        }
        assert_eq!(causes(&world), [expected, None], "{named}, rules {rules}");
    }
}

/// What a caller does wrong by itself is in no cell: a table that is silent about it excuses nobody.
#[test]
fn a_caller_that_fails_by_itself_goes_back_at_once_beside_a_callee_that_is_at_fault() {
    let failing = Failing {
        callee: 200,
        both: 200,
        own: 500,
        ..Failing::default()
    };
    let mut world = overlapping(true);
    for _ in 0..10 {
        second(&mut world, failing, 0);
    }
    assert_eq!(causes(&world), [ALONE, SHARED]);
    let quarantined: Vec<_> = world.state.quarantined(world.now).collect();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].service, "cart");
}

#[test]
fn nothing_is_counted_without_an_overlap_or_without_sidecars_on_both_versions() {
    let world = overlapping(false);
    let counted = |world: &World, name: &str| {
        let run = world.state.latest(name).unwrap();
        world.state.callers(run).count()
    };
    assert_eq!(counted(&world, "cart"), 0);
    assert!(
        !serde_json::to_string(&world.journal)
            .unwrap()
            .contains("callers")
    );
    let mut world = overlapping(true);
    let callers: Vec<_> = world
        .state
        .callers(world.state.latest("cart").unwrap())
        .collect();
    assert_eq!(callers.len(), 1);
    assert_eq!((callers[0].on_new.len(), callers[0].on_old.len()), (4, 30));
    assert!(callers[0].on_new.contains("beside-v2-3"));
    // The new version's sidecars are not known any more.
    let mut mesh = world.state.mesh().unwrap().clone();
    let checkout = mesh.services.get_mut("checkout").unwrap();
    for host in &mut checkout.versions.get_mut("v2").unwrap().hosts {
        host.sidecar = None;
    }
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    assert_eq!(counted(&world, "cart"), 0);
    let abort = Event::Abort {
        service: "checkout".into(),
        actor: "ann".into(),
        reason: String::new(),
        quarantine: false,
    };
    let mut world = overlapping(true);
    world.apply(abort).unwrap();
    for _ in 0..60 {
        second(&mut world, Failing::default(), 0);
    }
    assert_eq!(counted(&world, "cart"), 0, "it is over");
}
