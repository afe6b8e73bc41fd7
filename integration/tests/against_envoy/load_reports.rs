//! Rollouts that load reports (LRS) judge: those of proxyless gRPC clients, and of an Envoy, which tell
//! hosts apart.

use std::time::Duration;

use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::program;
use tidegate_integration::python::{
    failing_grpc_servers, grpc_client, grpc_client_that_ends, grpc_servers,
};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::Traffic;

use super::grpc::{next_lines, sum};

#[test]
fn grpc_clients_promote_a_good_version_and_take_back_a_bad_one() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (_v1, v1) = grpc_servers("v1", 2);
    let (_v2, v2) = grpc_servers("v2", 2);
    let (_v3, v3) = failing_grpc_servers("v3", 2, 50);
    let mut mesh = Mesh::of("checkout", &[]);
    mesh.versions = [("v1", v1), ("v2", v2), ("v3", v3)]
        .map(|(version, hosts)| (version.to_owned(), hosts))
        .into();
    mesh.protocol = "grpc";
    mesh.slo = "{success: 99%}";
    mesh.evidence = "{load_reports: true}".to_owned();
    mesh.write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let client = grpc_client(&["checkout"], 200, control_plane.xds, directory.path());
    // It had as much traffic and is idle, and says so only once: that is no silence.
    let node = "grpc-2";
    let (load, xds) = ((200, 600), control_plane.xds);
    let idle = grpc_client_that_ends(node, &["checkout"], load, xds, directory.path());
    wait_until(Duration::from_secs(30), "the end of its calls", || {
        let lines = idle.lines();
        let done = lines.last().map(|line| sum(std::slice::from_ref(line)));
        sum(&lines).0 == 600 && done == Some((0, 0, 0))
    });

    control_plane.json(&["rollout", "start", "checkout", "v2"]);
    let limit = Duration::from_secs(90);
    let status = control_plane.await_phase("checkout", &["committed"], limit);
    assert!(
        status["canary"]["requests"].as_u64().unwrap() > 200,
        "{status:#}"
    );
    assert_eq!(
        (&status["canary"]["bad"], &status["canary"]["lost"]),
        (&0.into(), &0.into())
    );
    let (v1, v2, errors) = sum(&next_lines(&client, 2));
    assert!(v2 > 300, "{v2} calls in 2 s");
    assert_eq!((v1, errors), (0, 0));

    control_plane.json(&["rollout", "start", "checkout", "v3"]);
    let status = control_plane.await_phase("checkout", &["reverted"], limit);
    assert_eq!(status["revert_cause"], "fault");
    let reason = status["revert_reason"].as_str().unwrap();
    println!("{reason}");
    assert!(reason.starts_with("errors: "), "{reason}");
    wait_until(limit, "calls without errors", || {
        let (v1, v2, errors) = sum(&next_lines(&client, 1));
        v2 > 100 && (v1, errors) == (0, 0)
    });

    replays(control_plane);
}

/// All of it is in the journal, and decided again it is the same.
pub(super) fn replays(control_plane: ControlPlane) {
    let data = control_plane.data.clone();
    drop(control_plane);
    let answer = program::run(&["replay", data.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{answer:?}");
}

/// A host that fails more often than its peers is upgraded in place: that is its own, not the version's.
#[test]
fn an_envoys_tell_how_the_canarys_host_did_before() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (others, worse) = (Hosts::start("v1", 3), Hosts::start("v1", 1));
    let older = Hosts::start("v0", 1);
    others.fail(2);
    worse.fail(4);
    let mut mesh = Mesh::of("checkout", &[&others, &older]);
    mesh.versions[0].1.extend(&worse.addresses);
    mesh.rollout = SLOW;
    mesh.slo = "{success: 50%}";
    mesh.evidence = "{load_reports: true}".to_owned();
    mesh.write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let path = directory.path();
    let sidecar = Sidecar::start_with("web-1", control_plane.xds, path, &["--load-reports"]);
    control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[sidecar.listener()], 300);
    wait_until(
        Duration::from_secs(60),
        "a past of a few thousand requests",
        || traffic.records().len() > 6_000,
    );

    mesh.versions = vec![
        ("v1".to_owned(), others.addresses.clone()),
        ("v2".to_owned(), worse.addresses.clone()),
    ];
    mesh.write(&directory.path().join("mesh"));
    wait_until(
        Duration::from_secs(30),
        "the host on the new version",
        || {
            let plan = control_plane.run(&["rollout", "start", "checkout", "v2"]);
            plan.code == 0
        },
    );
    let status = wait_for(Duration::from_secs(60), "the canary's requests", || {
        let status = control_plane.rollout("checkout")?;
        (status["canary"]["requests"].as_u64()? > 50).then_some(status)
    });
    let ratio = status["host_ratio_ppm"].as_u64().unwrap();
    println!("host_ratio_ppm {ratio}");
    // Its odds were twice its peers'.
    assert!((2_000_000..6_000_000).contains(&ratio), "{status:#}");
    assert_eq!(status["phase"], "judging", "{status:#}");
    let stable = &status["stable"];
    assert!(stable["bad"].as_u64() > Some(0), "{status:#}");
    replays(control_plane);
}
