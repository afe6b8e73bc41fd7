//! Fetch, ACK, proof, NACK, recovery and reconnect, with every kind of Envoy.

use std::net::TcpListener;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::wait_until;
use tidegate_integration::traffic::share;
use tidegate_xds::stream::Variant;
use tidegate_xds::{ClientKind, ResourceStatus, TypeUrl};

use crate::world::{AGGREGATED, KINDS, Kind, LIMIT, World, all_good, await_requests, with_each};

#[test]
fn every_envoy_fetches_acknowledges_and_proves_what_it_applied() {
    with_each(&KINDS, |kind| {
        let world = World::start(kind);
        let status = world.status();
        assert_eq!(status.client.kind, ClientKind::Envoy);
        assert!(
            status.client.version.starts_with(kind.release),
            "{status:?}"
        );
        assert_eq!(status.variant, kind.variant);
        assert_eq!(status.gates_forced, 0, "{status:#?}");
        assert!(status.rejections.is_empty(), "{status:#?}");
        let (first, second) = (world.traffic("in"), world.traffic("in-2"));
        await_requests(&second, 50);
        assert_eq!(share(&all_good(first), "v1"), 1.0);
        assert_eq!(share(&all_good(second), "v2"), 1.0);
        let view = Some(world.library.view_id());
        let what = "proof by the version gauges";
        world
            .library
            .await_status(kind.name, LIMIT, what, |status| {
                status.applied.as_deref() == view.as_deref()
            });
    });
}

/// Without aggregation every cluster's endpoints have a stream of their own.
#[test]
fn a_hundred_clusters_need_a_hundred_streams_where_they_are_not_aggregated() {
    with_each(&KINDS[AGGREGATED.len()..], |kind| {
        let world = World::start_with(kind, |config| {
            for number in 0..100 {
                config.put_cluster(&format!("more-{number}"), &[]);
            }
        });
        let status = world.status();
        assert!(status.streams > 100, "{status:#?}");
        let traffic = world.traffic("in");
        await_requests(&traffic, 20);
        all_good(traffic);
    });
}

#[test]
fn s22_a_bad_one_of_each_type_is_named_by_envoy_and_the_others_arrive() {
    with_each(&KINDS, reject_and_recover);
}

