//! Health checks, balancers, rings and protocol options of clusters.

use prost_reflect::{DynamicMessage, Value};

use super::registry::BALANCERS;
use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, get, has, number, sub, subs, text, texts, type_name};
use crate::config::rules::Findings;
use crate::config::schema::message_of;

/// Options of this package go by the names of their types.
const UPSTREAMS: &str = "envoy.extensions.upstreams.";
/// `Cluster.DiscoveryType`.
const ORIGINAL_DST: i32 = 4;
/// `Cluster.LbPolicy`.
const CLUSTER_PROVIDED: i32 = 6;
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const PROVIDED_POLICY: &str =
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";
const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";
const FORWARD_PROXY: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
/// Of a ring, when nothing is said.
const RING_SIZE_MIN: u64 = 1_024;
const RING_SIZE_MAX: u64 = 8 * 1_024 * 1_024;

pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let checks = subs(message, "health_checks");
    for (index, check) in checks.iter().enumerate() {
        if checks.len() > 1 && text(check, "name").is_empty() {
            let message = "several health checks need names, which are newer than the API that is \
                           read here: keep one";
            at_item(
                findings,
                ("health_checks", index),
                "envoy.health_check",
                message,
            );
        }
    }
    if let Some(ring) = sub(message, "ring_hash_lb_config") {
        let size = |field, default| match sub(&ring, field) {
            Some(wrapper) => get(&wrapper, "value")
                .and_then(|v| v.as_u64())
                .unwrap_or_default(),
            None => default,
        };
        let least = size("minimum_ring_size", RING_SIZE_MIN);
        let most = size("maximum_ring_size", RING_SIZE_MAX);
        if least > most {
            let message =
                format!("`minimum_ring_size` {least} is more than `maximum_ring_size` {most}");
            at(findings, "ring_hash_lb_config", "envoy.ring", message);
        }
    }
    balancer(message, findings);
    negotiated(message, findings);
    let Some(Value::Map(options)) = get(message, "typed_extension_protocol_options") else {
        return;
    };
    let mut wrong: Vec<(String, String)> = options
        .iter()
        .filter_map(|(key, value)| {
            let (key, name) = (key.as_str()?.to_owned(), type_name(value.as_message()?));
            (name.starts_with(UPSTREAMS) && key != name).then_some((key, name))
        })
        .collect();
    wrong.sort();
    for (key, name) in wrong {
        findings.path.field("typed_extension_protocol_options");
        findings.path.key(&key);
        findings.add(
            "envoy.typed_config",
            format!("its key must be {}", shown(&name)),
        );
        findings.path.pop();
        findings.path.pop();
    }
}

/// `auto_config` leaves it to the handshake of TLS which HTTP is spoken.
fn negotiated(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(Value::Map(options)) = get(message, "typed_extension_protocol_options") else {
        return;
    };
    let auto = options.values().filter_map(Value::as_message).any(|any| {
        let bytes = get(any, "value").and_then(|value| value.as_bytes().cloned());
        let decoded = message_of(&text(any, "type_url"))
            .and_then(|kind| DynamicMessage::decode(kind, bytes.unwrap_or_default()).ok());
        decoded.is_some_and(|options| has(&options, "auto_config"))
    });
    let plain = match sub(message, "transport_socket") {
        None => true,
        Some(socket) => sub(&socket, "typed_config").is_some_and(|c| type_name(&c) == RAW_BUFFER),
    };
    if auto && plain {
        let text = "`auto_config` negotiates HTTP in TLS: needs a `transport_socket` with TLS";
        at(
            findings,
            "typed_extension_protocol_options",
            "envoy.tls",
            text,
        );
    }
}

/// What a health check sends or expects.
pub(super) fn payload(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let digits = text(message, "text");
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!(
            "{} isn't made of pairs of hexadecimal digits",
            shown(&digits)
        );
        at(findings, "text", "envoy.health_check", message);
    }
}

