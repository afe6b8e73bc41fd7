//! Many services behind the same three sidecars, each with a rollout and a fault of its own, all at
//! once: what is wrong with one is told from what is wrong with the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{Alone, alone, free_address, wait_until};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Recorded, Traffic};

use super::{await_status, contains, is_held, is_judged, nothing_failed, status, stays, text};

/// For what takes a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

const SIDECARS: usize = 3;

/// Of 50 requests a second, 10 are the canary's.
const FIFTH: &str = "[20%, 100%]";
const RATE: u32 = 50;

/// What happens to a service, in a thread of its own.
type Scenario = fn(&World);

const SCENARIOS: [(&str, Scenario); 10] = [
    ("t6", t6_both_arms_failing_is_nobodys_fault_and_pages),
    ("t7 1%", t7_a_canary_that_fails_1_in_100_is_reverted),
    ("t7 5%", t7_a_canary_that_fails_1_in_20_is_reverted),
    ("t7 50%", t7_a_canary_that_fails_every_other_is_reverted),
    ("t9", t9_weights_that_somebody_edits_stop_the_clock),
    ("t12", t12_a_canary_that_hangs_is_a_black_hole),
    ("t13 retries", t13_retries_do_not_hide_a_host_that_is_gone),
    (
        "t13 ejection",
        t13_ejection_does_not_hide_a_host_that_is_gone,
    ),
    ("t14", t14_without_requests_it_holds_and_pages),
    (
        "t15",
        t15_of_two_dependent_services_only_the_bad_one_goes_back,
    ),
];

struct World {
    control_plane: ControlPlane,
    sidecars: Vec<Sidecar>,
    listeners: Vec<SocketAddr>,
    services: BTreeMap<&'static str, Service>,
    directory: TempDir,
    _alone: Alone,
}

/// A service with two versions.
struct Service {
    mesh: Mesh,
    v1: Hosts,
    v2: Hosts,
}

// === impl Service ===

impl Service {
    fn of(name: &'static str, change: impl FnOnce(&mut Mesh)) -> (&'static str, Self) {
        let (v1, v2) = (Hosts::start("v1", 4), Hosts::start("v2", 2));
        let mut mesh = Mesh::of(name, &[&v1, &v2]);
        mesh.rollout = SLOW;
        mesh.ladder = FIFTH;
        mesh.slo = "{success: 99.9%, latency: {threshold: 250ms, share: 99%}}";
        change(&mut mesh);
        (name, Self { mesh, v1, v2 })
    }
}

// === impl World ===

