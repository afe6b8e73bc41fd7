//! Runtime layers, tags of statistics, names of static resources.

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, sub, subs, text, type_name};
use crate::config::rules::Findings;

const INTERNAL_LISTENER: &str = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
/// The most instructions of RE2 that a regular expression may compile to.
const REGEX_PROGRAM: &str = "re2.max_program_size.error_level";

/// Tags for which Envoy 1.40 has expressions of its own.
const TAGS: [&str; 48] = [
    "cipher_suite",
    "envoy.clientssl_prefix",
    "envoy.cluster_name",
    "envoy.connection_limit_prefix",
    "envoy.dns_filter_prefix",
    "envoy.dynamo_operation",
    "envoy.dynamo_partition_id",
    "envoy.dynamo_table",
    "envoy.ext_authz_prefix",
    "envoy.fault_downstream_cluster",
    "envoy.google_grpc_client_prefix",
    "envoy.grpc_bridge_method",
    "envoy.grpc_bridge_service",
    "envoy.health_check_name",
    "envoy.http_conn_manager_prefix",
    "envoy.http_user_agent",
    "envoy.listener_address",
    "envoy.local_http_ratelimit_prefix",
    "envoy.local_listener_ratelimit_prefix",
    "envoy.local_network_ratelimit_prefix",
    "envoy.mongo_callsite",
    "envoy.mongo_cmd",
    "envoy.mongo_collection",
    "envoy.mongo_prefix",
    "envoy.proxy_protocol_prefix",
    "envoy.proxy_protocol_version",
    "envoy.ratelimit_prefix",
    "envoy.rbac_http_prefix",
    "envoy.rbac_policy_name",
    "envoy.rbac_prefix",
    "envoy.rds_route_config",
    "envoy.redis_prefix",
    "envoy.response_code",
    "envoy.response_code_class",
    "envoy.route",
    "envoy.scoped_rds_config",
    "envoy.ssl_cipher",
    "envoy.ssl_curve",
    "envoy.ssl_sigalg",
    "envoy.ssl_version",
    "envoy.tcp_prefix",
    "envoy.thrift_prefix",
    "envoy.tls_certificate",
    "envoy.udp_prefix",
    "envoy.virtual_cluster",
    "envoy.virtual_host",
    "envoy.worker_id",
    "envoy.xds_resource_name",
];

pub(super) fn static_resources(message: &DynamicMessage, findings: &mut Findings<'_>) {
    // Clusters and listeners are resources, whose names the reader compares.
    let names = subs(message, "secrets").into_iter();
    unique(
        findings,
        "secrets",
        names.map(|secret| text(&secret, "name")),
        "secret",
    );
}

/// What Envoy has only when an extension of the bootstrap brings it.
pub(super) fn brought(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let extensions = subs(message, "bootstrap_extensions");
    let internal = extensions.iter().any(|extension| {
        sub(extension, "typed_config").is_some_and(|config| type_name(&config) == INTERNAL_LISTENER)
    });
    let Some(statics) = sub(message, "static_resources") else {
        return;
    };
    findings.path.field("static_resources");
    for (index, listener) in subs(&statics, "listeners").iter().enumerate() {
        if !internal && has(listener, "internal_listener") {
            let text = "internal listeners need `envoy.bootstrap.internal_listener` among the \
                        `bootstrap_extensions`";
            at_item(findings, ("listeners", index), "envoy.extension", text);
        }
    }
    findings.path.pop();
}

pub(super) fn layers(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let layers = subs(message, "layers");
    unique(
        findings,
        "layers",
        layers.iter().map(|layer| text(layer, "name")),
        "layer",
    );
    let admin = layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| has(layer, "admin_layer"));
    for (index, _) in admin.skip(1) {
        at_item(
            findings,
            ("layers", index),
            "envoy.layers",
            "a second admin layer",
        );
    }
}

pub(super) fn layer(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(layer) = sub(message, "rtds_layer")
        && !has(&layer, "rtds_config")
    {
        at(
            findings,
            "rtds_layer",
            "envoy.source",
            "needs an `rtds_config`",
        );
    }
    if let Some(layer) = sub(message, "disk_layer")
        && text(&layer, "symlink_root").is_empty()
    {
        findings.path.field("disk_layer");
        let text = "must be the directory that the values are in";
        at(findings, "symlink_root", "envoy.layers", text);
        findings.path.pop();
    }
    if let Some(layer) = sub(message, "static_layer") {
        findings.path.field("static_layer");
        runtime_values(&layer, findings);
        findings.path.pop();
    }
}

/// The size of regular expressions that the static layers of a bootstrap set; the last one counts.
pub(in crate::config) fn regex_program_max(bootstrap: &DynamicMessage) -> Option<u64> {
    let runtime = sub(bootstrap, "layered_runtime")?;
    let layers = subs(&runtime, "layers");
    let layers = layers.iter().rev();
    let mut values = layers.filter_map(|layer| {
        let value = runtime_value(&sub(layer, "static_layer")?, REGEX_PROGRAM)?;
        let written = text(&value, "string_value").parse().ok();
        let number = get(&value, "number_value").and_then(|v| v.as_f64());
        // As Envoy does: without what is behind the point.
        let whole = format!("{:.0}", number.or(written)?.floor());
        whole.parse().ok()
    });
    values.next()
}

/// A value by its name, of which any dot may stand for a mapping within another.
fn runtime_value(layer: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let Some(Value::Map(entries)) = get(layer, "fields") else {
        return None;
    };
    entries.iter().find_map(|(key, value)| {
        let (rest, value) = (name.strip_prefix(key.as_str()?)?, value.as_message()?);
        match rest.strip_prefix('.') {
            Some(rest) => runtime_value(&sub(value, "struct_value")?, rest),
            None => rest.is_empty().then(|| value.clone()),
        }
    })
}

/// What Envoy takes for a fraction as a whole, whatever else is in it.
fn is_fraction(value: &DynamicMessage) -> bool {
    let Some(Value::Map(entries)) = get(value, "fields") else {
        return false;
    };
    let mut keys = entries.keys().filter_map(|key| key.as_str());
    keys.any(|key| matches!(key, "numerator" | "denominator"))
}

/// Texts, numbers, booleans and mappings of them.
fn runtime_values(layer: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(Value::Map(entries)) = get(layer, "fields") else {
        return;
    };
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let key = Value::from(key.clone());
        findings.path.key(key.as_str().unwrap_or_default());
        match value.as_message() {
            Some(value) if has(value, "list_value") => {
                findings.add("envoy.runtime", "a runtime value can't be a list");
            }
            Some(value) if has(value, "null_value") => {
                findings.add("envoy.runtime", "a runtime value can't be nothing");
            }
            Some(value) => {
                let inner = sub(value, "struct_value");
                if let Some(inner) = inner.filter(|inner| !is_fraction(inner)) {
                    runtime_values(&inner, findings);
                }
            }
            None => {}
        }
        findings.path.pop();
    }
}

/// `TagSpecifier`: the value of a tag is given, or an expression finds it.
pub(super) fn tag(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let name = text(message, "tag_name");
    let given = has(message, "fixed_value") || !text(message, "regex").is_empty();
    if !given && !TAGS.contains(&name.as_str()) {
        let help = findings
            .speller
            .suggest(&name, TAGS, "those of Envoy's are");
        let message = format!(
            "needs a `regex` or a `fixed_value`: Envoy has no expression for {}; {help}",
            shown(&name)
        );
        findings.add("envoy.tag", message);
    }
}
