//! What is remembered of a version, and what waits for its turn, with a real Envoy.

use std::time::Duration;

use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, wait_until, wait_until_still};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Traffic, by_status};

const LIMIT: Duration = Duration::from_secs(90);

/// The command fails, and its words are these.
fn refused(control_plane: &ControlPlane, arguments: &[&str], words: &[&str]) {
    let answer = control_plane.run(arguments);
    assert!(answer.code > 0, "{answer:?}");
    let text = format!("{}{}", answer.stdout, answer.stderr);
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn t11_a_reverted_version_is_refused_when_it_is_applied_again_until_its_quarantine_is_lifted() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (v1, v2) = (Hosts::start("v1", 4), Hosts::start("v2", 2));
    let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
    mesh.write(&directory.path().join("mesh"));
    let mut control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[sidecar.listener()], 200);
    v2.fail(50);
    let start = ["rollout", "start", "checkout", "v2"];
    control_plane.json(&start);
    let over = ["reverted", "committed"];
    let status = control_plane.await_phase("checkout", &over, LIMIT);
    assert_eq!(status["revert_cause"], "fault", "{status:#?}");
    let words = [
        "quarantined",
        "rollout 1",
        "tidegate quarantine lift checkout v2",
    ];
    refused(&control_plane, &start, &words);

    // Declared in other words, by another control plane: the same version.
    mesh.rollout = "{bake: 3s, soak: 2s, minimum_requests: 21, dead_man_ttl: 6s}";
    mesh.slo = "{success: 98%}";
    mesh.write(&control_plane.mesh);
    control_plane.json(&["mesh", "reload"]);
    refused(&control_plane, &start, &words);
    control_plane.kill();
    control_plane.start_again();
    control_plane.await_sidecars(1);
    refused(&control_plane, &start, &words);
    let list = control_plane.json(&["quarantine", "list"]);
    assert_eq!(list["quarantined"][0]["version"], "v2", "{list:#?}");
    let served = v2.served();

    v2.fail(0);
    let lift = [
        "quarantine",
        "lift",
        "checkout",
        "v2",
        "--reason",
        "the disk was full",
    ];
    let left = control_plane.json(&lift);
    assert_eq!(left["quarantined"].as_array().map(Vec::len), Some(0));
    assert_eq!(v2.served(), served, "nothing reached it meanwhile");
    control_plane.json(&start);
    let status = control_plane.await_phase("checkout", &over, LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#?}");
    assert_eq!(status["known_good"][0]["version"], "v2");

    // And back again, by every step.
    let back = control_plane.json(&["rollout", "back", "checkout"]);
    assert_eq!(back["plan"]["to"], "v1");
    let rungs = back["plan"]["rungs"].as_array().map(Vec::len);
    assert_eq!(rungs, Some(3));
    let status = control_plane.await_phase("checkout", &over, LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#?}");
    drop(traffic);
}

#[test]
fn t10_a_newer_version_supersedes_when_the_older_ones_canary_is_drained() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let versions = ["v1", "v2", "v3"].map(|version| Hosts::start(version, 2));
    let mut mesh = Mesh::of("checkout", &[&versions[0], &versions[1], &versions[2]]);
    mesh.rollout = SLOW;
    mesh.write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[sidecar.listener()], 200);
    let [_, v2, v3] = &versions;
    control_plane.json(&["rollout", "start", "checkout", "v2"]);
    wait_until(LIMIT, "requests on v2", || v2.served() > 0);
    // By default it only waits.
    let queued = control_plane.json(&["rollout", "start", "checkout", "v3"]);
    assert_eq!(queued["command"], "tidegate rollout cancel checkout v3");
    let left = control_plane.json(&["rollout", "cancel", "checkout", "v3"]);
    assert_eq!(left["queue"].as_array().map(Vec::len), Some(0));
    let supersede = ["rollout", "start", "checkout", "v3", "--supersede"];
    control_plane.json(&supersede);
    wait_until(LIMIT, "requests on v3", || v3.served() > 0);
    let quiet = Duration::from_secs(2);
    wait_until_still(LIMIT, quiet, "v2, without requests", || v2.served());
    let status = control_plane.rollout("checkout").unwrap();
    assert_eq!(
        (&status["plan"]["from"], &status["plan"]["to"]),
        (&"v1".into(), &"v3".into())
    );
    assert_eq!(status["number"], 2);
    let statuses = by_status(&traffic.finish());
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}
