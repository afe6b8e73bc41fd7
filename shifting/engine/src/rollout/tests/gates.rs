use super::*;
use crate::mesh::{Day, Freeze, FreezeSpan, Gate, Rung, RungGate, Service};

fn gated(rung: Rung, pause_ms: u64, approval: bool) -> World {
    let mut world = World::new(mesh());
    world
        .declare(|service| {
            let gate = Gate { pause_ms, approval };
            service.gates.push(RungGate { rung, gate });
        })
        .unwrap();
    world.start("v2").unwrap();
    world
}

fn approve(world: &mut World) -> Result<(), Refusal> {
    world.apply(Event::Approve {
        service: "checkout".into(),
        actor: "ben".into(),
    })
}

/// Healthy ticks until it waits for this.
fn waits_for(world: &mut World, kind: &str) {
    world.until(|world| matches!(world.status().decision, Decision::Wait(w) if w.kind == kind));
}

fn percent(part: u64) -> Rung {
    Rung::Share(Ppm::of(part, 100))
}

/// Frozen on Fridays from 16:00 in Amsterdam to 08:00 on the next day.
fn friday(service: &mut Service) {
    service.freeze.push(Freeze {
        zone: "Europe/Amsterdam".into(),
        span: FreezeSpan::Weekly {
            days: vec![Day::Fri],
            from: "16:00".parse().unwrap(),
            to: "08:00".parse().unwrap(),
        },
        reason: "weekend".into(),
    });
}

/// A moment before 16:00 in Amsterdam on Friday 2026-11-20, in milliseconds since 1970.
fn before_friday_ms(ms: u64) -> u64 {
    1_795_186_800_000 - ms
}

fn read_clock(world: &mut World, unix_ms: u64) {
    world.apply(Event::ClockRead { unix_ms }).unwrap();
}

/// Frozen in so many milliseconds.
fn frozen_in(ms: u64) -> World {
    let mut world = World::new(mesh());
    world.declare(friday).unwrap();
    read_clock(&mut world, before_friday_ms(ms));
    world
}

#[test]
fn a_pause_is_watched_time_after_the_rung_passed() {
    let mut world = gated(Rung::Hosts(1), 20_000, false);
    world.reach("1 host");
    let reached = world.now;
    waits_for(&mut world, "wait");
    assert_eq!(world.status().rung, "1 host");
    assert!(world.waiting().until.is_some());
    // What is not watched does not count.
    for _ in 0..60 {
        world.tick(|o| o.evidence = Evidence::default());
    }
    assert_eq!(world.status().rung, "1 host");
    world.until(|world| world.status().rung == "5%");
    let took_ms = world.now.since_ms(reached);
    assert!(took_ms >= 10_000 + 20_000 + 60_000 - 3_000, "{took_ms}");
    assert!(world.pages().is_empty(), "{:?}", world.pages());
}

#[test]
fn an_approval_is_waited_for_with_the_command_and_then_paged_for() {
    let mut world = gated(Rung::Hosts(1), 0, true);
    world.reach("1 host");
    waits_for(&mut world, "approval");
    let waiting = world.waiting();
    assert_eq!(waiting.command, "tidegate rollout approve checkout");
    assert_eq!(waiting.owner, "an operator");
    assert!(waiting.until.is_some() && !waiting.clock_stopped);
    let told = |world: &World| {
        let notices = world.effects.iter().filter(|effect| {
            matches!(effect, Effect::Notice(notice)
                if notice.text.contains("tidegate rollout approve"))
        });
        notices.count()
    };
    assert_eq!(told(&world), 1);
    for _ in 0..1_900 {
        world.tick(|_| {});
    }
    assert_eq!(world.status().rung, "1 host");
    assert!(world.waiting().overdue);
    assert_eq!(world.pages().len(), 1);
    approve(&mut world).unwrap();
    assert!(matches!(approve(&mut world), Err(Refusal::NotNow { .. })));
    world.reach("5%");
    let approvals = world.status().approvals;
    assert_eq!((approvals[0].actor.as_str(), approvals[0].rung), ("ben", 0));
    // It was for that rung only.
    assert!(matches!(approve(&mut world), Err(Refusal::NotNow { .. })));
}

#[test]
fn an_approval_is_no_evidence_and_may_be_given_before() {
    let mut world = gated(Rung::Hosts(1), 0, true);
    world.reach("1 host");
    approve(&mut world).unwrap();
    assert_eq!(world.status().rung, "1 host");
    let baking = world.waiting();
    assert_eq!(baking.kind, "bake");
    world.fail_here();
}

#[test]
fn a_canary_is_judged_while_it_waits_at_its_gate() {
    let mut world = gated(Rung::Hosts(1), 0, true);
    world.until(|world| world.phase() == Phase::Judging);
    waits_for(&mut world, "approval");
    world.fail_here();
}

#[test]
fn the_gate_of_the_last_rung_stands_before_the_commit() {
    let mut world = gated(percent(100), 0, true);
    world.reach_phase(Phase::Soaking);
    waits_for(&mut world, "approval");
    assert_eq!(world.phase(), Phase::Soaking);
    approve(&mut world).unwrap();
    world.reach_phase(Phase::Committed);
}

