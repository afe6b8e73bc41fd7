//! What Envoy refuses beyond the rules of the schema.
//!
//! Found by mutating good configurations and comparing with `envoy --mode validate` (the program
//! `config_oracle` in `integration`). Each check looks at one message and nothing around it, and
//! refuses what Envoy refuses; where Envoy's answer depends on what it was built with, it stays
//! silent.

mod addresses;
mod balancers;
mod bootstrap;
mod clusters;
mod connection_manager;
mod extensions;
mod filter_chains;
mod formats;
mod headers;
mod health_checks;
mod listeners;
mod overload;
mod per_route;
mod regexes;
mod registry;
mod routes;
mod sources;
mod tls;
mod upstreams;

pub(super) use self::bootstrap::regex_program_max;

use prost_reflect::{DynamicMessage, ReflectMessage as _};

use super::rules::{Findings, nanoseconds};

/// Checks one message, not those within it (but for what it says about them).
pub(super) fn check(message: &DynamicMessage, findings: &mut Findings<'_>) {
    extensions::check_configured(message, findings);
    extensions::check_kind(message, findings);
    sources::transport_version(message, findings);
    match message.descriptor().full_name() {
        "google.protobuf.Duration" => duration(message, findings),
        "envoy.config.bootstrap.v3.Bootstrap" => {
            bootstrap::brought(message, findings);
            sources::primary(message, findings);
        }
        "envoy.config.bootstrap.v3.LayeredRuntime" => bootstrap::layers(message, findings),
        "envoy.config.bootstrap.v3.RuntimeLayer" => bootstrap::layer(message, findings),
        "envoy.config.overload.v3.OverloadManager" => overload::manager(message, findings),
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources" => {
            bootstrap::static_resources(message, findings);
            addresses::distinct_listeners(message, findings);
        }
        "envoy.config.cluster.v3.Cluster" => {
            addresses::cluster(message, findings);
            clusters::cluster(message, findings);
        }
        "envoy.config.listener.v3.Listener" => {
            addresses::listener(message, findings);
            connection_manager::of_listener(message, findings);
            listeners::options(message, findings);
        }
        "envoy.config.core.v3.Pipe" => listeners::pipe(message, findings),
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes" => {
            connection_manager::scopes(message, findings);
        }
        "envoy.config.listener.v3.FilterChain" => extensions::filter_chain(message, findings),
        "envoy.config.listener.v3.FilterChainMatch" => {
            filter_chains::chain_match(message, findings);
        }
        "envoy.config.core.v3.CidrRange" => addresses::range(message, findings),
        "envoy.config.core.v3.SubstitutionFormatString" => {
            formats::format_string(message, findings);
        }
        "envoy.config.core.v3.HeaderValueOption" => formats::header(message, findings),
        "envoy.config.core.v3.GrpcService" => {
            formats::grpc_service(message, findings);
            headers::changed(message, findings);
        }
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig" => {
            formats::tunnel(message, findings);
            extensions::own(message, findings);
            headers::changed(message, findings);
        }
        "envoy.config.core.v3.HealthCheck.Payload" => health_checks::payload(message, findings),
        "envoy.config.core.v3.HealthCheck.GrpcHealthCheck"
        | "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper" => {
            headers::changed(message, findings);
        }
        "envoy.config.route.v3.VirtualHost" => {
            routes::virtual_host(message, findings);
            per_route::filters(message, findings);
            headers::changed(message, findings);
        }
        "envoy.config.route.v3.Route" => {
            routes::route(message, findings);
            per_route::filters(message, findings);
            headers::changed(message, findings);
        }
        "envoy.config.route.v3.WeightedCluster" => routes::weighted(message, findings),
        "envoy.config.route.v3.RouteAction" => routes::action(message, findings),
        extensions::HTTP_CONNECTION_MANAGER => {
            connection_manager::options(message, findings);
            extensions::http_filters(message, findings);
            routes::upgrades(message, findings);
        }
        "envoy.config.core.v3.ApiConfigSource" => sources::api_config_source(message, findings),
        "envoy.config.route.v3.RouteConfiguration" => {
            routes::configuration(message, findings);
            per_route::filters(message, findings);
            headers::changed(message, findings);
        }
        "envoy.config.bootstrap.v3.Admin"
        | "envoy.config.metrics.v3.StatsdSink"
        | "envoy.config.metrics.v3.DogStatsdSink" => addresses::fixed(message, findings),
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck" => {
            health_checks::http(message, findings);
            headers::changed(message, findings);
        }
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig" => {
            overload::fixed_heap(message, findings);
        }
        "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor" =>
        {
            sources::header_extractor(message, findings);
        }
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds" => {
            sources::rds(message, findings);
        }
        "envoy.config.route.v3.WeightedCluster.ClusterWeight" => {
            routes::cluster_weight(message, findings);
            per_route::filters(message, findings);
            headers::changed(message, findings);
        }
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy" => {
            routes::mirror(message, findings);
        }
        "envoy.config.route.v3.VirtualCluster" => routes::virtual_cluster(message, findings),
        "envoy.config.core.v3.BindConfig" => addresses::source(message, findings),
        "envoy.config.route.v3.RouteMatch" => routes::route_match(message, findings),
        "envoy.type.matcher.v3.RegexMatcher" => regexes::matcher(message, findings),
        "envoy.config.metrics.v3.TagSpecifier" => {
            bootstrap::tag(message, findings);
            regexes::tag(message, findings);
        }
        "envoy.type.matcher.v3.RegexMatchAndSubstitute" => routes::substitution(message, findings),
        "envoy.config.core.v3.BackoffStrategy"
        | "envoy.config.cluster.v3.Cluster.RefreshRate"
        | "envoy.config.route.v3.RetryPolicy.RetryBackOff" => routes::back_off(message, findings),
        "envoy.config.route.v3.Vhds" => sources::virtual_hosts(message, findings),
        "envoy.config.core.v3.ExtensionConfigSource" => extensions::discovered(message, findings),
        "envoy.config.cluster.v3.Cluster.TransportSocketMatch" => {
            clusters::matched_socket(message, findings);
        }
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash" => {
            balancers::ring(message, findings);
        }
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev" => {
            balancers::maglev(message, findings);
        }
        "envoy.config.cluster.v3.LoadBalancingPolicy" => balancers::balancing(message, findings),
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector" => {
            balancers::subset_selector(message, findings);
        }
        "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy" => {
            clusters::drops(message, findings);
        }
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" => {
            extensions::tokens(message, findings);
        }
        "envoy.extensions.transport_sockets.tls.v3.TlsParameters" => {
            tls::parameters(message, findings);
        }
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext" => {
            tls::common(message, findings);
        }
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext" => {
            tls::validation(message, findings);
        }
        "envoy.extensions.transport_sockets.tls.v3.Secret" => tls::secret(message, findings),
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" => {
            tls::upstream(message, findings);
            tls::server_name(message, findings);
        }
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" => {
            tls::downstream(message, findings);
        }
        _ => extensions::own(message, findings),
    }
}

