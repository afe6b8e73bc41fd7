//! Which connections each filter chain of a listener takes.
//!
//! Envoy refuses a listener of which two chains take the same connection by the same rules: every
//! combination of what a match lists must be that chain's alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prost_reflect::{DynamicMessage, Value};

use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::encode::encode;
use crate::config::fields::{choice, get, has, number, sub, subs, text, texts};
use crate::config::limits::CHAIN_MATCHES_MAX;
use crate::config::rules::Findings;

const RULE: &str = "envoy.filter_chains";
/// Criteria of a match that are lists.
const LISTS: usize = 6;

/// The chains of a listener, unless a matcher of its own chooses among them.
pub(super) fn distinct(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if has(message, "filter_chain_matcher") {
        for (index, chain) in subs(message, "filter_chains").iter().enumerate() {
            if text(chain, "name").is_empty() {
                let text = "needs a `name`, by which the `filter_chain_matcher` chooses it";
                at_item(findings, ("filter_chains", index), RULE, text);
            }
        }
        return;
    }
    let chains = subs(message, "filter_chains");
    let (mut whole, mut parts) = (BTreeMap::new(), BTreeMap::new());
    let mut budget = CHAIN_MATCHES_MAX;
    for (index, chain) in chains.iter().enumerate() {
        let matched = sub(chain, "filter_chain_match");
        let encoded = matched.as_ref().map(encode).unwrap_or_default();
        match whole.entry(encoded) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(first) => {
                let message = format!("matches the same as filter_chains[{}]", first.get());
                at_item(findings, ("filter_chains", index), RULE, message);
                continue;
            }
        }
        let dimensions = dimensions(matched.as_ref());
        let total = dimensions
            .iter()
            .fold(1_usize, |total, values| total.saturating_mul(values.len()));
        if total > budget {
            let message = format!(
                "more than {CHAIN_MATCHES_MAX} combinations of what the chains match; match by less"
            );
            at_item(findings, ("filter_chains", index), RULE, message);
            return;
        }
        budget -= total;
        if let Some(first) = overlap(&dimensions, total, index, &mut parts) {
            let message = if first == index {
                "lists the same twice: two of its ranges, names, protocols or ports are equal"
                    .to_owned()
            } else {
                format!("overlaps with filter_chains[{first}]: a connection can match both")
            };
            at_item(findings, ("filter_chains", index), RULE, message);
        }
    }
}

/// The chain that has one of these combinations already.
fn overlap(
    dimensions: &[Vec<String>],
    total: usize,
    index: usize,
    parts: &mut BTreeMap<String, usize>,
) -> Option<usize> {
    for combination in 0..total {
        let (mut rest, mut key) = (combination, String::new());
        for values in dimensions {
            let value = values.get(rest.checked_rem(values.len()).unwrap_or_default());
            rest = rest.checked_div(values.len()).unwrap_or_default();
            key.push_str(value.map_or("", String::as_str));
            key.push('\0');
        }
        match parts.entry(key) {
            Entry::Occupied(first) => return Some(*first.get()),
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
        }
    }
    None
}

/// What a match lists, criterion by criterion; an empty list is one value, which stands for all.
fn dimensions(matched: Option<&DynamicMessage>) -> Vec<Vec<String>> {
    let Some(matched) = matched else {
        let mut all = vec![vec![criteria(0, 0, "")]];
        all.extend((0..LISTS).map(|_| vec![String::new()]));
        return all;
    };
    let port = number(matched, "destination_port");
    let names = texts(matched, "server_names").into_iter().map(|name| {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(rest) if rest.starts_with('.') => rest.to_owned(),
            _ => name,
        }
    });
    let source_ports = match get(matched, "source_ports") {
        Some(Value::List(ports)) => ports.iter().filter_map(Value::as_u32).collect(),
        _ => Vec::new(),
    };
    let lists: [Vec<String>; LISTS] = [
        ranges(matched, "prefix_ranges"),
        names.collect(),
        texts(matched, "application_protocols"),
        ranges(matched, "direct_source_prefix_ranges"),
        ranges(matched, "source_prefix_ranges"),
        source_ports.iter().map(u32::to_string).collect(),
    ];
    let mut dimensions = vec![vec![criteria(
        port.unwrap_or_default(),
        choice(matched, "source_type"),
        &text(matched, "transport_protocol"),
    )]];
    dimensions.extend(lists.into_iter().map(|list| {
        if list.is_empty() {
            vec![String::new()]
        } else {
            list
        }
    }));
    dimensions
}

/// The criteria that aren't lists.
fn criteria(port: u64, source_type: i32, transport: &str) -> String {
    format!("{port} {source_type} {transport}")
}

/// As Envoy compares them: without the bits behind the prefix.
fn ranges(matched: &DynamicMessage, field: &str) -> Vec<String> {
    let ranges = subs(matched, field);
    let ranges = ranges.iter().map(|range| {
        let written = text(range, "address_prefix");
        let length = number(range, "prefix_len");
        let length = u32::try_from(length.unwrap_or_default()).unwrap_or(u32::MAX);
        match written.parse() {
            Ok(IpAddr::V4(address)) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or_default();
                let network = Ipv4Addr::from_bits(address.to_bits() & mask);
                format!("{network}/{length}")
            }
            Ok(IpAddr::V6(address)) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or_default();
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                format!("{network}/{length}")
            }
            Err(_) => written,
        }
    });
    ranges.collect()
}

/// The criteria of one chain.
pub(super) fn chain_match(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for field in ["address_suffix", "suffix_len"] {
        if has(message, field) {
            at(
                findings,
                field,
                RULE,
                "isn't implemented by Envoy; remove it",
            );
        }
    }
    for (index, name) in texts(message, "server_names").iter().enumerate() {
        if name.contains('*') && !name.starts_with("*.") {
            let text = format!(
                "{}: a wildcard stands for whole labels at the start, as in `*.example.com`; \
                 without `server_names`, any name matches",
                shown(name)
            );
            at_item(findings, ("server_names", index), RULE, text);
        }
    }
}
