use super::*;
use crate::mesh::Version;

fn failed() -> World {
    let mut world = World::started();
    world.fail();
    world
}

fn is_quarantined(result: Result<(), Refusal>) -> bool {
    matches!(result, Err(Refusal::Quarantined { .. }))
}

/// A third version, on hosts of its own.
fn v3(service: &mut crate::mesh::Service) {
    let mut hosts = service.versions["v2"].hosts.clone();
    for host in &mut hosts {
        host.address.set_port(81);
    }
    service.versions.insert("v3".into(), Version { hosts });
}

/// v2 and then v3 were committed.
fn two_generations() -> World {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    world.declare(v3).unwrap();
    world.start("v3").unwrap();
    world.reach_phase(Phase::Committed);
    world
}

fn known_good(world: &World) -> Vec<String> {
    let known = world.state.known_good("checkout").into_iter();
    known.map(|good| good.version).collect()
}

#[test]
fn a_version_that_failed_is_refused_with_its_evidence_and_the_way_to_lift_it() {
    let mut world = failed();
    assert_eq!(world.status().revert_cause, Some(Cause::Fault));
    let refusal = world.start("v2").unwrap_err().to_string();
    for part in [
        "rollout 1 took it back from 1 host",
        "errors",
        "requests failed",
        "expires in 6 d 23 h",
        "tidegate quarantine lift checkout v2 --reason",
    ] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    assert!(matches!(
        world.state.plan("checkout", "v2"),
        Err(Refusal::Quarantined { .. })
    ));
}

#[test]
fn t11_declaring_it_again_in_other_words_does_not_free_it() {
    let mut world = failed();
    world
        .declare(|service| {
            service.initial = "v2".into();
            service.rollout.bake_ms += 1;
            service.slo.latency = None;
            service.ladder.remove(0);
            let hosts = &mut service.versions.get_mut("v2").unwrap().hosts;
            hosts.reverse();
            hosts.truncate(2);
            hosts[0].zone = "elsewhere".into();
        })
        .unwrap();
    assert!(is_quarantined(world.start("v2")));
    // Not even when it was gone for a while.
    let v2 = world.state.mesh().unwrap().services["checkout"].versions["v2"].clone();
    world
        .declare(|service| {
            service.initial = "v1".into();
            service.versions.remove("v2");
        })
        .unwrap();
    world
        .declare(|service| drop(service.versions.insert("v2".into(), v2)))
        .unwrap();
    assert!(is_quarantined(world.start("v2")));
}

#[test]
fn another_configuration_is_other_content_and_the_plan_warns_of_its_relative() {
    let mut world = failed();
    world
        .declare(|service| service.traffic.timeout_ms = 1_000)
        .unwrap();
    let plan = world.state.plan("checkout", "v2").unwrap();
    let warned = plan
        .warnings
        .iter()
        .any(|text| text.contains("was reverted at 1 host"));
    assert!(warned, "{:?}", plan.warnings);
    world
        .declare(|service| service.traffic.timeout_ms = 15_000)
        .unwrap();
    assert!(is_quarantined(world.start("v2")));
}

#[test]
fn it_survives_a_restart() {
    let mut world = failed();
    let mut replayed = State::default();
    for (event, at) in &world.journal {
        replayed = replayed.apply(event, *at).unwrap().0;
    }
    world.state = replayed;
    world.apply(Event::Recovered { outage_ms: None }).unwrap();
    assert!(is_quarantined(world.start("v2")));
}

#[test]
fn it_is_lifted_with_a_reason_only() {
    let mut world = failed();
    assert!(matches!(world.lift("v2", " "), Err(Refusal::NotNow { .. })));
    let refusal = world.lift("v9", "x").unwrap_err().to_string();
    assert!(
        refusal.contains("quarantined are: checkout v2"),
        "{refusal}"
    );
    world.lift("v2", "the database was at fault").unwrap();
    assert_eq!(world.state.quarantined(world.now).count(), 0);
    world.start("v2").unwrap();
}

#[test]
fn it_expires() {
    let mut world = failed();
    let until = world.state.quarantined(world.now).next().unwrap().until;
    world.now = Time(until.0 - 1);
    assert!(is_quarantined(world.start("v2")));
    world.now = until;
    world.start("v2").unwrap();
}

