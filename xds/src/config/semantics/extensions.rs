//! Filters and other extensions: that they are configured, and that the last filter ends a chain.

use std::net::Ipv6Addr;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::registry::{self, Kind};
use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, get, has, sub, subs, text, texts, truth, type_name};
use crate::config::rules::Findings;
use crate::config::schema;

pub(super) const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const NETWORK_FILTERS: &str = "envoy.extensions.filters.network.";
const HTTP_FILTERS: &str = "envoy.extensions.filters.http.";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// The network filters of Envoy that answer, so that nothing can follow them.
const TERMINAL: [&str; 9] = [
    "direct_response",
    "dubbo_proxy",
    "echo",
    "generic_proxy",
    "http_connection_manager",
    "redis_proxy",
    "reverse_tunnel",
    "tcp_proxy",
    "thrift_proxy",
];

/// A named extension is found by the type of its configuration alone.
pub(super) fn check_configured(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let descriptor = message.descriptor();
    let Some(field) = descriptor.get_field_by_name("typed_config") else {
        return;
    };
    let is_any = matches!(field.kind(), prost_reflect::Kind::Message(any) if any.full_name() == "google.protobuf.Any");
    let is_named = descriptor.get_field_by_name("name").is_some();
    let optional = matches!(
        descriptor.full_name(),
        // `typed_config` only goes with one action; a name alone may be that of a plain load balancer.
        "envoy.config.overload.v3.OverloadAction" | "envoy.config.core.v3.TypedExtensionConfig"
    );
    if !is_any || !is_named || optional {
        return;
    }
    let elsewhere = field
        .containing_oneof()
        .is_some_and(|oneof| oneof.fields().any(|field| message.has_field(&field)));
    if !message.has_field(&field) && !elsewhere {
        findings.add("envoy.typed_config", "needs a `typed_config`");
    }
}

/// Whether what is configured is of the kind that is wanted there.
pub(super) fn check_kind(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let kind = match message.descriptor().full_name() {
        "envoy.config.listener.v3.Filter" => &registry::NETWORK_FILTERS,
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter" => {
            &registry::HTTP_FILTERS
        }
        "envoy.config.accesslog.v3.AccessLog" => &registry::ACCESS_LOGS,
        "envoy.config.cluster.v3.Cluster.CustomClusterType" => &registry::CLUSTERS,
        "envoy.config.overload.v3.ResourceMonitor" => &registry::MONITORS,
        "envoy.config.metrics.v3.StatsSink" => &registry::SINKS,
        "envoy.config.trace.v3.Tracing.Http" => &registry::TRACERS,
        "envoy.config.route.v3.RetryPolicy.RetryHostPredicate" => &registry::HOST_PREDICATES,
        "envoy.config.route.v3.RetryPolicy.RetryPriority" => &registry::RETRY_PRIORITIES,
        "envoy.config.core.v3.HealthCheck.CustomHealthCheck" => &registry::HEALTH_CHECKERS,
        "envoy.config.listener.v3.FilterChain" => {
            return within(
                message,
                "transport_socket",
                &registry::DOWNSTREAM_SOCKETS,
                findings,
            );
        }
        "envoy.config.cluster.v3.Cluster"
        | "envoy.config.cluster.v3.Cluster.TransportSocketMatch" => {
            return within(
                message,
                "transport_socket",
                &registry::UPSTREAM_SOCKETS,
                findings,
            );
        }
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport" => {
            return within(
                message,
                "transport_socket",
                &registry::UPSTREAM_SOCKETS,
                findings,
            );
        }
        "envoy.extensions.filters.http.compressor.v3.Compressor" => {
            return within(
                message,
                "compressor_library",
                &registry::COMPRESSORS,
                findings,
            );
        }
        "envoy.config.bootstrap.v3.Bootstrap" => {
            within(
                message,
                "default_regex_engine",
                &registry::REGEX_ENGINES,
                findings,
            );
            for (index, extension) in subs(message, "bootstrap_extensions").iter().enumerate() {
                findings.path.field("bootstrap_extensions");
                findings.path.index(index);
                is_of(extension, &registry::BOOTSTRAP_EXTENSIONS, findings);
                findings.path.pop();
                findings.path.pop();
            }
            return;
        }
        _ => return,
    };
    configures(message, kind, findings);
}

