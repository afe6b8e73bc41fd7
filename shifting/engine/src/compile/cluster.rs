//! A cluster per version. No byte here may depend on a split: Envoy builds a changed cluster anew
//! and drops its connections (xDS protocol rule E3).

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, TcpKeepalive,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::v3::Percent;

use super::wire::{ads, any, duration, flag, number, resource, same_server};
use super::{CompiledResource, cluster_name, type_url};
use crate::mesh::{Protocol, Service, TrafficPolicy};
use crate::units::Ppm;

/// Under which Envoy looks for a cluster's HTTP options.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Bytes in flight per HTTP/2 stream; Envoy's advice for proxies with untrusted or slow peers.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes in flight per HTTP/2 connection, likewise.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// A version's cluster for an Envoy.
pub(super) fn for_envoy(service: &str, version: &str, declared: &Service) -> CompiledResource {
    let traffic = &declared.traffic;
    let options = any(&http_options(declared.protocol));
    let cluster = Cluster {
        connect_timeout: duration(traffic.connect_timeout_ms),
        per_connection_buffer_limit_bytes: number(traffic.connection_buffer_bytes),
        circuit_breakers: Some(circuit_breakers(traffic)),
        outlier_detection: Some(outlier_detection(traffic)),
        upstream_connection_options: Some(connection_options()),
        // The map has no order, so there must never be a second entry.
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), options)].into(),
        ..discovered(service, version)
    };
    resource(type_url::CLUSTER, &cluster.name, &cluster)
}

/// A version's cluster for a gRPC client, which speaks HTTP/2 anyway, knows no consecutive
/// failures, and reports its load to us.
pub(super) fn for_grpc(service: &str, version: &str, declared: &Service) -> CompiledResource {
    let cluster = Cluster {
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_requests: number(declared.traffic.circuit_breakers.max_requests),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        lrs_server: Some(same_server()),
        ..discovered(service, version)
    };
    resource(type_url::CLUSTER, &cluster.name, &cluster)
}

/// What both kinds share. Panic threshold and the like stay at Envoy's defaults.
fn discovered(service: &str, version: &str) -> Cluster {
    Cluster {
        name: cluster_name(service, version),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        lb_policy: LbPolicy::RoundRobin.into(),
        ..Cluster::default()
    }
}

fn http_options(protocol: Protocol) -> HttpProtocolOptions {
    let config = match protocol {
        Protocol::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        // No pings: a gRPC server answers frequent ones by closing the connection (envoy facts
        // §1). TCP keepalive finds dead peers, the request timeout finds hanging ones.
        Protocol::Http2 | Protocol::Grpc => {
            ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
                initial_stream_window_size: number(STREAM_WINDOW_BYTES),
                initial_connection_window_size: number(CONNECTION_WINDOW_BYTES),
                ..Http2ProtocolOptions::default()
            })
        }
    };
    HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(config),
            },
        )),
        ..HttpProtocolOptions::default()
    }
}

fn circuit_breakers(traffic: &TrafficPolicy) -> CircuitBreakers {
    let limits = &traffic.circuit_breakers;
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: number(limits.max_connections),
            max_pending_requests: number(limits.max_pending_requests),
            max_requests: number(limits.max_requests),
            retry_budget: Some(RetryBudget {
                budget_percent: Some(Percent {
                    value: f64::from(traffic.retry_budget.get()) / 10_000.0,
                }),
                // So that a service with few requests can retry at all.
                min_retry_concurrency: number(3),
                ..RetryBudget::default()
            }),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

/// Consecutive failures only, 5xx and connection failures counted together. Envoy's statistical
/// detectors are off: which host of a version is worse than its siblings by a standard deviation
/// is not what was declared, and an ejection takes evidence from the judge.
fn outlier_detection(traffic: &TrafficPolicy) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: number(traffic.outlier_consecutive_failures),
        enforcing_consecutive_5xx: number(100),
        enforcing_success_rate: number(0),
        interval: duration(10_000),
        base_ejection_time: duration(30_000),
        // The mesh takes whole percentages only.
        max_ejection_percent: number(traffic.outlier_max_ejected.get() / 10_000),
        // A share that is less than one host would eject none: no protection for small versions.
        always_eject_one_host: flag(traffic.outlier_max_ejected > Ppm::ZERO),
        ..OutlierDetection::default()
    }
}

/// Finds a peer that vanished without a word within about 90 s.
fn connection_options() -> UpstreamConnectionOptions {
    UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive {
            keepalive_probes: number(3),
            keepalive_time: number(60),
            keepalive_interval: number(10),
        }),
        ..UpstreamConnectionOptions::default()
    }
}
