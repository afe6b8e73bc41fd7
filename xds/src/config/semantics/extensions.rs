//! Filters and other extensions: that they are configured, and that the last filter ends a chain.

use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _};

use super::{at, at_item};
use crate::config::fields::{has, sub, subs, text, type_name};
use crate::config::rules::Findings;

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
    let is_any =
        matches!(field.kind(), Kind::Message(any) if any.full_name() == "google.protobuf.Any");
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
    check_chain(&filters, "http_filters", findings, |name| {
        name.starts_with(HTTP_FILTERS).then_some(name == ROUTER)
    });
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
            Some(false) if last => {
                let message =
                    format!("`{name}` can't be the last filter: it doesn't end the chain");
                at_item(findings, (field, index), "envoy.filters", message);
            }
            _ => {}
        }
    }
}
