use super::*;

fn fail(part: u64) -> impl Fn(&mut Observation) {
    move |o| o.evidence.canary.bad = o.evidence.canary.requests * part / 100
}

#[test]
fn a_canary_that_fails_half_of_its_requests_goes_back_within_six_ticks() {
    let mut world = World::started();
    world.reach("1 host");
    let mut ticks = 0;
    while world.phase() == Phase::Judging {
        world.tick(fail(50));
        ticks += 1;
    }
    assert!(ticks <= 6, "{ticks}");
    assert_eq!(world.phase(), Phase::Reverting);
    let reason = world.reason();
    assert!(reason.starts_with("errors: "), "{reason}");
    assert!(reason.contains("e-value"), "{reason}");
}

#[test]
fn a_slow_canary_goes_back_and_latency_is_blamed() {
    let mut world = World::started();
    world.reach("5%");
    for _ in 0..10 {
        if world.phase() == Phase::Judging {
            world.tick(|o| o.evidence.canary.slow = o.evidence.canary.timed / 2);
        }
    }
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(
        world.reason().starts_with("latency: "),
        "{}",
        world.reason()
    );
}

#[test]
fn suspicion_holds_before_certainty_reverts() {
    let mut world = World::started();
    world.reach("1 host");
    world.tick(fail(50));
    world.tick(fail(50));
    world.tick(fail(50));
    assert_eq!(world.waiting().kind, "evidence");
    assert_eq!(world.phase(), Phase::Judging);
}

#[test]
fn both_arms_failing_alike_hold_and_page_and_blame_nobody() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..120 {
        world.tick(|o| {
            o.evidence.canary.bad = o.evidence.canary.requests / 5;
            o.evidence.stable.bad = o.evidence.stable.requests / 5;
        });
        assert_eq!(world.phase(), Phase::Judging);
    }
    assert_eq!(world.waiting().kind, "environment");
    assert_eq!(world.pages().len(), 1, "{:?}", world.pages());
    // When it is over the rollout goes on by itself.
    world.reach("5%");
}

#[test]
fn an_operator_may_vouch_for_the_environment() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..30 {
        world.tick(|o| {
            o.evidence.canary.bad = o.evidence.canary.requests / 5;
            o.evidence.stable.bad = o.evidence.stable.requests / 5;
        });
    }
    assert_eq!(world.waiting().command, "tidegate rollout resume checkout");
    world.resume().unwrap();
    world.tick(|_| {});
    assert_eq!(world.waiting().kind, "bake");
}

#[test]
fn a_broken_stable_version_does_not_hold_its_own_replacement() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..12 {
        world.tick(|o| o.evidence.stable.bad = o.evidence.stable.requests / 5);
    }
    assert_eq!(world.status().rung, "5%");
}

#[test]
fn one_burst_never_reverts() {
    let mut world = World::started();
    world.reach("5%");
    world.tick(fail(100));
    world.until(|world| world.phase().is_final());
    assert_eq!(world.phase(), Phase::Committed, "{}", world.reason());
}

#[test]
fn past_trouble_too_small_to_matter_does_not_hold_for_ever() {
    let mut world = World::started();
    world.reach("5%");
    for _ in 0..3 {
        world.tick(|o| o.evidence.canary.bad = 3);
    }
    world.tick(|_| {});
    assert_eq!(world.waiting().kind, "evidence");
    world.until(|world| world.phase().is_final());
    assert_eq!(world.phase(), Phase::Committed, "{}", world.reason());
}

#[test]
fn a_black_hole_reverts_within_a_few_ticks() {
    let mut world = World::started();
    world.reach("1 host");
    let mut ticks = 0;
    while world.phase() == Phase::Judging {
        world.tick(|o| {
            o.evidence.canary = ArmCounts {
                issued: 10,
                in_flight: 10 * (ticks + 1),
                ..ArmCounts::default()
            };
        });
        ticks += 1;
    }
    assert!(ticks <= 4, "{ticks}");
    assert!(world.reason().contains("black hole"), "{}", world.reason());
}

#[test]
fn a_slow_service_is_not_a_black_hole() {
    let mut world = World::started();
    let slow = |o: &mut Observation| {
        // Stable's requests take two seconds; the canary's first answers take as long.
        o.evidence.stable.buckets = [0, 0, 0, 0, 0, 0, 0, 0, 500, 0];
    };
    for _ in 0..5 {
        world.tick(slow);
    }
    world.until(|world| world.phase() == Phase::Judging);
    for tick in 0..10 {
        world.tick(|o| {
            slow(o);
            if tick < 3 {
                o.evidence.canary.requests = 0;
            }
        });
    }
    assert_eq!(world.phase(), Phase::Judging, "{}", world.reason());
}