/// Envoy converts durations to milliseconds and refuses what has no place there.
fn duration(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let nanos = nanoseconds(message);
    if nanos < 0 {
        findings.add("envoy.duration", "must not be negative");
    } else if nanos > i128::from(i64::MAX) {
        findings.add("envoy.duration", "must be at most 9223372036s");
    }
}

/// Adds a finding at one of the message's fields.
fn at(findings: &mut Findings<'_>, field: &str, rule: &str, message: impl Into<String>) {
    findings.path.field(field);
    findings.add(rule, message);
    findings.path.pop();
}

/// Adds a finding at an item of one of the message's lists.
fn at_item(
    findings: &mut Findings<'_>,
    (field, index): (&str, usize),
    rule: &str,
    message: impl Into<String>,
) {
    findings.path.field(field);
    findings.path.index(index);
    findings.add(rule, message);
    findings.path.pop();
    findings.path.pop();
}

/// Adds a finding at every item whose key stood in an earlier one.
fn unique(
    findings: &mut Findings<'_>,
    field: &str,
    keys: impl IntoIterator<Item = String>,
    what: &str,
) {
    let mut seen = std::collections::BTreeMap::new();
    for (index, key) in keys.into_iter().enumerate() {
        if let Some(first) = seen.get(&key) {
            let shown = super::diagnostic::shown(&key);
            let message = format!("a second {what} {shown}; the first is {field}[{first}]");
            at_item(findings, (field, index), "envoy.unique", message);
        } else {
            seen.insert(key, index);
        }
    }
}