#[test]
fn a_step_back_takes_the_approval_with_it() {
    let mut world = gated(Rung::Hosts(1), 0, true);
    world.reach("1 host");
    approve(&mut world).unwrap();
    world.until(|world| world.status().rung == "5%");
    for _ in 0..30 {
        world.tick(|o| o.evidence = Evidence::default());
    }
    assert_eq!(world.status().rung, "1 host");
    waits_for(&mut world, "approval");
}

#[test]
fn nothing_starts_in_a_freeze_and_a_queued_start_begins_when_it_is_over() {
    let mut world = frozen_in(0);
    let refusal = world.start("v2").unwrap_err().to_string();
    for part in [
        "fri 16:00 to 08:00 Europe/Amsterdam: weekend",
        "16 h",
        "--queue",
    ] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    world.start_turn("v2", Turn::Queue).unwrap();
    let queue = world.state.queue(None, world.now);
    assert!(
        queue[0].reason.contains("frozen for another 16 h"),
        "{queue:?}"
    );
    assert_eq!(world.state.due(world.now), []);
    let over = world.now.plus_ms(16 * 3_600_000);
    world.now = Time(over.0 - 1);
    assert_eq!(world.state.due(world.now), []);
    world.now = over;
    world.serve_queue();
    assert_eq!(world.run().plan().to, "v2");
    assert_eq!(world.state.queue(None, world.now), []);
}

#[test]
fn nothing_advances_in_a_freeze_not_even_to_the_first_rung_and_what_fails_goes_back() {
    for (margin_ms, phase, rung) in [
        (1_000, Phase::Preparing, "-"),
        (8_000, Phase::Judging, "1 host"),
        (35_000, Phase::Soaking, "100%"),
    ] {
        let mut world = frozen_in(margin_ms);
        world.start("v2").unwrap();
        for _ in 0..2_000 {
            world.tick(|_| {});
        }
        let status = world.status();
        assert_eq!((status.phase, status.rung.as_str()), (phase, rung));
        assert_eq!(world.waiting().kind, "freeze");
        assert!(!world.waiting().overdue && world.pages().is_empty());
        let mut failing = world.clone();
        failing.abort().unwrap();
        failing.reach_phase(Phase::Reverted);
        if phase == Phase::Judging {
            world.fail_here();
            continue;
        }
        // 16 h without a tick are an outage; it goes on where it may.
        world.now = world.now.plus_ms(16 * 3_600_000);
        if phase == Phase::Preparing {
            world.reach("1 host");
        }
    }
}

#[test]
fn a_freeze_that_is_declared_while_it_runs_holds_it() {
    let mut world = World::started();
    world.reach("1 host");
    world.declare(friday).unwrap();
    // The civil time is not known: that is no permission.
    for _ in 0..30 {
        world.tick(|_| {});
    }
    assert_eq!(world.status().rung, "1 host");
    assert_eq!(world.waiting().kind, "freeze");
    let unix_ms = before_friday_ms(3_600_000);
    assert!(world.state.needs_clock(unix_ms, world.now));
    read_clock(&mut world, unix_ms);
    assert!(!world.state.needs_clock(unix_ms + 999, world.now));
    assert!(world.state.needs_clock(unix_ms + 1_000, world.now));
    world.reach("5%");
}

#[test]
fn without_windows_nobody_asks_for_the_civil_time() {
    assert!(!World::started().state.needs_clock(0, Time(0)));
}

#[test]
fn the_way_back_to_what_is_known_good_waits_for_no_calendar_and_no_gate() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    world.back(None).unwrap();
    world.reach_phase(Phase::Committed);
    world
        .declare(|service| {
            friday(service);
            let gate = Gate {
                pause_ms: 3_600_000,
                approval: true,
            };
            let rung = Rung::Hosts(1);
            service.gates.push(RungGate { rung, gate });
        })
        .unwrap();
    read_clock(&mut world, before_friday_ms(0));
    world.back(Some("v2")).unwrap();
    assert_eq!(world.run().plan().pace, Pace::KnownGood);
    world.reach_phase(Phase::Committed);
}

#[test]
fn back_to_what_was_never_proven_waits_for_the_freeze() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    world.declare(friday).unwrap();
    read_clock(&mut world, before_friday_ms(0));
    assert!(matches!(world.back(None), Err(Refusal::Frozen { .. })));
}

#[test]
fn each_rung_is_approved_by_itself() {
    let mut world = World::new(mesh());
    world
        .declare(|service| {
            let gate = Gate {
                pause_ms: 0,
                approval: true,
            };
            let of = |rung| RungGate { rung, gate };
            service.gates = vec![of(Rung::Hosts(1)), of(percent(5))];
        })
        .unwrap();
    world.start("v2").unwrap();
    world.reach("1 host");
    approve(&mut world).unwrap();
    world.reach("5%");
    waits_for(&mut world, "approval");
    assert_eq!(world.status().rung, "5%");
    approve(&mut world).unwrap();
    world.reach("100%");
}
