use super::*;
use crate::mesh::Tier;

/// `checkout` and `search` call `cart`; `mail` has nothing to do with them.
fn shop() -> World {
    let mut mesh = mesh();
    let plain = mesh.services["checkout"].clone();
    for (name, calls) in [
        ("checkout", &["cart"][..]),
        ("search", &["cart"]),
        ("cart", &[]),
        ("mail", &[]),
    ] {
        let mut service = plain.clone();
        service.calls = calls.iter().map(|call| (*call).to_owned()).collect();
        mesh.services.insert(name.to_owned(), service);
    }
    World::new(mesh)
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

/// A second: turns that have come, and a tick of every rollout; half of what `bad`'s canary gets
/// fails.
fn second(world: &mut World, bad: Option<&str>) {
    world.now = world.now.plus_ms(1000);
    for event in world.state.due(world.now) {
        world.apply(event).unwrap();
    }
    for service in ["cart", "checkout", "mail", "search"] {
        if world.runs(service) {
            let mut observation = world.healthy_of(service);
            if bad == Some(service) {
                let canary = &mut observation.evidence.canary;
                canary.bad = canary.requests / 2;
            }
            world.apply(Event::Observed(observation)).unwrap();
        }
    }
}

fn all_over(world: &mut World, bad: Option<&str>) {
    for _ in 0..3_600 {
        let waits = !world.state.queue(None, world.now).is_empty();
        if !waits && world.state.active().count() == 0 {
            return;
        }
        second(world, bad);
    }
    panic!("never: {:?}", world.state.statuses(world.now));
}

fn ended(world: &World, service: &str) -> Option<Phase> {
    world.state.latest(service).map(Rollout::phase)
}

fn running(world: &World) -> Vec<&str> {
    let services = world.state.active().map(|run| run.plan().service.as_str());
    services.collect()
}

#[test]
fn t15_of_two_dependent_services_shifted_at_once_one_waits_and_only_the_bad_one_goes_back() {
    let cases = [
        ("cart", "checkout", "checkout"),
        ("cart", "checkout", "cart"),
        ("checkout", "cart", "checkout"),
        ("checkout", "cart", "cart"),
    ];
    for (first, second_one, bad) in cases {
        let mut world = shop();
        world.apply(start(first, false)).unwrap();
        world.apply(start(second_one, false)).unwrap();
        for _ in 0..5 {
            second(&mut world, Some(bad));
            assert_eq!(running(&world), [first]);
        }
        all_over(&mut world, Some(bad));
        for service in [first, second_one] {
            let expected = if service == bad {
                Phase::Reverted
            } else {
                Phase::Committed
            };
            assert_eq!(ended(&world, service), Some(expected), "{service}");
        }
        let ends = |service: &str| world.state.latest(service).unwrap().status(world.now);
        assert!(ends(second_one).started >= ends(first).since);
    }
}

#[test]
fn a_start_says_whose_rollout_it_waits_for_until_when_and_what_would_not_wait() {
    let mut world = shop();
    world.apply(start("cart", false)).unwrap();
    let plan = world.state.plan("checkout", "v2").unwrap();
    let warning = plan.warnings.last().unwrap();
    assert!(
        warning.contains("waits for the end of the rollout of `cart` to `v2`"),
        "{warning}"
    );
    world.apply(start("checkout", false)).unwrap();
    let queue = world.state.queue(Some("checkout"), world.now);
    assert_eq!(
        queue[0].reason,
        "waits for the rollout of `cart` to `v2`, at preparing, which holds `cart` too (`checkout` and \
         `cart` declared)"
    );
    assert_eq!(queue[0].owner, "ann");
    assert_eq!(queue[0].queued.until, world.now.plus_ms(24 * 3_600_000));
    assert_eq!(
        queue[0].command,
        "tidegate rollout start checkout v2 --overlap"
    );
}

#[test]
fn services_that_share_a_neighbour_wait_and_strangers_do_not() {
    let mut world = shop();
    for service in ["checkout", "search", "mail"] {
        world.apply(start(service, false)).unwrap();
    }
    assert_eq!(running(&world), ["checkout", "mail"]);
    let queue = world.state.queue(None, world.now);
    assert!(queue[0].reason.contains("which holds `cart` too"));
    all_over(&mut world, None);
    assert_eq!(ended(&world, "search"), Some(Phase::Committed));
}

#[test]
fn an_operator_may_let_rollouts_overlap_which_is_said_and_kept() {
    let mut world = shop();
    world.apply(start("cart", false)).unwrap();
    world.apply(start("checkout", false)).unwrap();
    // What waits already is taken at that word, too.
    world.apply(start("checkout", true)).unwrap();
    assert_eq!(running(&world), ["cart", "checkout"]);
    assert!(world.state.queue(None, world.now).is_empty());
    let status = world.status();
    assert!(status.plan.lease.overlaps.contains("cart"));
    let warning = status.plan.warnings.last().unwrap();
    assert!(warning.contains("by ann's word it overlaps"), "{warning}");
    assert!(status.history.iter().any(|entry| entry.text == *warning));
    all_over(&mut world, None);
    assert_eq!(ended(&world, "checkout"), Some(Phase::Committed));
}

#[test]
fn the_way_back_waits_for_nobody() {
    let mut world = shop();
    world.apply(start("checkout", false)).unwrap();
    all_over(&mut world, None);
    world.apply(start("cart", false)).unwrap();
    world.back(Some("v1")).unwrap();
    assert_eq!(running(&world), ["cart", "checkout"]);
    assert!(world.run().plan().lease.overlaps.contains("cart"));
}

#[test]
fn of_the_turns_that_have_come_the_least_critical_service_goes_first() {
    for (checkout, search, expected) in [(1, 9, "search"), (9, 1, "checkout"), (5, 5, "checkout")] {
        let mut world = shop();
        let mut mesh = world.state.mesh().unwrap().clone();
        mesh.services.get_mut("checkout").unwrap().tier = Tier(checkout);
        mesh.services.get_mut("search").unwrap().tier = Tier(search);
        world.apply(Event::MeshAccepted { mesh }).unwrap();
        world.apply(start("cart", false)).unwrap();
        world.now = world.now.plus_ms(1);
        world.apply(start("checkout", false)).unwrap();
        world.now = world.now.plus_ms(1);
        world.apply(start("search", false)).unwrap();
        while running(&world).contains(&"cart") {
            second(&mut world, None);
        }
        second(&mut world, None);
        assert_eq!(running(&world), [expected]);
    }
}

#[test]
fn what_a_rollout_holds_is_fixed_when_it_starts() {
    let mut world = shop();
    world.apply(start("checkout", false)).unwrap();
    let mut mesh = world.state.mesh().unwrap().clone();
    mesh.services.get_mut("checkout").unwrap().calls.clear();
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    world.apply(start("cart", false)).unwrap();
    assert_eq!(running(&world), ["checkout"]);
}

#[test]
fn what_an_earlier_program_wrote_holds_its_own_service_only() {
    let mut world = World::started();
    world.reach("1 host");
    let text = serde_json::to_string(&world.state).unwrap();
    assert!(!text.contains("lease") && !text.contains("tier") && !text.contains("terms"));
    let state: State = serde_json::from_str(&text).unwrap();
    assert_eq!(state, world.state);
    assert!(world.run().plan().lease.is_own());
}

#[test]
fn a_fleet_has_no_more_services_under_way_than_it_may() {
    let mut world = shop();
    let mut mesh = world.state.mesh().unwrap().clone();
    mesh.services.values_mut().for_each(|it| it.calls.clear());
    mesh.fleets.get_mut("web").unwrap().unproven_services_max = Some(2);
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    for service in ["cart", "mail"] {
        world.apply(start(service, false)).unwrap();
    }
    let plan = world.state.plan("checkout", "v2").unwrap();
    let warning = plan.warnings.last().unwrap();
    let reason = "waits for an end of one of cart, mail: fleet `web` may have 2 under way \
                  (`unproven_services_max`)";
    assert_eq!(warning, &format!("it {reason}"));
    // An operator's word on overlaps is about neighbours.
    for service in ["checkout", "search"] {
        world.apply(start(service, true)).unwrap();
    }
    assert_eq!(running(&world), ["cart", "mail"]);
    assert_eq!(world.state.queue(None, world.now)[0].reason, reason);
    while running(&world).contains(&"mail") {
        second(&mut world, None);
        assert!(running(&world).len() <= 2);
    }
    all_over(&mut world, None);
    assert_eq!(ended(&world, "search"), Some(Phase::Committed));
}

/// `cart` and `checkout`, which calls it, are on their first rung side by side.
fn overlapping() -> World {
    let mut world = shop();
    world.apply(start("cart", false)).unwrap();
    world.apply(start("checkout", true)).unwrap();
    let judged = |world: &World| {
        let mut both = ["cart", "checkout"].into_iter();
        both.all(|name| world.state.latest(name).unwrap().phase() == Phase::Judging)
    };
    while !judged(&world) {
        second(&mut world, None);
    }
    world
}

/// Seconds in which half of the canaries' requests to these fail, until both are over.
fn failing(world: &mut World, bad: &[&str]) {
    for _ in 0..600 {
        world.now = world.now.plus_ms(1000);
        for service in ["cart", "checkout"] {
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
}

#[test]
fn of_two_that_overlap_the_one_that_fails_is_blamed() {
    let mut world = overlapping();
    failing(&mut world, &["cart"]);
    let quarantined: Vec<_> = world.state.quarantined(world.now).collect();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].service, "cart");
    assert!(world.state.latest("checkout").unwrap().reverted.is_none());
}

#[test]
fn of_two_that_overlap_and_both_fail_both_go_back_and_neither_is_blamed() {
    let mut world = overlapping();
    failing(&mut world, &["cart", "checkout"]);
    for service in ["cart", "checkout"] {
        let run = world.state.latest(service).unwrap();
        assert_eq!(run.phase(), Phase::Reverted);
        assert_eq!(run.reverted.as_ref().unwrap().cause, Cause::Shared);
    }
    assert_eq!(world.state.quarantined(world.now).count(), 0);
    let pages = world.pages().join("\n");
    assert!(pages.contains("it is not blamed"), "{pages}");
    // Alone, it is its own fault.
    let minutes_later = 120_000;
    world.now = world.now.plus_ms(minutes_later);
    world.apply(start("cart", false)).unwrap();
    failing(&mut world, &["cart"]);
    assert_eq!(world.state.quarantined(world.now).count(), 1);
}

#[test]
fn a_journal_of_earlier_rules_blames_as_it_did() {
    let mut mesh = shop().state.mesh().unwrap().clone();
    for service in mesh.services.values_mut() {
        service.rollout.rules = 2;
    }
    let mut world = World::new(mesh);
    world.apply(start("cart", false)).unwrap();
    world.apply(start("checkout", true)).unwrap();
    failing(&mut world, &["cart", "checkout"]);
    assert_eq!(world.state.quarantined(world.now).count(), 2);
}

#[test]
fn of_turns_that_come_at_once_no_more_begin_than_the_fleet_may_have() {
    let mut world = shop();
    let mut mesh = world.state.mesh().unwrap().clone();
    mesh.services.values_mut().for_each(|it| it.calls.clear());
    mesh.fleets.get_mut("web").unwrap().unproven_services_max = Some(1);
    world.apply(Event::MeshAccepted { mesh }).unwrap();
    for service in ["search", "cart", "mail"] {
        world.apply(start(service, false)).unwrap();
    }
    for next in ["search", "cart", "mail"] {
        assert_eq!(running(&world), [next]);
        for _ in 0..3_600 {
            if running(&world) != [next] {
                break;
            }
            second(&mut world, None);
        }
        assert_eq!(ended(&world, next), Some(Phase::Committed));
        second(&mut world, None);
    }
}
