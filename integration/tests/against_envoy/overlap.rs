//! Rollouts that run side by side on the same real Envoys: who is blamed, and who waits.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::Traffic;

use super::load_reports::replays;

const LIMIT: Duration = Duration::from_secs(60);

/// A rollout that stays on its first step, whose clock runs.
fn is_judged(status: &Value) -> bool {
    status["phase"] == "judging" && status["decision"]["clock_stopped"] == false
}

/// Waits until the rollout is as wanted.
fn await_status(
    control_plane: &ControlPlane,
    rollout: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    wait_for(LIMIT, &format!("{rollout}: {what}"), || {
        control_plane
            .rollout(rollout)
            .filter(|status| wanted(status))
    })
}

#[test]
fn a_revision_and_a_version_that_both_fail_are_both_blamed_by_the_table_of_both() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (v1, v2) = (Hosts::start("v1", 4), Hosts::start("v2", 2));
    let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
    mesh.rollout = SLOW;
    mesh.ladder = "[50%, 100%]";
    mesh.slo = "{success: 99%}";
    mesh.fleet = format!("ladder: [1 sidecar, 100%]\nrollout: {SLOW}\n");
    mesh.traffic = "{timeout: 15s}".to_owned();
    mesh.write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let sidecars: Vec<Sidecar> = (1..=3)
        .map(|number| format!("sidecar-{number}"))
        .map(|id| Sidecar::start(&id, control_plane.xds, directory.path()))
        .collect();
    control_plane.await_sidecars(sidecars.len());
    let listeners: Vec<_> = sidecars.iter().map(Sidecar::listener).collect();
    let traffic = Traffic::start("checkout", &listeners, 120);

    // One sidecar gets a shorter timeout, of which nobody sees anything yet.
    mesh.traffic = "{timeout: 100ms}".to_owned();
    mesh.write(&control_plane.mesh);
    await_status(&control_plane, "fleet:shop", "judged", is_judged);
    control_plane.json(&["rollout", "start", "checkout", "v2", "--overlap"]);
    await_status(&control_plane, "checkout", "judged", is_judged);

    // Both are at fault: whatever that sidecar sends runs out of time, and the version fails anyway.
    v2.fail(50);
    for hosts in [&v1, &v2] {
        hosts.delay(Duration::from_millis(300));
    }
    let over = ["reverted", "committed"];
    let mut told = String::new();
    for rollout in ["fleet:shop", "checkout"] {
        let status = control_plane.await_phase(rollout, &over, LIMIT);
        assert_eq!(status["revert_cause"], "fault", "{status:#}");
        told.push_str(&status["history"].to_string());
    }
    let blamed = "it is blamed, although it overlaps: among requests in which";
    assert!(told.contains(blamed), "{told}");
    let quarantine = control_plane.json(&["quarantine", "list"]);
    assert_eq!(quarantine["quarantined"].as_array().map(Vec::len), Some(2));
    drop(traffic);
    replays(control_plane);
}

#[test]
fn a_caller_and_a_callee_that_both_fail_are_both_blamed_by_the_table_of_both() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let names = ["front", "back"];
    let hosts = names.map(|_| [Hosts::start("v1", 1), Hosts::start("v2", 1)]);
    let mut meshes = Mesh::of_each(names, &hosts);
    for mesh in &mut meshes {
        mesh.rollout = SLOW;
        mesh.ladder = "[50%, 100%]";
        mesh.slo = "{success: 99%}";
    }
    meshes[0].calls = vec!["back".to_owned()];
    meshes[0].sidecars = ["v1", "v2"]
        .map(|version| (version.to_owned(), format!("beside-{version}")))
        .into();
    Mesh::write_all(&meshes, &directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let sidecars = ["edge", "beside-v1", "beside-v2"]
        .map(|id| Sidecar::start(id, control_plane.xds, directory.path()));
    control_plane.await_sidecars(sidecars.len());
    let [edge, beside @ ..] = &sidecars;
    for (hosts, sidecar) in hosts[0].iter().zip(beside) {
        hosts.call("back", sidecar.listener());
    }
    let traffic = Traffic::start("front", &[edge.listener()], 120);
    control_plane.json(&["rollout", "start", "back", "v2"]);
    await_status(&control_plane, "back", "judged", is_judged);
    control_plane.json(&["rollout", "start", "front", "v2", "--overlap"]);
    await_status(&control_plane, "front", "judged", is_judged);
    let served = hosts[1][1].served();
    wait_until(LIMIT, "calls to the new version", || {
        hosts[1][1].served() > served + 100
    });

    // The new caller asks both versions for nonsense, and the new callee fails whoever asks.
    hosts[0][1].call_wrongly();
    hosts[1][1].fail(50);
    let over = ["reverted", "committed"];
    let mut told = String::new();
    for service in names {
        let status = control_plane.await_phase(service, &over, LIMIT);
        assert_eq!(status["revert_cause"], "fault", "{status:#}");
        told.push_str(&status["history"].to_string());
    }
    let blamed = "it is blamed, although it overlaps: among requests in which";
    assert!(told.contains(blamed), "{told}");
    let quarantine = control_plane.json(&["quarantine", "list"]);
    assert_eq!(quarantine["quarantined"].as_array().map(Vec::len), Some(2));
    drop(traffic);
    replays(control_plane);
}

#[test]
fn a_step_beyond_the_cap_on_unproven_traffic_waits_for_the_rollout_that_began_first() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let names = ["first", "second"];
    let hosts = names.map(|_| [Hosts::start("v1", 4), Hosts::start("v2", 2)]);
    let mut meshes = Mesh::of_each(names, &hosts);
    for mesh in &mut meshes {
        mesh.rollout = SLOW;
        mesh.ladder = "[20%, 100%]";
    }
    meshes[0].fleet = "unproven_traffic_max: 15%\n".to_owned();
    Mesh::write_all(&meshes, &directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let traffic = names.map(|name| Traffic::start(name, &[sidecar.listener()], 50));

    // A fifth of a half of the fleet's requests each: together that is more than 15% of them.
    for name in names {
        control_plane.json(&["rollout", "start", name, "v2"]);
    }
    await_status(&control_plane, "first", "judged", is_judged);
    let status = await_status(&control_plane, "second", "a hold", |status| {
        let reason = status["decision"]["reason"].as_str().unwrap_or_default();
        // Until the traffic is measured, each is taken for all of it.
        status["decision"]["kind"] == "cap"
            && (reason.contains("would put 19.") || reason.contains("would put 2"))
    });
    assert_eq!(status["phase"], "preparing", "{status:#}");
    let command = &status["decision"]["command"];
    assert_eq!(command, "tidegate rollout abort first", "{status:#}");
    assert_eq!(hosts[1][1].served(), 0, "nothing reached it");
    let first = control_plane.rollout("first").unwrap();
    assert!(is_judged(&first), "{first:#}");

    control_plane.json(&["rollout", "abort", "first"]);
    await_status(&control_plane, "second", "judged", is_judged);
    assert!(hosts[1][1].served() > 0);
    drop(traffic);
    replays(control_plane);
}
