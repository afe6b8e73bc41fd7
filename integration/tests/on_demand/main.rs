//! Clusters and virtual hosts that a real Envoy fetches when a request needs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod world;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_integration::sidecar::{envoy_path, old_envoy_path};
use tidegate_xds::Resource;
use world::{World, cluster, listener, resources};

/// Well below the 5 s for which Envoy's filter waits for a cluster that nobody answers for.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Clusters come on the stream of all other resources.
const AGGREGATED: &str = "{ ads: {}, resource_api_version: V3 }";

/// Clusters come on a stream of their own.
const OWN_STREAM: &str = "{ api_config_source: { api_type: DELTA_GRPC, transport_api_version: V3, \
     grpc_services: [ { envoy_grpc: { cluster_name: xds } } ] }, resource_api_version: V3 }";

/// What Envoy writes when the control plane says that there is no such cluster.
const NOT_FOUND: &str = "cluster missing not found during on-demand discovery";

/// Requests choose their cluster by a header.
fn by_header(address: SocketAddr, source: &str, time_out: &str) -> Resource {
    listener(
        address,
        &format!("odcds: {{ source: {source}, timeout: {time_out} }}"),
        "route_config: { name: inline, virtual_hosts: [ { name: all, domains: ['*'], routes: [ \
         { match: { prefix: / }, route: { cluster_header: x-cluster } } ] } ] }",
    )
}

fn is_fetched_by_the_request_that_needs_it(source: &str) {
    let world = World::start(envoy_path(), |address, host| {
        vec![
            by_header(address, source, "5s"),
            cluster("always", host),
            cluster("fetched", host).on_demand(),
        ]
    });
    assert!(world.has_cluster("always"));
    assert!(!world.has_cluster("fetched"), "nobody asked for it");
    let first = world.ask("any", "fetched");
    assert_eq!(first.status, 200, "{first:?}");
    assert!(first.took < AT_ONCE, "{first:?}");
    assert!(world.has_cluster("fetched"));
    assert_eq!(world.ask("any", "always").status, 200);
}

#[test]
fn d3_a_cluster_is_fetched_by_the_request_that_needs_it() {
    is_fetched_by_the_request_that_needs_it(AGGREGATED);
}

#[test]
fn d3_a_cluster_is_fetched_on_a_stream_of_its_own() {
    is_fetched_by_the_request_that_needs_it(OWN_STREAM);
}

/// Without `missing`.
fn start(envoy: &Path, source: &str, time_out: &str) -> World {
    World::start(envoy, |address, host| {
        vec![
            by_header(address, source, time_out),
            cluster("always", host),
        ]
    })
}

fn serves_once_created(world: &World, source: &str, time_out: &str) {
    world.publish(vec![
        by_header(world.listener, source, time_out),
        cluster("always", world.host()),
        cluster("missing", world.host()).on_demand(),
    ]);
    world.await_cluster("missing");
    assert_eq!(world.ask("any", "missing").status, 200);
}

#[test]
fn d3c_a_cluster_that_does_not_exist_fails_its_requests_at_once_and_serves_when_created() {
    let world = start(old_envoy_path(), OWN_STREAM, "5s");
    for _ in 0..3 {
        let missing = world.ask("any", "missing");
        assert_eq!(missing.status, 503, "{missing:?}");
        assert!(missing.took < AT_ONCE, "{missing:?}");
    }
    assert!(world.log().contains(NOT_FOUND));
    serves_once_created(&world, OWN_STREAM, "5s");
}

/// Envoy 1.40 hears at once that there is no such cluster, begins anew with the request, asks nobody
/// again and waits for its filter's time-out (a regression of 1.38: envoy#44742, #47201). What a
/// control plane can do is to answer at once, and to send the cluster when it is created; operators
/// set a short time-out.
fn takes_the_filters_time_out(source: &str) {
    let world = start(envoy_path(), source, "0.7s");
    let missing = world.ask("any", "missing");
    assert_eq!(missing.status, 503, "{missing:?}");
    assert!(missing.took < AT_ONCE, "{missing:?}");
    assert!(world.log().contains(NOT_FOUND), "{}", world.log());
    serves_once_created(&world, source, "0.7s");
}

#[test]
fn d3c_envoy_1_40_waits_for_a_missing_cluster_over_the_aggregated_stream() {
    takes_the_filters_time_out(AGGREGATED);
}

#[test]
fn d3c_envoy_1_40_waits_for_a_missing_cluster_on_a_stream_of_its_own() {
    takes_the_filters_time_out(OWN_STREAM);
}

/// Routes of which the virtual hosts come one by one.
fn with_vhds(address: SocketAddr) -> Vec<Resource> {
    let listener = listener(
        address,
        "",
        "rds: { route_config_name: rt, config_source: { ads: {}, resource_api_version: V3 } }",
    );
    let routes = resources(
        r"
'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: rt
vhds: { config_source: { ads: {}, resource_api_version: V3 } }
",
    );
    [vec![listener], routes].concat()
}

fn virtual_host(name: &str, domain: &str) -> Resource {
    let text = format!(
        "{{ '@type': type.googleapis.com/envoy.config.route.v3.VirtualHost, name: rt/{name}, \
         domains: ['{domain}'], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: always }} }} ] }}"
    );
    let host = resources(&text).remove(0);
    host.with_aliases([&*format!("rt/{domain}")]).unwrap()
}

#[test]
fn d14_a_virtual_host_is_fetched_by_the_request_that_needs_it() {
    let began = Instant::now();
    let world = World::start(envoy_path(), |address, host| {
        let mut view = with_vhds(address);
        view.push(cluster("always", host));
        view.push(virtual_host("shop", "shop.example"));
        view
    });
    // An Envoy that isn't told of its namespace holds its listener back for 15 s.
    assert!(began.elapsed() < Duration::from_secs(10));
    let first = world.ask("shop.example", "");
    assert_eq!(first.status, 200, "{first:?}");
    assert!(first.took < AT_ONCE, "{first:?}");
    let missing = world.ask("missing.example", "");
    assert_eq!(missing.status, 404, "{missing:?}");
    assert!(missing.took < AT_ONCE, "{missing:?}");
    let mut view = with_vhds(world.listener);
    view.push(cluster("always", world.host()));
    view.push(virtual_host("shop", "shop.example"));
    view.push(virtual_host("missing", "missing.example"));
    world.publish(view);
    let created = world.ask("missing.example", "");
    assert_eq!(created.status, 200, "{created:?}");
}
