//! The observed call graph: what sidecars are seen calling is held as what is declared.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// `checkout`, `search` and `cart` declare no calls; a fleet stands beside `checkout`, another one beside
/// `search`, and `web` beside nothing.
fn shop() -> World {
    let mut mesh = mesh();
    let plain = mesh.services["checkout"].clone();
    for name in ["search", "cart", "mail"] {
        mesh.services.insert(name.to_owned(), plain.clone());
    }
    for name in ["checkout", "search"] {
        let mut fleet = mesh.fleets["web"].clone();
        fleet.service = Some(name.to_owned());
        mesh.fleets.insert(format!("beside-{name}"), fleet);
    }
    World::new(mesh)
}

fn calls(fleet: &str, services: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    BTreeMap::from([(fleet.to_owned(), services)])
}

/// Sidecars beside `checkout` or `search` are seen calling `cart`.
fn seen(caller: &str) -> Event {
    Event::CallsSeen {
        calls: calls(&format!("beside-{caller}"), &["cart"]),
    }
}

fn start(service: &str, overlap: bool) -> Event {
    Event::Start {
        service: service.into(),
        to: "v2".into(),
        actor: "ann".into(),
        turn: Turn::Next,
        terms: Terms {
            overlap,
            ..Terms::default()
        },
    }
}

fn running(world: &World) -> Vec<&str> {
    let services = world.state.active().map(|run| run.plan().service.as_str());
    services.collect()
}

fn wait_of(world: &World, service: &str) -> String {
    let queue = world.state.queue(Some(service), world.now);
    queue
        .first()
        .map(|it| it.reason.clone())
        .unwrap_or_default()
}

/// A second of every rollout; half of what the canaries of `bad` get fails.
fn second(world: &mut World, bad: &[&str]) {
    world.now = world.now.plus_ms(1_000);
    for event in world.state.due(world.now) {
        world.apply(event).unwrap();
    }
    for service in ["cart", "checkout", "mail", "search"] {
        if world.runs(service) {
            let mut observation = world.healthy_of(service);
            if bad.contains(&service) {
                let canary = &mut observation.evidence.canary;
                canary.bad = canary.requests / 2;
            }
            world.apply(Event::Observed(observation)).unwrap();
        }
    }
}

#[test]
fn an_observed_call_makes_neighbours_and_says_when_it_was_last_seen() {
    let mut world = shop();
    world.apply(seen("checkout")).unwrap();
    for (first, other) in [("cart", "checkout"), ("checkout", "cart")] {
        let mut world = world.clone();
        world.apply(start(first, false)).unwrap();
        let plan = world.state.plan(other, "v2").unwrap();
        let warning = plan.warnings.last().unwrap();
        assert!(warning.contains("observed, last seen within"), "{warning}");
        world.apply(start(other, false)).unwrap();
        world.apply(start("mail", false)).unwrap();
        assert!(!running(&world).contains(&other));
        assert_eq!(running(&world).len(), 2);
        let expected = format!(
            "waits for the rollout of `{first}` to `v2`, at preparing, which holds `{first}` too \
             (`{other}` and `{first}` observed, last seen within the last hour)"
        );
        assert_eq!(wait_of(&world, other), expected);
        let lease = &world.state.latest(first).unwrap().plan().lease;
        assert!(lease.neighbours.is_empty());
        assert_eq!(lease.observed.keys().collect::<Vec<_>>(), [other]);
        for _ in 0..3_600 {
            second(&mut world, &[]);
        }
        let ended = world.state.latest(other).map(Rollout::phase);
        assert_eq!(ended, Some(Phase::Committed), "its turn came");
    }
}

