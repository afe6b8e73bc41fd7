//! Small resources for the unit tests.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{AggregatedConfigSource, ConfigSource};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds,
};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, Struct, UInt32Value, Value};
use prost::{Message as _, Name as _};

use crate::{Resource, Snapshot, TypeUrl};

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    })
}

pub(crate) fn cluster(name: &str, content: i64) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            service_name: String::new(),
        }),
        connect_timeout: Some(PbDuration {
            seconds: content,
            nanos: 0,
        }),
        ..Cluster::default()
    };
    Resource::encode(TypeUrl::CLUSTER, name, &cluster).unwrap()
}

pub(crate) fn static_cluster(name: &str) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        ..Cluster::default()
    };
    Resource::encode(TypeUrl::CLUSTER, name, &cluster).unwrap()
}

pub(crate) fn assignment(name: &str, content: u32) -> Resource {
    let endpoints = LocalityLbEndpoints {
        priority: content,
        ..LocalityLbEndpoints::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoints],
        ..ClusterLoadAssignment::default()
    };
    Resource::encode(TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name, &assignment).unwrap()
}

fn routes(name: &str, specifier: ClusterSpecifier) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(specifier),
        ..RouteAction::default()
    };
    let route = Route {
        action: Some(Action::Route(action)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: "vh".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    }
}

pub(crate) fn route(name: &str, cluster: &str) -> Resource {
    let routes = routes(name, ClusterSpecifier::Cluster(cluster.to_owned()));
    Resource::encode(TypeUrl::ROUTE_CONFIGURATION, name, &routes).unwrap()
}

pub(crate) fn weighted_route(name: &str, clusters: &[(&str, u32)]) -> Resource {
    let clusters = clusters.iter().map(|(name, weight)| ClusterWeight {
        name: (*name).to_owned(),
        weight: Some(UInt32Value { value: *weight }),
        ..ClusterWeight::default()
    });
    let weighted = WeightedCluster {
        clusters: clusters.collect(),
        ..WeightedCluster::default()
    };
    let routes = routes(name, ClusterSpecifier::WeightedClusters(weighted));
    Resource::encode(TypeUrl::ROUTE_CONFIGURATION, name, &routes).unwrap()
}

fn manager(specifier: RouteSpecifier) -> Any {
    let manager = HttpConnectionManager {
        stat_prefix: "in".to_owned(),
        route_specifier: Some(specifier),
        ..HttpConnectionManager::default()
    };
    Any {
        type_url: HttpConnectionManager::type_url(),
        value: manager.encode_to_vec(),
    }
}

fn rds(route: &str) -> Any {
    manager(RouteSpecifier::Rds(Rds {
        config_source: ads(),
        route_config_name: route.to_owned(),
    }))
}

fn socket(name: &str, filter: Any) -> Resource {
    let filter = Filter {
        name: "hcm".to_owned(),
        config_type: Some(ConfigType::TypedConfig(filter)),
    };
    let chain = FilterChain {
        filters: vec![filter],
        ..FilterChain::default()
    };
    let listener = Listener {
        name: name.to_owned(),
        filter_chains: vec![chain],
        ..Listener::default()
    };
    Resource::encode(TypeUrl::LISTENER, name, &listener).unwrap()
}

pub(crate) fn listener(name: &str, route: &str) -> Resource {
    socket(name, rds(route))
}

pub(crate) fn inline_listener(name: &str, cluster: &str) -> Resource {
    let routes = routes("inline", ClusterSpecifier::Cluster(cluster.to_owned()));
    socket(name, manager(RouteSpecifier::RouteConfig(routes)))
}

pub(crate) fn api_listener(name: &str, route: &str) -> Resource {
    let api = ApiListener {
        api_listener: Some(rds(route)),
    };
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(api),
        ..Listener::default()
    };
    Resource::encode(TypeUrl::LISTENER, name, &listener).unwrap()
}

pub(crate) fn runtime(name: &str, share: u32) -> Resource {
    let value = Value {
        kind: Some(Kind::NumberValue(f64::from(share))),
    };
    let layer = Struct {
        fields: [("shift.rt".to_owned(), value)].into_iter().collect(),
    };
    let runtime = Runtime {
        name: name.to_owned(),
        layer: Some(layer),
    };
    Resource::encode(TypeUrl::RUNTIME, name, &runtime).unwrap()
}

pub(crate) fn timed_runtime(name: &str, share: u32, ttl: Duration) -> Resource {
    runtime(name, share).with_ttl(ttl).unwrap()
}

pub(crate) fn snapshot(resources: impl IntoIterator<Item = Resource>) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    for resource in resources {
        builder.insert(resource);
    }
    Arc::new(builder.build().unwrap())
}

/// A virtual host named `<route>/<name>`, of which the last part is its domain.
pub(crate) fn virtual_host(name: &str, cluster: &str) -> Resource {
    let mut routes = routes(name, ClusterSpecifier::Cluster(cluster.to_owned()));
    let mut host = routes.virtual_hosts.remove(0);
    name.clone_into(&mut host.name);
    host.domains = name.rsplit('/').take(1).map(str::to_owned).collect();
    Resource::encode(TypeUrl::VIRTUAL_HOST, name, &host).unwrap()
}