#[test]
fn an_operators_abort_quarantines_only_when_asked_to() {
    let mut world = World::started();
    world.abort().unwrap();
    world.reach_phase(Phase::Reverted);
    world.start("v2").unwrap();
    world
        .apply(Event::Abort {
            service: "checkout".into(),
            actor: "ann".into(),
            reason: "it eats the disk".into(),
            quarantine: true,
        })
        .unwrap();
    world.reach_phase(Phase::Reverted);
    let refusal = world.start("v2").unwrap_err().to_string();
    assert!(refusal.contains("it eats the disk"), "{refusal}");
}

#[test]
fn sidecars_that_are_late_and_outages_prove_nothing_against_a_version() {
    let mut world = World::started();
    world.reach("1 host");
    while world.phase() == Phase::Judging {
        world.tick(|o| {
            o.delivery.acknowledged = 2;
            o.delivery.behind = vec!["web-3".into()];
        });
    }
    assert_eq!(world.status().revert_cause, Some(Cause::Delivery));
    world.reach_phase(Phase::Reverted);
    world.start("v2").unwrap();
    world.reach("1 host");
    world.apply(Event::Recovered { outage_ms: None }).unwrap();
    assert_eq!(world.status().revert_cause, Some(Cause::Outage));
    assert_eq!(world.state.quarantined(world.now).count(), 0);
}

#[test]
fn a_version_whose_clusters_are_rejected_is_quarantined() {
    let rejected = |o: &mut Observation| {
        o.delivery.rejected = vec![Rejection {
            sidecar: "web-1".into(),
            text: "bad".into(),
        }];
    };
    // A later step brings nothing of it: a rejection then is something else's.
    let mut world = World::started();
    world.reach("1 host");
    world.tick(rejected);
    world.reach_phase(Phase::Reverted);
    world.start("v2").unwrap();
    world.tick(rejected);
    world.reach_phase(Phase::Reverted);
    assert!(is_quarantined(world.start("v2")));
}

#[test]
fn a_journal_from_before_quarantines_still_loads() {
    let mut world = failed();
    let text = r#"{"event":"start","service":"checkout","to":"v2","actor":"ann"}"#;
    let old: Event = serde_json::from_str(text).unwrap();
    world.apply(old).unwrap();
    assert_eq!(world.run().number(), 2);
    let abort = r#"{"event":"abort","service":"checkout","actor":"ann","reason":""}"#;
    world.apply(serde_json::from_str(abort).unwrap()).unwrap();
}

#[test]
fn only_a_soak_makes_known_good() {
    let mut world = World::started();
    for phase in [Phase::Judging, Phase::Soaking, Phase::Committing] {
        world.reach_phase(phase);
        assert!(known_good(&world).is_empty(), "{phase:?}");
    }
    world.reach_phase(Phase::Committed);
    assert_eq!(known_good(&world), ["v2"]);
}

#[test]
fn a_commit_that_somebody_did_not_acknowledge_proves_nothing() {
    let mut world = World::started();
    world.reach_phase(Phase::Committing);
    while world.phase() == Phase::Committing {
        world.tick(|o| {
            o.delivery.acknowledged = 2;
            o.delivery.behind = vec!["web-3".into()];
        });
    }
    assert_eq!(world.phase(), Phase::Committed);
    assert!(known_good(&world).is_empty());
}

#[test]
fn five_generations_are_remembered_and_none_twice() {
    let mut world = two_generations();
    assert_eq!(known_good(&world), ["v2", "v3"]);
    for to in ["v2", "v1", "v2"] {
        world.back(Some(to)).unwrap();
        world.reach_phase(Phase::Committed);
    }
    assert_eq!(known_good(&world), ["v3", "v1", "v2"]);
    for timeout_ms in 1..=4 {
        let to = if timeout_ms % 2 == 0 { "v2" } else { "v1" };
        world
            .declare(|service| service.traffic.timeout_ms = timeout_ms)
            .unwrap();
        world.start(to).unwrap();
        world.reach_phase(Phase::Committed);
    }
    assert_eq!(known_good(&world), ["v2", "v1", "v2", "v1", "v2"]);
}

