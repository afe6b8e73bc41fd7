//! A cluster and its route replaced a thousand times under load: make before break, on real Envoys.
//!
//! Each flip is one new view, in which the route leads to another cluster and the old one is gone.
//! The server alone makes a safe order of it; the next flip follows when all of it is acknowledged,
//! the removal too.

use std::time::Instant;

use tidegate_integration::traffic::{Load, Recorded, Traffic, share};
use tidegate_xds::TypeUrl;
use tidegate_xds::stream::Variant;

use crate::world::{AGGREGATED, Kind, LIMIT, World, all_good, await_requests, with_each};

/// Half of them to a cluster of a new name, half between two names in turn.
const FLIPS: usize = 1_000;

/// Over state of the world, where Envoys shouldn't be.
const FLIPS_OF_SETS: usize = 200;

/// Through each Envoy, on connections that are kept and on new ones.
const LOADS: [Load; 2] = [
    Load {
        rate: 150,
        new_connections: false,
        unanswered_max: 12,
    },
    Load {
        rate: 50,
        new_connections: true,
        unanswered_max: 4,
    },
];

#[test]
fn o1_o2_o3_a_thousand_flips_of_a_cluster_and_its_route_fail_no_request() {
    with_each(&AGGREGATED, flip_all);
}

fn flip_all(kind: Kind) {
    let mut world = World::start(kind);
    let listener = world.envoy.listener_named("in");
    let traffic = LOADS.map(|load| Traffic::start_load("checkout", &[listener], load));
    traffic.iter().for_each(|one| await_requests(one, 20));
    let flips = match kind.variant {
        Variant::Delta => FLIPS,
        Variant::Sotw => FLIPS_OF_SETS,
    };
    let started = Instant::now();
    let mut old = "checkout".to_owned();
    for flip in 0..flips {
        let new = if flip < flips / 2 {
            format!("checkout-{flip}")
        } else {
            ["blue", "green"][flip % 2].to_owned()
        };
        let hosts = [&world.v2, &world.v1][flip % 2].addresses.clone();
        world
            .config
            .put_cluster(&new, &hosts)
            .put_route("rt", &new)
            .remove(&TypeUrl::CLUSTER, &old)
            .remove(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, &old);
        world.publish();
        world.library.await_acknowledged(kind.name, LIMIT);
        old = new;
    }
    let lasted = started.elapsed();
    traffic.iter().for_each(|one| await_requests(one, 20));
    let status = world.status();
    assert_eq!(
        status.gates_forced, 0,
        "a gate was passed by its deadline: {status:#?}"
    );
    assert!(status.rejections.is_empty(), "{status:#?}");
    // Envoy's own count: it really had and lost all of them, and those of the bootstrap and of the
    // first view.
    let count = |name: &str| world.envoy.statistic(name).unwrap();
    let flips = u64::try_from(flips).unwrap();
    assert_eq!(count("cluster_manager.cluster_added"), flips + 3);
    assert_eq!(count("cluster_manager.cluster_removed"), flips);
    let records: Vec<Recorded> = traffic.map(all_good).into_iter().flatten().collect();
    // Both sides got their share, however long each of them lasted.
    let v1 = share(&records, "v1");
    assert!((0.2..=0.8).contains(&v1), "{v1} of the requests on v1");
    println!(
        "{}: {flips} flips in {lasted:.1?}, {} requests, 0 failed",
        kind.name,
        records.len()
    );
}
