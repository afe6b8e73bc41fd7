//! Configuration rollouts: the same machine, with a fleet's sidecars for its subject.

use std::sync::Arc;

use super::*;
use crate::mesh::{Mesh, Settings, Tier};

mod waits;

const WEB: &str = "fleet:web";

fn with_timeout(timeout_ms: u64) -> Mesh {
    let mut mesh = mesh();
    let service = mesh.services.get_mut("checkout").unwrap();
    service.traffic.timeout_ms = timeout_ms;
    mesh
}

/// The mesh of the fixture is in force, and one with another timeout is declared.
fn declared() -> World {
    let mut world = World::new(mesh());
    world.redeclare(with_timeout(10_000));
    world
}

impl World {
    fn redeclare(&mut self, mesh: Mesh) {
        self.apply(Event::MeshDeclared { mesh }).unwrap();
    }

    /// What the program does every second, with healthy sidecars, changed by `with`.
    fn second(&mut self, with: impl FnOnce(&mut Observation)) {
        self.now = self.now.plus_ms(1_000);
        for event in self.state.due(self.now) {
            self.apply(event).unwrap();
        }
        let Some(run) = self.state.latest(WEB).filter(|run| !run.phase().is_final()) else {
            return;
        };
        let mut observation = healthy_fleet(run);
        with(&mut observation);
        self.apply(Event::Observed(observation)).unwrap();
    }

    fn configuration(&self) -> &Rollout {
        self.state.latest(WEB).unwrap()
    }

    fn exposed(&self) -> Vec<&'static str> {
        let exposed = self.configuration().exposed_sidecars();
        let all = SIDECARS.iter().map(|(id, _)| *id);
        all.filter(|id| exposed.includes(id)).collect()
    }

    fn seconds_until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..3_600 {
            if done(self) {
                return;
            }
            self.second(|_| {});
        }
        panic!("never: {:?}", self.state.statuses(self.now));
    }

    /// Its first sidecar is on the new revision.
    fn on_one_sidecar(&mut self) {
        self.seconds_until(|world| {
            let run = world.state.latest(WEB);
            run.is_some_and(|run| run.phase() == Phase::Judging)
        });
        self.second(|_| {});
        self.second(|_| {});
    }

    fn timeout_of(&self, which: impl Fn(&FleetConfiguration) -> Option<Arc<Mesh>>) -> Option<u64> {
        let configurations = self.state.configurations();
        let mesh = which(&configurations["web"])?;
        Some(mesh.services["checkout"].traffic.timeout_ms)
    }

    fn stable_timeout(&self) -> u64 {
        self.timeout_of(|it| Some(Arc::clone(&it.mesh))).unwrap()
    }

    fn candidate_timeout(&self) -> Option<u64> {
        self.timeout_of(|it| it.candidate.as_ref().map(|(mesh, _)| Arc::clone(mesh)))
    }
}

#[test]
fn a_declared_change_walks_the_ladder_over_sidecars() {
    let mut world = declared();
    assert_eq!(world.stable_timeout(), 15_000, "nothing changed yet");
    assert!(world.state.active().next().is_none());
    let pending = &world.state.pending(world.now)[0];
    assert_eq!(
        pending.changes,
        ["checkout: traffic.timeout_ms 15000 → 10000"]
    );
    world.second(|_| {});
    assert_eq!(world.exposed(), [] as [&str; 0], "prepared on no sidecar");
    assert_eq!(world.candidate_timeout(), Some(10_000));
    world.on_one_sidecar();
    let first = world.exposed();
    assert_eq!(first.len(), 1);
    assert_eq!(world.configuration().rung_name(), "1 sidecar");
    let mut most = 1;
    world.seconds_until(|world| {
        let exposed = world.exposed();
        assert!(exposed.contains(&first[0]), "who has it keeps it");
        let allowed = match world.configuration().rung_name() {
            "1 sidecar" | "5%" => 1,
            _ => 5,
        };
        assert!(exposed.len() <= allowed, "{exposed:?}");
        world.configuration().phase() == Phase::Soaking
    });
    most = most.max(world.exposed().len());
    assert_eq!(most, 5);
    assert_eq!(world.stable_timeout(), 15_000, "the way back is there");
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
    assert_eq!(
        (world.stable_timeout(), world.candidate_timeout()),
        (10_000, None)
    );
    assert!(world.state.pending(world.now).is_empty());
    assert!(world.state.staged_settings().is_empty());
    let known = world.state.known_good(WEB);
    assert_eq!(known[0].version, world.configuration().plan().to);
}

