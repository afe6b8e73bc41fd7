//! Bad configurations with the diagnostics that they must get, and good ones that must get none.
//!
//! `UPDATE=1 cargo test -p tidegate-xds --features config --test config_fixtures` rewrites the
//! expectations.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_xds::config::{Reader, Source};
use tidegate_xds::{Resource, TypeUrl};

fn fixtures(kind: &str) -> Vec<(PathBuf, String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/envoy-configs");
    let mut found: Vec<_> = fs::read_dir(directory.join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (path, name, text)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn names(resources: &[Resource]) -> Vec<String> {
    resources
        .iter()
        .map(|resource| format!("{} {}", resource.type_url(), resource.name()))
        .collect()
}

#[test]
fn every_bad_configuration_gets_exactly_its_diagnostics() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, name, text) in fixtures("bad") {
        let diagnostics = Reader::new().read(&name, &text).unwrap_err();
        let found: String = diagnostics.iter().map(|d| format!("{d}\n")).collect();
        let expected = path.with_extension("expected");
        if update {
            fs::write(&expected, &found).unwrap();
        }
        let wanted = fs::read_to_string(&expected)
            .unwrap_or_else(|_| panic!("no {}; set UPDATE=1 to write it", expected.display()));
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn good_configurations_are_read_whole_and_to_the_same_bytes_every_time() {
    for (_, name, text) in fixtures("good") {
        let first = Reader::new().read(&name, &text).unwrap();
        assert!(!first.is_empty(), "{name}");
        for _ in 0..8 {
            assert_eq!(Reader::new().read(&name, &text).unwrap(), first, "{name}");
        }
    }
}

#[test]
fn a_bootstrap_gives_its_static_resources() {
    let edge = fixtures("good")
        .into_iter()
        .find(|(_, name, _)| name == "edge.yaml");
    let (_, name, text) = edge.unwrap();
    let resources = Reader::new().read(&name, &text).unwrap();
    assert_eq!(
        names(&resources),
        ["cds checkout-v1", "cds checkout-v2", "lds ingress"]
    );
    let listener = resources.last().unwrap();
    let clusters: Vec<&str> = listener
        .references()
        .clusters
        .iter()
        .map(|c| &**c)
        .collect();
    assert_eq!(clusters, ["checkout-v1", "checkout-v2"]);
}

#[test]
fn resources_are_taken_alone_in_lists_and_under_resources() {
    const CLUSTER: &str = "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ";
    for (text, wanted) in [
        (format!("{{{CLUSTER} a}}"), vec!["cds a"]),
        (
            format!("{{{CLUSTER} a}}\n---\n{{{CLUSTER} b}}"),
            vec!["cds a", "cds b"],
        ),
        (
            format!("- {{{CLUSTER} a}}\n- {{{CLUSTER} b}}"),
            vec!["cds a", "cds b"],
        ),
        (format!("resources: [{{{CLUSTER} a}}]"), vec!["cds a"]),
        (
            r#"{"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "name": "a", "connectTimeout": "1s"}]}"#
                .to_owned(),
            vec!["cds a"],
        ),
    ] {
        let resources = Reader::new().read("test.yaml", &text).unwrap();
        assert_eq!(names(&resources), wanted, "{text}");
    }
}

#[test]
fn what_is_read_is_what_the_generated_types_decode() {
    use envoy_types::pb::envoy::service::runtime::v3::Runtime;
    use envoy_types::pb::google::protobuf::value::Kind;
    let text = "'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime\nname: shift\n\
                layer: {a: 5, b: 0.5, c: '5', d: yes, e: {f: [1, x]}}";
    let resources = Reader::new().read("rtds.yaml", text).unwrap();
    assert_eq!(resources[0].type_url(), &TypeUrl::RUNTIME);
    let runtime = Runtime::decode(resources[0].body().as_ref()).unwrap();
    let fields = runtime.layer.unwrap().fields;
    let kind = |name: &str| fields[name].kind.clone().unwrap();
    assert_eq!(kind("a"), Kind::NumberValue(5.0));
    assert_eq!(kind("b"), Kind::NumberValue(0.5));
    assert_eq!(kind("c"), Kind::StringValue("5".into()));
    assert_eq!(kind("d"), Kind::BoolValue(true));
    assert!(matches!(kind("e"), Kind::StructValue(_)));
}

#[test]
fn d13_maps_are_encoded_in_the_order_of_their_keys() {
    let entries = |keys: &mut dyn Iterator<Item = u32>| {
        let layer: String = keys.map(|key| format!("  key{key:03}: {key}\n")).collect();
        let text = format!(
            "'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime\nname: r\nlayer:\n{layer}"
        );
        Reader::new().read("rtds.yaml", &text).unwrap().remove(0)
    };
    let (up, down) = (entries(&mut (0..200)), entries(&mut (0..200).rev()));
    assert_eq!(up.version(), down.version());
    assert_eq!(up.body(), down.body());
    let places: Vec<usize> = (0..200)
        .map(|key| {
            let key = format!("key{key:03}");
            up.body()
                .windows(key.len())
                .position(|window| window == key.as_bytes())
                .unwrap()
        })
        .collect();
    assert!(places.is_sorted());
}

#[test]
fn files_that_belong_together_may_name_each_others_clusters_and_no_others() {
    let routes = "'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n\
                  name: rt\n\
                  virtual_hosts:\n\
                  - name: all\n  domains: ['*']\n  routes:\n  \
                  - {match: {prefix: /}, route: {cluster: shop}}\n";
    let cluster = "{'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: shop}";
    let source = |file, text| Source { file, text };
    let routes = source("routes.yaml", routes);
    assert!(Reader::new().read(routes.file, routes.text).is_ok());
    let together = [routes, source("clusters.yaml", cluster)];
    assert_eq!(Reader::new().read_all(&together).unwrap().len(), 2);
    let assumed = Reader::new().assume_cluster("shop");
    assert_eq!(assumed.read_all(&[routes]).unwrap().len(), 1);

    let misspelt = cluster.replace("shop", "shopp");
    let diagnostics = Reader::new()
        .read_all(&[routes, source("clusters.yaml", &misspelt)])
        .unwrap_err();
    assert_eq!(
        diagnostics[0].to_string(),
        "routes.yaml:7:43: virtual_hosts[0].routes[0].route.cluster: there is no cluster `shop`; \
         did you mean `shopp`?"
    );
}

#[test]
fn routes_and_endpoints_over_the_same_stream_must_be_there() {
    let cluster = "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: a\n\
                   type: EDS\neds_cluster_config: {eds_config: {ads: {}}}";
    let source = Source {
        file: "a.yaml",
        text: cluster,
    };
    let diagnostics = Reader::new().read_all(&[source]).unwrap_err();
    assert_eq!(
        diagnostics[0].to_string(),
        "a.yaml:1:1: cds `a` needs eds `a`, which isn't there; add it"
    );
}

#[test]
fn aliases_that_stand_for_millions_of_values_are_refused() {
    let mut text =
        "'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime\nname: r\nlayer:\n  \
                    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            .to_owned();
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!(
            "  a{level}: &a{level} [{}]\n",
            below.trim_end_matches(", ")
        ));
    }
    let diagnostics = Reader::new().read("bomb.yaml", &text).unwrap_err();
    assert!(
        diagnostics
            .iter()
            .any(|d| d.message.contains("aliases make more than"))
    );
}

#[test]
fn ten_thousand_mistakes_are_cut_to_a_thousand() {
    let list = "- {name: x}\n".repeat(10_000);
    let diagnostics = Reader::new().read("many.yaml", &list).unwrap_err();
    assert_eq!(diagnostics.len(), 1_001);
    assert_eq!(diagnostics.last().unwrap().message, "9000 more like these");
}
