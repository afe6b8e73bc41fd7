//! The observed call graph, from what a real Envoy reports of the requests that it carries.

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

/// Who was seen calling whom, though nobody declared it.
fn seen(control_plane: &ControlPlane) -> Vec<(String, String)> {
    let graph = control_plane.json(&["mesh", "graph"]);
    let calls = graph["calls"].as_array().unwrap();
    let name = |call: &Value, side: &str| call[side].as_str().unwrap().to_owned();
    calls
        .iter()
        .filter(|call| call["declared"] == false && call["last_seen"].is_u64())
        .map(|call| (name(call, "caller"), name(call, "callee")))
        .collect()
}

#[test]
fn a_call_that_is_seen_makes_its_neighbours_wait_and_one_that_is_seen_later_stops_nobody() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let names = ["front", "back", "late"];
    let hosts = names.map(|_| [Hosts::start("v1", 4), Hosts::start("v2", 2)]);
    let mut meshes = Mesh::of_each(names, &hosts);
    for mesh in &mut meshes {
        mesh.rollout = SLOW;
    }
    // The one sidecar stands beside `front`: what it carries to others is what `front` calls.
    meshes[0].fleet = "service: front\n".to_owned();
    Mesh::write_all(&meshes, &directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    assert_eq!(seen(&control_plane), []);
    let listener = sidecar.listener();
    hosts[0][0].call("back", listener);
    let traffic = Traffic::start("front", &[listener], 50);
    let of_front = |callee: &str| ("front".to_owned(), callee.to_owned());
    wait_until(LIMIT, "a call", || {
        seen(&control_plane) == [of_front("back")]
    });

    let begin = |service: &str| control_plane.json(&["rollout", "start", service, "v2"]);
    begin("back");
    let queued = begin("front");
    let reason = queued["reason"].as_str().unwrap();
    let why =
        "which holds `back` too (`front` and `back` observed, last seen within the last hour)";
    assert!(reason.contains(why), "{reason}");
    begin("late");
    for service in ["back", "late"] {
        let status = control_plane.await_phase(service, &["judging"], LIMIT);
        assert!(status["found_overlaps"].is_null(), "{status:#}");
    }

    // Only now `front` is seen calling `late` as well, beside `back`, which is under way.
    let more = Traffic::start("late", &[listener], 50);
    for (service, other) in [("late", "back"), ("back", "late")] {
        let status = wait_for(LIMIT, "an overlap that is found", || {
            let status = control_plane.rollout(service)?;
            (!status["found_overlaps"].is_null()).then_some(status)
        });
        assert_eq!(status["found_overlaps"], serde_json::json!([other]));
        assert_eq!(status["phase"], "judging", "{status:#}");
    }
    assert_eq!(seen(&control_plane), [of_front("back"), of_front("late")]);
    assert!(control_plane.rollout("front").is_none(), "it still waits");

    // Its turn comes when the last of them is over.
    for service in ["back", "late"] {
        control_plane.json(&["rollout", "abort", service]);
    }
    control_plane.await_phase("front", &["preparing", "judging"], LIMIT);
    drop((traffic, more));
    replays(control_plane);
}