/// The filters of a listener, whose protocol says of which kind they are.
pub(super) fn listener_filters(message: &DynamicMessage, findings: &mut Findings<'_>) {
    /// `SocketAddress.Protocol`.
    const UDP: i32 = 1;
    let socket = sub(message, "address").and_then(|address| sub(&address, "socket_address"));
    let is_udp = socket.is_some_and(|socket| choice(&socket, "protocol") == UDP);
    let options = sub(message, "udp_listener_config");
    let kind = match (is_udp, options.is_some_and(|o| has(&o, "quic_options"))) {
        (false, _) => &registry::LISTENER_FILTERS,
        (true, false) => &registry::UDP_LISTENER_FILTERS,
        (true, true) => &registry::QUIC_LISTENER_FILTERS,
    };
    for (index, filter) in subs(message, "listener_filters").iter().enumerate() {
        findings.path.field("listener_filters");
        findings.path.index(index);
        configures(filter, kind, findings);
        findings.path.pop();
        findings.path.pop();
    }
}

/// Whether an extension, here or fetched, is of a kind.
fn configures(message: &DynamicMessage, kind: &Kind, findings: &mut Findings<'_>) {
    is_of(message, kind, findings);
    if let Some(source) = sub(message, "config_discovery") {
        findings.path.field("config_discovery");
        for (index, url) in texts(&source, "type_urls").iter().enumerate() {
            let name = named(url);
            if schema::pool().get_message_by_name(name).is_some() && !kind.takes(name) {
                let message = format!("{} doesn't configure {}", shown(name), kind.words);
                at_item(
                    findings,
                    ("type_urls", index),
                    "envoy.typed_config",
                    message,
                );
            }
        }
        findings.path.pop();
    }
}

fn within(message: &DynamicMessage, field: &str, kind: &Kind, findings: &mut Findings<'_>) {
    if let Some(extension) = sub(message, field) {
        findings.path.field(field);
        is_of(&extension, kind, findings);
        findings.path.pop();
    }
}

fn is_of(extension: &DynamicMessage, kind: &Kind, findings: &mut Findings<'_>) {
    let Some(config) = sub(extension, "typed_config") else {
        return;
    };
    let name = type_name(&config);
    if !name.is_empty() && !kind.takes(&name) {
        let message = format!("{} doesn't configure {}", shown(&name), kind.words);
        at(findings, "typed_config", "envoy.typed_config", message);
    }
}

pub(super) fn filter_chain(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let filters = subs(message, "filters");
    check_chain(&filters, "filters", findings, |name| {
        let name = name.strip_prefix(NETWORK_FILTERS)?;
        Some(TERMINAL.contains(&name.split('.').next()?))
    });
}

pub(super) fn http_filters(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let filters = subs(message, "http_filters");
    if filters.is_empty() && !has(message, "typed_http_filters") {
        at(
            findings,
            "http_filters",
            "envoy.filters",
            "needs a router at least",
        );
    }
    let ends = |name: &str| name.starts_with(HTTP_FILTERS).then_some(name == ROUTER);
    check_chain(&filters, "http_filters", findings, ends);
    for (index, upgrade) in subs(message, "upgrade_configs").iter().enumerate() {
        findings.path.field("upgrade_configs");
        findings.path.index(index);
        check_chain(&subs(upgrade, "filters"), "filters", findings, ends);
        findings.path.pop();
        findings.path.pop();
    }
}

/// `is_terminal` knows the filters of Envoy itself.
fn check_chain(
    filters: &[DynamicMessage],
    field: &str,
    findings: &mut Findings<'_>,
    is_terminal: impl Fn(&str) -> Option<bool>,
) {
    for (index, filter) in filters.iter().enumerate() {
        let Some(config) = sub(filter, "typed_config") else {
            continue;
        };
        let (name, last) = (text(filter, "name"), index + 1 == filters.len());
        match is_terminal(&type_name(&config)) {
            Some(true) if !last => {
                let message = format!("`{name}` ends the chain, so it must be the last filter");
                at_item(findings, (field, index), "envoy.filters", message);
            }
            Some(true) if truth(filter, "disabled") => {
                let message =
                    format!("`{name}` ends the chain, so it can't be disabled by default");
                at_item(findings, (field, index), "envoy.filters", message);
            }
            Some(false) if last => {
                let message =
                    format!("`{name}` can't be the last filter: it doesn't end the chain");
                at_item(findings, (field, index), "envoy.filters", message);
            }
            _ => {}
        }
    }
}

