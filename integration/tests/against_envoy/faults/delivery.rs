//! Exposures that do not arrive, are rejected, or have to arrive at once.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_integration::machine::{wait_until, wait_until_still};
use tidegate_integration::mesh::{FAST, SLOW};

use super::{LIMIT, World, contains, is_held, nothing_failed, stays, text};

/// What each sidecar holds.
fn held(world: &World) -> Vec<Value> {
    let sidecars = world.control_plane.sidecars();
    let of = |sidecar: &Value| sidecar["view_acknowledged"].clone();
    sidecars.iter().map(of).collect()
}

#[test]
fn t1_an_abort_is_acknowledged_everywhere_within_a_second_although_stable_may_not_shrink() {
    let mut world = World::start(3, |mesh| {
        mesh.ladder = "[30%, 100%]";
        mesh.rollout = SLOW;
    });
    let mut times = Vec::new();
    for _ in 0..3 {
        world.begin();
        world.await_judged("30%");
        // Stable would be short of capacity: that is refused by itself, and the abort waits for none
        // of it.
        let hosts = world.mesh.versions[0].1.clone();
        world.mesh.versions[0].1.truncate(1);
        world.mesh.write(&world.control_plane.mesh);
        let refused = world.control_plane.run(&["mesh", "reload"]);
        assert!(refused.code > 0, "{refused:?}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        contains(&said, &["version `v1`", "would have 1 hosts and needs 3"]);
        world.mesh.versions[0].1 = hosts;

        let with_canary = held(&world);
        let asked = Instant::now();
        world
            .control_plane
            .json(&["rollout", "abort", "checkout", "--reason", "a test"]);
        wait_until(LIMIT, "everyone's acknowledgement", || {
            let sidecars = world.control_plane.sidecars();
            let without = |(sidecar, before): (&Value, &Value)| {
                let acknowledged = &sidecar["view_acknowledged"];
                acknowledged == &sidecar["view_wanted"] && acknowledged != before
            };
            sidecars.iter().zip(&with_canary).all(without)
        });
        times.push(asked.elapsed());
        world.mesh.write(&world.control_plane.mesh);
        world.control_plane.json(&["mesh", "reload"]);
        let status = world.await_status("its end", |status| status["phase"] == "reverted");
        assert_eq!(status["revert_cause"], "operator", "{status:#}");
    }
    times.sort_unstable();
    println!("from the command to the last acknowledgement: {times:?}");
    assert!(times[1] < Duration::from_secs(1), "{times:?}");
    nothing_failed(&world.finish());
}

#[test]
fn t9_a_stale_sidecar_stops_the_clock_by_name_until_it_has_the_step() {
    let mut world = World::start(3, |mesh| {
        mesh.ladder = "[10%, 30%, 100%]";
        mesh.rollout = "{bake: 2s, soak: 1s, minimum_requests: 20, hold_deadline: 10m, \
            acknowledge_deadline: 2m, dead_man_ttl: 6s, advance_burn_rate: 50}";
    });
    world.begin();
    world.await_judged("10%");
    world.between[2].withhold_configuration(true);
    let since = Instant::now();
    let status = world.await_status("a hold for its sake", |status| {
        is_held(status, "acknowledge")
    });
    println!(
        "held after {:?}: {}",
        since.elapsed(),
        text(&status["decision"], "reason")
    );
    assert!(since.elapsed() <= Duration::from_secs(25));
    assert_eq!(status["rung"], "30%", "{status:#}");
    assert_eq!(
        status["behind"],
        Value::from(vec!["sidecar-3"]),
        "{status:#}"
    );
    contains(text(&status["decision"], "reason"), &["sidecar-3"]);
    // Longer than its bake, and than the life of the share at who does not hear of it.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let status = world.status();
        stays(&status, "30%");
        assert!(is_held(&status, "acknowledge"), "{status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    world.between[2].withhold_configuration(false);
    let over = ["committed", "reverting", "reverted"];
    let status = world.control_plane.await_phase("checkout", &over, LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#}");
    nothing_failed(&world.finish());
}

#[test]
fn t16_a_rejected_step_of_a_traffic_rollout_goes_back_everywhere_and_names_the_sidecar() {
    let mut world = World::start(3, |mesh| {
        mesh.ladder = "[10%, 30%, 100%]";
        mesh.rollout = FAST;
    });
    world.begin();
    world.await_judged("10%");
    world.between[1].spoil_next_runtime_layer();
    let status = world.await_status("its end", |status| {
        status["phase"] == "reverted" || status["phase"] == "committed"
    });
    assert!(world.between[1].has_spoilt());
    contains(
        text(&status, "revert_reason"),
        &["sidecar-2 rejected it", "tidegate-of-another"],
    );
    // Nothing is wrong with the version.
    assert_eq!(status["revert_cause"], "delivery", "{status:#}");
    let list = world.control_plane.json(&["quarantine", "list"]);
    assert_eq!(list["quarantined"].as_array().map(Vec::len), Some(0));
    let quiet = Duration::from_secs(2);
    wait_until_still(LIMIT, quiet, "v2, without requests", || world.v2.served());
    world.control_plane.await_sidecars(3);
    nothing_failed(&world.finish());
}
