use super::*;

#[test]
fn a_healthy_rollout_walks_every_rung_and_commits() {
    let mut world = World::started();
    let mut seen = vec![(Phase::Preparing, Ppm::ZERO)];
    while !world.phase().is_final() {
        world.tick(|_| {});
        let at = (world.phase(), world.run().share());
        if seen.last() != Some(&at) {
            seen.push(at);
        }
    }
    let ppm = |parts| Ppm::new(parts).unwrap();
    assert_eq!(
        seen,
        [
            (Phase::Preparing, Ppm::ZERO),
            (Phase::Judging, ppm(32_258)),
            (Phase::Judging, ppm(50_000)),
            (Phase::Judging, Ppm::WHOLE),
            (Phase::Soaking, Ppm::WHOLE),
            (Phase::Committing, Ppm::WHOLE),
            (Phase::Committed, Ppm::WHOLE),
        ]
    );
    assert_eq!(world.state.stable("checkout"), Some("v2"));
    assert_eq!(world.status().decision, Decision::Done);
    assert_eq!(world.state.active().count(), 0);
    assert!(world.pages().is_empty());
}

#[test]
fn each_phase_tells_what_the_split_must_be() {
    let mut world = World::started();
    let split = |world: &World| world.state.splits()["checkout"].clone();
    let canary = |world: &World| split(world).canary.unwrap();
    assert_eq!(split(&world).stable, "v1");
    assert_eq!(canary(&world).share, Ppm::ZERO);
    assert_eq!(
        canary(&world).hosts,
        Some(1),
        "the first rung's hosts are made ready"
    );
    assert_eq!(canary(&world).ttl_ms, 6_000);
    world.reach("5%");
    assert_eq!(canary(&world).share.get(), 50_000);
    assert_eq!(canary(&world).hosts, None);
    world.reach_phase(Phase::Soaking);
    assert_eq!(
        (split(&world).stable.as_str(), canary(&world).share),
        ("v1", Ppm::WHOLE)
    );
    world.reach_phase(Phase::Committing);
    assert_eq!(split(&world).stable, "v2");
    assert_eq!(canary(&world).version, "v2");
    assert_eq!(
        canary(&world).share,
        Ppm::WHOLE,
        "until everyone has the route"
    );
    world.reach_phase(Phase::Committed);
    assert_eq!(split(&world).stable, "v2");
    assert_eq!(split(&world).canary, None);
}

#[test]
fn a_revert_keeps_the_hosts_and_takes_the_share() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    let split = world.state.splits()["checkout"].clone();
    assert_eq!(split.stable, "v1");
    let canary = split.canary.unwrap();
    assert_eq!((canary.share, canary.hosts), (Ppm::ZERO, Some(1)));
    world.reach_phase(Phase::Reverted);
    assert_eq!(world.state.splits()["checkout"].canary, None);
}

#[test]
fn a_rung_is_watched_for_its_bake_and_not_a_tick_less() {
    let mut world = World::started();
    world.until(|world| world.phase() == Phase::Judging);
    let begun = world.now;
    world.until(|world| world.status().rung == "5%");
    let watched = world.now.since_ms(begun);
    // Acknowledged at the first tick, seen in the traffic at the second: then ten seconds.
    assert_eq!(watched, 12_000);
}

#[test]
fn too_few_requests_do_not_pass_a_rung() {
    let mut world = World::started();
    world.until(|world| world.phase() == Phase::Judging);
    for _ in 0..40 {
        world.tick(|o| {
            o.evidence.canary = arm(1, 0);
            o.evidence.stable = arm(30, 0);
        });
    }
    assert_eq!(world.status().rung, "1 host");
    assert_eq!(world.waiting().kind, "requests");
    for _ in 0..12 {
        world.tick(|o| {
            o.evidence.canary = arm(1, 0);
            o.evidence.stable = arm(30, 0);
        });
    }
    assert_eq!(world.status().rung, "5%");
}

