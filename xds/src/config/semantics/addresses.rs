//! Addresses of listeners and endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use prost_reflect::DynamicMessage;

use super::{at, at_item, extensions, filter_chains};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, count_of, has, number, sub, subs, text, truth};
use crate::config::rules::Findings;

/// `Cluster.DiscoveryType`.
const STATIC: i32 = 0;
const LOGICAL_DNS: i32 = 2;
const EDS: i32 = 3;
const ORIGINAL_DST: i32 = 4;

pub(super) fn listener(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(api) = sub(message, "api_listener") {
        if !has(&api, "api_listener") {
            let text = "needs an `api_listener` of its own, which says what listens";
            at(findings, "api_listener", "envoy.required", text);
        }
        return;
    }
    extensions::listener_filters(message, findings);
    let chains = count_of(message, "filter_chains") > 0 || has(message, "default_filter_chain");
    let Some(address) = sub(message, "address") else {
        if !has(message, "internal_listener") {
            findings.add("envoy.address", "needs an `address`");
            return;
        }
        if !chains {
            findings.add("envoy.filters", "needs a filter chain");
        }
        filter_chains::distinct(message, findings);
        return;
    };
    if has(message, "internal_listener") {
        let text = "doesn't go with `internal_listener`, which is within Envoy";
        at(findings, "address", "envoy.address", text);
    }
    findings.path.field("address");
    check_ip(&address, findings);
    findings.path.pop();
    additional(message, findings);
    same_kind(message, &address, findings);
    let is_tcp = sub(&address, "socket_address").is_some_and(|s| choice(&s, "protocol") == 0);
    if is_tcp && !chains && !has(message, "filter_chain_matcher") {
        findings.add("envoy.filters", "needs a filter chain");
    }
    filter_chains::distinct(message, findings);
}

/// A listener's addresses are of one protocol, and none is within Envoy.
fn same_kind(message: &DynamicMessage, first: &DynamicMessage, findings: &mut Findings<'_>) {
    let protocol = |address: &DynamicMessage| {
        let socket = sub(address, "socket_address");
        socket.map_or(0, |socket| choice(&socket, "protocol"))
    };
    for (index, more) in subs(message, "additional_addresses").iter().enumerate() {
        let Some(address) = sub(more, "address") else {
            continue;
        };
        let text = if has(&address, "envoy_internal_address") {
            "can't be within Envoy; such a listener has an `internal_listener`"
        } else if protocol(&address) != protocol(first) {
            "must be of the same protocol as the listener's `address`"
        } else {
            continue;
        };
        at_item(
            findings,
            ("additional_addresses", index),
            "envoy.address",
            text,
        );
    }
}

/// A range of addresses, wherever it stands.
pub(super) fn range(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let address = text(message, "address_prefix");
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        let message = format!("{} is no IP address", shown(&address));
        at(findings, "address_prefix", "envoy.address", message);
    }
}

/// Listeners of a bootstrap that want the same address.
pub(super) fn distinct_listeners(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (index, listener) in subs(message, "listeners").iter().enumerate() {
        let binds = !has(listener, "bind_to_port")
            || sub(listener, "bind_to_port").is_some_and(|bind| truth(&bind, "value"));
        let additional = subs(listener, "additional_addresses");
        let additional = additional.iter().filter_map(|more| sub(more, "address"));
        let (mut own, name) = (Vec::new(), text(listener, "name"));
        for address in sub(listener, "address").into_iter().chain(additional) {
            let Some(key) = address_key(&address, binds) else {
                continue;
            };
            match seen.get(&key) {
                // Of one name, the later is an update of the former.
                Some((first, same)) if name.is_empty() || name != *same => {
                    let message = format!("listeners[{first}] has the same address");
                    at_item(findings, ("listeners", index), "envoy.unique", message);
                }
                _ => own.push(key),
            }
        }
        seen.extend(own.into_iter().map(|key| (key, (index, name.clone()))));
    }
}

