//! Addresses of listeners and endpoints.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use prost_reflect::DynamicMessage;

use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::encode::encode;
use crate::config::fields::{choice, count_of, has, sub, subs, text};
use crate::config::rules::Findings;

/// `Cluster.DiscoveryType`.
const STATIC: i32 = 0;
const LOGICAL_DNS: i32 = 2;
const EDS: i32 = 3;

pub(super) fn listener(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if has(message, "api_listener") {
        return;
    }
    let Some(address) = sub(message, "address") else {
        if !has(message, "internal_listener") {
            findings.add("envoy.address", "needs an `address`");
        }
        return;
    };
    findings.path.field("address");
    check_ip(&address, findings);
    findings.path.pop();
    let is_tcp = sub(&address, "socket_address").is_some_and(|s| choice(&s, "protocol") == 0);
    let chains = count_of(message, "filter_chains") > 0 || has(message, "default_filter_chain");
    if is_tcp && !chains && !has(message, "filter_chain_matcher") {
        findings.add("envoy.filters", "needs a filter chain");
    }
    if !has(message, "filter_chain_matcher") {
        distinct_chains(message, findings);
    }
}

/// Of two chains with the same match, one would never be chosen.
fn distinct_chains(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let mut seen = BTreeMap::new();
    for (index, chain) in subs(message, "filter_chains").iter().enumerate() {
        let matched = sub(chain, "filter_chain_match").map(|matched| encode(&matched));
        match seen.entry(matched.unwrap_or_default()) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(first) => {
                let message = format!("matches the same as filter_chains[{}]", first.get());
                at_item(findings, ("filter_chains", index), "envoy.filters", message);
            }
        }
    }
}

/// Where Envoy listens for its operators or sends its statistics.
pub(super) fn fixed(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(address) = sub(message, "address") {
        findings.path.field("address");
        check_ip(&address, findings);
        findings.path.pop();
    }
}

pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let kind = (!has(message, "cluster_type")).then(|| choice(message, "type"));
    let assignment = sub(message, "load_assignment");
    if kind == Some(EDS) {
        let source = sub(message, "eds_cluster_config");
        if !source.is_some_and(|config| has(&config, "eds_config")) {
            let text = "needs an `eds_config`, which says where the endpoints come from";
            at(findings, "eds_cluster_config", "envoy.source", text);
        }
        if assignment.is_some() {
            let text = "can't stand in an EDS cluster, which fetches its endpoints";
            at(findings, "load_assignment", "envoy.endpoints", text);
        }
    } else if has(message, "eds_cluster_config") {
        let text = "goes with `type: EDS` only";
        at(findings, "eds_cluster_config", "envoy.source", text);
    }
    let Some(assignment) = assignment else {
        if kind == Some(LOGICAL_DNS) {
            let text = "a LOGICAL_DNS cluster needs one endpoint";
            at(findings, "load_assignment", "envoy.endpoints", text);
        }
        return;
    };
    if kind == Some(LOGICAL_DNS) {
        let localities = subs(&assignment, "endpoints");
        let hosts: usize = localities.iter().map(|l| count_of(l, "lb_endpoints")).sum();
        if localities.len() != 1 || hosts != 1 {
            let text = format!("a LOGICAL_DNS cluster has one endpoint, this one {hosts}");
            at(findings, "load_assignment", "envoy.endpoints", text);
        }
    }
    findings.path.field("load_assignment");
    endpoints(&assignment, kind == Some(STATIC), findings);
    findings.path.pop();
}

/// `resolved` if the addresses must be such already.
fn endpoints(assignment: &DynamicMessage, resolved: bool, findings: &mut Findings<'_>) {
    for (locality, group) in subs(assignment, "endpoints").iter().enumerate() {
        for (index, host) in subs(group, "lb_endpoints").iter().enumerate() {
            let Some(endpoint) = sub(host, "endpoint") else {
                continue;
            };
            findings.path.field("endpoints");
            findings.path.index(locality);
            findings.path.field("lb_endpoints");
            findings.path.index(index);
            findings.path.field("endpoint");
            match sub(&endpoint, "address") {
                Some(address) => {
                    findings.path.field("address");
                    if resolved {
                        check_ip(&address, findings);
                    }
                    findings.path.pop();
                }
                None => findings.add("envoy.address", "needs an `address`"),
            }
            (0..5).for_each(|_| findings.path.pop());
        }
    }
}

/// Nothing resolves names here.
fn check_ip(address: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(socket) = sub(address, "socket_address") else {
        return;
    };
    let host = text(&socket, "address");
    findings.path.field("socket_address");
    if !host.is_empty() && !has(&socket, "resolver_name") && host.parse::<IpAddr>().is_err() {
        let message = format!(
            "{} is no IP address; names are resolved in STRICT_DNS and LOGICAL_DNS clusters only",
            shown(&host)
        );
        at(findings, "address", "envoy.address", message);
    }
    if has(&socket, "named_port") && !has(&socket, "resolver_name") {
        at(
            findings,
            "named_port",
            "envoy.address",
            "needs a number: `port_value`",
        );
    }
    findings.path.pop();
}