#[test]
fn a_share_that_is_not_the_wanted_one_stops_the_clock_and_then_reverts() {
    let mut world = World::started();
    world.reach("5%");
    for _ in 0..25 {
        world.tick(|o| {
            o.evidence.canary = arm(4, 0);
            o.evidence.stable = arm(496, 0);
        });
        if world.phase() == Phase::Judging && world.waiting().kind == "share" {
            break;
        }
    }
    assert_eq!(world.waiting().kind, "share");
    assert!(world.waiting().clock_stopped);
    for _ in 0..31 {
        if world.phase() == Phase::Judging {
            world.tick(|o| {
                o.evidence.canary = arm(4, 0);
                o.evidence.stable = arm(496, 0);
            });
        }
    }
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.reason().contains("share fault"), "{}", world.reason());
}

#[test]
fn the_commit_ends_at_its_deadline_and_lists_who_is_behind() {
    let mut world = World::started();
    world.reach_phase(Phase::Committing);
    for _ in 0..30 {
        assert_eq!(world.phase(), Phase::Committing);
        world.tick(|o| {
            o.delivery.acknowledged = 2;
            o.delivery.behind = vec!["web-3".into()];
        });
    }
    assert_eq!(world.phase(), Phase::Committed);
    assert!(
        world
            .pages()
            .iter()
            .any(|p| p.contains("not acknowledged by web-3"))
    );
}

#[test]
fn a_revert_is_over_when_nothing_is_in_flight() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    for _ in 0..10 {
        world.tick(|o| o.evidence.canary.in_flight = 2);
    }
    assert_eq!(world.phase(), Phase::Reverting);
    world.tick(|_| {});
    assert_eq!(world.phase(), Phase::Reverted);
}

#[test]
fn a_revert_does_not_take_missing_reports_for_nothing_in_flight() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    for _ in 0..29 {
        world.tick(|o| o.evidence = Evidence::default());
        assert_eq!(world.phase(), Phase::Reverting);
    }
    world.tick(|o| o.evidence = Evidence::default());
    assert_eq!(world.phase(), Phase::Reverted);
    let last = world.status().history.last().unwrap().text.clone();
    assert!(last.contains("unknown"), "{last}");
}

#[test]
fn a_revert_lists_what_stays_in_flight_past_its_deadline() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    for _ in 0..30 {
        world.tick(|o| o.evidence.canary.in_flight = 2);
    }
    let last = world.status().history.last().unwrap().text.clone();
    assert!(last.contains("2 requests are still in flight"), "{last}");
}

#[test]
fn the_whole_story_is_told() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    let story: Vec<String> = world.status().history.into_iter().map(|h| h.text).collect();
    for part in [
        "ann started v1 → v2",
        "7.5 times",
        "1 host passed",
        "soaking",
        "committed",
    ] {
        assert!(story.iter().any(|s| s.contains(part)), "{part}: {story:#?}");
    }
    assert!(
        !story.iter().any(|s| s.contains("held")),
        "nothing unusual: {story:#?}"
    );
}

#[test]
fn the_step_itself_needs_requests_in_both_arms() {
    for lack_canary in [true, false] {
        let mut world = World::started();
        world.reach("1 host");
        for _ in 0..9 {
            world.tick(|_| {});
        }
        for _ in 0..3 {
            world.tick(|o| {
                let lacking = if lack_canary {
                    &mut o.evidence.canary
                } else {
                    &mut o.evidence.stable
                };
                *lacking = ArmCounts::default();
            });
            assert_eq!(world.status().rung, "1 host");
        }
        assert_eq!(world.waiting().kind, "requests", "the bake is over");
        world.tick(|_| {});
        assert_eq!(world.status().rung, "5%");
    }
}

#[test]
fn a_tick_that_is_late_stands_for_three_seconds_at_most() {
    let mut world = World::started();
    world.reach("1 host");
    let before = world.run().clock.baked_ms;
    world.now = world.now.plus_ms(3_900);
    world.tick(|_| {});
    assert_eq!(world.status().rung, "1 host", "no gap yet");
    assert_eq!(world.run().clock.baked_ms, before + 3_000);
}

#[test]
fn before_the_first_step_every_sidecar_reports_once_more() {
    let mut world = World::started();
    for _ in 0..2 {
        world.tick(|_| {});
        assert_eq!(world.phase(), Phase::Preparing);
        assert_eq!(world.waiting().kind, "evidence");
    }
    world.tick(|_| {});
    assert_eq!(world.phase(), Phase::Judging);
}
