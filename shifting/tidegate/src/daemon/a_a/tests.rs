use tidegate_engine::evidence::{AaState, UpstreamCounts};
use tidegate_engine::mesh::{SourceFile, read};
use tidegate_engine::rollout::Event;

use super::*;

/// A service that is called by the fleet of its name.
fn service(name: &str, success: &str) -> String {
    format!(
        "---
kind: fleet
name: {name}-callers
listener: {{address: 127.0.0.1, port: 0}}
---
kind: service
name: {name}
fleets: [{name}-callers]
initial: v1
slo: {{success: {success}}}
ladder: [5%, 100%]
rollout: {{bake: 1s, soak: 1s}}
versions:
  v1: {{hosts: [{{address: \"127.0.0.1:1\"}}]}}
"
    )
}

struct World {
    watch: AaWatch,
    state: State,
    /// Fleet, sidecar, and of 100 requests a second how many fail.
    sidecars: Vec<(String, String, u64)>,
    now: Time,
}

// === impl World ===

impl World {
    fn of(services: &[&str], sidecars: usize) -> Self {
        let sidecars = services.iter().flat_map(|name| {
            (0..sidecars).map(move |i| (format!("{name}-callers"), format!("{name}-{i}"), 0))
        });
        let mut world = Self {
            watch: AaWatch::default(),
            state: State::default(),
            sidecars: sidecars.collect(),
            now: Time(1_000_000),
        };
        world.declare(
            &services
                .iter()
                .map(|name| service(name, "99%"))
                .collect::<String>(),
        );
        world
    }

    fn declare(&mut self, text: &str) {
        let file = SourceFile {
            path: "mesh.yaml".to_owned(),
            text: text.to_owned(),
        };
        let mesh = read(&[file]).unwrap();
        (self.state, _) = self
            .state
            .apply(&Event::MeshAccepted { mesh }, self.now)
            .unwrap();
    }

    fn seconds(&mut self, count: usize) {
        for _ in 0..count {
            self.now = self.now.plus_ms(1_000);
            for (fleet, sidecar, bad) in &self.sidecars {
                let service = fleet.trim_end_matches("-callers");
                let counts = UpstreamCounts {
                    requests: 100,
                    completed: 100,
                    responses: [100 - bad, 0, 0, *bad],
                    active: Some(0),
                    ..UpstreamCounts::default()
                };
                self.watch.record(&SidecarReport {
                    sidecar: sidecar.clone(),
                    at: self.now,
                    upstreams: BTreeMap::from([(format!("{service}/v1"), counts)]),
                    ..SidecarReport::default()
                });
            }
            let connected = self.sidecars.iter();
            let connected = connected.map(|(fleet, id, _)| (fleet.as_str(), id.as_str()));
            self.watch.tick(&self.state, connected, self.now);
        }
    }

    fn status(&self, service: &str) -> AaStatus {
        let published = self.watch.published();
        let status = published.iter().find(|status| status.service == service);
        status.unwrap().clone()
    }
}

#[test]
fn every_service_has_trials_of_its_own_sidecars_by_what_they_report() {
    let mut world = World::of(&["cart", "checkout"], 4);
    let bad = world.sidecars.last_mut().unwrap();
    bad.2 = 30;
    world.seconds(13 * 40);
    let (cart, checkout) = (world.status("cart"), world.status("checkout"));
    assert!(cart.trials >= 39 && checkout.trials >= 39);
    assert_eq!((cart.false_holds.count, cart.warning), (0, None));
    // 4 sidecars with 100 requests in each of 10 seconds.
    assert_eq!(cart.requests, cart.trials * 4_000);
    assert!(checkout.warning.is_some(), "{checkout:?}");
    assert_eq!(checkout.always_worse, ["checkout-3"]);
    assert_eq!((checkout.idle, checkout.cut_off), (0, 0));
}

#[test]
fn services_take_turns_when_there_are_too_many_sidecars() {
    let mut world = World::of(&["a", "b", "c"], 2);
    world.watch.pairs_max = 6; // one trial at once
    world.seconds(1);
    let running = |world: &World| {
        let statuses = world.watch.published();
        let running = |status: &&AaStatus| matches!(status.state, AaState::Running { .. });
        statuses.iter().filter(running).count()
    };
    assert_eq!(running(&world), 1);
    assert_eq!(world.status("b").state, AaState::Waiting);
    for _ in 0..14 * 6 {
        world.seconds(1);
        assert!(running(&world) <= 1);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(world.status(name).trials, 2, "{name}");
    }
}

#[test]
fn other_settings_and_services_that_are_gone_begin_anew() {
    let mut world = World::of(&["cart", "checkout"], 2);
    world.seconds(60);
    assert!(world.status("cart").trials > 2);
    let kept = world.status("checkout").trials;
    world.declare(&(service("cart", "99.9%") + &service("checkout", "99%")));
    world.seconds(1);
    let cart = world.status("cart");
    assert_eq!((cart.trials, cart.since), (0, world.now));
    assert!(world.status("checkout").trials >= kept);
    world.seconds(60);
    assert!(world.status("cart").trials > 2);
    assert_eq!(world.status("cart").settings.slo.success.get(), 999_000);
}

#[test]
fn one_sidecar_is_too_few_and_a_second_one_begins_trials() {
    let mut world = World::of(&["checkout"], 1);
    world.seconds(20);
    let status = world.status("checkout");
    assert_eq!((status.state, status.sidecars), (AaState::TooFew, 1));
    let second = ("checkout-callers".to_owned(), "checkout-9".to_owned(), 0);
    world.sidecars.push(second);
    world.seconds(20);
    assert_eq!(world.status("checkout").trials, 1);
    let gone = world.sidecars.pop().unwrap();
    world.watch.departed(&gone.1);
    world.seconds(1);
    let status = world.status("checkout");
    assert_eq!((status.state, status.cut_off), (AaState::TooFew, 1));
}

#[test]
fn many_sidecars_run_few_trials_at_once_but_one() {
    let mut world = World::of(&["a", "b", "c"], 2);
    world.watch.pairs_max = 3;
    world.seconds(1);
    let published = world.watch.published();
    let running = published
        .iter()
        .filter(|status| status.state != AaState::Waiting);
    assert_eq!(running.count(), 1);
}