fn reject_and_recover(kind: Kind) {
    let mut world = World::start(kind);
    let v3 = Hosts::start("v3", 1);
    let (first, second) = (world.traffic("in"), world.traffic("in-2"));
    await_requests(&second, 20);
    let good = world.config.clone();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    // On streams of one type nothing holds the route back until its cluster is there.
    let (target, version) = if kind.per_type {
        ("second", "v2")
    } else {
        ("third", "v3")
    };

    // Of each type a good one and a bad one.
    let config = &mut world.config;
    config
        .put_cluster("third", &v3.addresses)
        .put_endpoints("checkout", &world.v1.addresses[..1])
        .put_route("rt", target)
        .put_listener("in-3", "rt", 0)
        .put_cluster("bad", &v3.addresses)
        .put_listener("in-bad", "rt", taken.local_addr().unwrap().port())
        .put_route("rt-2", "nowhere")
        .pretend("nowhere");
    config
        .spoil(&TypeUrl::CLUSTER, "bad", |cluster: &mut Cluster| {
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
        })
        .spoil(
            &TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
            "second",
            |endpoints: &mut ClusterLoadAssignment| {
                let host = &mut endpoints.endpoints[0].lb_endpoints[0];
                host.load_balancing_weight = Some(UInt32Value { value: 0 });
            },
        )
        .spoil(
            &TypeUrl::ROUTE_CONFIGURATION,
            "rt-2",
            |routes: &mut RouteConfiguration| {
                routes.validate_clusters = Some(BoolValue { value: true });
            },
        );
    world.publish();
    let culprits = [
        (TypeUrl::CLUSTER, "bad", "cluster 'bad' did not provide one"),
        (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, "second", "second"),
        (TypeUrl::LISTENER, "in-bad", "Address already in use"),
        (
            TypeUrl::ROUTE_CONFIGURATION,
            "rt-2",
            "unknown cluster 'nowhere'",
        ),
    ];
    for (type_url, name, words) in &culprits {
        let what = format!("{}: {type_url} {name} rejected", kind.name);
        wait_until(LIMIT, &what, || {
            matches!(world.resource(type_url, name),
                Some(ResourceStatus::Rejected { text }) if text.contains(words))
        });
    }
    let others = [
        (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, "checkout"),
        (TypeUrl::CLUSTER, "third"),
        (TypeUrl::LISTENER, "in-3"),
        (TypeUrl::ROUTE_CONFIGURATION, "rt"),
    ];
    // A whole set of clusters or listeners is taken or refused as one.
    let of_one_set = kind.variant == Variant::Sotw;
    for (type_url, name) in &others[..if of_one_set { 1 } else { 4 }] {
        world.await_acknowledged(type_url, name);
    }
    // A whole set is sent in parts until its culprit is known, and until then it counts as well.
    let what = format!("{}: {} rejections", kind.name, culprits.len());
    wait_until(LIMIT, &what, || {
        world.status().rejections.len() == culprits.len()
    });
    let status = world.status();
    for (type_url, name, words) in &culprits {
        let mut all = status.rejections.iter();
        let rejection = all.find(|it| it.type_url == *type_url).unwrap();
        assert!(rejection.text.contains(words), "{status:#?}");
        assert!(rejection.names.contains(&Arc::from(*name)), "{status:#?}");
        let alone = rejection.names.len() == 1;
        assert!(alone || of_one_set, "{status:#?}");
    }
    // What is good serves, the new listener too; what was refused serves as before.
    if !of_one_set {
        let third = world.traffic("in-3");
        await_requests(&third, 20);
        assert_eq!(share(&all_good(third), version), 1.0);
    }
    await_requests(&first, 20);
    await_requests(&second, 20);

    // Good again: the old content of what existed, and a port that is free.
    for (type_url, name) in [
        (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, "second"),
        (TypeUrl::ROUTE_CONFIGURATION, "rt-2"),
    ] {
        world.config.put(good.get(&type_url, name).clone());
    }
    world
        .config
        .put_cluster("bad", &v3.addresses)
        .put_listener("in-bad", "rt", 0);
    world.publish();
    let status = world.await_all_acknowledged();
    assert!(status.rejections.is_empty(), "{status:#?}");
    for healed in ["in-3", "in-bad"] {
        let healed = world.traffic(healed);
        await_requests(&healed, 20);
        assert_eq!(share(&all_good(healed), version), 1.0);
    }
    assert_eq!(share(&all_good(second), "v2"), 1.0);
    let records = all_good(first);
    assert_eq!(records[0].version, "v1");
    assert_eq!(records.last().unwrap().version, version);
}

#[test]
fn x7_a_control_plane_that_is_killed_sends_no_cluster_and_no_listener_again() {
    with_each(&KINDS, |kind| {
        let mut world = World::start(kind);
        let traffic = [world.traffic("in"), world.traffic("in-2")];
        let await_more = |count| traffic.iter().for_each(|one| await_requests(one, count));
        await_more(20);
        let modified = |name: &str| world.envoy.statistic(name).unwrap();
        let before = modified("cluster_manager.cluster_modified")
            + modified("listener_manager.listener_modified");
        world.library.kill();
        await_more(50);
        world.library.serve();
        let status = world.await_all_acknowledged();
        for type_url in [TypeUrl::CLUSTER, TypeUrl::LISTENER] {
            let sent = status.sent[&type_url];
            assert_eq!(
                (sent.resources, sent.removals),
                (0, 0),
                "{type_url}: {status:#?}"
            );
        }
        let modified = |name: &str| world.envoy.statistic(name).unwrap();
        let after = modified("cluster_manager.cluster_modified")
            + modified("listener_manager.listener_modified");
        assert_eq!(before, after);
        // And what changes afterwards arrives.
        world.config.put_route("rt", "second");
        world.publish();
        world.await_all_acknowledged();
        await_more(50);
        let [first, second] = traffic.map(all_good);
        assert_eq!(first.last().unwrap().version, "v2");
        assert_eq!(share(&second, "v2"), 1.0);
    });
}
