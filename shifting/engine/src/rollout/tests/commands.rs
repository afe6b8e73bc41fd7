use super::*;

#[test]
fn a_second_start_names_the_one_that_runs() {
    let mut world = World::started();
    let refusal = world.start("v2").unwrap_err().to_string();
    assert!(refusal.contains("v1 → v2, at preparing"), "{refusal}");
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let mut world = World::new(mesh());
    let refusal = world.start("v9").unwrap_err().to_string();
    assert!(refusal.contains("it declares: v1, v2"), "{refusal}");
    let refusal = world.state.plan("chekout", "v2").unwrap_err().to_string();
    assert!(refusal.contains("it declares: checkout"), "{refusal}");
    let refusal = State::default()
        .plan("checkout", "v2")
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("none"), "{refusal}");
    assert!(matches!(
        world.start("v1"),
        Err(Refusal::AlreadyThere { .. })
    ));
}

#[test]
fn commands_without_a_rollout_are_refused_and_change_nothing() {
    let mut world = World::new(mesh());
    let before = world.state.clone();
    assert!(matches!(world.pause(), Err(Refusal::NotRunning { .. })));
    assert!(matches!(world.resume(), Err(Refusal::NotRunning { .. })));
    assert!(matches!(world.abort(), Err(Refusal::NotRunning { .. })));
    let observed = Event::Observed(Observation {
        service: "checkout".into(),
        ..Observation::default()
    });
    assert!(matches!(
        world.apply(observed),
        Err(Refusal::NotRunning { .. })
    ));
    assert_eq!(world.state, before);
}

#[test]
fn a_pause_stops_the_clock_and_keeps_the_exposure() {
    let mut world = World::started();
    world.reach("1 host");
    world.pause().unwrap();
    for _ in 0..60 {
        world.tick(|_| {});
    }
    assert_eq!(world.status().rung, "1 host");
    let waiting = world.waiting();
    assert_eq!(
        (waiting.kind.as_str(), waiting.owner.as_str()),
        ("paused", "ann")
    );
    assert_eq!(waiting.command, "tidegate rollout resume checkout");
    assert!(matches!(world.pause(), Err(Refusal::NotNow { .. })));
    world.resume().unwrap();
    world.reach("5%");
}

#[test]
fn a_paused_rollout_still_reverts_on_failure() {
    let mut world = World::started();
    world.reach("1 host");
    world.pause().unwrap();
    for _ in 0..6 {
        world.tick(|o| o.evidence.canary.bad = o.evidence.canary.requests / 2);
    }
    assert_eq!(world.phase(), Phase::Reverting);
}

#[test]
fn resume_needs_something_to_resume() {
    let mut world = World::started();
    world.reach("1 host");
    assert!(matches!(world.resume(), Err(Refusal::NotNow { .. })));
}

#[test]
fn t1_abort_is_accepted_in_every_phase_before_the_end() {
    for phase in [
        Phase::Preparing,
        Phase::Judging,
        Phase::Soaking,
        Phase::Committing,
    ] {
        let mut world = World::started();
        world.reach_phase(phase);
        world.abort().unwrap();
        assert_eq!(world.phase(), Phase::Reverting);
        assert_eq!(world.state.splits()["checkout"].stable, "v1");
        assert!(world.reason().contains("aborted by ann: not today"));
        world.abort().unwrap();
        world.reach_phase(Phase::Reverted);
        assert_eq!(world.state.stable("checkout"), Some("v1"));
        assert!(matches!(world.abort(), Err(Refusal::NotRunning { .. })));
    }
}

#[test]
fn a_reverting_rollout_cannot_be_paused() {
    let mut world = World::started();
    world.abort().unwrap();
    assert!(matches!(world.pause(), Err(Refusal::NotNow { .. })));
}

#[test]
fn the_way_back_from_a_committed_rollout_is_a_rollout() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    world.start("v1").unwrap();
    assert_eq!(world.run().plan().from, "v2");
    assert_eq!(world.run().number(), 2);
    assert_eq!(world.state.finished().count(), 1);
    world.reach_phase(Phase::Committed);
    assert_eq!(world.state.stable("checkout"), Some("v1"));
}

#[test]
fn an_observation_of_an_earlier_rollout_is_ignored() {
    let mut world = World::started();
    world.reach("1 host");
    let late = world.healthy();
    world.abort().unwrap();
    world.reach_phase(Phase::Reverted);
    world.start("v2").unwrap();
    let before = world.status();
    world.apply(Event::Observed(late)).unwrap();
    assert_eq!(world.status(), before);
}

#[test]
fn an_overdue_hold_pages_once_and_resume_gives_it_more_time() {
    let mut world = World::started();
    world.until(|world| world.phase() == Phase::Judging);
    let empty = |o: &mut Observation| {
        o.evidence.canary = ArmCounts::default();
        o.evidence.stable = ArmCounts::default();
    };
    for _ in 0..2000 {
        world.tick(empty);
    }
    assert_eq!(world.status().rung, "1 host");
    assert!(world.waiting().overdue);
    assert_eq!(world.waiting().kind, "traffic");
    assert_eq!(world.pages().len(), 1, "{:?}", world.pages());
    world.resume().unwrap();
    world.tick(empty);
    assert!(!world.waiting().overdue);
}

#[test]
fn an_observation_that_is_refused_changes_nothing_not_even_the_time() {
    let mut world = World::started();
    let mut stranger = world.healthy();
    stranger.service = "nowhere".into();
    let before = world.state.clone();
    let later = world.now.plus_ms(60_000);
    assert!(world.state.step(&Event::Observed(stranger), later).is_err());
    assert_eq!(world.state, before);
}
