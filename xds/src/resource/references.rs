//! What a resource needs other resources for.
//!
//! Read: the clusters of routes and virtual hosts (single, weighted, mirrored), the routes of listeners and API
//! listeners, the clusters of inline routes and of TCP proxies, the assignment of an EDS cluster.
//! Not read: clusters that filters, matchers, `cluster_header` or access loggers lead to.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::ConfigSource;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType as OfListener;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, RequestMirrorPolicy,
};
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::google::protobuf::Any;
use hcm::http_filter::ConfigType as OfManager;
use prost::{DecodeError, Message as _};

use super::fetched::Fetched;
use super::{Name, TypeUrl};

const HTTP_CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY: &str =
    "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// The names that a resource leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// Clusters that a route or a listener sends requests to.
    pub clusters: BTreeSet<Name>,
    /// Route configurations that a listener fetches by RDS.
    pub routes: BTreeSet<Name>,
    /// The assignment that a cluster fetches by EDS over the same stream.
    pub assignment: Option<Name>,
    /// Whether a route configuration fetches virtual hosts by VHDS.
    pub virtual_hosts: bool,
    /// Secrets and extension configurations that a listener or a cluster fetches over the same
    /// stream, in order.
    pub fetched: Box<[(TypeUrl, Name)]>,
}

// === impl References ===

impl References {
    pub(super) fn of_cluster(cluster: &Cluster) -> Result<Self, DecodeError> {
        let mut fetched = Fetched::default();
        let matches = cluster.transport_socket_matches.iter();
        let matches = matches.filter_map(|it| it.transport_socket.as_ref());
        for socket in matches.chain(&cluster.transport_socket) {
            fetched.add_socket(socket)?;
        }
        let eds = matches!(
            cluster.cluster_discovery_type,
            Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::Eds as i32
        );
        let config = cluster
            .eds_cluster_config
            .as_ref()
            .filter(|config| eds && config.eds_config.as_ref().is_some_and(is_this_stream));
        let assignment = config.map(|config| {
            Arc::from(match config.service_name.as_str() {
                "" => cluster.name.as_str(),
                name => name,
            })
        });
        Ok(Self {
            assignment,
            fetched: fetched.boxed(),
            ..Self::default()
        })
    }

    pub(super) fn of_route_configuration(routes: &RouteConfiguration) -> Self {
        let mut references = Self {
            virtual_hosts: routes.vhds.is_some(),
            ..Self::default()
        };
        references.add_routes(routes);
        references
    }

    pub(super) fn of_virtual_host(host: &VirtualHost) -> Self {
        let mut references = Self::default();
        references.add_host(host);
        references
    }

    pub(super) fn of_listener(listener: &Listener) -> Result<Self, DecodeError> {
        let mut references = Self::default();
        let mut fetched = Fetched::default();
        for filter in &listener.listener_filters {
            if let Some(OfListener::ConfigDiscovery(source)) = &filter.config_type {
                fetched.add_extension(&filter.name, source);
            }
        }
        for chain in listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain)
        {
            references.add_chain(chain, &mut fetched)?;
        }
        if let Some(any) = listener
            .api_listener
            .as_ref()
            .and_then(|api| api.api_listener.as_ref())
        {
            references.add_filter(any, &mut fetched)?;
        }
        references.fetched = fetched.boxed();
        Ok(references)
    }

    fn add_chain(&mut self, chain: &FilterChain, fetched: &mut Fetched) -> Result<(), DecodeError> {
        if let Some(socket) = &chain.transport_socket {
            fetched.add_socket(socket)?;
        }
        for filter in &chain.filters {
            match &filter.config_type {
                Some(ConfigType::TypedConfig(any)) => self.add_filter(any, fetched)?,
                Some(ConfigType::ConfigDiscovery(source)) => {
                    fetched.add_extension(&filter.name, source);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn add_filter(&mut self, any: &Any, fetched: &mut Fetched) -> Result<(), DecodeError> {
        use hcm::http_connection_manager::RouteSpecifier;
        match any.type_url.as_str() {
            HTTP_CONNECTION_MANAGER => {
                let manager = hcm::HttpConnectionManager::decode(any.value.as_slice())?;
                for filter in &manager.http_filters {
                    if let Some(OfManager::ConfigDiscovery(source)) = &filter.config_type {
                        fetched.add_extension(&filter.name, source);
                    }
                }
                match &manager.route_specifier {
                    Some(RouteSpecifier::Rds(rds)) => {
                        if rds.config_source.as_ref().is_some_and(is_this_stream) {
                            self.routes
                                .insert(Arc::from(rds.route_config_name.as_str()));
                        }
                    }
                    Some(RouteSpecifier::RouteConfig(routes)) => self.add_routes(routes),
                    Some(RouteSpecifier::ScopedRoutes(_)) | None => {}
                }
            }
            TCP_PROXY => {
                use tcp::tcp_proxy::ClusterSpecifier;
                match tcp::TcpProxy::decode(any.value.as_slice())?.cluster_specifier {
                    Some(ClusterSpecifier::Cluster(name)) => self.add_cluster(&name),
                    Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                        weighted
                            .clusters
                            .iter()
                            .for_each(|entry| self.add_cluster(&entry.name));
                    }
                    None => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_routes(&mut self, routes: &RouteConfiguration) {
        self.add_mirrors(&routes.request_mirror_policies);
        for host in &routes.virtual_hosts {
            self.add_host(host);
        }
    }

    fn add_host(&mut self, host: &VirtualHost) {
        self.add_mirrors(&host.request_mirror_policies);
        for route in &host.routes {
            let Some(Action::Route(action)) = &route.action else {
                continue;
            };
            self.add_mirrors(&action.request_mirror_policies);
            match &action.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => self.add_cluster(name),
                Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                    weighted
                        .clusters
                        .iter()
                        .for_each(|entry| self.add_cluster(&entry.name));
                }
                _ => {}
            }
        }
    }

    fn add_mirrors(&mut self, policies: &[RequestMirrorPolicy]) {
        policies
            .iter()
            .for_each(|policy| self.add_cluster(&policy.cluster));
    }

    fn add_cluster(&mut self, name: &str) {
        if !name.is_empty() {
            self.clusters.insert(Arc::from(name));
        }
    }
}

/// Whether a config source leads back to the stream that delivered it.
pub(super) fn is_this_stream(source: &ConfigSource) -> bool {
    matches!(
        source.config_source_specifier,
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_))
    )
}
