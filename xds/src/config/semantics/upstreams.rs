//! How a cluster speaks to its endpoints: protocols, and the transport that they need.

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, sub, subs, text, truth, type_name, unpacked};
use crate::config::rules::Findings;

/// Options of this package go by the names of their types.
const UPSTREAMS: &str = "envoy.extensions.upstreams.";
const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
/// Sockets for HTTP/3, which Envoy knows by these names alone.
const QUIC: [&str; 2] = [
    "envoy.transport_sockets.quic",
    "envoy.transport_sockets.http_11_proxy",
];
const FORWARD_PROXY: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
const OPTIONS: &str = "typed_extension_protocol_options";
const RULE: &str = "envoy.upstream";

/// The protocols of a cluster.
pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    keys(message, findings);
    let options = http_options(message);
    match &options {
        Some(options) => {
            negotiated(message, options, findings);
            http3(message, options, findings);
            filters(options, findings);
            forward_proxy(message, options, findings);
        }
        None => {
            // `USE_CONFIGURED_PROTOCOL`, the zero of `ClusterProtocolSelection`.
            let configured = !has(message, "protocol_selection");
            let both = ["http_protocol_options", "http2_protocol_options"];
            if configured && both.iter().all(|field| has(message, field)) {
                let text = "goes without `http_protocol_options`: endpoints speak one protocol";
                at(findings, "http2_protocol_options", RULE, text);
            }
        }
    }
    let common = sub(
        options.as_ref().unwrap_or(message),
        "common_http_protocol_options",
    );
    let bound = "max_requests_per_connection";
    if has(message, bound) && common.is_some_and(|common| has(&common, bound)) {
        let text = "is among the options of HTTP already: keep that one";
        at(findings, bound, RULE, text);
    }
}

/// Whether requests may be made in HTTP/2, which gRPC needs.
pub(super) fn speaks_http2(message: &DynamicMessage) -> bool {
    let field = "http2_protocol_options";
    let Some(options) = http_options(message) else {
        return has(message, field);
    };
    let chosen = ["explicit_http_config", "use_downstream_protocol_config"]
        .iter()
        .any(|choice| sub(&options, choice).is_some_and(|chosen| has(&chosen, field)));
    chosen || has(&options, "auto_config")
}

fn http_options(message: &DynamicMessage) -> Option<DynamicMessage> {
    let Some(Value::Map(options)) = get(message, OPTIONS) else {
        return None;
    };
    let mut options = options.values().filter_map(Value::as_message);
    unpacked(options.find(|any| type_name(any) == HTTP)?)
}

/// Options of upstreams go by the names of their types, those of filters by the filters' names.
fn keys(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(Value::Map(options)) = get(message, OPTIONS) else {
        return;
    };
    let mut wrong: Vec<(String, String)> = options
        .iter()
        .filter_map(|(key, value)| {
            let (key, name) = (key.as_str()?.to_owned(), type_name(value.as_message()?));
            let told = if name.starts_with(UPSTREAMS) && key != name {
                format!("its key must be {}", shown(&name))
            } else if key.starts_with(UPSTREAMS) && key != name {
                format!("its `@type` must be `type.googleapis.com/{key:.200}`")
            } else if !key.contains('.') {
                format!("no filter and no kind of options is named {}", shown(&key))
            } else {
                return None;
            };
            Some((key, told))
        })
        .collect();
    wrong.sort();
    for (key, told) in wrong {
        findings.path.field(OPTIONS);
        findings.path.key(&key);
        findings.add("envoy.typed_config", told);
        findings.path.pop();
        findings.path.pop();
    }
}

/// `auto_config` leaves it to the handshake of TLS which HTTP is spoken.
fn negotiated(message: &DynamicMessage, options: &DynamicMessage, findings: &mut Findings<'_>) {
    if !has(options, "auto_config") {
        return;
    }
    let is_plain = |holder: &DynamicMessage| {
        let socket = sub(holder, "transport_socket");
        let config = socket.and_then(|socket| sub(&socket, "typed_config"));
        config.is_some_and(|config| type_name(&config) == RAW_BUFFER)
    };
    if !has(message, "transport_socket") || is_plain(message) {
        let text = "`auto_config` negotiates HTTP in TLS: needs a `transport_socket` with TLS";
        at(findings, OPTIONS, "envoy.tls", text);
    }
    let matches = subs(message, "transport_socket_matches");
    for (index, _) in matches.iter().enumerate().filter(|(_, m)| is_plain(m)) {
        let text = "`auto_config` negotiates HTTP in TLS, which this socket doesn't speak";
        at_item(
            findings,
            ("transport_socket_matches", index),
            "envoy.tls",
            text,
        );
    }
}

fn http3(message: &DynamicMessage, options: &DynamicMessage, findings: &mut Findings<'_>) {
    let (field, cache) = (
        "http3_protocol_options",
        "alternate_protocols_cache_options",
    );
    let spoken = [
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
    ];
    let mut spoken = spoken.iter().filter_map(|choice| sub(options, choice));
    let Some(chosen) = spoken.find(|chosen| has(chosen, field)) else {
        return;
    };
    let socket = sub(message, "transport_socket").unwrap_or_else(|| chosen.clone());
    if !QUIC.contains(&text(&socket, "name").as_str()) {
        let text = "HTTP/3 needs a `transport_socket` named `envoy.transport_sockets.quic`";
        at(findings, OPTIONS, RULE, text);
    } else if has(options, "auto_config") && !has(&chosen, cache) {
        let text = format!("HTTP/3 in an `auto_config` needs `{cache}`");
        at(findings, OPTIONS, RULE, text);
    }
}

/// Filters of requests on their way to an endpoint end with the codec.
fn filters(options: &DynamicMessage, findings: &mut Findings<'_>) {
    let filters = subs(options, "http_filters");
    let last = filters.last().map(|last| sub(last, "typed_config"));
    if last.is_some_and(|config| config.is_none_or(|config| type_name(&config) != CODEC)) {
        let text = format!("the last of its `http_filters` must be {}", shown(CODEC));
        at(findings, OPTIONS, "envoy.filters", text);
    }
}

/// A cluster that connects to whatever a request names must know whom it speaks to.
fn forward_proxy(message: &DynamicMessage, options: &DynamicMessage, findings: &mut Findings<'_>) {
    let config = sub(message, "cluster_type").and_then(|kind| sub(&kind, "typed_config"));
    let config = config.filter(|config| type_name(config) == FORWARD_PROXY);
    let Some(config) = config.as_ref().and_then(unpacked) else {
        return;
    };
    let upstream = sub(options, "upstream_http_protocol_options");
    let verified = upstream.is_some_and(|upstream| {
        truth(&upstream, "auto_sni") && truth(&upstream, "auto_san_validation")
    });
    if !verified && !truth(&config, "allow_insecure_cluster_options") {
        let text = "a dynamic forward proxy needs `auto_sni` and `auto_san_validation` among the \
                    `upstream_http_protocol_options`";
        at(findings, OPTIONS, "envoy.tls", text);
    }
}
