//! Reports that stop while everything else about a sidecar looks well.

use std::time::{Duration, Instant};

use tidegate_integration::mesh::SLOW;

use super::{World, await_status, contains, is_held, is_judged, nothing_failed, stays, text};

/// The five minutes of the paper with `TIDEGATE_TEST_OUTAGE_S=300`.
const OUTAGE_S: u64 = 20;

#[test]
fn t4_without_anybodys_reports_it_holds_neither_advances_nor_reverts_and_goes_on_afterwards() {
    let mut world = World::start(3, |mesh| {
        mesh.ladder = "[20%, 100%]";
        // Long enough to be silent within it, and over long before the end of the outage.
        mesh.rollout = "{bake: 6s, soak: 1s, minimum_requests: 20, hold_deadline: 10m, \
            acknowledge_deadline: 10s, dead_man_ttl: 6s, advance_burn_rate: 50}";
    });
    world.begin();
    world.await_judged("20%");
    for between in &world.between {
        between.lose_reports(true);
    }
    world.await_status("a hold for the silence's sake", |status| {
        stays(status, "20%");
        is_held(status, "silence")
    });
    let outage = std::env::var("TIDEGATE_TEST_OUTAGE_S")
        .ok()
        .map_or(OUTAGE_S, |text| text.parse().expect("a number of seconds"));
    let until = Instant::now() + Duration::from_secs(outage);
    // The outage itself is what is tested: nothing may move for as long as it lasts.
    while Instant::now() < until {
        let status = world.status();
        stays(&status, "20%");
        assert!(is_held(&status, "silence"), "{status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    for between in &world.between {
        between.lose_reports(false);
    }
    let over = ["committed", "reverting", "reverted"];
    let control_plane = &world.control_plane;
    let status = control_plane.await_phase("checkout", &over, super::LIMIT);
    assert_eq!(status["phase"], "committed", "{status:#}");
    nothing_failed(&world.finish());
}

#[test]
fn t5_a_silent_canary_sidecar_is_reverted_by_name() {
    const FLEET: &str = "fleet:shop";
    let mut world = World::start(4, |mesh| {
        mesh.fleet = format!("ladder: [1 sidecar, 50%, 100%]\nrollout: {SLOW}\n");
        mesh.traffic = "{timeout: 15s}".to_owned();
    });
    world.mesh.traffic = "{timeout: 10s}".to_owned();
    world.mesh.write(&world.control_plane.mesh);
    let status = await_status(&world.control_plane, FLEET, "the first step", is_judged);
    let canary = status["exposed"]["named"][0].as_str().unwrap().to_owned();
    let number = world.sidecars.iter().position(|it| it.id == canary);
    let number = number.unwrap_or_else(|| panic!("no sidecar {canary}"));
    world.between[number].lose_reports(true);
    let silent = Instant::now();
    let status = await_status(&world.control_plane, FLEET, "its end", |status| {
        !status["revert_reason"].is_null()
    });
    let took = silent.elapsed();
    println!(
        "{canary} was silent for {took:?}: {}",
        text(&status, "revert_reason")
    );
    contains(text(&status, "revert_reason"), &["silen", &canary]);
    assert!(took <= Duration::from_secs(25), "{took:?}");
    // All the while it was connected, had what it should, and served.
    let sidecars = world.control_plane.sidecars();
    let it = sidecars.iter().find(|it| it["id"] == *canary).unwrap();
    assert_eq!(
        (&it["connected"], &it["streams"]),
        (&true.into(), &1.into())
    );
    nothing_failed(&world.finish());
}