/// What a type URL names; here, Envoy takes the name alone.
fn named(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Extensions that are fetched: of which types they may be.
pub(super) fn discovered(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let urls = texts(message, "type_urls");
    for (index, url) in urls.iter().enumerate() {
        if schema::pool().get_message_by_name(named(url)).is_none() {
            let message = format!("{} is no type of Envoy's", shown(url));
            at_item(
                findings,
                ("type_urls", index),
                "envoy.typed_config",
                message,
            );
        }
    }
    if let Some(config) = sub(message, "default_config") {
        let name = type_name(&config);
        let allowed = |url: &String| named(url) == name;
        if !name.is_empty() && !urls.iter().any(allowed) {
            let message = format!("{} isn't among the `type_urls`", shown(&name));
            at(findings, "default_config", "envoy.typed_config", message);
        }
    }
}

/// Tokens that rules want, from providers that must be there.
pub(super) fn tokens(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let keys = |field| match get(message, field) {
        Some(Value::Map(entries)) => entries
            .keys()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let (providers, requirements) = (keys("providers"), keys("requirement_map"));
    for (index, rule) in subs(message, "rules").iter().enumerate() {
        let name = text(rule, "requirement_name");
        if !name.is_empty() && !requirements.contains(&name) {
            let message = format!("there is no requirement {}", shown(&name));
            at_item(findings, ("rules", index), "envoy.jwt", message);
        }
        if let Some(requires) = sub(rule, "requires") {
            for name in wanted_providers(&requires) {
                if !providers.contains(&name) {
                    let known = providers.iter().map(String::as_str);
                    let help = findings.speller.suggest(&name, known, "there are");
                    let message = format!("there is no provider {}; {help}", shown(&name));
                    at_item(findings, ("rules", index), "envoy.jwt", message);
                }
            }
        }
    }
}

fn wanted_providers(requires: &DynamicMessage) -> Vec<String> {
    let mut names = Vec::new();
    if has(requires, "provider_name") {
        names.push(text(requires, "provider_name"));
    }
    if let Some(provider) = sub(requires, "provider_and_audiences") {
        names.push(text(&provider, "provider_name"));
    }
    for field in ["requires_any", "requires_all"] {
        let several = sub(requires, field);
        let several = several.map(|several| subs(&several, "requirements"));
        names.extend(several.iter().flatten().flat_map(wanted_providers));
    }
    names
}

/// Rules of one filter's own.
pub(super) fn own(message: &DynamicMessage, findings: &mut Findings<'_>) {
    match message.descriptor().full_name() {
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit" => {
            needs(message, "max_connections", findings);
        }
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" => {
            let early = "max_early_data_bytes";
            if choice(message, "upstream_connect_mode") != 0 && !has(message, early) {
                at(
                    findings,
                    early,
                    "envoy.filter",
                    "is required: it goes with this `upstream_connect_mode`",
                );
            }
        }
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig"
            if !text(message, "post_path").is_empty() && !truth(message, "use_post") =>
        {
            let text = "needs `use_post: true`";
            at(findings, "post_path", "envoy.filter", text);
        }
        "envoy.extensions.filters.http.buffer.v3.Buffer" => {
            needs(message, "max_request_bytes", findings);
        }
        "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks" => {
            let uri = sub(message, "http_uri").map(|uri| text(&uri, "uri"));
            let uri = uri.unwrap_or_default();
            if !uri.is_empty() && !is_url(&uri) {
                let message = format!("{} is no URL with http or https", shown(&uri));
                at(findings, "http_uri", "envoy.jwt", message);
            }
        }
        "envoy.extensions.filters.http.header_to_metadata.v3.Config.Rule"
            if !has(message, "on_header_present") && !has(message, "on_header_missing") =>
        {
            let text = "needs `on_header_present` or `on_header_missing`";
            findings.add("envoy.filter", text);
        }
        _ => {}
    }
}

/// Whether Envoy takes it for a URL of HTTP: `scheme://user@host:port/path?query`.
fn is_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let is_http = ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let place = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let takes = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
            !host.is_empty() && host.bytes().all(takes)
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_http
        && is_host
        && port.is_none_or(is_port)
        && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn needs(message: &DynamicMessage, field: &str, findings: &mut Findings<'_>) {
    if !has(message, field) {
        at(findings, field, "envoy.required", "is required");
    }
}