#[test]
fn callers_of_one_service_are_kept_apart_and_both_kinds_of_neighbour_are_told() {
    let mut world = shop();
    world
        .declare(|checkout| assert!(checkout.calls.insert("cart".into())))
        .unwrap();
    world.apply(seen("search")).unwrap();
    world.now = world.now.plus_ms(50 * HOUR_MS);
    world.apply(start("checkout", false)).unwrap();
    world.apply(start("search", false)).unwrap();
    let reason = wait_of(&world, "search");
    let why = "which holds `cart` too (`search` and `cart` observed, last seen 2 d 2 h ago; \
               `checkout` and `cart` declared)";
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn what_was_not_seen_for_eight_days_is_no_neighbour_and_a_week_is_not_enough() {
    let mut world = shop();
    world.apply(seen("checkout")).unwrap();
    world.now = world.now.plus_ms(7 * 24 * HOUR_MS);
    assert_eq!(world.state.call_graph(world.now).len(), 1);
    let mut later = world.clone();
    later.now = later.now.plus_ms(24 * HOUR_MS);
    for (world, expected) in [(&mut world, 1), (&mut later, 2)] {
        world.apply(start("cart", false)).unwrap();
        world.apply(start("checkout", false)).unwrap();
        assert_eq!(running(world).len(), expected);
    }
    assert_eq!(later.state.call_graph(later.now), []);
    // With the next call that is seen the state forgets it, too.
    later.apply(seen("search")).unwrap();
    assert!(
        !serde_json::to_string(&later.state)
            .unwrap()
            .contains("beside-checkout\":{\"cart")
    );
}

#[test]
fn the_journal_learns_of_a_call_once_and_then_by_the_hour_with_others_that_are_nearly_due() {
    let mut world = shop();
    let mut both = calls("beside-checkout", &["cart"]);
    let recorded = |world: &World, calls: &BTreeMap<_, _>| {
        let event = world.state.calls_to_record(calls, world.now)?;
        let Event::CallsSeen { calls } = event else {
            panic!("another event");
        };
        Some(calls)
    };
    let record = |world: &mut World, calls: &BTreeMap<_, _>| {
        let Some(event) = world.state.calls_to_record(calls, world.now) else {
            return false;
        };
        world.apply(event).unwrap();
        true
    };
    assert!(record(&mut world, &both));
    world.now = world.now.plus_ms(HOUR_MS / 2);
    assert_eq!(recorded(&world, &both), None);
    both.extend(calls("beside-search", &["cart"]));
    // What is new takes along what is nearly due.
    assert_eq!(recorded(&world, &both), Some(both.clone()));
    world.now = world.now.plus_ms(HOUR_MS / 2 - 1);
    assert!(record(&mut world, &both));
    let mut records = 0;
    for _ in 0..36_000 {
        world.now = world.now.plus_ms(1_000);
        records += u32::from(record(&mut world, &both));
    }
    assert_eq!(records, 10, "in 10 hours");
    // What is nobody's call is not recorded.
    for (fleet, service) in [
        ("web", "cart"),
        ("nowhere", "cart"),
        ("beside-checkout", "checkout"),
        ("beside-checkout", "nothing"),
    ] {
        assert_eq!(
            recorded(&world, &calls(fleet, &[service])),
            None,
            "{fleet} {service}"
        );
    }
}

#[test]
fn a_call_that_is_first_seen_between_two_that_run_stops_neither_and_both_learn_of_it() {
    let mut world = shop();
    world.apply(start("cart", false)).unwrap();
    world.apply(start("checkout", false)).unwrap();
    for _ in 0..15 {
        second(&mut world, &[]);
    }
    let place = |world: &World, service: &str| {
        let run = world.state.latest(service).unwrap();
        (run.number(), run.phase(), run.share(), run.epoch())
    };
    let before = ["cart", "checkout"].map(|service| place(&world, service));
    world.effects.clear();
    world.apply(seen("checkout")).unwrap();
    assert_eq!(
        before,
        ["cart", "checkout"].map(|service| place(&world, service))
    );
    for (service, other) in [("cart", "checkout"), ("checkout", "cart")] {
        let status = world.state.status(service, world.now).unwrap();
        assert_eq!(status.found_overlaps.iter().collect::<Vec<_>>(), [other]);
        let told = &status.history.last().unwrap().text;
        assert!(
            told.contains(&format!("overlaps the rollout of `{other}`")),
            "{told}"
        );
        assert!(told.contains("neither goes back"), "{told}");
    }
    assert_eq!(
        world.effects.len(),
        2,
        "each is told once: {:?}",
        world.effects
    );
    // Seen again it is no news.
    world.now = world.now.plus_ms(1);
    world.apply(seen("checkout")).unwrap();
    assert_eq!(world.effects.len(), 2);
    for _ in 0..3_600 {
        second(&mut world, &[]);
    }
    for service in ["cart", "checkout"] {
        assert_eq!(
            world.state.latest(service).unwrap().phase(),
            Phase::Committed,
            "{service}"
        );
    }
}

#[test]
fn of_two_that_were_found_to_overlap_and_both_fail_neither_is_blamed() {
    let mut world = shop();
    world.apply(start("cart", false)).unwrap();
    world.apply(start("checkout", false)).unwrap();
    for _ in 0..15 {
        second(&mut world, &[]);
    }
    world.apply(seen("checkout")).unwrap();
    for _ in 0..60 {
        second(&mut world, &["cart", "checkout"]);
    }
    for service in ["cart", "checkout"] {
        let status = world.state.status(service, world.now).unwrap();
        assert_eq!(status.phase, Phase::Reverted);
    }
    for service in ["cart", "checkout"] {
        let cause = world.state.status(service, world.now).unwrap().revert_cause;
        assert_eq!(cause, Some(Cause::Shared), "{service}");
    }
}

#[test]
fn what_is_seen_while_a_rollout_runs_it_holds_from_then_on() {
    let mut world = shop();
    let mut mesh = world.state.mesh().unwrap().clone();
    let mail = mesh.services.get_mut("mail").unwrap();
    mail.calls.insert("cart".into());
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    world.apply(start("checkout", false)).unwrap();
    world.apply(seen("checkout")).unwrap();
    world.apply(start("mail", false)).unwrap();
    assert_eq!(running(&world), ["checkout"]);
    let reason = wait_of(&world, "mail");
    assert!(reason.contains("holds `cart` too"), "{reason}");
    assert!(world.run().plan().lease.is_own(), "the plan is as it was");
}

#[test]
fn a_fleet_that_is_said_to_stand_elsewhere_takes_its_calls_along() {
    let mut world = shop();
    world.apply(seen("checkout")).unwrap();
    world.apply(start("cart", false)).unwrap();
    world.apply(start("search", false)).unwrap();
    assert_eq!(running(&world), ["cart", "search"]);
    let mut mesh = world.state.mesh().unwrap().clone();
    mesh.fleets.get_mut("beside-checkout").unwrap().service = Some("search".into());
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    let graph = world.state.call_graph(world.now);
    let [call] = graph.as_slice() else {
        panic!("{graph:?}");
    };
    assert_eq!(
        (call.caller.as_str(), call.callee.as_str()),
        ("search", "cart")
    );
    assert_eq!((call.declared, call.last_seen), (false, Some(world.now)));
    // Those that run overlap by it, and learn of it.
    let found = &world
        .state
        .status("search", world.now)
        .unwrap()
        .found_overlaps;
    assert!(found.contains("cart"));
    // A gateway's calls are nobody's.
    let mut mesh = world.state.mesh().unwrap().clone();
    mesh.fleets.get_mut("beside-checkout").unwrap().service = None;
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    assert_eq!(world.state.call_graph(world.now), []);
    assert_eq!(
        world.state.fleets_beside_nothing(),
        ["beside-checkout", "web"]
    );
}

#[test]
fn a_fleets_configuration_holds_the_service_beside_which_it_stands() {
    let mut world = shop();
    let mut mesh = world.state.mesh().unwrap().clone();
    let fleet = mesh.fleets.get_mut("beside-checkout").unwrap();
    fleet.listener.port = 15_001;
    world.apply(start("checkout", false)).unwrap();
    world.apply(Event::MeshDeclared { mesh }).unwrap();
    let pending = world.state.pending(world.now);
    let reason = &pending[0].reason;
    assert!(
        reason.contains("the rollout of `checkout` to `v2`"),
        "{reason}"
    );
    assert_eq!(world.state.due(world.now), []);
}

#[test]
fn a_state_that_saw_nothing_is_written_as_it_was_before_anything_could_be_seen() {
    let mut world = World::started();
    world.reach("1 host");
    let text = serde_json::to_string(&world.state).unwrap();
    for key in ["\"calls\":{\"", "\"observed\"", "\"found\""] {
        assert!(!text.contains(key), "{key}");
    }
}
