//! Rollouts judged or watched by a real Prometheus that scrapes real Envoys: a good one is promoted,
//! a bad one goes back, and while Prometheus is gone nothing advances.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code; a panic is how a test fails"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{Alone, alone, free_address, wait_until};
use tidegate_integration::mesh::Mesh;
use tidegate_integration::prometheus::Prometheus;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Traffic, share};

/// How long Prometheus is gone; `TIDEGATE_TEST_OUTAGE_S=300` for the five minutes of the issue.
const OUTAGE_S: u64 = 30;

/// Enough for the waits below with scrapes of a second, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Bakes that last while Prometheus is gone.
const ROLLOUT: &str = "{bake: 8s, soak: 4s, minimum_requests: 20, hold_deadline: 30m, \
    acknowledge_deadline: 10s, dead_man_ttl: 6s}";

struct World {
    _directory: tempfile::TempDir,
    control_plane: ControlPlane,
    prometheus: Prometheus,
    _sidecars: Vec<Sidecar>,
    traffic: Traffic,
    canary: Hosts,
    _stable: Hosts,
    _alone: Alone,
}

// === impl World ===

impl World {
    /// Three sidecars, all scraped, and 300 requests a second through them. Prometheus judges.
    fn new() -> Self {
        Self::of("", |_| {})
    }

    /// The same, but the sidecars' own reports judge, and Prometheus is the witness.
    fn witnessed() -> Self {
        Self::of("sidecars: true, ", |_| {})
    }

    fn of(sources: &str, change: impl FnOnce(&mut Mesh)) -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let (stable, canary) = (Hosts::start("v1", 9), Hosts::start("v2", 3));
        let mut mesh = Mesh::of("checkout", &[&stable, &canary]);
        mesh.rollout = ROLLOUT;
        mesh.ladder = "[10%, 100%]";
        change(&mut mesh);
        write(&mesh, directory.path());
        let control_plane = ControlPlane::start(directory.path());
        let sidecars: Vec<Sidecar> = (1..=3)
            .map(|n| Sidecar::start(&format!("web-{n}"), control_plane.xds, directory.path()))
            .collect();
        control_plane.await_sidecars(3);
        let admins: Vec<_> = sidecars.iter().map(|sidecar| sidecar.admin).collect();
        let prometheus = Prometheus::start(directory.path(), &admins);
        mesh.evidence = format!(
            "{{{sources}prometheus: {{url: \"{}\", scrape_interval: 1s}}}}",
            prometheus.url()
        );
        write(&mesh, directory.path());
        control_plane.json(&["mesh", "reload"]);
        let listeners: Vec<_> = sidecars.iter().map(Sidecar::listener).collect();
        let traffic = Traffic::start("checkout", &listeners, 300);
        Self {
            _directory: directory,
            control_plane,
            prometheus,
            _sidecars: sidecars,
            traffic,
            canary,
            _stable: stable,
            _alone: alone,
        }
    }

    fn start(&self) {
        self.control_plane
            .json(&["rollout", "start", "checkout", "v2"]);
    }

    fn status(&self) -> Value {
        self.control_plane.rollout("checkout").unwrap()
    }

    fn await_rung(&self, rung: &str) {
        wait_until(LIMIT, &format!("rung {rung}"), || {
            let status = self.status();
            assert_ne!(status["phase"], "reverting", "{status:#}");
            status["rung"] == rung && status["phase"] == "judging"
        });
    }
}

fn write(mesh: &Mesh, directory: &Path) {
    mesh.write(&directory.join("mesh"));
}

