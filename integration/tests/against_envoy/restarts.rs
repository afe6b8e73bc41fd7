//! `kill -9` of the control plane, at rest and in the middle of rollouts.

use std::time::Duration;

use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, wait_until};
use tidegate_integration::mesh::Mesh;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Traffic, by_status};

#[test]
fn a_restart_sends_no_unchanged_cluster_or_listener_and_fails_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let hosts = Hosts::start("v1", 4);
    Mesh::of("checkout", &[&hosts]).write(&directory.path().join("mesh"));
    let mut control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[sidecar.listener()], 100);
    let sent = control_plane.sidecars()[0]["sent"].clone();
    for kind in ["cds", "eds", "lds", "rds"] {
        assert!(sent[kind].as_u64() > Some(0), "{kind}: {sent}");
    }
    control_plane.kill();
    wait_until(Duration::from_secs(10), "Envoy to notice", || {
        sidecar.statistic("control_plane.connected_state") == Some(0)
    });
    control_plane.start_again();
    control_plane.await_sidecars(1);
    let sent = control_plane.sidecars()[0]["sent"].clone();
    for kind in ["cds", "lds"] {
        assert_eq!(sent[kind].as_u64().unwrap_or(0), 0, "{kind}: {sent}");
    }
    let records = traffic.finish();
    assert!(records.len() > 50);
    let statuses = by_status(&records);
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}
