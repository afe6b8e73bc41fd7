use super::*;

fn reject(o: &mut Observation) {
    o.delivery.acknowledged = 2;
    o.delivery.rejected = vec![Rejection {
        sidecar: "web-2".into(),
        text: "no such filter ".repeat(100),
    }];
}

fn behind(o: &mut Observation) {
    o.delivery.acknowledged = 2;
    o.delivery.behind = vec!["web-3".into()];
}

#[test]
fn t16_a_rejection_reverts_at_once_and_names_the_sidecar_and_its_words() {
    for phase in [
        Phase::Preparing,
        Phase::Judging,
        Phase::Soaking,
        Phase::Committing,
    ] {
        let mut world = World::started();
        world.reach_phase(phase);
        world.tick(reject);
        assert_eq!(world.phase(), Phase::Reverting, "{phase:?}");
        let reason = world.reason();
        assert!(
            reason.contains("web-2 rejected it: no such filter"),
            "{reason}"
        );
        assert!(reason.len() < 400, "{}", reason.len());
    }
}

#[test]
fn t9_sidecars_that_do_not_acknowledge_in_time_revert_it_by_name() {
    for phase in [Phase::Preparing, Phase::Judging] {
        let mut world = World::started();
        world.reach_phase(phase);
        for _ in 0..30 {
            world.tick(behind);
            assert_eq!(world.phase(), phase);
            assert_eq!(world.waiting().kind, "acknowledge");
        }
        world.tick(behind);
        assert_eq!(world.phase(), Phase::Reverting);
        assert!(world.reason().contains("by web-3"), "{}", world.reason());
    }
}

#[test]
fn without_any_sidecar_it_waits_and_says_so() {
    let mut world = World::started();
    for _ in 0..100 {
        world.tick(|o| o.delivery = Delivery::default());
    }
    assert_eq!(world.phase(), Phase::Preparing);
    assert!(
        world.waiting().reason.to_string().contains("no sidecar"),
        "{}",
        world.waiting().reason
    );
}

#[test]
fn figures_about_an_earlier_exposure_acknowledge_nothing() {
    let mut world = World::started();
    for _ in 0..100 {
        world.tick(|o| o.epoch -= 1);
    }
    assert_eq!(world.phase(), Phase::Preparing);
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..100 {
        world.tick(|o| o.epoch -= 1);
    }
    assert_eq!(world.status().rung, "1 host");
}

#[test]
fn a_newcomer_stops_the_clock_until_it_has_the_exposure() {
    let mut world = World::started();
    world.reach("1 host");
    for _ in 0..20 {
        world.tick(|o| {
            o.delivery.expected = 4;
            o.delivery.behind = vec!["web-4".into()];
        });
    }
    assert_eq!(world.status().rung, "1 host");
    assert!(world.waiting().clock_stopped);
    world.reach("5%");
}

#[test]
fn a_disconnected_sidecar_holds_for_a_minute_and_then_no_longer_counts() {
    let mut world = World::started();
    world.reach("1 host");
    let gone = |o: &mut Observation| {
        o.delivery.expected = 2;
        o.delivery.acknowledged = 2;
        o.delivery.disconnected = vec!["web-1".into()];
    };
    for _ in 0..60 {
        world.tick(gone);
        assert_eq!(world.waiting().kind, "disconnected");
    }
    for _ in 0..20 {
        world.tick(gone);
    }
    assert_eq!(world.status().rung, "5%");
    let story = world.status().history;
    assert!(
        story
            .iter()
            .any(|h| h.text.contains("web-1") && h.text.contains("no longer counts"))
    );
    world.tick(|_| {});
    assert!(
        world
            .status()
            .history
            .iter()
            .any(|h| h.text.contains("web-1 is back"))
    );
}

#[test]
fn a_finished_rollout_shows_who_has_it_and_the_share_of_the_end() {
    let mut world = World::started();
    world.reach_phase(Phase::Soaking);
    world.abort().unwrap();
    world.reach_phase(Phase::Reverted);
    let status = world.status();
    assert_eq!(
        (status.sidecars_acknowledged, status.sidecars_expected),
        (3, 3)
    );
    assert_eq!(status.share_measured, Some(Ppm::ZERO));
}

#[test]
fn what_was_acknowledged_before_a_revert_says_nothing_of_who_has_it() {
    let mut world = World::started();
    world.reach("1 host");
    let exposed = world.run().epoch();
    world.abort().unwrap();
    for _ in 0..30 {
        assert_eq!(world.phase(), Phase::Reverting);
        world.tick(|o| o.epoch = exposed);
    }
    assert_eq!(world.phase(), Phase::Reverted);
    let pages = world.pages();
    assert!(
        pages.iter().any(|page| page.contains("nothing is known")),
        "{pages:?}"
    );
}

#[test]
fn a_revert_waits_for_a_newcomer() {
    let mut world = World::started();
    world.reach("1 host");
    world.abort().unwrap();
    world.tick(|_| {});
    for _ in 0..10 {
        world.tick(|o| {
            o.delivery.expected = 4;
            o.delivery.behind = vec!["web-4".into()];
        });
        assert_eq!(world.phase(), Phase::Reverting);
    }
    world.tick(|_| {});
    assert_eq!(world.phase(), Phase::Reverted);
}

#[test]
fn figures_that_do_not_add_up_acknowledge_nothing() {
    let mut world = World::started();
    for _ in 0..10 {
        world.tick(|o| o.delivery.acknowledged = 2);
        assert_eq!(world.phase(), Phase::Preparing);
    }
    let reason = world.waiting().reason.to_string();
    assert!(reason.contains("(not named)"), "{reason}");
}
