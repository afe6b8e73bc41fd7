//! The overload manager: its monitors, actions and the points at which load is shed.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::DynamicMessage;

use super::{at, at_item, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, get, has, sub, subs, text, type_name, unpacked};
use crate::config::rules::Findings;

const RULE: &str = "envoy.overload";
/// The actions that Envoy 1.40 knows.
const ACTIONS: [&str; 7] = [
    "envoy.overload_actions.disable_http_keepalive",
    SCALE_TIMERS,
    "envoy.overload_actions.reject_incoming_connections",
    RESET_STREAMS,
    "envoy.overload_actions.shrink_heap",
    "envoy.overload_actions.stop_accepting_connections",
    "envoy.overload_actions.stop_accepting_requests",
];
/// No action of another name may start with it.
const RESERVED: &str = "envoy.overload_actions.";
const RESET_STREAMS: &str = "envoy.overload_actions.reset_high_memory_stream";
const SCALE_TIMERS: &str = "envoy.overload_actions.reduce_timeouts";
/// What configures timers; with it, an action may have any name.
const TIMERS: &str = "envoy.config.overload.v3.ScaleTimersOverloadActionConfig";

/// `OverloadManager`.
pub(super) fn manager(message: &DynamicMessage, findings: &mut Findings<'_>) {
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
            triggers(action, &names, findings);
            findings.path.pop();
            findings.path.pop();
        }
    }
    let actions = subs(message, "actions");
    let (mut timers, mut known) = (BTreeMap::new(), BTreeSet::new());
    for (index, action) in actions.iter().enumerate() {
        findings.path.field("actions");
        findings.path.index(index);
        configured(action, findings);
        scaled_timers(action, index, &mut timers, findings);
        let name = text(action, "name");
        if name == RESET_STREAMS && !has(message, "buffer_factory_config") {
            let text = "needs a `buffer_factory_config` of the overload manager";
            at(findings, "name", RULE, text);
        }
        known.insert(name);
        findings.path.pop();
        findings.path.pop();
    }
    for (index, point) in subs(message, "loadshed_points").iter().enumerate() {
        if known.contains(&text(point, "name")) {
            let text = "an action has this name";
            at_item(findings, ("loadshed_points", index), RULE, text);
        }
    }
}

fn triggers(action: &DynamicMessage, monitors: &BTreeSet<String>, findings: &mut Findings<'_>) {
    let triggers = subs(action, "triggers");
    let keys = triggers.iter().map(|trigger| text(trigger, "name"));
    unique(findings, "triggers", keys, "trigger");
    for (index, trigger) in triggers.iter().enumerate() {
        let name = text(trigger, "name");
        if !monitors.contains(&name) {
            let message = format!("there is no resource monitor {}", shown(&name));
            at_item(findings, ("triggers", index), RULE, message);
        }
        scaled(trigger, index, findings);
    }
}

/// Whether an action is one of Envoy's, or one that scales timers.
fn configured(action: &DynamicMessage, findings: &mut Findings<'_>) {
    let name = text(action, "name");
    let kind = sub(action, "typed_config").map(|config| type_name(&config));
    let scales = kind.as_deref() == Some(TIMERS);
    if name == SCALE_TIMERS {
        if !scales {
            let message = format!("needs a `typed_config` of type {}", shown(TIMERS));
            at(findings, "name", RULE, message);
        }
    } else if ACTIONS.contains(&name.as_str()) {
        if kind.is_some() {
            let text = "doesn't go with this action";
            at(findings, "typed_config", RULE, text);
        }
    } else if !scales {
        let help = findings
            .speller
            .suggest(&name, ACTIONS, "those of Envoy's are");
        let message = format!("Envoy has no such action; {help}");
        at(findings, "name", RULE, message);
    } else if name.starts_with(RESERVED) {
        let message = format!("names that start with {} are Envoy's own", shown(RESERVED));
        at(findings, "name", RULE, message);
    }
}

/// No timer is scaled twice, be it by one action or by several.
fn scaled_timers(
    action: &DynamicMessage,
    index: usize,
    timers: &mut BTreeMap<i32, usize>,
    findings: &mut Findings<'_>,
) {
    let config = sub(action, "typed_config").filter(|config| type_name(config) == TIMERS);
    let Some(config) = config.as_ref().and_then(unpacked) else {
        return;
    };
    findings.path.field("typed_config");
    for (factor, timer) in subs(&config, "timer_scale_factors").iter().enumerate() {
        if let Some(first) = timers.insert(choice(timer, "timer"), index) {
            let message = format!("the timer is scaled by actions[{first}] already");
            at_item(findings, ("timer_scale_factors", factor), RULE, message);
        }
    }
    findings.path.pop();
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
        at_item(findings, ("triggers", index), RULE, message);
    }
}

pub(super) fn fixed_heap(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let bytes = get(message, "max_heap_size_bytes").and_then(|value| value.as_u64());
    if bytes.unwrap_or_default() == 0 {
        at(
            findings,
            "max_heap_size_bytes",
            RULE,
            "must be greater than 0",
        );
    }
}