impl World {
    fn start() -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let tenth = |mesh: &mut Mesh| mesh.ladder = "[10%, 100%]";
        // Nobody listens at the address of the canary's third host.
        let gone = |mesh: &mut Mesh| mesh.versions[1].1.push(free_address());
        let services = BTreeMap::from([
            Service::of("both", |_| {}),
            Service::of("one-percent", tenth),
            Service::of("five-percent", tenth),
            Service::of("half", tenth),
            Service::of("edited", |_| {}),
            // With an objective for latency its overdue requests would be found first.
            Service::of("hanging", |mesh| mesh.slo = "{success: 99.9%}"),
            // With an objective for latency the time that a retry takes would be found first.
            Service::of("retried", |mesh| {
                gone(mesh);
                mesh.slo = "{success: 99.9%}";
                mesh.traffic = "{outlier_detection: {max_ejected: 0%}}".to_owned();
            }),
            Service::of("ejected", |mesh| {
                gone(mesh);
                mesh.slo = "{success: 99.9%}";
            }),
            Service::of("quiet", |mesh| {
                mesh.rollout = "{bake: 10m, soak: 10m, minimum_requests: 20, \
                    hold_deadline: 25s, acknowledge_deadline: 30s, dead_man_ttl: 6s, \
                    advance_burn_rate: 50}";
            }),
            Service::of("front", |mesh| mesh.calls = vec!["back".to_owned()]),
            Service::of("back", |_| {}),
        ]);
        let meshes = services.values().map(|service| &service.mesh);
        Mesh::write_all(meshes, &directory.path().join("mesh"));
        let control_plane = ControlPlane::start(directory.path());
        let sidecars: Vec<Sidecar> = (1..=SIDECARS)
            .map(|number| start_sidecar(number, &control_plane, directory.path()))
            .collect();
        control_plane.await_sidecars(SIDECARS);
        let listeners = sidecars.iter().map(Sidecar::listener).collect();
        Self {
            control_plane,
            sidecars,
            listeners,
            services,
            directory,
            _alone: alone,
        }
    }

    fn traffic(&self, service: &str, rate: u32) -> Traffic {
        Traffic::start(service, &self.listeners, rate)
    }

    fn begin(&self, service: &str) {
        self.control_plane
            .json(&["rollout", "start", service, "v2"]);
    }

    /// Begins a rollout and waits until its first rung is judged.
    fn judged(&self, service: &str) -> Value {
        self.begin(service);
        await_status(&self.control_plane, service, "its first rung", is_judged)
    }

    fn await_revert(&self, service: &str) -> Value {
        let over = ["reverted", "committed"];
        let status = self.control_plane.await_phase(service, &over, PATIENCE);
        assert_eq!(status["phase"], "reverted", "{status:#}");
        status
    }
}

fn start_sidecar(number: usize, control_plane: &ControlPlane, directory: &Path) -> Sidecar {
    Sidecar::start(&format!("sidecar-{number}"), control_plane.xds, directory)
}

/// Waits for so many more answers.
fn more(traffic: &Traffic, count: usize) {
    let wanted = traffic.records().len() + count;
    wait_until(PATIENCE, "more answers", || {
        traffic.records().len() >= wanted
    });
}

