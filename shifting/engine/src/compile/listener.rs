//! Where requests enter.
//!
//! An Envoy's listener depends on its fleet alone, on no service: a changed listener drains its
//! connections and cuts long streams at the end of the drain (envoy facts §4). So the filter that
//! counts gRPC statuses is always there; it acts on gRPC requests only.

use envoy_types::pb::envoy::config::core::v3::{
    Http2ProtocolOptions, HttpProtocolOptions, TrafficDirection,
};
use envoy_types::pb::envoy::config::listener::v3::{
    ApiListener, Filter, FilterChain, Listener, filter,
};
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use prost::{Message, Name};

use super::cluster::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use super::wire::{address, ads, any, duration, flag, number, resource};
use super::{CompiledResource, EGRESS, type_url};
use crate::mesh::ListenerAddress;

/// Bytes buffered per connection of the application.
const CONNECTION_BUFFER_BYTES: u32 = 1024 * 1024;
/// Time until a connection of the application without requests is closed.
const CONNECTION_IDLE_MS: u64 = 15 * 60 * 1_000;
/// Time until a request on which nothing moves is given up, unless its route allows more.
pub(super) const STREAM_IDLE_MS: u64 = 5 * 60 * 1_000;
/// Time for the application to send a request's headers.
const REQUEST_HEADERS_MS: u64 = 10_000;
/// Requests in flight per HTTP/2 connection of the application.
const CONCURRENT_STREAMS: u32 = 100;

/// The one listener of an Envoy.
///
/// Limits follow Envoy's advice for proxies at the edge. Not its rules that rewrite requests
/// (merging slashes, unescaping, dropping headers with underscores): the requests are those of
/// our own application, no route looks at their paths, and what it sends should arrive.
pub(super) fn for_envoy(listener: &ListenerAddress) -> CompiledResource {
    let grpc_stats = FilterConfig {
        enable_upstream_stats: true,
        per_method_stat_specifier: flag(false).map(PerMethodStatSpecifier::StatsForAllMethods),
        ..FilterConfig::default()
    };
    let manager = HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: duration(CONNECTION_IDLE_MS),
            ..HttpProtocolOptions::default()
        }),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: number(CONCURRENT_STREAMS),
            initial_stream_window_size: number(STREAM_WINDOW_BYTES),
            initial_connection_window_size: number(CONNECTION_WINDOW_BYTES),
            ..Http2ProtocolOptions::default()
        }),
        stream_idle_timeout: duration(STREAM_IDLE_MS),
        request_headers_timeout: duration(REQUEST_HEADERS_MS),
        // The application is the client; nobody stands before it whose address would matter.
        use_remote_address: flag(false),
        normalize_path: flag(true),
        ..manager(
            EGRESS,
            vec![
                http_filter("envoy.filters.http.grpc_stats", &grpc_stats),
                router(),
            ],
        )
    };
    let listener = Listener {
        name: EGRESS.to_owned(),
        address: address(listener.address, listener.port),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
            }],
            ..FilterChain::default()
        }],
        per_connection_buffer_limit_bytes: number(CONNECTION_BUFFER_BYTES),
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Listener::default()
    };
    resource(type_url::LISTENER, EGRESS, &listener)
}

/// A service's listener for gRPC clients, which find it by the name in `xds:///SERVICE`.
pub(super) fn for_grpc(service: &str) -> CompiledResource {
    let listener = Listener {
        name: service.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(any(&manager(service, vec![router()]))),
        }),
        ..Listener::default()
    };
    resource(type_url::LISTENER, service, &listener)
}

/// A connection manager whose statistics and whose routes have this name.
fn manager(name: &str, http_filters: Vec<HttpFilter>) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: name.to_owned(),
        http_filters,
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: name.to_owned(),
        })),
        ..HttpConnectionManager::default()
    }
}

fn router() -> HttpFilter {
    http_filter("envoy.filters.http.router", &Router::default())
}

fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(config))),
        ..HttpFilter::default()
    }
}
