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
    // It may happen again, and does not count as a second time.
    world.reach_phase(Phase::Soaking);
    within_a_minute(&mut world, both_fail, is_one_rung_back);
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
        reason.ends_with("with less it was no worse than v1"),
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

#[test]
fn a_budget_spent_at_everything_is_put_aside_until_stable_was_asked() {
    let mut world = at(Phase::Soaking, |service| {
        service.rollout.error_budget = crate::mesh::ErrorBudget::Requests(20);
    });
    // Less than a breach of the objective, more than may be spent.
    let few = |o: &mut Observation| {
        o.evidence.canary.bad = o.evidence.canary.requests / 250;
        o.evidence.stable.bad = o.evidence.stable.requests / 250;
    };
    within_a_minute(&mut world, few, is_one_rung_back);
    let page = world.pages().pop().unwrap();
    assert!(
        page.contains("the error budget of the rollout is spent"),
        "{page}"
    );
    let spent = world.status().budget.unwrap();
    assert!(spent.spent > 20 && !spent.exceeded, "{spent:?}");
    world.reach_phase(Phase::Soaking);
    assert_eq!(world.status().budget.unwrap().spent, 0);
    within_a_minute(&mut world, few, |world| world.phase() == Phase::Reverting);
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