#[test]
fn what_a_mesh_would_do_is_seen_before_it_is_declared() {
    let mut world = declared();
    world.on_one_sidecar();
    let before = world.state.clone();
    let preview = world
        .state
        .preview(&with_timeout(7_000), world.now)
        .unwrap();
    assert_eq!(world.state, before);
    assert_eq!(preview.superseded, [WEB]);
    let nothing = world
        .state
        .preview(&with_timeout(10_000), world.now)
        .unwrap();
    assert!(nothing.superseded.is_empty() && nothing.pending.is_empty());
    let fresh = World::new(mesh());
    let preview = fresh
        .state
        .preview(&with_timeout(7_000), fresh.now)
        .unwrap();
    assert_eq!(
        preview.pending[0].changes,
        ["checkout: traffic.timeout_ms 15000 → 7000"]
    );
    assert!(fresh.state.preview(&Mesh::default(), fresh.now).is_err());
}

#[test]
fn hosts_and_versions_need_no_rollout() {
    let mut world = World::new(mesh());
    let mut next = mesh();
    let service = next.services.get_mut("checkout").unwrap();
    let v2 = service.versions["v2"].clone();
    service.versions.insert("v9".to_owned(), v2);
    world.redeclare(next);
    assert!(world.state.due(world.now).is_empty());
    let mesh = &world.state.configurations()["web"].mesh;
    assert!(mesh.services["checkout"].versions.contains_key("v9"));
}

#[test]
fn a_revision_that_harms_its_one_sidecar_goes_back_and_is_quarantined() {
    let mut world = declared();
    world.on_one_sidecar();
    let mut ever = std::collections::BTreeSet::new();
    for _ in 0..60 {
        if world.configuration().phase() != Phase::Judging {
            break;
        }
        ever.extend(world.exposed());
        world.second(|o| o.evidence.canary.bad = o.evidence.canary.requests / 2);
    }
    assert_eq!(world.configuration().phase(), Phase::Reverting);
    assert_eq!(ever.len(), 1, "{ever:?}");
    assert_eq!(world.exposed(), [] as [&str; 0]);
    world.seconds_until(|world| world.configuration().phase() == Phase::Reverted);
    assert_eq!(
        (world.stable_timeout(), world.candidate_timeout()),
        (15_000, None)
    );
    let revision = world.configuration().plan().to.clone();
    let quarantined: Vec<_> = world.state.quarantined(world.now).collect();
    assert_eq!(
        (quarantined[0].service.as_str(), &quarantined[0].version),
        (WEB, &revision)
    );

    // Declaring the same again does not try it again; another change does.
    world.redeclare(with_timeout(10_000));
    world.second(|_| {});
    assert_eq!(world.configuration().number, 1);
    let start = |to: &str| Event::Start {
        service: WEB.to_owned(),
        to: to.to_owned(),
        actor: "ann".to_owned(),
        turn: Turn::Next,
        terms: Terms::default(),
    };
    let refused = world.apply(start(&revision)).unwrap_err().to_string();
    assert!(refused.contains("quarantine lift fleet:web"), "{refused}");
    world
        .apply(Event::LiftQuarantine {
            service: WEB.to_owned(),
            version: revision.clone(),
            actor: "ben".to_owned(),
            reason: "the host was slow".to_owned(),
        })
        .unwrap();
    world.second(|_| {});
    assert_eq!(world.configuration().number, 1, "lifted is not started");
    world.apply(start(&revision)).unwrap();
    assert_eq!(world.configuration().number, 2);
    world.redeclare(with_timeout(12_000));
    world.seconds_until(|world| world.configuration().number == 3);
}

#[test]
fn t16_sidecars_that_reject_crash_or_grow_take_it_back() {
    type Harm = fn(&mut Observation);
    let reject: Harm = |o| {
        o.delivery.acknowledged = 4;
        let has_it = |id: &&(&str, &str)| {
            let next = &o.fleet.as_ref().unwrap().next;
            !next.iter().any(|sidecar| sidecar == id.0)
        };
        let sidecar = SIDECARS.iter().find(has_it).unwrap().0.to_owned();
        let text = "no such thing".to_owned();
        o.delivery.rejected.push(Rejection { sidecar, text });
    };
    let crash: Harm = |o| o.fleet.as_mut().unwrap().health.canary.restarts = 1;
    let reconnect: Harm = |o| o.fleet.as_mut().unwrap().health.canary.reconnects = 3;
    let grow: Harm = |o| {
        let health = &mut o.fleet.as_mut().unwrap().health;
        for (arm, bytes) in [
            (&mut health.canary, 300 << 20),
            (&mut health.stable, 400 << 20),
        ] {
            arm.measured = arm.sidecars;
            arm.memory_bytes = bytes;
        }
    };
    for (harm, words) in [
        (reject, "no such thing"),
        (crash, "crash"),
        (reconnect, "reconnect"),
        (grow, "grow"),
    ] {
        let mut world = declared();
        world.on_one_sidecar();
        for _ in 0..5 {
            if world.configuration().phase() == Phase::Judging {
                world.second(harm);
            }
        }
        let reason = world.configuration().revert_reason.clone();
        let reason = reason.unwrap_or_else(|| panic!("{words}: not taken back"));
        assert!(reason.contains(words), "{reason}");
        assert_eq!(world.state.quarantined(world.now).count(), 1, "{words}");
    }
}

