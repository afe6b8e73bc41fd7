//! Which fields name clusters, and static secrets.
//!
//! A cluster that doesn't exist fails requests with 503, and Envoy refuses a static configuration
//! that names one. The schema doesn't mark such fields, so they are listed here; not those of
//! extensions that Envoy itself doesn't check when it loads them.

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::fields::{has, text};
use super::path::Path;

/// What is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Cluster,
    /// One of the static secrets of a bootstrap.
    StaticSecret,
}

/// Some configuration that needs another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The field with the name.
    pub(super) path: Path,
    pub(super) target: Target,
    pub(super) name: String,
}

/// Message and field; the field is a text or a list of texts.
const CLUSTERS: [(&str, &str); 14] = [
    ("envoy.config.route.v3.RouteAction", "cluster"),
    (
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        "name",
    ),
    (
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        "cluster",
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "cluster",
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        "name",
    ),
    (
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
        "cluster",
    ),
    ("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name"),
    ("envoy.config.core.v3.ApiConfigSource", "cluster_names"),
    ("envoy.config.core.v3.HttpUri", "cluster"),
    ("envoy.config.trace.v3.ZipkinConfig", "collector_cluster"),
    ("envoy.config.trace.v3.DatadogConfig", "collector_cluster"),
    (
        "envoy.config.bootstrap.v3.ClusterManager",
        "local_cluster_name",
    ),
    (
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "clusters",
    ),
    ("envoy.config.metrics.v3.StatsdSink", "tcp_cluster_name"),
];

const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig";

/// Adds what one message names itself.
pub(super) fn collect(message: &DynamicMessage, path: &mut Path, links: &mut Vec<Link>) {
    let descriptor = message.descriptor();
    if descriptor.full_name() == SECRET && !has(message, "sds_config") {
        add(
            &text(message, "name"),
            Target::StaticSecret,
            &path.with("name"),
            links,
        );
    }
    for (_, field) in CLUSTERS
        .iter()
        .filter(|(name, _)| *name == descriptor.full_name())
    {
        path.field(field);
        match message.get_field_by_name(field).as_deref() {
            Some(Value::String(name)) => add(name, Target::Cluster, path, links),
            Some(Value::List(names)) => {
                for (index, name) in names.iter().enumerate() {
                    path.index(index);
                    add(
                        name.as_str().unwrap_or_default(),
                        Target::Cluster,
                        path,
                        links,
                    );
                    path.pop();
                }
            }
            _ => {}
        }
        path.pop();
    }
}

fn add(name: &str, target: Target, path: &Path, links: &mut Vec<Link>) {
    if !name.is_empty() {
        links.push(Link {
            path: path.clone(),
            target,
            name: name.to_owned(),
        });
    }
}
