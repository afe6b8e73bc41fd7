//! Runtime layers, overload actions, names of static resources.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, sub, subs, text};
use crate::config::rules::Findings;

/// The actions that Envoy knows.
const ACTIONS: [&str; 9] = [
    "envoy.overload_actions.disable_http_keepalive",
    "envoy.overload_actions.inject_delay",
    "envoy.overload_actions.reduce_timeouts",
    "envoy.overload_actions.reject_incoming_connections",
    "envoy.overload_actions.reset_high_memory_stream",
    "envoy.overload_actions.shrink_heap",
    "envoy.overload_actions.stop_accepting_connections",
    "envoy.overload_actions.stop_accepting_requests",
    "envoy.overload_actions.disable_http2_and_above",
];
const SCALE_TIMERS: &str = "envoy.overload_actions.reduce_timeouts";

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
    if let Some(layer) = sub(message, "static_layer") {
        findings.path.field("static_layer");
        runtime_values(&layer, findings);
        findings.path.pop();
    }
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
                if let Some(inner) = sub(value, "struct_value") {
                    runtime_values(&inner, findings);
                }
            }
            None => {}
        }
        findings.path.pop();
    }
}

pub(super) fn overload(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let monitors = subs(message, "resource_monitors");
    let names: BTreeSet<String> = monitors
        .iter()
        .map(|monitor| text(monitor, "name"))
        .collect();
    let keys = monitors.iter().map(|monitor| text(monitor, "name"));
    unique(findings, "resource_monitors", keys, "monitor");
    for field in ["actions", "loadshed_points"] {
        let actions = subs(message, field);
        let keys = actions.iter().map(|action| text(action, "name"));
        unique(findings, field, keys, "action");
        for (index, action) in actions.iter().enumerate() {
            findings.path.field(field);
            findings.path.index(index);
            let triggers = subs(action, "triggers");
            let keys = triggers.iter().map(|trigger| text(trigger, "name"));
            unique(findings, "triggers", keys, "trigger");
            for (index, trigger) in triggers.iter().enumerate() {
                let name = text(trigger, "name");
                if !names.contains(&name) {
                    let message = format!("there is no resource monitor {}", shown(&name));
                    at_item(findings, ("triggers", index), "envoy.overload", message);
                }
                scaled(trigger, index, findings);
            }
            let name = text(action, "name");
            if field == "actions" && !ACTIONS.contains(&name.as_str()) {
                at(
                    findings,
                    "name",
                    "envoy.overload",
                    "Envoy has no such action",
                );
            }
            if name == SCALE_TIMERS && !has(action, "typed_config") {
                at(findings, "name", "envoy.overload", "needs a `typed_config`");
            }
            findings.path.pop();
            findings.path.pop();
        }
    }
}

fn scaled(trigger: &DynamicMessage, index: usize, findings: &mut Findings<'_>) {
    let Some(scaled) = sub(trigger, "scaled") else {
        return;
    };
    let threshold = |name| {
        get(&scaled, name)
            .and_then(|v| v.as_f64())
            .unwrap_or_default()
    };
    if threshold("scaling_threshold") >= threshold("saturation_threshold") {
        let message = "`scaling_threshold` must be less than `saturation_threshold`";
        at_item(findings, ("triggers", index), "envoy.overload", message);
    }
}

pub(super) fn fixed_heap(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let bytes = get(message, "max_heap_size_bytes").and_then(|value| value.as_u64());
    if bytes.unwrap_or_default() == 0 {
        at(
            findings,
            "max_heap_size_bytes",
            "envoy.overload",
            "must be greater than 0",
        );
    }
}