#[test]
fn silence_and_missing_requests_never_advance_it() {
    type Lack = fn(&mut Observation);
    let silent: Lack =
        |o| (o.evidence.canary_fresh, o.evidence.stable_fresh) = (Ppm::ZERO, Ppm::ZERO);
    let idle: Lack = |o| o.evidence.canary = ArmCounts::default();
    for lack in [silent, idle] {
        let mut world = declared();
        world.on_one_sidecar();
        for _ in 0..600 {
            world.second(lack);
        }
        let run = world.configuration();
        assert_eq!(
            (run.phase(), run.rung_name()),
            (Phase::Judging, "1 sidecar")
        );
    }
}

#[test]
fn another_declared_mesh_takes_the_one_under_way_back_first() {
    let mut world = declared();
    world.on_one_sidecar();
    world.redeclare(with_timeout(7_000));
    assert_eq!(world.configuration().phase(), Phase::Reverting);
    assert_eq!(world.exposed(), [] as [&str; 0]);
    assert_eq!(world.state.quarantined(world.now).count(), 0);
    world.seconds_until(|world| world.configuration().number == 2);
    assert_eq!(world.candidate_timeout(), Some(7_000));
    // What it had before is declared: nothing is left to do.
    world.redeclare(mesh());
    world.seconds_until(|world| world.configuration().phase() == Phase::Reverted);
    world.second(|_| {});
    assert_eq!(world.configuration().number, 2);
    assert!(world.state.pending(world.now).is_empty());
}

#[test]
fn what_an_operator_aborts_is_not_tried_again_by_itself() {
    let mut world = declared();
    world.on_one_sidecar();
    world
        .apply(Event::Abort {
            service: WEB.to_owned(),
            actor: "ann".to_owned(),
            reason: "not today".to_owned(),
            quarantine: false,
        })
        .unwrap();
    world.seconds_until(|world| world.configuration().phase() == Phase::Reverted);
    for _ in 0..10 {
        world.second(|_| {});
    }
    assert_eq!(world.configuration().number, 1);
    let pending = &world.state.pending(world.now)[0];
    assert!(pending.reason.contains("not tried again"), "{pending:?}");
    assert!(
        pending
            .command
            .starts_with("tidegate rollout start fleet:web ")
    );
}

#[test]
fn traffic_and_configuration_wait_for_one_another() {
    let mut world = World::started();
    let mut next = with_timeout(10_000);
    let service = next.services.get_mut("checkout").unwrap();
    service
        .versions
        .insert("v3".to_owned(), service.versions["v2"].clone());
    world.redeclare(next);
    assert!(world.state.due(world.now).is_empty());
    let pending = &world.state.pending(world.now)[0];
    assert!(
        pending.reason.contains("rollout of `checkout`"),
        "{pending:?}"
    );
    world.reach_phase(Phase::Committed);
    world.second(|_| {});
    assert!(world.runs(WEB));
    world.start("v3").unwrap();
    assert!(!world.runs("checkout"), "it waits in the queue");
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
    world.second(|_| {});
    assert!(world.runs("checkout"));
}

#[test]
fn nobody_watching_moves_no_sidecar() {
    let mut world = declared();
    world.on_one_sidecar();
    let before = world.exposed();
    world.now = world.now.plus_ms(3_600_000);
    let outage_ms = Some(3_600_000);
    world.apply(Event::Recovered { outage_ms }).unwrap();
    assert_eq!(world.exposed(), before);
    assert_eq!(world.configuration().phase(), Phase::Judging);
    assert_eq!(world.state.dead_man_ttl_ms(), None, "no share can run out");
}

