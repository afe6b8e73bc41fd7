//! What fails at 100%, where nothing is left to compare with; and when neither version answers.

use super::*;

/// Half of the canary's requests fail.
fn canary_fails(o: &mut Observation) {
    o.evidence.canary.bad = o.evidence.canary.requests / 2;
}

/// Not everyone has the new route: the commit is not over.
fn is_behind(o: &mut Observation) {
    o.delivery.acknowledged = 2;
    o.delivery.behind = vec!["web-3".into()];
}

/// What both versions wait for fails.
fn both_fail(o: &mut Observation) {
    canary_fails(o);
    o.evidence.stable.bad = o.evidence.stable.requests / 2;
}

/// At `phase` of a service changed by `with`, whose soak takes a minute.
fn at(phase: Phase, with: impl FnOnce(&mut crate::mesh::Service)) -> World {
    let mut mesh = mesh();
    let service = mesh.services.get_mut("checkout").unwrap();
    service.rollout.soak_ms = 60_000;
    with(service);
    let mut world = World::new(mesh);
    world.start("v2").unwrap();
    world.reach_phase(phase);
    world
}

/// Ticks until `done`, a minute at most.
fn within_a_minute(
    world: &mut World,
    with: impl Fn(&mut Observation),
    done: impl Fn(&World) -> bool,
) {
    for _ in 0..60 {
        if done(world) {
            return;
        }
        world.tick(&with);
    }
    panic!("not within a minute: {:?}", world.status());
}

fn is_one_rung_back(world: &World) -> bool {
    world.phase() == Phase::Judging && world.status().rung == "5%"
}

#[test]
fn a_breach_at_everything_asks_stable_before_it_blames() {
    for phase in [Phase::Soaking, Phase::Committing] {
        let mut world = at(phase, |_| {});
        let unacknowledged = |o: &mut Observation| {
            canary_fails(o);
            is_behind(o);
        };
        within_a_minute(&mut world, unacknowledged, is_one_rung_back);
        let page = world.pages().pop().unwrap();
        assert!(page.contains("one rung back, to 5%"), "{page}");
        assert!(
            page.contains("errors breach the objective at 100%"),
            "{page}"
        );
        assert!(page.contains("v1 beside it will tell"), "{page}");
        // Beside stable it is the canary alone.
        within_a_minute(&mut world, canary_fails, |world| {
            world.phase() == Phase::Reverting
        });
        assert!(world.reason().starts_with("errors: "), "{}", world.reason());
        world.reach_phase(Phase::Reverted);
        assert_eq!(world.state.quarantined(world.now).count(), 1);
    }
}

#[test]
fn by_earlier_rules_a_breach_at_everything_reverts_at_once() {
    for phase in [Phase::Soaking, Phase::Committing] {
        let mut world = at(phase, |service| service.rollout.rules = 5);
        let unacknowledged = |o: &mut Observation| {
            both_fail(o);
            is_behind(o);
        };
        within_a_minute(&mut world, unacknowledged, |world| {
            world.phase() == Phase::Reverting
        });
        assert!(world.reason().contains("at 100%"), "{}", world.reason());
    }
}

#[test]
fn what_both_need_and_fails_in_the_soak_is_not_blamed_on_the_canary() {
    let mut world = at(Phase::Soaking, |_| {});
    for _ in 0..300 {
        world.tick(both_fail);
        assert_ne!(world.phase(), Phase::Reverting, "{}", world.reason());
    }
    assert!(is_one_rung_back(&world));
    assert_eq!(world.waiting().kind, "environment");
    let pages = world.pages();
    assert_eq!(
        pages.len(),
        2,
        "one step back, and why it is held: {pages:?}"
    );
    world.reach_phase(Phase::Committed);
    assert_eq!(world.state.quarantined(world.now).count(), 0);
}

#[test]
fn what_fails_at_everything_only_goes_back_the_second_time() {
    let mut world = at(Phase::Soaking, |_| {});
    within_a_minute(&mut world, canary_fails, is_one_rung_back);
    world.reach_phase(Phase::Soaking);
    within_a_minute(&mut world, canary_fails, |world| {
        world.phase() == Phase::Reverting
    });
    let reason = world.reason();
    assert!(reason.contains("at 100%"), "{reason}");
    assert!(
        reason.ends_with("before, and with less it was no worse than v1"),
        "{reason}"
    );
    world.reach_phase(Phase::Reverted);
    assert_eq!(world.state.quarantined(world.now).count(), 1);
}

#[test]
fn without_a_rung_below_a_breach_at_everything_reverts_at_once() {
    let mut world = at(Phase::Soaking, |service| {
        service.ladder = vec![crate::mesh::Rung::Share(Ppm::WHOLE)];
    });
    within_a_minute(&mut world, canary_fails, |world| {
        world.phase() == Phase::Reverting
    });
    assert!(world.reason().contains("at 100%"), "{}", world.reason());
}

/// Less than a breach of the objective, more than may be spent.
fn few_fail(o: &mut Observation) {
    o.evidence.canary.bad = o.evidence.canary.requests / 250;
    o.evidence.stable.bad = o.evidence.stable.requests.div_ceil(250);
}

/// In the soak, with a budget of 20 requests.
fn soaking_with_a_budget() -> World {
    at(Phase::Soaking, |service| {
        service.rollout.error_budget = crate::mesh::ErrorBudget::Requests(20);
    })
}