/// What can't be bound twice; any port can, if it is left to the system.
fn address_key(address: &DynamicMessage, binds: bool) -> Option<String> {
    if let Some(pipe) = sub(address, "pipe") {
        return Some(format!("pipe {}", text(&pipe, "path")));
    }
    let socket = sub(address, "socket_address")?;
    let port = number(&socket, "port_value").unwrap_or_default();
    let host: IpAddr = text(&socket, "address").parse().ok()?;
    let (protocol, space) = (
        choice(&socket, "protocol"),
        text(&socket, "network_namespace_filepath"),
    );
    (port != 0 || !binds).then(|| format!("{protocol} {host} {port} {space}"))
}

/// Where Envoy listens for its operators or sends its statistics.
pub(super) fn fixed(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(address) = sub(message, "address") {
        findings.path.field("address");
        check_ip(&address, findings);
        findings.path.pop();
    }
}

/// `BindConfig`: where connections to endpoints come from.
pub(super) fn source(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(address) = sub(message, "source_address") {
        findings.path.field("source_address");
        check_socket(&address, findings);
        findings.path.pop();
    }
    for field in ["additional_source_addresses", "extra_source_addresses"] {
        for (index, more) in subs(message, field).iter().enumerate() {
            findings.path.field(field);
            findings.path.index(index);
            match sub(more, "address") {
                Some(address) => {
                    findings.path.field("address");
                    check_socket(&address, findings);
                    findings.path.pop();
                }
                None => check_socket(more, findings),
            }
            findings.path.pop();
            findings.path.pop();
        }
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
    if kind == Some(ORIGINAL_DST) {
        let text = "doesn't go with ORIGINAL_DST, where clients say where they want to";
        at(findings, "load_assignment", "envoy.endpoints", text);
        return;
    }
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
            findings.path.field("endpoints");
            findings.path.index(locality);
            findings.path.field("lb_endpoints");
            findings.path.index(index);
            let Some(endpoint) = sub(host, "endpoint") else {
                if resolved {
                    findings.add("envoy.address", "needs an `endpoint` with an `address`");
                }
                (0..4).for_each(|_| findings.path.pop());
                continue;
            };
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
            if resolved {
                additional(&endpoint, findings);
            }
            (0..5).for_each(|_| findings.path.pop());
        }
    }
}

/// Addresses beside the first.
fn additional(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for (index, more) in subs(message, "additional_addresses").iter().enumerate() {
        findings.path.field("additional_addresses");
        findings.path.index(index);
        match sub(more, "address") {
            Some(address) => {
                findings.path.field("address");
                check_ip(&address, findings);
                findings.path.pop();
            }
            None => findings.add("envoy.address", "needs an `address`"),
        }
        findings.path.pop();
        findings.path.pop();
    }
}

/// Nothing resolves names here.
fn check_ip(address: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(socket) = sub(address, "socket_address") {
        findings.path.field("socket_address");
        check_socket(&socket, findings);
        findings.path.pop();
    }
}

/// The same, of a `SocketAddress`.
fn check_socket(socket: &DynamicMessage, findings: &mut Findings<'_>) {
    let host = text(socket, "address");
    if !host.is_empty() && !has(socket, "resolver_name") && host.parse::<IpAddr>().is_err() {
        let message = format!(
            "{} is no IP address; names are resolved in STRICT_DNS and LOGICAL_DNS clusters only",
            shown(&host)
        );
        at(findings, "address", "envoy.address", message);
    }
    let compatible = host.parse::<Ipv6Addr>();
    let compatible = compatible.is_ok_and(|a| a.is_unspecified() || a.to_ipv4_mapped().is_some());
    if truth(socket, "ipv4_compat") && !host.is_empty() && !compatible {
        let text = "goes with `::` and addresses such as `::ffff:10.0.0.1` only";
        at(findings, "ipv4_compat", "envoy.address", text);
    }
    if has(socket, "named_port") && !has(socket, "resolver_name") {
        at(
            findings,
            "named_port",
            "envoy.address",
            "needs a number: `port_value`",
        );
    }
}