#[test]
fn t4_a_good_version_is_promoted_although_prometheus_was_gone_in_the_middle() {
    let mut world = World::new();
    world.start();
    world.await_rung("10%");

    world.prometheus.kill();
    let outage = std::env::var("TIDEGATE_TEST_OUTAGE_S")
        .ok()
        .map_or(OUTAGE_S, |text| text.parse().expect("a number of seconds"));
    let until = Instant::now() + Duration::from_secs(outage);
    let mut held = 0;
    // The outage itself is what is tested: nothing may move for as long as it lasts.
    while Instant::now() < until {
        let status = world.status();
        assert_eq!(
            (&status["phase"], &status["rung"]),
            (&Value::from("judging"), &Value::from("10%")),
            "{status:#}"
        );
        if status["decision"]["kind"] == "silence" {
            held += 1;
            let reason = status["decision"]["reason"].as_str().unwrap();
            assert!(reason.contains("can't be reached"), "{reason}");
            assert_eq!(status["decision"]["clock_stopped"], true);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(held > 20, "held only {held} times: {:#}", world.status());

    world.prometheus.start_again();
    let status =
        world
            .control_plane
            .await_phase("checkout", &["committed", "reverting", "reverted"], LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#}");
    let canary = status["canary"]["requests"].as_u64().unwrap();
    assert!(canary > 100, "Prometheus' numbers were used: {canary}");
    assert_eq!(status["canary"]["bad"], 0, "{status:#}");
    let records = world.traffic.finish();
    assert!(share(&records, "v2") > 0.05);
    assert!(records.iter().all(|record| record.status == 200));
}

#[test]
fn a_bad_version_goes_back_on_prometheus_numbers() {
    let world = World::new();
    world.canary.fail(50);
    world.start();
    let status = world
        .control_plane
        .await_phase("checkout", &["committed", "reverted"], LIMIT);
    assert_eq!(status["phase"], "reverted", "{status:#}");
    let reason = status["revert_reason"].as_str().unwrap();
    assert!(reason.starts_with("errors"), "{reason}");
    let failed = world
        .traffic
        .finish()
        .iter()
        .filter(|record| record.status != 200)
        .count();
    assert!(failed > 0 && failed < 600, "{failed}");
}

#[test]
fn t13_a_host_that_is_gone_is_found_by_prometheus_numbers_although_retries_hide_it() {
    let world = World::of("", |mesh| {
        mesh.versions[1].1.push(free_address());
        // Its errors are to be found, not the time that a retry takes.
        mesh.slo = "{success: 99%}";
    });
    world.start();
    let status = world
        .control_plane
        .await_phase("checkout", &["committed", "reverted"], LIMIT);
    assert_eq!(status["phase"], "reverted", "{status:#}");
    let reason = status["revert_reason"].as_str().unwrap();
    assert!(reason.starts_with("errors"), "{reason}");
    let records = world.traffic.finish();
    assert!(records.iter().all(|record| record.status == 200));
}

#[test]
fn a_sidecar_that_is_not_scraped_keeps_a_rollout_from_beginning_and_is_counted() {
    let world = World::new();
    let more = Sidecar::start("web-4", world.control_plane.xds, world._directory.path());
    world.control_plane.await_sidecars(4);
    world.start();
    wait_until(LIMIT, "the missing target to be said", || {
        let status = world.status();
        assert_eq!(status["phase"], "preparing", "{status:#}");
        status["decision"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("3 of the 4 sidecars"))
    });
    drop(more);
}

#[test]
fn a_good_version_is_promoted_when_both_sources_agree_and_not_while_the_witness_is_gone() {
    let mut world = World::witnessed();
    world.start();
    world.await_rung("10%");
    world.prometheus.kill();
    wait_until(LIMIT, "a hold for the witness's sake", || {
        world.status()["decision"]["kind"] == "sources"
    });
    let status = world.status();
    let reason = status["decision"]["reason"].as_str().unwrap();
    assert!(reason.contains("Prometheus tells too little"), "{reason}");
    assert!(reason.contains("by the sidecars' reports 0 of"), "{reason}");
    assert_eq!(status["rung"], "10%", "{status:#}");

    world.prometheus.start_again();
    let status =
        world
            .control_plane
            .await_phase("checkout", &["committed", "reverting", "reverted"], LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#}");
    let requests = |source: &Value| source["canary"]["requests"].as_f64().unwrap();
    let (reported, seen) = (requests(&status), requests(&status["witness"]));
    assert!(
        (0.75..1.25).contains(&(seen / reported)),
        "{seen} of {reported}: {status:#}"
    );
    assert!(!status.to_string().contains("disagree"), "{status:#}");
    let records = world.traffic.finish();
    assert!(records.iter().all(|record| record.status == 200));
}

#[test]
fn a_bad_version_goes_back_on_the_sidecars_reports_although_the_witness_is_gone() {
    let mut world = World::witnessed();
    world.start();
    world.await_rung("10%");
    world.prometheus.kill();
    wait_until(LIMIT, "a hold for the witness's sake", || {
        world.status()["decision"]["kind"] == "sources"
    });
    world.canary.fail(50);
    let status = world
        .control_plane
        .await_phase("checkout", &["committed", "reverted"], LIMIT);
    assert_eq!(status["phase"], "reverted", "{status:#}");
    let reason = status["revert_reason"].as_str().unwrap();
    assert!(reason.starts_with("errors"), "{reason}");
}