#[test]
fn a_budget_spent_at_everything_is_put_aside_until_stable_was_asked() {
    let mut world = soaking_with_a_budget();
    within_a_minute(&mut world, few_fail, is_one_rung_back);
    let page = world.pages().pop().unwrap();
    assert!(
        page.contains("the error budget of the rollout is spent"),
        "{page}"
    );
    assert_eq!(world.status().budget.unwrap().spent, 0);
    // It was the new version: stable does not fail.
    world.reach_phase(Phase::Soaking);
    assert_eq!(world.status().budget.unwrap().spent, 0);
    within_a_minute(&mut world, few_fail, |world| {
        world.phase() == Phase::Reverting
    });
    assert!(
        world.reason().starts_with("the error budget"),
        "{}",
        world.reason()
    );
    world.reach_phase(Phase::Reverted);
    let cost = world.status().budget.unwrap();
    assert!(cost.spent > 20 && cost.exceeded, "{cost:?}");
}

#[test]
fn what_stable_fails_as_well_is_not_spent() {
    let mut world = soaking_with_a_budget();
    within_a_minute(&mut world, few_fail, is_one_rung_back);
    for _ in 0..1_000 {
        if world.phase().is_final() {
            break;
        }
        world.tick(few_fail);
    }
    assert_eq!(world.phase(), Phase::Committed, "{}", world.reason());
}

/// From now on no request of the canary, or of either, gets an answer.
fn unanswered(world: &mut World, ticks: u64, stable_too: bool) {
    let hole = |arm: &mut ArmCounts, tick: u64| {
        *arm = ArmCounts {
            issued: arm.issued,
            in_flight: arm.issued * (tick + 1),
            ..ArmCounts::default()
        };
    };
    for tick in 0..ticks {
        world.tick(|o| {
            hole(&mut o.evidence.canary, tick);
            if stable_too {
                hole(&mut o.evidence.stable, tick);
            }
        });
    }
}

#[test]
fn when_neither_version_answers_nobody_is_blamed() {
    let mut world = World::started();
    world.reach("5%");
    unanswered(&mut world, 30, true);
    assert_eq!(world.phase(), Phase::Judging, "{}", world.reason());
    assert_eq!(world.waiting().kind, "answers");
    let pages = world.pages();
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert!(pages[0].contains("neither version answers"), "{pages:?}");
    world.reach_phase(Phase::Committed);
}

#[test]
fn a_canary_that_goes_on_to_be_silent_when_stable_answers_again_goes_back() {
    let mut world = World::started();
    world.reach("5%");
    unanswered(&mut world, 10, true);
    assert_eq!(world.phase(), Phase::Judging);
    unanswered(&mut world, 2, false);
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.reason().contains("black hole"), "{}", world.reason());
}

#[test]
fn a_black_hole_at_everything_asks_stable_too() {
    let mut world = at(Phase::Soaking, |_| {});
    unanswered(&mut world, 4, false);
    assert!(is_one_rung_back(&world), "{:?}", world.status());
    unanswered(&mut world, 4, false);
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.reason().contains("black hole"), "{}", world.reason());
}

/// Half of the requests of the last seconds at 100% are still under way when it goes back, and fail.
#[test]
fn what_began_at_everything_and_ends_beside_stable_is_no_comparison() {
    let mut world = at(Phase::Soaking, |_| {});
    let incident = |o: &mut Observation| {
        both_fail(o);
        o.evidence.canary.in_flight = 1_000;
    };
    within_a_minute(&mut world, incident, is_one_rung_back);
    for _ in 0..5 {
        world.tick(|o| o.evidence.canary = arm(200, 190));
    }
    assert_eq!(world.phase(), Phase::Judging, "{}", world.reason());
    world.tick(|_| {});
    world.tick(|_| {});
    assert_eq!(world.waiting().kind, "bake", "{:?}", world.waiting());
    world.reach_phase(Phase::Committed);
}

/// What breaks both at 100% may be what the new version does to both there.
#[test]
fn what_breaks_both_at_everything_twice_waits_for_a_person() {
    let mut world = at(Phase::Soaking, |_| {});
    for _ in 0..2 {
        within_a_minute(&mut world, both_fail, is_one_rung_back);
        within_a_minute(&mut world, both_fail, |world| world.run().environment);
        for _ in 0..120 {
            if world.phase() == Phase::Soaking {
                break;
            }
            world.tick(|_| {});
        }
    }
    assert!(is_one_rung_back(&world));
    let waiting = world.waiting();
    assert_eq!(waiting.kind, "environment");
    assert!(
        format!("{}", waiting.reason).contains("second time"),
        "{waiting:?}"
    );
    world.resume().unwrap();
    world.reach_phase(Phase::Committed);
}

/// A fleet's configuration, and earlier rules, leave nothing of this in a journal.
#[test]
fn journals_of_earlier_rules_are_what_they_were() {
    for (rules, expected) in [(5, false), (crate::mesh::RULES, true)] {
        let mut world = at(Phase::Soaking, |service| service.rollout.rules = rules);
        world.tick(|o| o.evidence.stable.issued = 1);
        let state = serde_json::to_string(&world.state).unwrap();
        for field in ["asks_stable", "stable_unanswered"] {
            assert_eq!(state.contains(field), expected, "{field} by rules {rules}");
        }
    }
}