#[test]
fn back_goes_to_the_latest_known_good_version_by_every_rung_with_shorter_bakes() {
    let mut world = two_generations();
    world.back(None).unwrap();
    let plan = world.run().plan().clone();
    assert_eq!((plan.from.as_str(), plan.to.as_str()), ("v3", "v2"));
    assert_eq!(plan.pace, Pace::KnownGood);
    assert_eq!(plan.policy.bake_ms, 2_500);
    assert_eq!(plan.policy.soak_ms, 10_000);
    let names: Vec<&str> = plan.rungs.iter().map(|rung| &*rung.name).collect();
    assert_eq!(names, ["1 host", "5%", "100%"]);
    let mut seen = Vec::new();
    world.until(|world| world.status().rung == "1 host");
    seen.push(world.now);
    world.until(|world| world.status().rung == "5%");
    seen.push(world.now);
    let took_ms = seen[1].since_ms(seen[0]);
    assert!((2_500..=6_000).contains(&took_ms), "{took_ms}");
    world.reach_phase(Phase::Committed);
    assert_eq!(world.state.stable("checkout"), Some("v2"));
}

#[test]
fn back_to_what_was_never_proven_takes_every_wait() {
    let mut world = World::started();
    world.reach_phase(Phase::Committed);
    world.back(None).unwrap();
    let plan = world.run().plan();
    assert_eq!((plan.to.as_str(), plan.pace), ("v1", Pace::Ordinary));
    assert_eq!(plan.policy.bake_ms, 10_000);
}

#[test]
fn known_good_with_another_configuration_is_not_known_good() {
    let mut world = two_generations();
    world
        .declare(|service| service.traffic.timeout_ms = 1_000)
        .unwrap();
    world.back(Some("v2")).unwrap();
    assert_eq!(world.run().plan().pace, Pace::Ordinary);
}

#[test]
fn back_passes_over_what_is_gone_or_quarantined() {
    let mut world = two_generations();
    world
        .declare(|service| drop(service.versions.remove("v2")))
        .unwrap();
    let told = world.effects.iter().any(|effect| {
        matches!(effect, Effect::Notice(notice) if notice.text.contains("no way back to it"))
    });
    assert!(told);
    let way_back = world.state.way_back("checkout").unwrap();
    assert!(!way_back.ready, "{way_back:?}");
    let refusal = world.back(None).unwrap_err().to_string();
    assert!(refusal.contains("nothing to go back to"), "{refusal}");
    assert!(matches!(
        world.back(Some("v2")),
        Err(Refusal::UnknownVersion { .. })
    ));
    world.back(Some("v1")).unwrap();
    world.fail();
    assert!(is_quarantined(world.back(Some("v1"))));
}

#[test]
fn back_from_a_running_rollout_is_an_abort() {
    let mut world = World::started();
    let refusal = world.back(None).unwrap_err().to_string();
    assert!(
        refusal.contains("tidegate rollout abort checkout"),
        "{refusal}"
    );
}

#[test]
fn the_way_back_of_a_rollout_can_neither_be_removed_nor_scaled_down() {
    let mut world = World::started();
    world.reach("1 host");
    let keep = |hosts: usize| {
        move |service: &mut crate::mesh::Service| {
            service
                .versions
                .get_mut("v1")
                .unwrap()
                .hosts
                .truncate(hosts);
        }
    };
    assert!(matches!(world.declare(keep(25)), Err(Refusal::Guard(_))));
    world.declare(keep(26)).unwrap();
    assert!(world.status().way_back.unwrap().ready);
    // The count is of the start, not of yesterday.
    assert!(matches!(world.declare(keep(25)), Err(Refusal::Guard(_))));
    world.reach_phase(Phase::Soaking);
    assert!(matches!(world.declare(keep(25)), Err(Refusal::Guard(_))));
    world.reach_phase(Phase::Committed);
    world.declare(keep(1)).unwrap();
}

#[test]
fn nothing_advances_while_the_way_back_is_gone_all_the_same() {
    let mut world = World::started();
    world.reach("1 host");
    let mut mesh = mesh();
    mesh.services
        .get_mut("checkout")
        .unwrap()
        .versions
        .remove("v1");
    world.state.mesh = Some(std::sync::Arc::new(mesh));
    for _ in 0..60 {
        world.tick(|_| {});
    }
    assert_eq!(world.status().rung, "1 host");
    assert_eq!(world.waiting().kind, "way back");
    assert!(!world.status().way_back.unwrap().ready);
}

#[test]
fn lifting_one_quarantine_lifts_no_other() {
    let mut world = failed();
    world.declare(v3).unwrap();
    world.start("v3").unwrap();
    world.fail();
    world.lift("v2", "the database was at fault").unwrap();
    assert!(is_quarantined(world.start("v3")));
}
