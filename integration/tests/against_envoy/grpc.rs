//! Proxyless gRPC clients: a split by weight, and the way back.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::python::{Script, grpc_client, grpc_servers};
use tidegate_integration::serve::ControlPlane;

/// Calls by version, and those that failed, of the lines from `from` on.
pub(crate) fn sum(lines: &[Value]) -> (u64, u64, u64) {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let v1 = lines.iter().map(|line| count(&line["counts"]["v1"])).sum();
    let v2 = lines.iter().map(|line| count(&line["counts"]["v2"])).sum();
    let errors = lines
        .iter()
        .flat_map(|line| line["errors"].as_object().unwrap().values())
        .map(count)
        .sum();
    (v1, v2, errors)
}

/// The client's next `count` lines, not counting one that has begun.
pub(crate) fn next_lines(client: &Script, count: usize) -> Vec<Value> {
    let begin = client.lines().len() + 1;
    let limit = Duration::from_secs(10 + u64::try_from(count).unwrap());
    wait_for(limit, "calls of the gRPC client", || {
        let lines = client.lines();
        (lines.len() >= begin + count).then(|| lines[begin..begin + count].to_vec())
    })
}

#[test]
fn a_proxyless_client_gets_95_to_5_and_follows_the_revert() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (_v1, v1) = grpc_servers("v1", 3);
    let (_v2, v2) = grpc_servers("v2", 2);
    let mut mesh = Mesh::of("checkout", &[]);
    mesh.versions = vec![("v1".to_owned(), v1), ("v2".to_owned(), v2)];
    mesh.protocol = "grpc";
    mesh.ladder = "[5%, 100%]";
    mesh.rollout = SLOW;
    mesh.write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let client = grpc_client(&["checkout"], 200, control_plane.xds, directory.path());

    let (v1, v2, errors) = sum(&next_lines(&client, 3));
    assert!(v1 > 500, "{v1} calls in 3 s");
    assert_eq!((v2, errors), (0, 0));

    let started = control_plane.json(&["rollout", "start", "checkout", "v2"]);
    assert_eq!(started["plan"]["from"], "v1");
    wait_until(Duration::from_secs(15), "the first call on v2", || {
        sum(&client.lines()).1 > 0
    });
    let (v1, v2, errors) = sum(&next_lines(&client, 12));
    // 2,400 calls at 5%: 120, with a standard deviation of 10.7.
    assert!((77..=163).contains(&v2), "{v2} of {} calls on v2", v1 + v2);
    assert_eq!(errors, 0);

    control_plane.json(&["rollout", "abort", "checkout"]);
    let status = control_plane.await_phase("checkout", &["reverted"], Duration::from_secs(30));
    assert_eq!(status["share_wanted"], 0);
    let (v1, v2, errors) = sum(&next_lines(&client, 3));
    assert!(v1 > 500, "{v1} calls in 3 s");
    assert_eq!((v2, errors), (0, 0));
}
