//! Clusters: outliers, circuit breakers, what an assignment drops; the entry to what else a cluster
//! has.

use prost_reflect::DynamicMessage;

use super::{at, at_item, balancers, health_checks, upstreams};
use crate::config::fields::{choice, has, number, sub, subs, text, truth};
use crate::config::rules::{Findings, nanoseconds};

/// `Cluster.DiscoveryType`.
const ORIGINAL_DST: i32 = 4;
/// Of ejected endpoints, when nothing is said: 30 s.
const EJECTION_NANOSECONDS: i128 = 30_000_000_000;

pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    health_checks::cluster(message, findings);
    balancers::cluster(message, findings);
    upstreams::cluster(message, findings);
    outliers(message, findings);
    breakers(message, findings);
    let by_destination = !has(message, "cluster_type") && choice(message, "type") == ORIGINAL_DST;
    if let Some(config) = sub(message, "original_dst_lb_config")
        && by_destination
        && !text(&config, "http_header_name").is_empty()
        && !truth(&config, "use_http_header")
    {
        findings.path.field("original_dst_lb_config");
        let text = "needs `use_http_header: true`, or nothing looks at it";
        at(findings, "http_header_name", "envoy.cluster", text);
        findings.path.pop();
    }
}

/// How long endpoints that answer badly are left out.
fn outliers(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(outliers) = sub(message, "outlier_detection") else {
        return;
    };
    let time = |field| sub(&outliers, field).map(|time| nanoseconds(&time));
    let base = time("base_ejection_time").unwrap_or(EJECTION_NANOSECONDS);
    if time("max_ejection_time").is_some_and(|most| most < base) {
        findings.path.field("outlier_detection");
        let text = "must be at least the `base_ejection_time`, which is 30s if nothing is said";
        at(findings, "max_ejection_time", "envoy.cluster", text);
        findings.path.pop();
    }
}

/// Per endpoint, Envoy counts connections only; of each priority, it reads the first thresholds.
fn breakers(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(breakers) = sub(message, "circuit_breakers") else {
        return;
    };
    let mut seen = Vec::new();
    for (index, thresholds) in subs(&breakers, "per_host_thresholds").iter().enumerate() {
        let priority = choice(thresholds, "priority");
        if seen.contains(&priority) {
            continue;
        }
        seen.push(priority);
        let unsupported = [
            "max_pending_requests",
            "max_requests",
            "max_retries",
            "max_connection_pools",
            "retry_budget",
        ];
        for field in unsupported.iter().filter(|field| has(thresholds, field)) {
            findings.path.field("circuit_breakers");
            let text = format!("`{field}` isn't counted per endpoint, only `max_connections` is");
            at_item(
                findings,
                ("per_host_thresholds", index),
                "envoy.cluster",
                text,
            );
            findings.path.pop();
        }
    }
}

/// What an assignment drops.
pub(super) fn drops(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let drops = subs(message, "drop_overloads");
    if drops.len() > 1 {
        let text = format!("Envoy knows one category, here are {}", drops.len());
        at(findings, "drop_overloads", "envoy.endpoints", text);
    }
    for (index, drop) in drops.iter().enumerate() {
        let Some(share) = sub(drop, "drop_percentage") else {
            continue;
        };
        let whole = match choice(&share, "denominator") {
            0 => 100,
            1 => 10_000,
            _ => 1_000_000,
        };
        if number(&share, "numerator").unwrap_or_default() > whole {
            let text = format!("drops more than all: at most {whole} of {whole}");
            at_item(findings, ("drop_overloads", index), "envoy.endpoints", text);
        }
    }
}

/// `TransportSocketMatch`.
pub(super) fn matched_socket(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if !has(message, "transport_socket") {
        let text = "is required: what the endpoints that match are spoken to with";
        at(findings, "transport_socket", "envoy.required", text);
    }
}