#[test]
fn known_good_settings_are_gone_back_to_by_the_ladder_and_stay() {
    let mut world = declared();
    world.seconds_until(|world| {
        world
            .state
            .latest(WEB)
            .is_some_and(|run| run.phase() == Phase::Committed)
    });
    let good = world.configuration().plan().to.clone();
    world.redeclare(with_timeout(5_000));
    world.seconds_until(|world| {
        let run = world.configuration();
        run.number == 2 && run.phase() == Phase::Committed
    });
    world
        .apply(Event::Back {
            service: WEB.to_owned(),
            to: None,
            actor: "ann".to_owned(),
        })
        .unwrap();
    let plan = world.configuration().plan();
    assert_eq!((&plan.to, plan.pace), (&good, Pace::KnownGood));
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
    assert_eq!(world.stable_timeout(), 10_000);
    for _ in 0..10 {
        world.second(|_| {});
    }
    assert_eq!(
        world.configuration().number,
        3,
        "the declared one is not tried again"
    );
    let settings = world.state.staged_settings();
    assert_eq!(
        settings["web"].services["checkout"].traffic.timeout_ms,
        10_000
    );
    let mesh = world.state.mesh().unwrap();
    assert_ne!(Settings::of(mesh, "web").as_ref(), Some(&settings["web"]));
}

#[test]
fn a_service_that_comes_within_reach_is_configured_by_a_rollout() {
    let mut world = World::new(mesh());
    let mut next = mesh();
    let cart = next.services["checkout"].clone();
    next.services.insert("cart".to_owned(), cart);
    world.redeclare(next);
    let reaches = |mesh: &Mesh| mesh.services["cart"].fleets.contains("web");
    assert!(!reaches(&world.state.configurations()["web"].mesh));
    world.on_one_sidecar();
    let change = world.configuration().plan().configuration.clone().unwrap();
    assert_eq!(change.changes, ["cart: within reach from now on"]);
    assert!(
        change.touched.contains("checkout"),
        "the others' requests tell"
    );
    world.seconds_until(|world| world.configuration().phase() == Phase::Committed);
    assert!(reaches(&world.state.configurations()["web"].mesh));
}

#[test]
fn a_change_of_several_services_goes_tier_by_tier_the_least_critical_first() {
    let with = |timeout_ms: u64, port: u16| {
        let mut next = mesh();
        let checkout = next.services["checkout"].clone();
        next.services.insert("cart".to_owned(), checkout.clone());
        next.services.insert("ads".to_owned(), checkout);
        for (name, tier) in [("checkout", 1), ("cart", 5), ("ads", 9)] {
            let service = next.services.get_mut(name).unwrap();
            service.tier = Tier(tier);
            service.traffic.timeout_ms = timeout_ms;
        }
        next.fleets.get_mut("web").unwrap().listener.port = port;
        next
    };
    let mut world = World::new(with(15_000, 0));
    world.redeclare(with(10_000, 8_080));
    let mut order = Vec::new();
    for number in 1..=4 {
        world.seconds_until(|world| {
            let run = world.state.latest(WEB);
            run.is_some_and(|run| run.number == number && run.phase() == Phase::Committed)
        });
        let change = world.configuration().plan().configuration.clone().unwrap();
        order.push(change.changes.join("; "));
    }
    assert_eq!(
        order,
        [
            "ads: traffic.timeout_ms 15000 → 10000",
            "cart: traffic.timeout_ms 15000 → 10000",
            "checkout: traffic.timeout_ms 15000 → 10000",
            "listener 127.0.0.1:0 → 127.0.0.1:8080",
        ]
    );
    assert!(world.state.pending(world.now).is_empty());

    // What goes back keeps the more critical ones from being tried.
    world.redeclare(with(9_000, 8_080));
    world.seconds_until(|world| {
        world.configuration().number == 5 && world.configuration().phase() == Phase::Judging
    });
    for _ in 0..60 {
        if world.configuration().phase() == Phase::Judging {
            world.second(|o| o.evidence.canary.bad = o.evidence.canary.requests / 2);
        }
    }
    for _ in 0..60 {
        world.second(|_| {});
    }
    assert_eq!(world.configuration().phase(), Phase::Reverted);
    assert_eq!(world.configuration().number, 5);
    let pending = &world.state.pending(world.now)[0];
    assert_eq!(pending.changes, ["ads: traffic.timeout_ms 10000 → 9000"]);
}

#[test]
fn what_a_sidecar_on_the_old_revision_rejects_is_not_blamed_on_the_new_one() {
    let mut world = declared();
    world.on_one_sidecar();
    world.second(|o| {
        o.delivery.acknowledged = 4;
        let sidecar = o.fleet.as_ref().unwrap().next[0].clone();
        let text = "something else".to_owned();
        o.delivery.rejected.push(Rejection { sidecar, text });
    });
    let run = world.configuration();
    assert_eq!(run.phase(), Phase::Reverting);
    assert_eq!(run.reverted.as_ref().unwrap().cause, Cause::Delivery);
    assert_eq!(world.state.quarantined(world.now).count(), 0);
}
