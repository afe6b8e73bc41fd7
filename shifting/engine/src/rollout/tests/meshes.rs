use super::*;

#[test]
fn a_new_service_begins_at_its_initial_version() {
    let world = World::new(mesh());
    let split = &world.state.splits()["checkout"];
    assert_eq!(
        (split.stable.as_str(), split.canary.is_none()),
        ("v1", true)
    );
}

#[test]
fn a_later_initial_moves_nothing_and_says_so() {
    let mut world = World::new(mesh());
    let mut next = mesh();
    next.services.get_mut("checkout").unwrap().initial = "v2".into();
    world.apply(Event::MeshAccepted { mesh: next }).unwrap();
    assert_eq!(world.state.splits()["checkout"].stable, "v1");
    assert!(world.effects.iter().any(|effect| matches!(
        effect,
        Effect::Notice(notice) if notice.text.contains("tidegate rollout start checkout v2")
    )));
}

#[test]
fn a_mesh_that_takes_away_what_a_rollout_needs_is_refused_and_changes_nothing() {
    let mut world = World::started();
    let before = world.state.clone();
    let mut next = mesh();
    next.services
        .get_mut("checkout")
        .unwrap()
        .versions
        .remove("v2");
    let refusal = world.apply(Event::MeshAccepted { mesh: next }).unwrap_err();
    assert!(
        refusal.to_string().contains("takes part in a rollout"),
        "{refusal}"
    );
    assert_eq!(world.state, before);
}

#[test]
fn after_the_commit_the_old_version_may_go() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    let mut next = mesh();
    let service = next.services.get_mut("checkout").unwrap();
    service.versions.remove("v1");
    service.initial = "v2".into();
    world.apply(Event::MeshAccepted { mesh: next }).unwrap();
    assert_eq!(world.state.splits()["checkout"].stable, "v2");
}

#[test]
fn a_running_rollout_keeps_the_plan_it_started_with() {
    let mut world = World::started();
    let plan = world.run().plan().clone();
    let mut next = mesh();
    next.services.get_mut("checkout").unwrap().rollout.bake_ms = 1;
    world.apply(Event::MeshAccepted { mesh: next }).unwrap();
    assert_eq!(world.run().plan(), &plan);
    assert!(
        world
            .status()
            .history
            .iter()
            .any(|h| h.text.contains("keeps the plan"))
    );
}

#[test]
fn what_carries_the_traffic_stays_declared_with_a_host_also_at_rest() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    let gone = world.declare(|service| {
        service.versions.remove("v2");
    });
    let empty = world.declare(|service| service.versions.get_mut("v2").unwrap().hosts.clear());
    for refused in [gone, empty] {
        let refusal = refused.unwrap_err().to_string();
        assert!(refusal.contains("carries its traffic"), "{refusal}");
    }
}
