//! Views are decoded again, so that what is tested is what a client reads.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration};
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use prost::{Message, Name};
use prost_types::value::Kind;

use super::*;
use crate::compile::runtime::Runtime;
use crate::mesh::{self, Protocol, SourceFile};

const MESH: &str = "\
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 15001}
---
kind: fleet
name: batch
listener: {address: \"::1\", port: 0}
---
kind: service
name: checkout
fleets: [web, batch]
initial: v1
versions:
  v1:
    hosts:
      - {address: \"10.0.0.1:8080\", zone: b}
      - {address: \"10.0.0.2:8080\", zone: a}
      - {address: \"10.0.0.3:8080\", zone: b}
  v2:
    hosts:
      - {address: \"10.0.1.1:8080\", zone: a}
      - {address: \"10.0.1.2:8080\", zone: a}
      - {address: \"10.0.1.3:8080\", zone: b}
      - {address: \"10.0.1.4:8080\", zone: b}
  v3:
    hosts: [{address: \"[fd00::1]:8080\"}]
slo: {success: 99.9%}
---
kind: service
name: payments
fleets: [web]
initial: v1
protocol: grpc
versions:
  v1: {hosts: [{address: \"10.0.2.1:9090\"}]}
  v2: {hosts: [{address: \"10.0.3.1:9090\"}]}
slo: {success: 99.9%}
traffic:
  timeout: 1h
  connect_timeout: 1500ms
  circuit_breakers: {max_connections: 7, max_pending_requests: 8, max_requests: 9}
  retry_budget: 0%
  outlier_detection: {consecutive_failures: 3, max_ejected: 50%}
  connection_buffer: 64KiB
";

fn mesh() -> Mesh {
    mesh::read(&[SourceFile {
        path: "mesh.yaml".to_owned(),
        text: MESH.to_owned(),
    }])
    .unwrap()
}

fn canary(version: &str, ppm: u32, hosts: Option<u32>) -> CanarySplit {
    CanarySplit {
        version: version.to_owned(),
        share: Ppm::new(ppm).unwrap(),
        hosts,
        ttl_ms: 6_000,
    }
}

fn splits(checkout: Option<CanarySplit>) -> Splits {
    let mut splits = initial_splits(&mesh());
    splits.get_mut("checkout").unwrap().canary = checkout;
    splits
}

fn envoy(splits: &Splits) -> Vec<CompiledResource> {
    view(&mesh(), "web", ClientKind::Envoy, splits).unwrap()
}

fn grpc(splits: &Splits) -> Vec<CompiledResource> {
    view(&mesh(), "web", ClientKind::Grpc, splits).unwrap()
}

fn names(view: &[CompiledResource], type_url: &str) -> Vec<String> {
    view.iter()
        .filter(|resource| resource.type_url == type_url)
        .map(|resource| resource.name.clone())
        .collect()
}

fn body<M: Message + Default>(view: &[CompiledResource], type_url: &str, name: &str) -> M {
    let resource = view
        .iter()
        .find(|resource| resource.type_url == type_url && resource.name == name)
        .unwrap_or_else(|| panic!("no {name} in the view"));
    M::decode(resource.body.as_slice()).unwrap()
}

fn cluster(view: &[CompiledResource], name: &str) -> Cluster {
    body(view, type_url::CLUSTER, name)
}

fn routes(view: &[CompiledResource], name: &str) -> RouteConfiguration {
    body(view, type_url::ROUTES, name)
}

fn hosts(view: &[CompiledResource], name: &str) -> Vec<String> {
    let assignment: ClusterLoadAssignment = body(view, type_url::ENDPOINTS, name);
    assert_eq!(assignment.cluster_name, name);
    assignment
        .endpoints
        .iter()
        .flat_map(|locality| &locality.lb_endpoints)
        .map(|endpoint| match &endpoint.host_identifier {
            Some(HostIdentifier::Endpoint(endpoint)) => address_of(&endpoint.address),
            other => panic!("not an endpoint: {other:?}"),
        })
        .collect()
}

fn address_of(address: &Option<envoy_types::pb::envoy::config::core::v3::Address>) -> String {
    use envoy_types::pb::envoy::config::core::v3::address::Address;
    use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
    match address
        .as_ref()
        .and_then(|address| address.address.as_ref())
    {
        Some(Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{} {port}", socket.address),
            ref other => panic!("not a port: {other:?}"),
        },
        other => panic!("not a socket address: {other:?}"),
    }
}

fn action(route: &Route) -> &RouteAction {
    match &route.action {
        Some(Action::Route(action)) => action,
        other => panic!("not a route to a cluster: {other:?}"),
    }
}

fn target(route: &Route) -> String {
    match &action(route).cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => cluster.clone(),
        other => panic!("not one cluster: {other:?}"),
    }
}

fn weights(route: &Route) -> Vec<(String, u32)> {
    match &action(route).cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .map(|cluster| (cluster.name.clone(), cluster.weight.unwrap().value))
            .collect(),
        other => panic!("not weighted clusters: {other:?}"),
    }
}

fn runtime(view: &[CompiledResource]) -> (Vec<(String, f64)>, Option<u64>) {
    let resource = view
        .iter()
        .find(|it| it.type_url == type_url::RUNTIME)
        .unwrap();
    let runtime = Runtime::decode(resource.body.as_slice()).unwrap();
    assert_eq!(
        (runtime.name.as_str(), resource.name.as_str()),
        (RUNTIME_LAYER, RUNTIME_LAYER)
    );
    let shares = runtime
        .layer
        .expect("the layer is explicit, also when it is empty")
        .fields
        .into_iter()
        .map(|(key, value)| {
            let Some(Kind::StructValue(fraction)) = value.kind else {
                panic!("not a fraction");
            };
            assert_eq!(
                fraction.fields["denominator"].kind,
                Some(Kind::StringValue("MILLION".to_owned()))
            );
            match fraction.fields["numerator"].kind {
                Some(Kind::NumberValue(numerator)) => (key, numerator),
                ref other => panic!("not a number: {other:?}"),
            }
        })
        .collect();
    (shares, resource.ttl_ms)
}

fn manager(listener: &Listener) -> HttpConnectionManager {
    let any = match (&listener.api_listener, listener.filter_chains.as_slice()) {
        (Some(api), []) => api.api_listener.as_ref().unwrap(),
        (None, [chain]) => match &chain.filters[0].config_type {
            Some(filter::ConfigType::TypedConfig(any)) => any,
            other => panic!("not a typed config: {other:?}"),
        },
        other => panic!("neither kind of listener: {other:?}"),
    };
    assert_eq!(any.type_url, HttpConnectionManager::type_url());
    HttpConnectionManager::decode(any.value.as_slice()).unwrap()
}

fn is_ads(source: &Option<envoy_types::pb::envoy::config::core::v3::ConfigSource>) -> bool {
    matches!(
        source
            .as_ref()
            .and_then(|source| source.config_source_specifier.as_ref()),
        Some(ConfigSourceSpecifier::Ads(_))
    )
}

#[test]
fn type_urls_are_those_of_the_messages() {
    assert_eq!(type_url::CLUSTER, Cluster::type_url());
    assert_eq!(type_url::ENDPOINTS, ClusterLoadAssignment::type_url());
    assert_eq!(type_url::LISTENER, Listener::type_url());
    assert_eq!(type_url::ROUTES, RouteConfiguration::type_url());
    assert_eq!(
        type_url::RUNTIME,
        envoy_types::pb::envoy::service::runtime::v3::Runtime::type_url()
    );
}

#[test]
fn cluster_names_are_read_back_and_others_are_not_ours() {
    assert_eq!(
        service_and_version(&cluster_name("checkout", "v1")),
        Some(("checkout", "v1"))
    );
    for other in ["xds", "a/", "/b", "a/b/c", ""] {
        assert_eq!(service_and_version(other), None, "{other}");
    }
}

#[test]
fn an_envoy_gets_every_version_of_the_services_of_its_fleet_only() {
    let web = envoy(&splits(None));
    let all = [
        "checkout/v1",
        "checkout/v2",
        "checkout/v3",
        "payments/v1",
        "payments/v2",
    ];
    assert_eq!(names(&web, type_url::CLUSTER), all);
    assert_eq!(names(&web, type_url::ENDPOINTS), all);
    assert_eq!(names(&web, type_url::LISTENER), [EGRESS]);
    assert_eq!(names(&web, type_url::ROUTES), [EGRESS]);
    assert_eq!(names(&web, type_url::RUNTIME), [RUNTIME_LAYER]);

    let batch = view(&mesh(), "batch", ClientKind::Envoy, &splits(None)).unwrap();
    assert_eq!(names(&batch, type_url::CLUSTER), all[..3]);
}

#[test]
fn views_are_made_for_every_fleet_and_kind_and_are_always_the_same_bytes() {
    let splits = splits(Some(canary("v2", 50_000, Some(1))));
    let views = views(&mesh(), &splits).unwrap();
    let keys: Vec<_> = views
        .keys()
        .map(|(fleet, kind)| (fleet.as_str(), *kind))
        .collect();
    assert_eq!(
        keys,
        [
            ("batch", ClientKind::Envoy),
            ("batch", ClientKind::Grpc),
            ("web", ClientKind::Envoy),
            ("web", ClientKind::Grpc),
        ]
    );
    for _ in 0..20 {
        assert_eq!(super::views(&mesh(), &splits).unwrap(), views);
    }
}

#[test]
fn every_view_refers_to_nothing_outside_itself() {
    for checkout in [
        None,
        Some(canary("v2", 0, Some(1))),
        Some(canary("v2", 50_000, Some(1))),
        Some(canary("v2", 1_000_000, None)),
        Some(canary("v1", 1_000_000, None)),
    ] {
        for view in views(&mesh(), &splits(checkout)).unwrap().values() {
            let clusters: BTreeSet<String> = names(view, type_url::CLUSTER).into_iter().collect();
            let endpoints: BTreeSet<String> =
                names(view, type_url::ENDPOINTS).into_iter().collect();
            assert_eq!(clusters, endpoints);
            let route_names: BTreeSet<String> = names(view, type_url::ROUTES).into_iter().collect();
            for name in names(view, type_url::LISTENER) {
                let manager = manager(&body(view, type_url::LISTENER, &name));
                let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
                    panic!("routes are not discovered");
                };
                assert!(is_ads(&rds.config_source));
                assert!(route_names.contains(&rds.route_config_name));
            }
            for name in route_names {
                for route in routes(view, &name)
                    .virtual_hosts
                    .iter()
                    .flat_map(|host| &host.routes)
                {
                    match &action(route).cluster_specifier {
                        Some(ClusterSpecifier::Cluster(name)) => assert!(clusters.contains(name)),
                        _ => assert!(
                            weights(route)
                                .iter()
                                .all(|(name, _)| clusters.contains(name))
                        ),
                    }
                }
            }
        }
    }
}

#[test]
fn every_other_version_stands_before_the_stable_one_behind_a_key_that_is_zero() {
    let routes = routes(&envoy(&splits(None)), EGRESS);
    let checkout = &routes.virtual_hosts[0];
    assert_eq!(checkout.name, "checkout");
    assert_eq!(checkout.domains, ["checkout", "checkout:*"]);
    let targets: Vec<String> = checkout.routes.iter().map(target).collect();
    assert_eq!(targets, ["checkout/v2", "checkout/v3", "checkout/v1"]);
    for (route, key) in checkout
        .routes
        .iter()
        .zip(["shift.checkout.v2", "shift.checkout.v3"])
    {
        let fraction = route
            .r#match
            .as_ref()
            .unwrap()
            .runtime_fraction
            .as_ref()
            .unwrap();
        assert_eq!(fraction.runtime_key, key);
        let default = fraction.default_value.unwrap();
        assert_eq!(
            (default.numerator, default.denominator),
            (0, 2),
            "0 of a MILLION"
        );
    }
    assert_eq!(
        checkout.routes[2]
            .r#match
            .as_ref()
            .unwrap()
            .runtime_fraction,
        None
    );
}

#[test]
fn timeouts_and_retries_are_as_declared() {
    let routes = routes(&envoy(&splits(None)), EGRESS);
    let checkout = action(&routes.virtual_hosts[0].routes[0]);
    assert_eq!(checkout.timeout.unwrap().seconds, 15);
    assert_eq!(checkout.idle_timeout, None);
    let retry = checkout.retry_policy.as_ref().unwrap();
    assert_eq!(retry.retry_on, "connect-failure,refused-stream");
    assert_eq!(retry.num_retries.unwrap().value, 1);

    let payments = action(&routes.virtual_hosts[1].routes[0]);
    assert_eq!(payments.timeout.unwrap().seconds, 3_600);
    assert_eq!(
        payments.idle_timeout, payments.timeout,
        "the listener's idle limit must not cut a request that may take an hour"
    );
    assert_eq!(payments.retry_policy, None, "a budget of 0% is no retry");
}

#[test]
fn a_step_touches_the_runtime_layer_and_the_canarys_endpoints_only() {
    let before = envoy(&splits(None));
    let after = envoy(&splits(Some(canary("v2", 50_000, Some(1)))));
    let changed: Vec<(&str, &str)> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| (after.type_url, after.name.as_str()))
        .collect();
    assert_eq!(before.len(), after.len());
    assert_eq!(
        changed,
        [
            (type_url::ENDPOINTS, "checkout/v2"),
            (type_url::RUNTIME, RUNTIME_LAYER)
        ]
    );
}

#[test]
fn a_commit_touches_the_routes_first_and_the_layer_then() {
    let judged = envoy(&splits(Some(canary("v2", 1_000_000, None))));
    let mut committing = splits(Some(canary("v2", 1_000_000, None)));
    committing.get_mut("checkout").unwrap().stable = "v2".to_owned();
    let mut committed = committing.clone();
    committed.get_mut("checkout").unwrap().canary = None;
    let (committing, committed) = (envoy(&committing), envoy(&committed));

    let changed = |before: &[CompiledResource], after: &[CompiledResource]| -> Vec<&'static str> {
        before
            .iter()
            .zip(after)
            .filter(|(before, after)| before != after)
            .map(|(_, after)| after.type_url)
            .collect()
    };
    assert_eq!(changed(&judged, &committing), [type_url::ROUTES]);
    assert_eq!(runtime(&committing), runtime(&judged));
    assert_eq!(changed(&committing, &committed), [type_url::RUNTIME]);
    assert_eq!(runtime(&committed), (vec![], None));
    let routes = routes(&committed, EGRESS);
    let targets: Vec<String> = routes.virtual_hosts[0].routes.iter().map(target).collect();
    assert_eq!(targets, ["checkout/v1", "checkout/v3", "checkout/v2"]);
}

#[test]
fn the_layer_holds_the_canarys_share_and_expires() {
    let view = envoy(&splits(Some(canary("v2", 32_258, Some(1)))));
    assert_eq!(
        runtime(&view),
        (
            vec![("shift.checkout.v2".to_owned(), 32_258.0)],
            Some(6_000)
        )
    );
    let with_time: Vec<&str> = view
        .iter()
        .filter(|resource| resource.ttl_ms.is_some())
        .map(|resource| resource.type_url)
        .collect();
    assert_eq!(
        with_time,
        [type_url::RUNTIME],
        "nothing else may ever expire"
    );
}

#[test]
fn a_layer_that_raises_nothing_does_not_expire() {
    assert_eq!(runtime(&envoy(&splits(None))), (vec![], None));
    assert_eq!(
        runtime(&envoy(&splits(Some(canary("v2", 0, Some(1)))))),
        (vec![("shift.checkout.v2".to_owned(), 0.0)], None)
    );
}

#[test]
fn the_shortest_time_to_live_of_shares_above_zero_counts() {
    let mut splits = splits(Some(canary("v2", 50_000, None)));
    let payments = splits.get_mut("payments").unwrap();
    payments.canary = Some(CanarySplit {
        ttl_ms: 2_000,
        ..canary("v2", 10_000, None)
    });
    let (shares, ttl_ms) = runtime(&envoy(&splits));
    assert_eq!(ttl_ms, Some(2_000));
    let keys: Vec<&str> = shares.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["shift.checkout.v2", "shift.payments.v2"]);

    splits
        .get_mut("payments")
        .unwrap()
        .canary
        .as_mut()
        .unwrap()
        .share = Ppm::ZERO;
    assert_eq!(runtime(&envoy(&splits)).1, Some(6_000));
}

#[test]
fn a_fleet_is_told_nothing_of_other_fleets_canaries() {
    let mut splits = splits(None);
    splits.get_mut("payments").unwrap().canary = Some(canary("v2", 50_000, None));
    let batch = view(&mesh(), "batch", ClientKind::Envoy, &splits).unwrap();
    assert_eq!(runtime(&batch), (vec![], None));
}

#[test]
fn clusters_discover_their_hosts_and_carry_the_declared_bounds() {
    let view = envoy(&splits(None));
    for name in names(&view, type_url::CLUSTER) {
        let eds = cluster(&view, &name).eds_cluster_config.unwrap();
        assert!(is_ads(&eds.eds_config));
        assert_eq!(
            eds.service_name, "",
            "the assignment has the cluster's name"
        );
    }
    let payments = cluster(&view, "payments/v1");
    let connect = payments.connect_timeout.unwrap();
    assert_eq!((connect.seconds, connect.nanos), (1, 500_000_000));
    assert_eq!(
        payments.per_connection_buffer_limit_bytes.unwrap().value,
        65_536
    );
    let breakers = &payments.circuit_breakers.unwrap().thresholds[0];
    assert_eq!(breakers.max_connections.unwrap().value, 7);
    assert_eq!(breakers.max_pending_requests.unwrap().value, 8);
    assert_eq!(breakers.max_requests.unwrap().value, 9);
    let outlier = payments.outlier_detection.unwrap();
    assert_eq!(outlier.consecutive_5xx.unwrap().value, 3);
    assert_eq!(outlier.max_ejection_percent.unwrap().value, 50);
    assert_eq!(outlier.enforcing_success_rate.unwrap().value, 0);
    assert_eq!(
        payments.lrs_server, None,
        "an Envoy's loads come with its metrics"
    );

    let checkout = cluster(&view, "checkout/v1");
    let budget = checkout.circuit_breakers.unwrap().thresholds[0]
        .retry_budget
        .unwrap();
    assert_eq!(budget.budget_percent.unwrap().value, 20.0);
}

#[test]
fn clusters_speak_the_declared_protocol() {
    for (protocol, http2) in [
        (Protocol::Http1, false),
        (Protocol::Http2, true),
        (Protocol::Grpc, true),
    ] {
        let mut mesh = mesh();
        mesh.services.get_mut("checkout").unwrap().protocol = protocol;
        let view = view(&mesh, "web", ClientKind::Envoy, &splits(None)).unwrap();
        let cluster = cluster(&view, "checkout/v1");
        let [(name, any)] = &cluster
            .typed_extension_protocol_options
            .iter()
            .collect::<Vec<_>>()[..]
        else {
            panic!("a map with two entries has no stable bytes");
        };
        assert_eq!(
            *name,
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        );
        let options = HttpProtocolOptions::decode(any.value.as_slice()).unwrap();
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
            options.upstream_protocol_options
        else {
            panic!("the protocol is not explicit");
        };
        assert_eq!(
            matches!(
                explicit.protocol_config,
                Some(ProtocolConfig::Http2ProtocolOptions(_))
            ),
            http2
        );
    }
}

#[test]
fn localities_are_sorted_and_weigh_as_many_hosts_as_they_have() {
    let view = envoy(&splits(None));
    let assignment: ClusterLoadAssignment = body(&view, type_url::ENDPOINTS, "checkout/v1");
    let localities: Vec<(&str, u32, usize)> = assignment
        .endpoints
        .iter()
        .map(|locality| {
            assert_eq!(locality.priority, 0);
            (
                locality.locality.as_ref().unwrap().zone.as_str(),
                locality.load_balancing_weight.unwrap().value,
                locality.lb_endpoints.len(),
            )
        })
        .collect();
    assert_eq!(localities, [("a", 1, 1), ("b", 2, 2)]);
    assert_eq!(
        hosts(&view, "checkout/v1"),
        ["10.0.0.2 8080", "10.0.0.1 8080", "10.0.0.3 8080"]
    );
    // Without a zone the locality is still there, and has a weight.
    let lonely: ClusterLoadAssignment = body(&view, type_url::ENDPOINTS, "checkout/v3");
    assert!(lonely.endpoints[0].locality.is_some());
    assert_eq!(lonely.endpoints[0].load_balancing_weight.unwrap().value, 1);
    assert_eq!(hosts(&view, "checkout/v3"), ["fd00::1 8080"]);
}

#[test]
fn a_host_rung_takes_that_many_hosts_always_the_same_and_keeps_them_on_the_next() {
    let chosen = |limit: Option<u32>| -> BTreeSet<String> {
        hosts(
            &envoy(&splits(Some(canary("v2", 50_000, limit)))),
            "checkout/v2",
        )
        .into_iter()
        .collect()
    };
    assert_eq!(
        chosen(Some(1)),
        BTreeSet::from(["10.0.1.3 8080".to_owned()])
    );
    for n in 1..4 {
        assert_eq!(chosen(Some(n)).len(), usize::try_from(n).unwrap());
        assert!(chosen(Some(n)).is_subset(&chosen(Some(n + 1))));
    }
    assert_eq!(chosen(Some(9)), chosen(None));
    // The stable version keeps all of its hosts.
    assert_eq!(
        hosts(
            &envoy(&splits(Some(canary("v2", 1, Some(1))))),
            "checkout/v1"
        )
        .len(),
        3
    );
}

#[test]
fn the_listener_depends_on_its_fleet_alone() {
    let view = envoy(&splits(None));
    let listener: Listener = body(&view, type_url::LISTENER, EGRESS);
    assert_eq!(address_of(&listener.address), "127.0.0.1 15001");
    assert!(listener.per_connection_buffer_limit_bytes.is_some());

    let mut without_grpc = mesh();
    without_grpc.services.remove("payments");
    let other = super::view(&without_grpc, "web", ClientKind::Envoy, &splits(None)).unwrap();
    assert_eq!(
        body::<Listener>(&other, type_url::LISTENER, EGRESS),
        listener
    );

    let batch = super::view(&mesh(), "batch", ClientKind::Envoy, &splits(None)).unwrap();
    let batch: Listener = body(&batch, type_url::LISTENER, EGRESS);
    assert_eq!(address_of(&batch.address), "::1 0");
}

#[test]
fn the_connection_manager_has_limits_and_counts_grpc_statuses() {
    let manager = manager(&body(&envoy(&splits(None)), type_url::LISTENER, EGRESS));
    assert_eq!(manager.stat_prefix, EGRESS);
    assert_eq!(manager.codec_type, 0, "AUTO");
    assert!(!manager.use_remote_address.unwrap().value);
    assert!(manager.normalize_path.unwrap().value);
    assert!(!manager.merge_slashes);
    let http2 = manager.http2_protocol_options.unwrap();
    assert_eq!(http2.max_concurrent_streams.unwrap().value, 100);
    assert_eq!(http2.initial_stream_window_size.unwrap().value, 65_536);
    assert_eq!(
        http2.initial_connection_window_size.unwrap().value,
        1_048_576
    );
    assert_eq!(manager.stream_idle_timeout.unwrap().seconds, 300);
    assert_eq!(manager.request_headers_timeout.unwrap().seconds, 10);
    let filters: Vec<&str> = manager
        .http_filters
        .iter()
        .map(|filter| filter.name.as_str())
        .collect();
    assert_eq!(
        filters,
        ["envoy.filters.http.grpc_stats", "envoy.filters.http.router"]
    );
    let Some(http_filter::ConfigType::TypedConfig(any)) = &manager.http_filters[0].config_type
    else {
        panic!("not a typed config");
    };
    let stats = FilterConfig::decode(any.value.as_slice()).unwrap();
    assert!(stats.enable_upstream_stats);
}

#[test]
fn a_grpc_client_finds_each_service_by_its_name() {
    let view = grpc(&splits(None));
    assert_eq!(names(&view, type_url::LISTENER), ["checkout", "payments"]);
    assert_eq!(names(&view, type_url::ROUTES), ["checkout", "payments"]);
    assert_eq!(names(&view, type_url::RUNTIME), Vec::<String>::new());
    let listener: Listener = body(&view, type_url::LISTENER, "checkout");
    assert!(listener.api_listener.is_some() && listener.address.is_none());
    assert_eq!(routes(&view, "checkout").virtual_hosts[0].domains, ["*"]);
    assert!(view.iter().all(|resource| resource.ttl_ms.is_none()));
}

#[test]
fn a_grpc_client_gets_the_share_in_the_route_and_nothing_of_a_version_without_any() {
    let weights_at = |canary: Option<CanarySplit>| {
        weights(&routes(&grpc(&splits(canary)), "checkout").virtual_hosts[0].routes[0])
    };
    let whole = |name: &str| vec![(name.to_owned(), 1_000_000)];
    assert_eq!(weights_at(None), whole("checkout/v1"));
    assert_eq!(
        weights_at(Some(canary("v2", 0, Some(1)))),
        whole("checkout/v1")
    );
    assert_eq!(
        weights_at(Some(canary("v2", 50_000, Some(1)))),
        [
            ("checkout/v1".to_owned(), 950_000),
            ("checkout/v2".to_owned(), 50_000)
        ]
    );
    assert_eq!(
        weights_at(Some(canary("v2", 1_000_000, None))),
        whole("checkout/v2")
    );
    assert_eq!(
        weights_at(Some(canary("v1", 1_000_000, None))),
        whole("checkout/v1")
    );
}

#[test]
fn a_grpc_clients_clusters_report_their_load_and_are_discovered() {
    let view = grpc(&splits(None));
    for name in names(&view, type_url::CLUSTER) {
        let cluster = cluster(&view, &name);
        assert!(is_ads(&cluster.eds_cluster_config.unwrap().eds_config));
        assert!(matches!(
            cluster.lrs_server.unwrap().config_source_specifier,
            Some(ConfigSourceSpecifier::Self_(_))
        ));
        assert_eq!(cluster.outlier_detection, None);
    }
    let duration = action(&routes(&view, "payments").virtual_hosts[0].routes[0])
        .max_stream_duration
        .unwrap();
    assert_eq!(duration.max_stream_duration.unwrap().seconds, 3_600);
}

#[test]
fn both_kinds_get_the_same_endpoints() {
    let splits = splits(Some(canary("v2", 50_000, Some(1))));
    let endpoints = |view: Vec<CompiledResource>| -> Vec<CompiledResource> {
        view.into_iter()
            .filter(|resource| resource.type_url == type_url::ENDPOINTS)
            .collect()
    };
    assert_eq!(endpoints(envoy(&splits)), endpoints(grpc(&splits)));
}

#[test]
fn t10_a_mesh_and_splits_that_do_not_fit_are_refused_whole() {
    let refused = |mesh: &Mesh, splits: &Splits| {
        view(mesh, "web", ClientKind::Envoy, splits)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        view(&mesh(), "wab", ClientKind::Grpc, &splits(None))
            .unwrap_err()
            .to_string(),
        "no fleet `wab` in the mesh"
    );
    let mut missing = splits(None);
    missing.remove("payments");
    assert!(refused(&mesh(), &missing).contains("service `payments` has no split"));
    let unknown = splits(Some(canary("v9", 0, None)));
    assert!(refused(&mesh(), &unknown).contains("to version `v9`, which is not declared"));
    let nobody = splits(Some(canary("v2", 1, Some(0))));
    assert!(refused(&mesh(), &nobody).contains("would get 0.0001% of its traffic without a host"));
    let mut empty = mesh();
    let checkout = empty.services.get_mut("checkout").unwrap();
    checkout.versions.get_mut("v1").unwrap().hosts.clear();
    assert!(refused(&empty, &splits(None)).contains("version `v1` of service `checkout`"));
    // Without traffic, no host is needed.
    assert!(
        view(
            &mesh(),
            "web",
            ClientKind::Envoy,
            &splits(Some(canary("v2", 0, Some(0))))
        )
        .is_ok()
    );
}

#[test]
fn the_bytes_of_a_config_source_never_change() {
    // xDS protocol rule E4: these bytes key what Envoy holds. If this test fails, the change will
    // take connections down when the release is rolled out.
    assert_eq!(wire::ads().encode_to_vec(), [0x1a, 0x00, 0x30, 0x02]);
    assert_eq!(
        wire::same_server().encode_to_vec(),
        [0x2a, 0x02, 0x08, 0x02, 0x30, 0x02]
    );
}

#[test]
fn a_version_that_is_the_default_takes_traffic_on_all_its_hosts() {
    let mut committing = splits(Some(canary("v2", 1_000_000, Some(1))));
    committing.get_mut("checkout").unwrap().stable = "v2".to_owned();
    let all = hosts(&envoy(&splits(None)), "checkout/v2");
    assert!(all.len() > 1);
    assert_eq!(hosts(&envoy(&committing), "checkout/v2"), all);
}
