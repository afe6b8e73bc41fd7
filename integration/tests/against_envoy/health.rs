//! What the control plane knows of a sidecar's process.

use std::time::Duration;

use serde_json::Value;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, wait_for, wait_until};
use tidegate_integration::mesh::Mesh;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_sidecar_that_is_killed_and_started_again_is_known_to_have_been_restarted() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let hosts = Hosts::start("v1", 1);
    Mesh::of("checkout", &[&hosts]).write(&directory.path().join("mesh"));
    let control_plane = ControlPlane::start(directory.path());
    let mut sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let told = |what: &str, condition: &dyn Fn(&Value) -> bool| {
        wait_for(LIMIT, what, || {
            let status = control_plane.sidecars().into_iter().next()?;
            condition(&status).then_some(status)
        })
    };
    let status = told("its memory", &|status| status["memory_bytes"].is_u64());
    assert_eq!(
        (&status["connections"], &status["restarts"]),
        (&Value::from(1), &Value::from(0))
    );
    // As it tells itself, give or take what it does between two looks.
    let bytes = status["memory_bytes"].as_u64().unwrap();
    let own = sidecar.statistic("server.memory_allocated").unwrap();
    assert!((own / 2..own * 2).contains(&bytes), "{bytes}, itself {own}");

    // The next one is known by being younger when it first reports than this one was when it last
    // did, which is a second or two before the kill.
    wait_until(LIMIT, "an age of 8 s", || {
        sidecar.statistic("server.uptime") >= Some(8)
    });
    sidecar.process.kill();
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    let status = told("a restart", &|status| status["restarts"] == 1);
    assert_eq!(status["connections"], 2, "{status:#?}");
    // Once only, however long it runs.
    wait_until(LIMIT, "the new one's age", || {
        sidecar.statistic("server.uptime") >= Some(2)
    });
    let status = told("reports of it", &|status| status["connected"] == true);
    assert_eq!(status["restarts"], 1, "{status:#?}");
}
