use super::*;

fn recover(world: &mut World, outage_ms: Option<u64>) {
    world.now = world.now.plus_ms(outage_ms.unwrap_or(0));
    world.apply(Event::Recovered { outage_ms }).unwrap();
}

/// Everyone has the exposure of `service`, and both arms are fine.
fn ready(service: &str, world: &World) -> Event {
    let mut observation = world.healthy();
    observation.service = service.to_owned();
    observation.epoch = world.state.latest(service).unwrap().epoch();
    Event::Observed(observation)
}

#[test]
fn t2_an_outage_longer_than_the_dead_mans_switch_reverts() {
    for outage_ms in [Some(8_500), None] {
        let mut world = World::started();
        world.reach("5%");
        recover(&mut world, outage_ms);
        assert_eq!(world.phase(), Phase::Reverting);
        let reason = world.reason();
        assert!(reason.contains("after 6.0 s"), "{reason}");
        if outage_ms.is_some() {
            assert!(reason.contains("nobody watched for 8.5 s"), "{reason}");
        }
        world.reach_phase(Phase::Reverted);
    }
}

#[test]
fn shares_that_expire_together_are_taken_back_together() {
    let mut mesh = mesh();
    let mut patient = mesh.services["checkout"].clone();
    patient.rollout.dead_man_ttl_ms = 60_000;
    mesh.services.insert("cart".to_owned(), patient);
    let mut world = World::new(mesh);
    world.start("v2").unwrap();
    world.reach("5%");
    let start = Event::Start {
        service: "cart".to_owned(),
        to: "v2".to_owned(),
        actor: "ann".to_owned(),
        turn: Turn::Next,
        terms: Terms::default(),
    };
    world.apply(start).unwrap();
    assert_eq!(world.state.dead_man_ttl_ms(), Some(6_000));
    world.apply(ready("cart", &world)).unwrap();
    world.now = world.now.plus_ms(3_000);
    world.apply(ready("cart", &world)).unwrap();
    assert_eq!(world.state.latest("cart").unwrap().phase(), Phase::Judging);
    recover(&mut world, Some(8_000));
    for service in ["checkout", "cart"] {
        let run = world.state.latest(service).unwrap();
        assert_eq!(run.phase(), Phase::Reverting, "{service}");
    }
}

#[test]
fn a_short_outage_restarts_the_rung_and_keeps_the_evidence() {
    let mut world = World::started();
    world.reach("5%");
    world.tick(|o| o.evidence.canary.bad = o.evidence.canary.requests / 2);
    let evidence = world.status().evidence;
    let share = world.run().share();
    recover(&mut world, Some(1_000));
    assert_eq!(world.run().share(), share);
    assert_eq!(world.status().evidence, evidence);
    let begun = world.now;
    world.until(|world| world.status().rung == "100%" || world.phase() == Phase::Reverting);
    assert!(
        world.now.since_ms(begun) >= 20_000,
        "time to reconnect, then the whole bake"
    );
}

#[test]
fn what_was_preparing_committing_or_reverting_goes_on() {
    for (phase, end) in [
        (Phase::Preparing, Phase::Committed),
        (Phase::Committing, Phase::Committed),
        (Phase::Reverting, Phase::Reverted),
    ] {
        let mut world = World::started();
        if phase == Phase::Reverting {
            world.abort().unwrap();
        } else {
            world.reach_phase(phase);
        }
        recover(&mut world, Some(100_000));
        assert_eq!(world.phase(), phase);
        world.until(|world| world.phase().is_final());
        assert_eq!(world.phase(), end);
    }
}

#[test]
fn nothing_advances_while_sidecars_may_still_be_reconnecting() {
    let mut world = World::started();
    recover(&mut world, Some(1_000));
    for _ in 0..9 {
        world.tick(|_| {});
        assert_eq!(world.phase(), Phase::Preparing);
    }
    world.until(|world| world.phase() == Phase::Judging);
}

#[test]
fn t3_a_replay_of_the_journal_is_equal_to_the_bit_from_every_prefix() {
    let mut world = World::started();
    world.reach("5%");
    for _ in 0..3 {
        world.tick(|o| o.evidence.canary.bad = 3);
    }
    recover(&mut world, Some(500));
    world.until(|world| world.phase().is_final());
    let mut state = State::default();
    for (index, (event, at)) in world.journal.iter().enumerate() {
        if index % 7 == 0 {
            let text = serde_json::to_string(&state).unwrap();
            let read: State = serde_json::from_str(&text).unwrap();
            assert_eq!(read, state);
            state = read;
        }
        let text = serde_json::to_string(event).unwrap();
        let event: Event = serde_json::from_str(&text).unwrap();
        state = state.apply(&event, *at).unwrap().0;
    }
    assert_eq!(state, world.state);
}

#[test]
fn a_replay_that_differs_says_in_what() {
    let mut world = World::started();
    world.reach("5%");
    let event = Event::Observed(world.healthy());
    let (after, effects) = world.state.apply(&event, world.now).unwrap();
    let recorded = Decided::new(&event, &after, &effects);
    assert_eq!(recorded.difference(&recorded), None);
    let spoilt = |spoil: fn(&mut Decided)| {
        let mut again = recorded.clone();
        spoil(&mut again);
        recorded.difference(&again).unwrap_or_default()
    };
    for (what, said) in [
        (
            spoilt(|it| it.rollouts[0].number += 1),
            "it was about rollout",
        ),
        (spoilt(|it| it.rollouts[0].epoch += 1), "`checkout` was at"),
        (
            spoilt(|it| it.rollouts[0].decision = Decision::Done),
            "`checkout`: was",
        ),
        (
            spoilt(|it| it.rollouts[0].fingerprint.push('0')),
            "from other numbers",
        ),
        (
            spoilt(|it| it.rollouts.clear()),
            "1 rollouts, and is about 0",
        ),
        (
            spoilt(|it| {
                it.effects.push(Effect::Expose {
                    service: "checkout".to_owned(),
                    epoch: 0,
                });
            }),
            "what had to follow",
        ),
        (
            spoilt(|it| it.state = Some(String::new())),
            "the state differs",
        ),
    ] {
        assert!(what.contains(said), "{said}: {what}");
    }
}
