//! Routes: domains, rewrites, what they answer with.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item, regexes, unique};
use crate::config::diagnostic::shown;
use crate::config::fields::{get, has, number, sub, subs, text, type_name};
use crate::config::rules::{Findings, nanoseconds};

/// Of a direct response, when nothing is said.
const BODY_BYTES_MAX: u64 = 4_096;
const RULE: &str = "envoy.route";
const TEMPLATE_MATCH: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
const TEMPLATE_REWRITE: &str =
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";

pub(super) fn configuration(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let hosts = subs(message, "virtual_hosts");
    let most = number(message, "max_direct_response_body_size_bytes").unwrap_or(BODY_BYTES_MAX);
    // Envoy takes 0 for any length.
    if most > 0 {
        direct_responses(&hosts, most, findings);
    }
    plugins(message, &hosts, findings);
    // Two virtual hosts may have one name, which is for statistics; their domains differ.
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
                at(findings, "body", RULE, text);
                (0..5).for_each(|_| findings.path.pop());
            }
        }
    }
}

/// `Route`: what it matches, and what it does then.
pub(super) fn route(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(action) = sub(message, "route") else {
        return;
    };
    let policy = sub(message, "match").and_then(|matched| sub(&matched, "path_match_policy"));
    findings.path.field("route");
    if policy.is_some() && has(&action, "prefix_rewrite") {
        let text = "doesn't go with a `path_match_policy`, which has no prefix";
        at(findings, "prefix_rewrite", RULE, text);
    }
    let kind_of = |policy: Option<DynamicMessage>| {
        let config = policy.and_then(|policy| sub(&policy, "typed_config"));
        config.map(|config| type_name(&config)).unwrap_or_default()
    };
    let rewrite = sub(&action, "path_rewrite_policy");
    if kind_of(rewrite) == TEMPLATE_REWRITE && kind_of(policy) != TEMPLATE_MATCH {
        let text = "rewrites what a template matched: needs one as the `path_match_policy`";
        at(findings, "path_rewrite_policy", RULE, text);
    }
    findings.path.pop();
}

/// `VirtualHost`.
pub(super) fn virtual_host(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if has(message, "matcher") && has(message, "routes") {
        let text = "doesn't go with `routes`: requests find their route in one way";
        at(findings, "matcher", RULE, text);
    }
}

/// `WeightedCluster`: shares of requests.
pub(super) fn weighted(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let clusters = subs(message, "clusters");
    let weights = clusters
        .iter()
        .map(|c| number(c, "weight").unwrap_or_default());
    match weights.sum::<u64>() {
        // What has none is told on its own.
        0 if clusters.iter().all(|cluster| has(cluster, "weight")) => at(
            findings,
            "clusters",
            RULE,
            "no request would go anywhere: all weights are 0",
        ),
        sum if sum > u64::from(u32::MAX) => {
            let text = format!("the weights make {sum}; at most {}", u32::MAX);
            at(findings, "clusters", RULE, text);
        }
        _ => {}
    }
}

/// Plugins that choose clusters, by their names.
fn plugins(message: &DynamicMessage, hosts: &[DynamicMessage], findings: &mut Findings<'_>) {
    let plugins = subs(message, "cluster_specifier_plugins");
    let plugins = plugins.iter().filter_map(|plugin| sub(plugin, "extension"));
    let names: BTreeSet<String> = plugins.map(|plugin| text(&plugin, "name")).collect();
    for (host_index, host) in hosts.iter().enumerate() {
        for (index, route) in subs(host, "routes").iter().enumerate() {
            let action = sub(route, "route");
            let action = action.filter(|action| has(action, "cluster_specifier_plugin"));
            let Some(name) = action.map(|a| text(&a, "cluster_specifier_plugin")) else {
                continue;
            };
            if !names.contains(&name) {
                findings.path.field("virtual_hosts");
                findings.path.index(host_index);
                findings.path.field("routes");
                findings.path.index(index);
                findings.path.field("route");
                let text = format!("there is no plugin {}", shown(&name));
                at(findings, "cluster_specifier_plugin", RULE, text);
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
        at(findings, second, RULE, text);
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
            at_item(findings, ("upgrade_configs", index), RULE, text);
        }
    }
    unique(findings, "upgrade_configs", kinds, "upgrade");
}

/// `RequestMirrorPolicy`.
pub(super) fn mirror(message: &DynamicMessage, findings: &mut Findings<'_>) {
    match ["cluster", "cluster_header"].map(|field| !text(message, field).is_empty()) {
        [false, false] => findings.add(RULE, "needs a `cluster`"),
        [true, true] => findings.add(RULE, "has a `cluster` and a `cluster_header`: keep one"),
        _ => {}
    }
}

/// `VirtualCluster`.
pub(super) fn virtual_cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if subs(message, "headers").is_empty() {
        let text = "must say which requests belong to it";
        at(findings, "headers", RULE, text);
    }
}

pub(super) fn cluster_weight(message: &DynamicMessage, findings: &mut Findings<'_>) {
    match ["name", "cluster_header"].map(|field| !text(message, field).is_empty()) {
        [false, false] => findings.add(RULE, "needs a `name`"),
        [true, true] => findings.add(RULE, "has a `name` and a `cluster_header`: keep one"),
        _ => {}
    }
    if !has(message, "weight") {
        findings.add(RULE, "needs a `weight`");
    }
}

pub(super) fn route_match(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let prefix = text(message, "path_separated_prefix");
    if prefix.ends_with('/') {
        at(
            findings,
            "path_separated_prefix",
            RULE,
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
        at(findings, "max_interval", RULE, text);
    }
}
