//! Small resources, and views made of them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use tidegate_xds::config::Reader;
use tidegate_xds::{Resource, Snapshot, SnapshotBuilder, TypeUrl};

/// Names of clusters; routes and others have their own.
pub(crate) const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];

/// Everything that a client may name. `nowhere` never exists.
pub(crate) const NAMES: [&str; 9] = ["a", "b", "c", "d", "rt", "l", "shift", "nowhere", "*"];

pub(crate) const CONTENTS: u8 = 3;

const ENVOY: &str = "type.googleapis.com/envoy";
const ADS: &str = "{ads: {}, resource_api_version: V3}";

/// What a resource is and which of its contents it has.
type Key = (&'static str, &'static str, u8);

fn all() -> &'static BTreeMap<Key, Arc<Resource>> {
    static ALL: OnceLock<BTreeMap<Key, Arc<Resource>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = BTreeMap::new();
        for content in 1..=CONTENTS {
            for name in CLUSTERS {
                all.insert(("cluster", name, content), one(&format!(
                    "{{'@type': {ENVOY}.config.cluster.v3.Cluster, name: {name}, type: EDS, \
                     connect_timeout: {content}s, eds_cluster_config: {{eds_config: {ADS}}}}}"
                )));
                all.insert(("assignment", name, content), one(&format!(
                    "{{'@type': {ENVOY}.config.endpoint.v3.ClusterLoadAssignment, \
                     cluster_name: {name}, endpoints: [{{load_balancing_weight: {content}}}]}}"
                )));
                all.insert(("route", name, content), one(&format!(
                    "{{'@type': {ENVOY}.config.route.v3.RouteConfiguration, name: rt, \
                     virtual_hosts: [{{name: vh{content}, domains: ['*'], routes: \
                     [{{match: {{prefix: /}}, route: {{cluster: {name}}}}}]}}]}}"
                )));
            }
            all.insert(("listener", "l", content), one(&format!(
                "{{'@type': {ENVOY}.config.listener.v3.Listener, name: l, \
                 address: {{socket_address: {{address: 127.0.0.1, port_value: {content}}}}}, \
                 filter_chains: [{{filters: [{{name: hcm, typed_config: {{'@type': \
                 {ENVOY}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
                 stat_prefix: in, rds: {{config_source: {ADS}, route_config_name: rt}}, \
                 http_filters: [{{name: router, typed_config: {{'@type': \
                 {ENVOY}.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
            )));
            let layer = one(&format!(
                "{{'@type': {ENVOY}.service.runtime.v3.Runtime, name: shift, \
                 layer: {{share: {content}}}}}"
            ));
            let timed = (*layer).clone().with_ttl(Duration::from_secs(6));
            all.insert(("runtime", "shift", content), layer);
            all.insert(
                ("timed", "shift", content),
                Arc::new(timed.expect("a layer can have a time to live")),
            );
        }
        all
    })
}

fn one(text: &str) -> Arc<Resource> {
    let mut read = Reader::new().read("world", text).expect("a good resource");
    Arc::new(read.pop().expect("one resource"))
}

/// One resource.
pub(crate) fn resource(kind: &'static str, name: &'static str, content: u8) -> Arc<Resource> {
    all()[&(kind, name, content)].clone()
}

/// A version that some resource of this type and name has.
pub(crate) fn version(type_url: &TypeUrl, name: &str, content: u8) -> String {
    let mut same = all()
        .values()
        .filter(|resource| resource.type_url() == type_url && &**resource.name() == name);
    let nth = same.nth(usize::from(content));
    nth.map_or_else(String::new, |resource| resource.version().to_string())
}

/// Any closed view.
pub(crate) fn view(input: &mut Unstructured<'_>) -> Result<Arc<Snapshot>> {
    let mut builder = SnapshotBuilder::new();
    let there: u8 = input.int_in_range(0..=15)?;
    let mut names = Vec::new();
    for (index, name) in CLUSTERS.into_iter().enumerate() {
        if there & (1 << index) == 0 {
            continue;
        }
        let content = input.int_in_range(1..=CONTENTS)?;
        builder.insert(resource("cluster", name, content));
        let content = input.int_in_range(1..=CONTENTS)?;
        builder.insert(resource("assignment", name, content));
        names.push(name);
    }
    if !names.is_empty() && input.ratio(7_u8, 8_u8)? {
        let name = *input.choose(&names)?;
        let content = input.int_in_range(1..=CONTENTS)?;
        builder.insert(resource("route", name, content));
        if input.ratio(7_u8, 8_u8)? {
            let content = input.int_in_range(1..=CONTENTS)?;
            builder.insert(resource("listener", "l", content));
        }
    }
    let kind = *input.choose(&["", "runtime", "timed"])?;
    if !kind.is_empty() {
        let content = input.int_in_range(1..=CONTENTS)?;
        builder.insert(resource(kind, "shift", content));
    }
    Ok(Arc::new(builder.build().expect("a closed view")))
}
