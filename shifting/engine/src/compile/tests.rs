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

mod clusters;
mod grpc_clients;
mod layer;
mod routes;
mod whole;

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
