use super::*;

fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

fn canary_silent(o: &mut Observation) {
    o.evidence.canary_fresh = ppm(500_000);
    o.evidence.silent = vec!["web-2".into()];
}

fn outage(o: &mut Observation) {
    o.evidence = Evidence::default();
}

#[test]
fn silence_of_the_canary_alone_reverts_after_twenty_seconds_by_name() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..20 {
        world.tick(canary_silent);
        assert_eq!(world.waiting().kind, "silence");
    }
    world.tick(canary_silent);
    assert_eq!(world.phase(), Phase::Reverting);
    let reason = world.reason();
    assert!(
        reason.contains("asymmetric silence") && reason.contains("web-2"),
        "{reason}"
    );
}

#[test]
fn t4_an_outage_of_telemetry_neither_advances_nor_reverts() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..300 {
        world.tick(outage);
    }
    assert_eq!(world.status().rung, "1 host");
    assert_eq!(world.waiting().kind, "silence");
    assert!(world.waiting().clock_stopped);
}

#[test]
fn an_outage_right_after_a_raise_takes_the_raise_back_once() {
    let mut world = World::started();
    world.reach("5%");
    for _ in 0..4 {
        world.tick(outage);
        assert_eq!(world.status().rung, "5%", "late reports are not an outage");
    }
    for _ in 0..100 {
        world.tick(outage);
    }
    assert_eq!(world.status().rung, "1 host");
    assert!(world.pages().iter().any(|p| p.contains("one rung back")));
    world.reach("5%");
}

#[test]
fn an_outage_long_after_the_last_raise_keeps_the_rung() {
    let mut slow = mesh();
    slow.services.get_mut("checkout").unwrap().rollout.bake_ms = 600_000;
    let mut world = World::new(slow);
    world.start("v2").unwrap();
    world.reach("5%");
    for _ in 0..70 {
        world.tick(|_| {});
    }
    for _ in 0..100 {
        world.tick(outage);
    }
    assert_eq!(world.status().rung, "5%");
}

#[test]
fn at_everything_the_canarys_reports_are_what_counts() {
    let mut world = World::started();
    world.reach_phase(Phase::Soaking);
    world.tick(|o| o.evidence.stable_fresh = Ppm::ZERO);
    assert_eq!(world.waiting().kind, "bake");
    for _ in 0..3 {
        world.tick(|o| o.evidence.canary_fresh = Ppm::ZERO);
    }
    assert_eq!(world.waiting().kind, "silence");
    assert_eq!(world.phase(), Phase::Soaking);
}

#[test]
fn nothing_begins_while_stables_numbers_are_missing() {
    let mut world = World::started();
    for _ in 0..100 {
        world.tick(outage);
    }
    assert_eq!(world.phase(), Phase::Preparing);
    assert_eq!(world.waiting().kind, "silence");
}

#[test]
fn no_traffic_at_all_holds_and_never_advances() {
    let mut world = World::started();
    world.until(|world| world.phase() == Phase::Judging);
    for _ in 0..1000 {
        world.tick(|o| {
            o.evidence.canary = ArmCounts::default();
            o.evidence.stable = ArmCounts::default();
        });
    }
    assert_eq!(world.status().rung, "1 host");
    assert_eq!(world.waiting().kind, "traffic");
}

#[test]
fn t9_a_starved_canary_stops_the_clock_and_then_reverts() {
    let mut world = World::started();
    world.reach("1 host");
    let starved = |o: &mut Observation| {
        o.evidence.canary = ArmCounts::default();
        o.evidence.stable = arm(500, 0);
    };
    for _ in 0..60 {
        if world.phase() == Phase::Judging {
            world.tick(starved);
        }
    }
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.reason().contains("share fault"), "{}", world.reason());
}

#[test]
fn a_gap_that_lets_sidecars_drop_the_share_takes_it_back() {
    let mut world = World::started();
    world.reach("1 host");
    world.now = world.now.plus_ms(600_000);
    world.tick(|_| {});
    assert_eq!(world.phase(), Phase::Reverting);
    let reason = world.reason();
    assert!(reason.contains("nobody watched for 601.0 s"), "{reason}");
}

#[test]
fn a_shorter_gap_is_not_watched_time() {
    let mut mesh = mesh();
    let service = mesh.services.get_mut("checkout").unwrap();
    service.rollout.dead_man_ttl_ms = 60_000;
    let mut world = World::new(mesh);
    world.start("v2").unwrap();
    world.reach("1 host");
    world.now = world.now.plus_ms(30_000);
    world.tick(|_| {});
    assert_eq!(world.status().rung, "1 host");
    assert!(
        world
            .status()
            .history
            .iter()
            .any(|h| h.text.contains("nobody watched for 31.0 s"))
    );
    for _ in 0..9 {
        world.tick(|_| {});
    }
    assert_eq!(world.status().rung, "1 host");
}

#[test]
fn time_never_goes_back() {
    let mut world = World::started();
    world.reach("1 host");
    let since = world.status().since;
    world.now = Time(5);
    world.tick(|_| {});
    assert!(world.status().since >= since);
    assert_eq!(world.phase(), Phase::Judging);
}

#[test]
fn a_canary_that_is_not_seen_in_the_traffic_stops_the_clock() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..25 {
        world.tick(|o| {
            // Too few to tell the share, and enough to miss the canary.
            o.evidence.canary = ArmCounts::default();
            o.evidence.stable = arm(3, 0);
        });
    }
    let waiting = world.waiting();
    assert_eq!(
        (waiting.kind.as_str(), waiting.clock_stopped),
        ("traffic", true)
    );
    assert!(
        waiting.reason.to_string().contains("not seen"),
        "{}",
        waiting.reason
    );
}
