//! What routes, virtual hosts and weighted clusters say about filters.

use prost_reflect::{DynamicMessage, Value};

use super::at;
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, sub, truth, type_name, unpacked};
use crate::config::rules::Findings;

const FIELD: &str = "typed_per_filter_config";
const RULE: &str = "envoy.typed_config";
const HTTP_FILTERS: &str = "envoy.extensions.filters.http.";
/// Around the configuration of a filter.
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const HEADER_TO_METADATA: &str = "header_to_metadata.v3.Config";
/// Which any filter may be configured with; Envoy looks within.
const STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];
/// HTTP filters that are the same for all routes.
const NOT_PER_ROUTE: [&str; 8] = [
    "cache.v3.CacheConfig",
    "grpc_stats.v3.FilterConfig",
    "grpc_web.v3.GrpcWeb",
    "health_check.v3.HealthCheck",
    "original_src.v3.OriginalSrc",
    "router.v3.Router",
    "upstream_codec.v3.UpstreamCodec",
    "wasm.v3.Wasm",
];
/// Filters with another message for routes.
const OTHERWISE: [(&str, &str); 7] = [
    ("buffer.v3.Buffer", "BufferPerRoute"),
    ("compressor.v3.Compressor", "CompressorPerRoute"),
    ("ext_authz.v3.ExtAuthz", "ExtAuthzPerRoute"),
    ("ext_proc.v3.ExternalProcessor", "ExtProcPerRoute"),
    ("jwt_authn.v3.JwtAuthentication", "PerRouteConfig"),
    ("oauth2.v3.OAuth2", "OAuth2PerRoute"),
    (
        "stateful_session.v3.StatefulSession",
        "StatefulSessionPerRoute",
    ),
];

/// Whatever has filters of its own.
pub(super) fn filters(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(Value::Map(filters)) = get(message, FIELD) else {
        return;
    };
    let mut filters: Vec<_> = filters.iter().collect();
    filters.sort_by_key(|(key, _)| *key);
    findings.path.field(FIELD);
    for (key, config) in filters {
        let Some(config) = config.as_message() else {
            continue;
        };
        let key = Value::from(key.clone());
        findings.path.key(key.as_str().unwrap_or_default());
        filter(config, findings);
        findings.path.pop();
    }
    findings.path.pop();
}

fn filter(config: &DynamicMessage, findings: &mut Findings<'_>) {
    if type_name(config) != FILTER_CONFIG {
        configures(config, findings);
        return;
    }
    let Some(around) = unpacked(config) else {
        return;
    };
    let inner = sub(&around, "config");
    let (disabled, optional) = (truth(&around, "disabled"), truth(&around, "is_optional"));
    match inner {
        _ if disabled => {}
        None => at(findings, "config", RULE, "is required, unless `disabled`"),
        Some(inner) if !optional => {
            findings.path.field("config");
            configures(&inner, findings);
            findings.path.pop();
        }
        Some(_) => {}
    }
}

fn configures(config: &DynamicMessage, findings: &mut Findings<'_>) {
    let name = type_name(config);
    if name.is_empty() || STRUCTS.contains(&name.as_str()) {
        return;
    }
    let Some(filter) = name.strip_prefix(HTTP_FILTERS) else {
        let message = format!("{} doesn't configure an HTTP filter", shown(&name));
        findings.add(RULE, message);
        return;
    };
    if NOT_PER_ROUTE.contains(&filter) {
        let message = format!("{} can't differ from route to route", shown(&name));
        findings.add(RULE, message);
    } else if let Some((_, wanted)) = OTHERWISE.iter().find(|(known, _)| *known == filter) {
        let message = format!(
            "{} is for all routes; that of one is `{wanted}`",
            shown(&name)
        );
        findings.add(RULE, message);
    } else if filter == HEADER_TO_METADATA {
        let rules = ["request_rules", "response_rules"];
        let config = unpacked(config);
        if config.is_some_and(|config| !rules.iter().any(|field| has(&config, field))) {
            findings.add("envoy.filter", "needs `request_rules` or `response_rules`");
        }
    }
}
