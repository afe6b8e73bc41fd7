//! Routes: domains and regular expressions.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, Value};
use regex::RegexBuilder;

use super::{at, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, subs, text};
use crate::config::rules::Findings;

pub(super) fn configuration(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let hosts = subs(message, "virtual_hosts");
    unique(
        findings,
        "virtual_hosts",
        hosts.iter().map(|host| text(host, "name")),
        "virtual host",
    );
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        let domains = get(host, "domains");
        let domains = domains
            .as_ref()
            .and_then(Value::as_list)
            .unwrap_or_default();
        for (position, domain) in domains.iter().enumerate() {
            let domain = domain.as_str().unwrap_or_default().to_ascii_lowercase();
            let place = format!("virtual_hosts[{index}].domains[{position}]");
            if let Some(first) = seen.get(&domain) {
                findings.path.field("virtual_hosts");
                findings.path.index(index);
                findings.path.field("domains");
                findings.path.index(position);
                let message = format!("a second {}; the first is {first}", shown(&domain));
                findings.add("envoy.unique", message);
                (0..4).for_each(|_| findings.path.pop());
            } else {
                seen.insert(domain, place);
            }
        }
    }
}

pub(super) fn cluster_weight(message: &DynamicMessage, findings: &mut Findings<'_>) {
    match ["name", "cluster_header"].map(|field| !text(message, field).is_empty()) {
        [false, false] => findings.add("envoy.route", "needs a `name`"),
        [true, true] => findings.add(
            "envoy.route",
            "has a `name` and a `cluster_header`: keep one",
        ),
        _ => {}
    }
    if !has(message, "weight") {
        findings.add("envoy.route", "needs a `weight`");
    }
}

pub(super) fn route_match(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let prefix = text(message, "path_separated_prefix");
    if prefix.ends_with('/') {
        at(
            findings,
            "path_separated_prefix",
            "envoy.route",
            "can't end with `/`",
        );
    }
}

/// Envoy's expressions are RE2's, of which those of Rust are a superset but for `\C`.
pub(super) fn regex(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let expression = text(message, "regex");
    if let Err(cause) = RegexBuilder::new(&expression).size_limit(1 << 24).build() {
        let cause = cause.to_string();
        let reason = cause.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        let message = format!("{} is no regular expression: {reason}", shown(&expression));
        at(findings, "regex", "envoy.regex", message);
    }
}
