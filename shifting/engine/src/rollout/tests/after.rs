use super::*;

/// `checkout` and `cart`, which have nothing to do with one another, and v3 of `cart`.
fn two() -> World {
    let mut mesh = mesh();
    let mut cart = mesh.services["checkout"].clone();
    let mut hosts = cart.versions["v2"].hosts.clone();
    hosts.iter_mut().for_each(|host| host.address.set_port(81));
    let version = crate::mesh::Version { hosts };
    cart.versions.insert("v3".to_owned(), version);
    mesh.services.insert("cart".to_owned(), cart);
    World::new(mesh)
}

fn start(service: &str, to: &str, after: &[&str]) -> Event {
    Event::Start {
        service: service.into(),
        to: to.into(),
        actor: "ann".into(),
        turn: Turn::Next,
        terms: Terms {
            after: after.iter().map(|text| text.parse().unwrap()).collect(),
            ..Terms::default()
        },
    }
}

/// `cart` runs until it is over, and what becomes due is done; `checkout` does not begin.
fn cart_to_its_end(world: &mut World, bad: bool) {
    while world.runs("cart") {
        assert!(!world.runs("checkout"));
        world.now = world.now.plus_ms(1000);
        let mut observation = world.healthy_of("cart");
        if bad {
            observation.evidence.canary.bad = observation.evidence.canary.requests / 2;
        }
        world.apply(Event::Observed(observation)).unwrap();
        assert!(world.now.0 < 10_000_000);
        for event in world.state.due(world.now) {
            world.apply(event).unwrap();
        }
    }
}

fn notices(world: &World) -> String {
    let texts = world.effects.iter().filter_map(|effect| match effect {
        Effect::Notice(notice) => Some(notice.text.clone()),
        Effect::Expose { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_start_waits_until_what_it_follows_is_committed() {
    for after in ["cart", "cart@v2"] {
        let mut world = two();
        world.apply(start("cart", "v2", &[])).unwrap();
        world.apply(start("checkout", "v2", &[after])).unwrap();
        let queue = world.state.queue(Some("checkout"), world.now);
        assert_eq!(
            queue[0].reason,
            "waits for `v2` of `cart` to be committed; it is at preparing"
        );
        assert_eq!(queue[0].owner, "ann");
        cart_to_its_end(&mut world, false);
        assert!(world.runs("checkout"));
    }
}

#[test]
fn what_it_follows_may_begin_later_and_may_be_committed_already() {
    let mut world = two();
    world.apply(start("checkout", "v2", &["cart@v3"])).unwrap();
    let queue = world.state.queue(Some("checkout"), world.now);
    assert!(queue[0].reason.ends_with("it is not under way"));
    world.apply(start("cart", "v2", &[])).unwrap();
    cart_to_its_end(&mut world, false);
    assert_eq!(world.state.due(world.now), []);
    world.apply(start("cart", "v3", &[])).unwrap();
    cart_to_its_end(&mut world, false);
    assert!(world.runs("checkout"));

    let mut world = two();
    world.apply(start("checkout", "v2", &["cart@v1"])).unwrap();
    assert!(world.runs("checkout"));
}

#[test]
fn when_what_it_follows_goes_back_it_is_dropped_and_said() {
    let mut world = two();
    world.apply(start("cart", "v2", &[])).unwrap();
    world.apply(start("checkout", "v2", &["cart@v2"])).unwrap();
    cart_to_its_end(&mut world, true);
    assert!(!world.runs("checkout"));
    assert!(world.state.queue(None, world.now).is_empty());
    let said = notices(&world);
    let expected = "the start of `v2` that ann queued is dropped: the rollout of `cart` to `v2`, \
                    which it was to follow, went back: ";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn an_order_that_cannot_be_kept_is_refused() {
    let mut world = two();
    let mut refused = |event: Event| world.apply(event).unwrap_err();
    let unknown = refused(start("checkout", "v2", &["crat"]));
    assert!(matches!(unknown, Refusal::UnknownService { .. }));
    let unknown = refused(start("checkout", "v2", &["cart@v9"]));
    assert!(matches!(unknown, Refusal::UnknownVersion { .. }));
    for (after, why) in [
        ("cart", "no rollout is under way"),
        ("checkout", "wait for one another anyway"),
    ] {
        let refusal = refused(start("checkout", "v2", &[after])).to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
    let refusal = refused(start("checkout", "v2", &["cart@v2"; 9])).to_string();
    assert!(refusal.contains("more than 8"), "{refusal}");

    world.apply(start("checkout", "v2", &["cart@v2"])).unwrap();
    let refusal = world.apply(start("cart", "v2", &["checkout"])).unwrap_err();
    assert!(refusal.to_string().contains("each would wait"), "{refusal}");
}

#[test]
fn an_order_is_written_as_a_service_and_perhaps_a_version() {
    for text in ["", "@v2", "cart@"] {
        assert!(text.parse::<After>().is_err(), "{text}");
    }
}

/// The fleet's new timeout is declared, and has not begun yet.
fn declared() -> World {
    let mut before = two().state.mesh().unwrap().clone();
    let fleet = before.fleets.get_mut("web").unwrap();
    fleet.rollout = Some(before.services["checkout"].rollout.clone());
    let mut after = before.clone();
    let checkout = after.services.get_mut("checkout").unwrap();
    checkout.traffic.timeout_ms = 10_000;
    let mut world = World::new(before);
    world.apply(Event::MeshDeclared { mesh: after }).unwrap();
    world
}

#[test]
fn a_start_waits_until_a_fleets_configuration_is_committed() {
    let mut alone = declared();
    alone.apply(start("cart", "v2", &[])).unwrap();
    assert!(alone.runs("cart"), "nothing else keeps it");

    let mut world = declared();
    world.apply(start("cart", "v2", &["fleet:web"])).unwrap();
    let reason = world.state.queue(Some("cart"), world.now)[0].reason.clone();
    assert!(
        reason.contains("of `fleet:web` to be committed"),
        "{reason}"
    );
    for _ in 0..600 {
        world.now = world.now.plus_ms(1000);
        for event in world.state.due(world.now) {
            world.apply(event).unwrap();
        }
        let Some(run) = world.state.latest("fleet:web") else {
            continue;
        };
        if run.phase() == Phase::Committed {
            break;
        }
        assert!(!world.runs("cart"), "{:?}", run.phase());
        let observation = healthy_fleet(run);
        world.apply(Event::Observed(observation)).unwrap();
    }
    let run = world.state.latest("fleet:web").unwrap();
    assert_eq!(run.phase(), Phase::Committed);
    for event in world.state.due(world.now) {
        world.apply(event).unwrap();
    }
    assert!(world.runs("cart"));
}

#[test]
fn a_fleet_or_a_revision_that_nobody_knows_is_refused() {
    let mut world = declared();
    let mut refused = |after: &str| world.apply(start("cart", "v2", &[after])).unwrap_err();
    assert!(matches!(
        refused("fleet:nowhere"),
        Refusal::UnknownFleet { .. }
    ));
    assert!(matches!(
        refused("fleet:web@0123"),
        Refusal::UnknownVersion { .. }
    ));
}