#[test]
fn t6_t7_t9_t12_t13_t14_t15_faults_of_many_services_at_once_are_told_apart() {
    let mut world = World::start();
    let failed: Vec<&str> = thread::scope(|scope| {
        let world = &world;
        let started = SCENARIOS.map(|(name, run)| {
            let thread = thread::Builder::new().name(name.to_owned());
            (
                name,
                thread.spawn_scoped(scope, move || run(world)).unwrap(),
            )
        });
        let ended = started
            .into_iter()
            .map(|(name, thread)| (name, thread.join()));
        let failed = ended.filter(|(_, result)| result.is_err());
        failed.map(|(name, _)| name).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
    t14_counters_that_begin_anew_neither_advance_nor_revert(&mut world);
}

fn t6_both_arms_failing_is_nobodys_fault_and_pages(world: &World) {
    let service = &world.services["both"];
    let traffic = world.traffic("both", RATE);
    world.judged("both");
    service.v1.fail(3);
    service.v2.fail(3);
    let until = Instant::now() + Duration::from_secs(60);
    let mut held = None;
    // That time is what is tested: nothing may go back within it.
    while Instant::now() < until || held.is_none() {
        let status = status(&world.control_plane, "both");
        stays(&status, "20%");
        if is_held(&status, "environment") {
            held.get_or_insert(status);
        }
        assert!(Instant::now() < until + PATIENCE, "never held");
        thread::sleep(Duration::from_millis(200));
    }
    let page = "held at 20%, nothing is blamed on v2";
    contains(&held.unwrap()["history"].to_string(), &[page]);
    let log = world.control_plane.process.log();
    let paged = log
        .lines()
        .any(|line| line.contains(page) && line.contains("page"));
    assert!(paged, "nobody was paged: {log}");
    drop(traffic);
}

fn t7_a_canary_that_fails_1_in_100_is_reverted(world: &World) {
    let (took, _) = t7(world, "one-percent", 1);
    assert!(took <= Duration::from_secs(240), "{took:?}");
}

fn t7_a_canary_that_fails_1_in_20_is_reverted(world: &World) {
    let (took, _) = t7(world, "five-percent", 5);
    assert!(took <= Duration::from_secs(75), "{took:?}");
}

fn t7_a_canary_that_fails_every_other_is_reverted(world: &World) {
    let (took, failed) = t7(world, "half", 50);
    assert!(took <= Duration::from_secs(45), "{took:?}");
    assert!(failed <= 100, "{failed} requests failed");
}

/// At 10 canary requests a second: from the first failure to the canary's last request, and how many
/// failed. The paper's numbers are medians of many; this is one, beside nine other rollouts.
fn t7(world: &World, name: &str, percent: u32) -> (Duration, usize) {
    world.services[name].v2.fail(percent);
    let traffic = world.traffic(name, 2 * RATE);
    world.begin(name);
    let status = world.await_revert(name);
    assert_eq!(status["revert_cause"], "fault", "{status:#}");
    assert!(
        text(&status, "revert_reason").starts_with("errors: "),
        "{status:#}"
    );
    let records = traffic.finish();
    let failed: Vec<&Recorded> = records.iter().filter(|it| it.status != 200).collect();
    let by_canary = failed.iter().all(|it| it.version == "v2");
    assert!(by_canary, "{failed:?}");
    let of_canary = records.iter().filter(|it| it.version == "v2");
    let last = of_canary.map(|it| it.sent).max().unwrap();
    let took = last.duration_since(failed[0].sent);
    println!(
        "{name}: {} failed until it was taken back, after {took:?}",
        failed.len()
    );
    (took, failed.len())
}

fn t9_weights_that_somebody_edits_stop_the_clock(world: &World) {
    let traffic = world.traffic("edited", RATE);
    world.judged("edited");
    more(&traffic, 100);
    // Over the head of the control plane, at each sidecar: what it sends is in force no more.
    for sidecar in &world.sidecars {
        sidecar.modify_runtime("shift.edited.v2", "0");
    }
    let edited = Instant::now();
    let held = await_status(&world.control_plane, "edited", "a hold", |status| {
        is_held(status, "share")
    });
    let took = edited.elapsed();
    println!(
        "edited: held after {took:?}: {}",
        text(&held["decision"], "reason")
    );
    assert!(took <= Duration::from_secs(25), "{took:?}");
    stays(&held, "20%");
    let status = world.await_revert("edited");
    contains(text(&status, "revert_reason"), &["share fault"]);
    nothing_failed(&traffic.finish());
}

fn t12_a_canary_that_hangs_is_a_black_hole(world: &World) {
    let hosts = &world.services["hanging"].v2;
    hosts.delay(Duration::from_secs(3_600));
    let traffic = world.traffic("hanging", RATE);
    world.begin("hanging");
    wait_until(PATIENCE, "a request to v2", || hosts.served() > 0);
    let first = Instant::now();
    let reverting = ["reverting", "reverted", "committed"];
    let status = world
        .control_plane
        .await_phase("hanging", &reverting, PATIENCE);
    let took = first.elapsed();
    println!("hanging: {took:?}: {}", text(&status, "revert_reason"));
    assert!(
        text(&status, "revert_reason").starts_with("black hole: "),
        "{status:#}"
    );
    assert!(took <= Duration::from_secs(15), "{took:?}");
    world.await_revert("hanging");
    drop(traffic);
}

fn t13_retries_do_not_hide_a_host_that_is_gone(world: &World) {
    t13(world, "retried", Duration::from_secs(45));
}

fn t13_ejection_does_not_hide_a_host_that_is_gone(world: &World) {
    t13(world, "ejected", PATIENCE);
}

/// A third of the canary's hosts refuse every connection, and no client sees anything of it.
fn t13(world: &World, name: &str, limit: Duration) {
    let service = &world.services[name];
    let traffic = world.traffic(name, RATE);
    world.begin(name);
    wait_until(PATIENCE, "a request to v2", || service.v2.served() > 0);
    let first = Instant::now();
    let status = world.await_revert(name);
    let took = first.elapsed();
    println!("{name}: {took:?}: {}", text(&status, "revert_reason"));
    assert!(
        text(&status, "revert_reason").starts_with("errors: "),
        "{status:#}"
    );
    assert!(took <= limit, "{took:?}");
    nothing_failed(&traffic.finish());
}

fn t14_without_requests_it_holds_and_pages(world: &World) {
    let traffic = world.traffic("quiet", RATE);
    world.judged("quiet");
    nothing_failed(&traffic.finish());
    let overdue = await_status(&world.control_plane, "quiet", "overdue", |status| {
        stays(status, "20%");
        status["decision"]["overdue"] == true
    });
    assert!(is_held(&overdue, "traffic"), "{overdue:#}");
    let reason = text(&overdue["decision"], "reason");
    assert_eq!(reason, "the service has no requests");
    contains(
        &world.control_plane.process.log(),
        &["past its deadline: the service has no"],
    );
}

/// After all others, since a sidecar is killed and started again.
fn t14_counters_that_begin_anew_neither_advance_nor_revert(world: &mut World) {
    let before = world.traffic("quiet", RATE);
    await_status(
        &world.control_plane,
        "quiet",
        "its clock running",
        is_judged,
    );
    let killed = world.sidecars.len() - 1;
    world.sidecars[killed].process.kill();
    let held = await_status(&world.control_plane, "quiet", "a hold", |status| {
        stays(status, "20%");
        is_held(status, "disconnected")
    });
    contains(text(&held["decision"], "reason"), &["sidecar-3"]);
    world.sidecars[killed] =
        start_sidecar(killed + 1, &world.control_plane, world.directory.path());
    world.control_plane.await_sidecars(SIDECARS);
    drop(before);
    world.listeners[killed] = world.sidecars[killed].listener();
    let traffic = world.traffic("quiet", RATE);
    await_status(
        &world.control_plane,
        "quiet",
        "its clock running",
        |status| {
            stays(status, "20%");
            is_judged(status)
        },
    );
    more(&traffic, 200);
    let status = status(&world.control_plane, "quiet");
    stays(&status, "20%");
    assert_eq!(status["canary"]["bad"], 0, "{status:#}");
    assert!(status["reports"]["resets"].as_u64() > Some(0), "{status:#}");
    nothing_failed(&traffic.finish());
}

fn t15_of_two_dependent_services_only_the_bad_one_goes_back(world: &World) {
    for hosts in [&world.services["front"].v1, &world.services["front"].v2] {
        hosts.call("back", world.listeners[0]);
    }
    world.services["back"].v2.fail(50);
    let traffic = ["front", "back"].map(|service| world.traffic(service, RATE));
    world.judged("front");
    // They are serialised, unless somebody says otherwise.
    let queued = world
        .control_plane
        .json(&["rollout", "start", "back", "v2"]);
    assert_eq!(
        queued["command"],
        "tidegate rollout start back v2 --overlap"
    );
    world
        .control_plane
        .json(&["rollout", "cancel", "back", "v2"]);
    let overlap = ["rollout", "start", "back", "v2", "--overlap"];
    world.control_plane.json(&overlap);
    let status = world.await_revert("back");
    assert_eq!(status["revert_cause"], "fault", "{status:#}");
    assert!(
        text(&status, "revert_reason").starts_with("errors: "),
        "{status:#}"
    );
    more(&traffic[0], 500);
    let front = super::status(&world.control_plane, "front");
    stays(&front, "20%");
    let [front, back] = traffic.map(Traffic::finish);
    let failed = |records: &[Recorded]| records.iter().filter(|it| it.status != 200).count();
    println!(
        "t15: {} of front failed, {} of back",
        failed(&front),
        failed(&back)
    );
    assert!(failed(&front) > 0, "the one depends on the other");
}
