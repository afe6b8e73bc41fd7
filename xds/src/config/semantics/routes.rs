//! Routes: domains, rewrites, what they answer with.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item, regexes, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, number, sub, subs, text};
use crate::config::rules::{Findings, nanoseconds};

/// Of a direct response, when nothing is said.
const BODY_BYTES_MAX: u64 = 4_096;

pub(super) fn configuration(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let hosts = subs(message, "virtual_hosts");
    let most = number(message, "max_direct_response_body_size_bytes").unwrap_or(BODY_BYTES_MAX);
    direct_responses(&hosts, most, findings);
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

/// Bodies that routes answer with, at most as long as the configuration says.
fn direct_responses(hosts: &[DynamicMessage], most: u64, findings: &mut Findings<'_>) {
    for (host_index, host) in hosts.iter().enumerate() {
        for (index, route) in subs(host, "routes").iter().enumerate() {
            let response = sub(route, "direct_response");
            let Some(body) = response.and_then(|response| sub(&response, "body")) else {
                continue;
            };
            let size = text(&body, "inline_string").len() as u64;
            if size > most {
                findings.path.field("virtual_hosts");
                findings.path.index(host_index);
                findings.path.field("routes");
                findings.path.index(index);
                findings.path.field("direct_response");
                let text = format!(
                    "{size} bytes; at most {most}, unless `max_direct_response_body_size_bytes` is more"
                );
                at(findings, "body", "envoy.route", text);
                (0..5).for_each(|_| findings.path.pop());
            }
        }
    }
}

/// What a route does with the request it forwards.
pub(super) fn action(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let rewrites = ["prefix_rewrite", "regex_rewrite", "path_rewrite_policy"];
    let mut set = rewrites.into_iter().filter(|field| has(message, field));
    if let (Some(first), Some(second)) = (set.next(), set.next()) {
        let text = format!("goes without `{first}`: a path is rewritten in one way");
        at(findings, second, "envoy.route", text);
    }
    upgrades(message, findings);
}

/// Upgrades of connections, of routes or of all of a listener's requests.
pub(super) fn upgrades(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let upgrades = subs(message, "upgrade_configs");
    let kinds: Vec<String> = upgrades
        .iter()
        .map(|upgrade| text(upgrade, "upgrade_type").to_ascii_lowercase())
        .collect();
    for (index, (upgrade, kind)) in upgrades.iter().zip(&kinds).enumerate() {
        if has(upgrade, "connect_config") && kind != "connect" && kind != "connect-udp" {
            let text = "`connect_config` goes with `upgrade_type: CONNECT` only";
            at_item(findings, ("upgrade_configs", index), "envoy.route", text);
        }
    }
    unique(findings, "upgrade_configs", kinds, "upgrade");
}

/// `RequestMirrorPolicy`.
pub(super) fn mirror(message: &DynamicMessage, findings: &mut Findings<'_>) {
    match ["cluster", "cluster_header"].map(|field| !text(message, field).is_empty()) {
        [false, false] => findings.add("envoy.route", "needs a `cluster`"),
        [true, true] => findings.add(
            "envoy.route",
            "has a `cluster` and a `cluster_header`: keep one",
        ),
        _ => {}
    }
}

/// `VirtualCluster`.
pub(super) fn virtual_cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if subs(message, "headers").is_empty() {
        let text = "must say which requests belong to it";
        at(findings, "headers", "envoy.route", text);
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

/// What takes the place of what an expression matched: `\1` is the first group.
pub(super) fn substitution(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(pattern) = sub(message, "pattern") else {
        return;
    };
    let Some(groups) = regexes::groups(&text(&pattern, "regex")) else {
        return;
    };
    let substitution = text(message, "substitution");
    let mut characters = substitution.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            continue;
        }
        let wrong = match characters.next() {
            Some('\\') => continue,
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).unwrap_or_default() as usize;
                if group <= groups {
                    continue;
                }
                format!("\\{group} is no group of the expression, which has {groups}")
            }
            _ => "a backslash is followed by the number of a group, or by another".to_owned(),
        };
        at(findings, "substitution", "envoy.regex", wrong);
        return;
    }
}

/// The wait before another try.
pub(super) fn back_off(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let bound = |field| sub(message, field).map(|time| nanoseconds(&time));
    if let (Some(base), Some(most)) = (bound("base_interval"), bound("max_interval"))
        && most < base
    {
        let text = "must be at least the `base_interval`";
        at(findings, "max_interval", "envoy.route", text);
    }
}