/// Some kinds of clusters choose hosts themselves.
fn balancer(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let provides = match sub(message, "cluster_type") {
        Some(kind) => {
            let kind = sub(&kind, "typed_config").map(|config| type_name(&config));
            match kind.as_deref() {
                Some(AGGREGATE | FORWARD_PROXY) => Some(true),
                // Other extensions may or may not.
                _ => None,
            }
        }
        None => Some(choice(message, "type") == ORIGINAL_DST),
    };
    // The new style goes before the old one.
    let provided = match sub(message, "load_balancing_policy") {
        Some(balancing) => subs(&balancing, "policies").iter().any(|policy| {
            let extension = sub(policy, "typed_extension_config");
            let config = extension.and_then(|extension| sub(&extension, "typed_config"));
            config.is_some_and(|config| type_name(&config) == PROVIDED_POLICY)
        }),
        None => choice(message, "lb_policy") == CLUSTER_PROVIDED,
    };
    match provides {
        Some(false) if provided => {
            let text = "CLUSTER_PROVIDED doesn't go with a cluster of this type";
            at(findings, "lb_policy", "envoy.balancer", text);
        }
        Some(true) if !provided => {
            let text = "must be CLUSTER_PROVIDED for a cluster of this type";
            at(findings, "lb_policy", "envoy.balancer", text);
        }
        _ => {}
    }
}

pub(super) fn http_health_check(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for field in ["expected_statuses", "retriable_statuses"] {
        for (index, range) in subs(message, field).iter().enumerate() {
            let bound = |name| {
                get(range, name)
                    .and_then(|v| v.as_i64())
                    .unwrap_or_default()
            };
            let (start, end) = (bound("start"), bound("end"));
            if start >= end || start < 100 || end > 600 {
                let message = "must be a range of status codes from 100 to 600, its end excluded";
                at_item(findings, (field, index), "envoy.health_check", message);
            }
        }
    }
}

/// `LbSubsetSelector`.
pub(super) fn subset_selector(message: &DynamicMessage, findings: &mut Findings<'_>) {
    /// `LbSubsetSelectorFallbackPolicy`.
    const KEYS_SUBSET: i32 = 4;
    let (keys, fallback) = (
        texts(message, "keys"),
        texts(message, "fallback_keys_subset"),
    );
    let narrows = choice(message, "fallback_policy") == KEYS_SUBSET;
    let wrong = if narrows && fallback.is_empty() {
        "must name some of the `keys`, as the policy is KEYS_SUBSET"
    } else if !narrows && !fallback.is_empty() {
        "goes with `fallback_policy: KEYS_SUBSET` only"
    } else if fallback.iter().any(|key| !keys.contains(key)) {
        "must be among the `keys`"
    } else if narrows && keys.iter().all(|key| fallback.contains(key)) {
        "must leave out one of the `keys`, or nothing would be wider"
    } else {
        return;
    };
    at(findings, "fallback_keys_subset", "envoy.balancer", wrong);
}

/// What an assignment drops.
pub(super) fn drops(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let drops = subs(message, "drop_overloads");
    if drops.len() > 1 {
        let text = format!("Envoy knows one category, here are {}", drops.len());
        at(findings, "drop_overloads", "envoy.endpoints", text);
    }
    for (index, drop) in drops.iter().enumerate() {
        let Some(share) = sub(drop, "drop_percentage") else {
            continue;
        };
        let whole = match choice(&share, "denominator") {
            0 => 100,
            1 => 10_000,
            _ => 1_000_000,
        };
        if number(&share, "numerator").unwrap_or_default() > whole {
            let text = format!("drops more than all: at most {whole} of {whole}");
            at_item(findings, ("drop_overloads", index), "envoy.endpoints", text);
        }
    }
}

/// `TransportSocketMatch`.
pub(super) fn matched_socket(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if !has(message, "transport_socket") {
        let text = "is required: what the endpoints that match are spoken to with";
        at(findings, "transport_socket", "envoy.required", text);
    }
}

/// Of balancers, Envoy takes the first that it knows.
pub(super) fn balancing(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let policies = subs(message, "policies");
    let known = |policy: &DynamicMessage| {
        let extension = sub(policy, "typed_extension_config");
        let config = extension.and_then(|extension| sub(&extension, "typed_config"));
        config.is_some_and(|config| BALANCERS.takes(&type_name(&config)))
    };
    if !policies.iter().any(known) {
        let text = match policies.len() {
            0 => "needs a load balancing policy",
            _ => "none of them configures a load balancing policy",
        };
        at(findings, "policies", "envoy.typed_config", text);
    }
}
