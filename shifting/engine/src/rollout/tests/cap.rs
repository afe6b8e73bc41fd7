//! A cap on the part of a fleet's requests that may be on versions under way (issue 4, item 5).

use super::*;

const SERVICES: [&str; 3] = ["cart", "checkout", "mail"];

/// Strangers of one fleet, of whose requests 5% may be on versions under way.
fn shop() -> World {
    let mut mesh = mesh();
    let plain = mesh.services["checkout"].clone();
    for name in SERVICES {
        mesh.services.insert(name.to_owned(), plain.clone());
    }
    let fleet = mesh.fleets.get_mut("web").unwrap();
    fleet.unproven_traffic_max = Some(Ppm::of(5, 100));
    World::new(mesh)
}

fn start(world: &mut World, service: &str, actor: &str) {
    world
        .apply(Event::Start {
            service: service.into(),
            to: "v2".into(),
            actor: actor.into(),
            turn: Turn::Next,
            terms: Terms::default(),
        })
        .unwrap();
}

/// A tick of every rollout; each service has `part` of the fleet's requests, if that is known.
fn second(world: &mut World, part: Option<Ppm>) {
    world.now = world.now.plus_ms(1_000);
    for service in SERVICES {
        if world.runs(service) {
            let mut observation = world.healthy_of(service);
            observation.parts = part
                .map(|part| ("web".to_owned(), part))
                .into_iter()
                .collect();
            world.apply(Event::Observed(observation)).unwrap();
        }
    }
}

fn run<'a>(world: &'a World, service: &str) -> &'a Rollout {
    world.state.latest(service).unwrap()
}

/// What a service waits for, if for the cap.
fn capped(world: &World, service: &str) -> Option<Waiting> {
    match world.state.status(service, world.now).unwrap().decision {
        Decision::Wait(waiting) if waiting.kind == "cap" => Some(waiting),
        _ => None,
    }
}

/// The part of the fleet's requests that the new versions have, each service having `part`.
fn unproven(world: &World, part: Ppm) -> f64 {
    let runs = SERVICES.iter().filter(|service| world.runs(service));
    runs.map(|service| run(world, service).share().fraction() * part.fraction())
        .sum()
}

#[test]
fn beside_the_first_one_no_step_goes_beyond_the_cap_and_all_end_well() {
    let half = Ppm::of(50, 100);
    let mut world = shop();
    start(&mut world, "cart", "ann");
    start(&mut world, "checkout", "ben");
    let mut held = None;
    for _ in 0..600 {
        if !world.runs("cart") {
            break;
        }
        let before = unproven(&world, half);
        let first = run(&world, "cart").share();
        second(&mut world, Some(half));
        assert_eq!(capped(&world, "cart"), None, "it began first");
        if unproven(&world, half) > before && run(&world, "cart").share() == first {
            assert!(unproven(&world, half) <= 0.05, "{}", unproven(&world, half));
        }
        held = held.or_else(|| capped(&world, "checkout"));
    }
    let held = held.unwrap();
    assert_eq!(held.owner, "ann");
    assert_eq!(held.command, "tidegate rollout abort cart");
    assert!(held.until.is_some() && !held.clock_stopped && !held.overdue);
    let reason = held.reason.to_string();
    assert!(reason.contains("fleet `web`"), "{reason}");
    assert!(
        reason.contains("it waits for the rollout of `cart`"),
        "{reason}"
    );
    for _ in 0..300 {
        second(&mut world, Some(half));
    }
    for service in ["cart", "checkout"] {
        assert_eq!(run(&world, service).phase(), Phase::Committed, "{service}");
    }
}

#[test]
fn a_small_service_has_room_beside_others() {
    let mut world = shop();
    for service in SERVICES {
        start(&mut world, service, "ann");
    }
    for _ in 0..300 {
        second(&mut world, Some(Ppm::of(1, 100)));
        assert!(SERVICES.iter().all(|it| capped(&world, it).is_none()));
    }
    for service in SERVICES {
        assert_eq!(run(&world, service).phase(), Phase::Committed, "{service}");
    }
}

/// One host's fair share is 3.2%, and two of them would be more than 5%.
#[test]
fn what_is_not_known_counts_as_all_of_the_fleets_requests() {
    let mut world = shop();
    start(&mut world, "cart", "ann");
    start(&mut world, "checkout", "ben");
    for _ in 0..600 {
        if !world.runs("cart") {
            break;
        }
        second(&mut world, None);
        let exposed = run(&world, "checkout").share();
        assert!(exposed == Ppm::ZERO || !world.runs("cart"), "{exposed}");
    }
    for _ in 0..300 {
        second(&mut world, None);
    }
    assert_eq!(run(&world, "checkout").phase(), Phase::Committed);
}

#[test]
fn a_hold_by_the_cap_is_paged_when_it_is_overdue() {
    let mut world = shop();
    start(&mut world, "cart", "ann");
    world
        .apply(Event::Pause {
            service: "cart".into(),
            actor: "ann".into(),
        })
        .unwrap();
    start(&mut world, "checkout", "ben");
    // The first one stays where it is, at nothing; the other one's step to everything waits.
    for _ in 0..2_000 {
        second(&mut world, Some(Ppm::of(50, 100)));
    }
    assert!(capped(&world, "checkout").unwrap().overdue);
    let pages = world.pages().join("\n");
    assert!(pages.contains("`unproven_traffic_max`"), "{pages}");
}

#[test]
fn no_way_back_waits_for_the_cap() {
    let mut world = shop();
    start(&mut world, "checkout", "ann");
    for _ in 0..600 {
        if !world.runs("checkout") {
            break;
        }
        second(&mut world, None);
    }
    world.start("v1").unwrap();
    for _ in 0..600 {
        if !world.runs("checkout") {
            break;
        }
        second(&mut world, None);
    }
    assert_eq!(world.state.stable("checkout"), Some("v1"));
    start(&mut world, "cart", "ann");
    world.back(Some("v2")).unwrap(); // it is known good
    for _ in 0..300 {
        second(&mut world, None);
        assert_eq!(capped(&world, "checkout"), None);
    }
    assert_eq!(world.state.stable("checkout"), Some("v2"));
    // Nor does what goes back for a fault.
    start(&mut world, "mail", "ann");
    world
        .apply(Event::Abort {
            service: "mail".into(),
            actor: "ann".into(),
            reason: "not today".into(),
            quarantine: false,
        })
        .unwrap();
    assert_eq!(run(&world, "mail").phase(), Phase::Reverting);
}

#[test]
fn a_plan_says_what_its_steps_may_wait_for() {
    let mut world = shop();
    let plan = world.state.plan("checkout", "v2").unwrap();
    assert!(plan.warnings.iter().all(|it| !it.contains("unproven")));
    start(&mut world, "cart", "ann");
    let plan = world.state.plan("checkout", "v2").unwrap();
    assert_eq!(
        plan.warnings.last().unwrap(),
        "fleet `web` may have 5% of its requests on versions under way (`unproven_traffic_max`): a \
         step that goes beyond waits for the end of the rollout of `cart`"
    );
}
