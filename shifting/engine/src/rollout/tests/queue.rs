use super::*;
use crate::mesh::Version;

/// v3 and v4 are declared as well.
fn four() -> World {
    let mut world = World::new(mesh());
    world
        .declare(|service| {
            for (name, port) in [("v3", 81), ("v4", 82)] {
                let mut hosts = service.versions["v2"].hosts.clone();
                for host in &mut hosts {
                    host.address.set_port(port);
                }
                service.versions.insert(name.into(), Version { hosts });
            }
        })
        .unwrap();
    world.start("v2").unwrap();
    world
}

fn waiting(world: &World) -> Vec<String> {
    let queue = world.state.queue(Some("checkout"), world.now);
    queue.into_iter().map(|entry| entry.queued.to).collect()
}

fn cancel(world: &mut World, to: &str) -> Result<(), Refusal> {
    world.apply(Event::Cancel {
        service: "checkout".into(),
        to: to.into(),
        actor: "ben".into(),
    })
}

fn notices(world: &World) -> String {
    let texts = world.effects.iter().filter_map(|effect| match effect {
        Effect::Notice(notice) => Some(notice.text.clone()),
        Effect::Expose { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_newer_version_waits_for_its_turn_by_default() {
    let mut world = four();
    world.reach("1 host");
    world.start("v3").unwrap();
    world.start("v4").unwrap();
    assert_eq!(world.run().plan().to, "v2");
    let queue = world.status().queue;
    assert_eq!(queue[0].reason, "waits for the rollout to `v2`, at 1 host");
    assert_eq!(queue[1].reason, "waits for the start of `v3`");
    assert_eq!(queue[0].command, "tidegate rollout cancel checkout v3");
    assert!(queue[0].queued.until > world.now);
    for to in ["v2", "v3", "v4"] {
        assert_eq!(world.state.due(world.now), []);
        world.reach_phase(Phase::Committed);
        assert_eq!(world.state.stable("checkout"), Some(to));
        if to != "v4" {
            world.serve_queue();
        }
    }
    assert_eq!(world.state.due(world.now), []);
}

#[test]
fn what_waits_behind_a_failure_starts_from_what_is_stable_then() {
    let mut world = four();
    world.start("v3").unwrap();
    world.fail();
    world.serve_queue();
    let plan = world.run().plan();
    assert_eq!((plan.from.as_str(), plan.to.as_str()), ("v1", "v3"));
}

#[test]
fn superseding_drains_the_canary_to_nothing_before_the_newer_one_starts() {
    let mut world = four();
    world.reach("5%");
    world.start("v3").unwrap();
    world.start_turn("v4", Turn::Supersede).unwrap();
    assert_eq!(world.phase(), Phase::Reverting);
    assert_eq!(world.status().revert_cause, Some(Cause::Superseded));
    assert!(
        world.reason().contains("superseded by `v4`"),
        "{}",
        world.reason()
    );
    assert_eq!(waiting(&world), ["v4"]);
    assert!(notices(&world).contains("the queued start of `v3` gives way to `v4`"));
    // Requests of the old canary are still in flight: it is not over.
    for _ in 0..5 {
        world.tick(|o| o.evidence.canary.in_flight = 3);
        assert_eq!(world.state.due(world.now), []);
        assert!(matches!(world.admit(), Err(Refusal::NotNow { .. })));
    }
    world.reach_phase(Phase::Reverted);
    world.serve_queue();
    let plan = world.run().plan();
    assert_eq!((plan.from.as_str(), plan.to.as_str()), ("v1", "v4"));
    assert_eq!(world.run().share(), Ppm::ZERO);
    // Nothing was the old canary's fault.
    assert_eq!(world.state.quarantined(world.now).count(), 0);
    world.reach_phase(Phase::Committed);
}

#[test]
fn what_makes_no_sense_behind_the_running_rollout_is_refused() {
    let mut world = four();
    assert!(matches!(world.start("v2"), Err(Refusal::Running { .. })));
    let refusal = world.start("v1").unwrap_err().to_string();
    assert!(
        refusal.contains("tidegate rollout abort checkout"),
        "{refusal}"
    );
    assert!(matches!(
        world.start("v9"),
        Err(Refusal::UnknownVersion { .. })
    ));
    world.start("v3").unwrap();
    assert!(matches!(world.start("v3"), Err(Refusal::NotNow { .. })));
    assert_eq!(waiting(&world), ["v3"]);
}

#[test]
fn an_aborted_version_may_be_tried_again_while_it_goes_back() {
    let mut world = four();
    world.reach("1 host");
    world.abort().unwrap();
    world.start("v2").unwrap();
    assert_eq!(world.phase(), Phase::Reverting);
    world.reach_phase(Phase::Reverted);
    world.serve_queue();
    assert_eq!((world.run().number(), world.phase()), (2, Phase::Preparing));
    world.reach_phase(Phase::Committed);
}

#[test]
fn a_queued_start_can_be_cancelled() {
    let mut world = four();
    world.start("v3").unwrap();
    cancel(&mut world, "v3").unwrap();
    assert_eq!(waiting(&world), [""; 0]);
    assert!(matches!(
        cancel(&mut world, "v3"),
        Err(Refusal::NotNow { .. })
    ));
    world.reach_phase(Phase::Committed);
    assert_eq!(world.state.due(world.now), []);
}

#[test]
fn a_turn_is_checked_again_and_what_is_not_possible_any_more_is_dropped_and_said() {
    let mut world = four();
    world.start("v3").unwrap();
    world
        .declare(|service| drop(service.versions.remove("v3")))
        .unwrap();
    world.reach_phase(Phase::Committed);
    world.serve_queue();
    assert_eq!(world.run().number(), 1);
    let said = notices(&world);
    let expected =
        "the start of `v3` that ann queued is dropped: service `checkout` has no version";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_turn_that_does_not_come_within_a_day_is_given_up() {
    let mut world = four();
    world.reach("1 host");
    world.pause().unwrap();
    world.start("v3").unwrap();
    world.now = world.now.plus_ms(24 * 3_600_000 - 1);
    assert_eq!(world.state.due(world.now), []);
    world.now = world.now.plus_ms(1);
    world.serve_queue();
    assert_eq!(waiting(&world), [""; 0]);
    assert!(notices(&world).contains("its turn did not come in time"));
    assert_eq!(world.run().plan().to, "v2");
}

#[test]
fn the_queue_has_an_end() {
    let mut world = four();
    world
        .declare(|service| {
            for n in 0..9_u8 {
                let mut hosts = service.versions["v2"].hosts.clone();
                for host in &mut hosts {
                    host.address.set_port(90 + u16::from(n));
                }
                service.versions.insert(format!("w{n}"), Version { hosts });
            }
        })
        .unwrap();
    for n in 0..8 {
        world.start(&format!("w{n}")).unwrap();
    }
    let refusal = world.start("w8").unwrap_err().to_string();
    assert!(refusal.contains("8 starts wait already"), "{refusal}");
}

#[test]
fn a_fix_goes_forward_over_a_broken_stable_version() {
    let mut world = World::started();
    while world.phase() != Phase::Committed {
        world.tick(|o| o.evidence.stable.bad = o.evidence.stable.requests / 2);
        assert!(world.phase() != Phase::Reverting, "{}", world.reason());
        assert!(world.now.0 < 10_000_000, "{:?}", world.status());
    }
    assert_eq!(world.state.stable("checkout"), Some("v2"));
}

#[test]
fn a_version_that_is_quarantined_before_its_turn_does_not_start() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    world.start_turn("v2", Turn::Queue).unwrap();
    world
        .apply(Event::Abort {
            service: "checkout".into(),
            actor: "ann".into(),
            reason: "it is broken".into(),
            quarantine: true,
        })
        .unwrap();
    world.reach_phase(Phase::Reverted);
    world.serve_queue();
    assert_eq!(world.state.active().count(), 0);
    assert!(world.state.queue(None, world.now).is_empty());
}
