//! Where configuration comes from.

use std::collections::BTreeSet;

use prost_reflect::DynamicMessage;

use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, count_of, has, number, sub, subs, text, texts};
use crate::config::rules::Findings;

/// `ApiConfigSource.ApiType`.
const REST: i32 = 1;
const GRPC: i32 = 2;
const DELTA_GRPC: i32 = 3;
const AGGREGATED_GRPC: i32 = 5;
const AGGREGATED_DELTA_GRPC: i32 = 6;
/// `Cluster.DiscoveryType`.
const EDS: i32 = 3;
/// `ApiVersion`.
const V2: i32 = 1;
const V3: i32 = 2;
const NOT_V3: &str = "must be V3, the only version that Envoy still speaks";

/// Whatever is called in the second version of the API.
pub(super) fn transport_version(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if choice(message, "transport_api_version") == V2 {
        at(findings, "transport_api_version", "envoy.source", NOT_V3);
    }
}

pub(super) fn api_config_source(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let (clusters, services) = (
        count_of(message, "cluster_names"),
        count_of(message, "grpc_services"),
    );
    if ![V2, V3].contains(&choice(message, "transport_api_version")) {
        at(findings, "transport_api_version", "envoy.source", NOT_V3);
    }
    match choice(message, "api_type") {
        GRPC | DELTA_GRPC | AGGREGATED_GRPC | AGGREGATED_DELTA_GRPC => {
            if services != 1 {
                let text = format!("must hold one service, holds {services}");
                at(findings, "grpc_services", "envoy.source", text);
            }
            if clusters > 0 {
                let text = "goes with REST only; a gRPC service names its own cluster";
                at(findings, "cluster_names", "envoy.source", text);
            }
        }
        REST => {
            if clusters != 1 {
                let text = format!("must hold one cluster, holds {clusters}");
                at(findings, "cluster_names", "envoy.source", text);
            }
            if services > 0 {
                let text = "doesn't go with REST; name the cluster in `cluster_names`";
                at(findings, "grpc_services", "envoy.source", text);
            }
            if !has(message, "refresh_delay") {
                let text = "needs a `refresh_delay` to poll with";
                at(findings, "refresh_delay", "envoy.source", text);
            }
        }
        _ => at(
            findings,
            "api_type",
            "envoy.source",
            "must be set: DELTA_GRPC, GRPC or REST",
        ),
    }
}

/// What Envoy asks before it knows endpoints can't be behind clusters whose endpoints it asks for;
/// of a bootstrap.
pub(super) fn primary(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let statics = sub(message, "static_resources");
    let clusters = statics.map(|statics| subs(&statics, "clusters"));
    let clusters = clusters.unwrap_or_default();
    let fetched: BTreeSet<String> = clusters
        .iter()
        .filter(|cluster| !has(cluster, "cluster_type") && choice(cluster, "type") == EDS)
        .map(|cluster| text(cluster, "name"))
        .collect();
    if let Some(dynamic) = sub(message, "dynamic_resources") {
        findings.path.field("dynamic_resources");
        if let Some(source) = sub(&dynamic, "ads_config") {
            findings.path.field("ads_config");
            reachable(&source, &fetched, findings);
            findings.path.pop();
        }
        known_early(&dynamic, "cds_config", &fetched, findings);
        findings.path.pop();
    }
    let runtime = sub(message, "layered_runtime");
    let layers = runtime.map(|runtime| subs(&runtime, "layers"));
    for (index, layer) in layers.iter().flatten().enumerate() {
        if let Some(layer) = sub(layer, "rtds_layer") {
            findings.path.field("layered_runtime");
            findings.path.field("layers");
            findings.path.index(index);
            findings.path.field("rtds_layer");
            known_early(&layer, "rtds_config", &fetched, findings);
            (0..4).for_each(|_| findings.path.pop());
        }
    }
    for (index, cluster) in clusters.iter().enumerate() {
        if let Some(config) = sub(cluster, "eds_cluster_config") {
            findings.path.field("static_resources");
            findings.path.field("clusters");
            findings.path.index(index);
            findings.path.field("eds_cluster_config");
            known_early(&config, "eds_config", &fetched, findings);
            (0..4).for_each(|_| findings.path.pop());
        }
    }
}

/// A source that Envoy looks into when it loads it: not one over DELTA_GRPC.
fn known_early(
    holder: &DynamicMessage,
    field: &str,
    fetched: &BTreeSet<String>,
    findings: &mut Findings<'_>,
) {
    let source = sub(holder, field).and_then(|source| sub(&source, "api_config_source"));
    let source = source.filter(|source| [REST, GRPC].contains(&choice(source, "api_type")));
    if let Some(source) = source {
        findings.path.field(field);
        findings.path.field("api_config_source");
        reachable(&source, fetched, findings);
        findings.path.pop();
        findings.path.pop();
    }
}

fn reachable(source: &DynamicMessage, fetched: &BTreeSet<String>, findings: &mut Findings<'_>) {
    let services = subs(source, "grpc_services");
    let services = services.iter().filter_map(|service| {
        let service = sub(service, "envoy_grpc")?;
        Some(text(&service, "cluster_name"))
    });
    let services: Vec<String> = services.collect();
    for (field, names) in [
        ("grpc_services", services),
        ("cluster_names", texts(source, "cluster_names")),
    ] {
        for (index, name) in names.iter().enumerate() {
            if fetched.contains(name) {
                let message = format!(
                    "{} is an EDS cluster, whose endpoints have to be fetched first",
                    shown(name)
                );
                at_item(findings, (field, index), "envoy.source", message);
            }
        }
    }
}

pub(super) fn rds(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if !has(message, "config_source") && !text(message, "route_config_name").starts_with("xdstp:") {
        findings.add("envoy.source", "needs a `config_source`");
    }
}

/// Virtual hosts on demand come one by one.
pub(super) fn virtual_hosts(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let Some(source) = sub(message, "config_source") else {
        return;
    };
    let kind = sub(&source, "api_config_source").map(|source| choice(&source, "api_type"));
    if !has(&source, "ads") && kind != Some(DELTA_GRPC) {
        let text = "virtual hosts are fetched over `ads` or with DELTA_GRPC only";
        at(findings, "config_source", "envoy.source", text);
    }
}

/// `HeaderValueExtractor`: the part of a header by which routes are scoped.
pub(super) fn header_extractor(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if !has(message, "element") && !has(message, "index") {
        findings.add("envoy.scope", "needs an `element` or an `index`");
    }
    let separated = !text(message, "element_separator").is_empty();
    if number(message, "index").unwrap_or_default() > 0 && !separated {
        let text = "must be 0, as there is no `element_separator`";
        at(findings, "index", "envoy.scope", text);
    }
}
