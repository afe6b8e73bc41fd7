//! Versions of the embedder's own.

use std::sync::Arc;

use super::*;
use crate::SnapshotProblem;
use crate::limits::VERSION_BYTES_MAX;
use crate::stream::Variant::{Delta, Sotw};

fn own(content: i64, version: &str) -> Resource {
    let cluster = cluster("a", content);
    cluster.with_version(version).unwrap()
}

fn view(cluster: Resource, of_type: Option<&str>) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    builder.insert(cluster).insert(assignment("a", 1));
    builder.insert(static_cluster("b"));
    if let Some(version) = of_type {
        builder.version(CDS, version);
    }
    Arc::new(builder.build().unwrap())
}

#[test]
fn d13_other_bytes_under_an_equal_version_are_sent() {
    let mut peer = Peer::with_view(Delta, &view(own(1, "v1"), None));
    peer.subscribe(CDS, &["*"]);
    assert_eq!(peer.settle(), ["cds a b"]);
    peer.view(&view(own(2, "v1"), None));
    assert_eq!(peer.settle(), ["cds a"]);
    peer.view(&view(own(2, "v2"), None));
    assert_eq!(
        peer.settle(),
        ["cds a"],
        "so that the client knows the new one"
    );
}

#[test]
fn c7_a_client_that_comes_back_with_the_version_is_believed_after_a_restart() {
    let view = view(own(1, "v1"), None);
    let b = view.get(&CDS, "b").unwrap().version_text();
    let mut peer = Peer::with_view(Delta, &view);
    peer.resume(CDS, &[], &[("a", "v1"), ("b", &b)]);
    assert_eq!(peer.settle(), ["cds"], "only the answer that it waits for");
    let mut peer = Peer::with_view(Delta, &view);
    peer.resume(CDS, &[], &[("a", "v0"), ("b", &b)]);
    assert_eq!(peer.settle(), ["cds a"]);
}

#[test]
fn c7_d13_a_version_that_this_server_sent_with_other_bytes_is_not_believed() {
    let settings = together();
    let connect = |view: &Arc<Snapshot>| {
        let mut peer = Peer::with_settings(Delta, settings.clone());
        peer.view(view);
        peer
    };
    let mut first = connect(&view(own(1, "v1"), None));
    first.subscribe(CDS, &["*"]);
    first.settle();
    // While it is gone, the embedder publishes other bytes under the same version.
    let b = static_cluster("b").version_text();
    let mut again = connect(&view(own(2, "v1"), None));
    again.resume(CDS, &[], &[("a", "v1"), ("b", &b)]);
    assert_eq!(again.settle(), ["cds a"]);
    let mut third = connect(&view(own(2, "v1"), None));
    third.resume(CDS, &[], &[("a", "v1"), ("b", &b)]);
    assert_eq!(
        third.settle(),
        ["cds a"],
        "nor ever again: it is of two contents"
    );
}

#[test]
fn a_version_of_sixteen_hex_digits_is_as_good_as_any() {
    let view = view(own(1, "0123456789abcdef"), None);
    let b = view.get(&CDS, "b").unwrap().version_text();
    let mut peer = Peer::with_view(Delta, &view);
    peer.resume(CDS, &[], &[("a", "0123456789abcdef"), ("b", &b)]);
    assert_eq!(peer.settle(), ["cds"]);
}

#[test]
fn the_version_of_a_type_is_told_by_both_protocols() {
    let view = view(own(1, "v1"), Some("cds-7"));
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &view);
        peer.subscribe(CDS, &["*"]);
        let response = peer.one();
        assert_eq!(&*response.version, "cds-7");
        peer.ack(&response);
        peer.subscribe(EDS, &["a"]);
        let endpoints = peer.one();
        peer.ack(&endpoints);
        assert!(peer.drain().is_empty());
        assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
        let expected = (variant == Delta).then(|| view.id().to_string());
        assert_ne!(&*endpoints.version, "cds-7", "each type has its own");
        assert!(expected.is_none_or(|id| id == *endpoints.version));
    }
}

#[test]
fn s1_a_set_that_is_not_all_of_a_type_does_not_go_by_the_version_of_the_type() {
    let before = view(own(1, "v1"), Some("cds-7"));
    let mut peer = Peer::with_view(Sotw, &before);
    peer.subscribe(CDS, &["*"]);
    let response = peer.one();
    peer.ack(&response);
    let mut builder = Snapshot::builder();
    builder.insert(static_cluster("c")).version(CDS, "cds-8");
    peer.view(&Arc::new(builder.build().unwrap()));
    let union = peer.one();
    assert_eq!(brief(&union), "cds a b c");
    assert_ne!(&*union.version, "cds-8");
    peer.ack(&union);
    let set = peer.one();
    assert_eq!((&*brief(&set), &*set.version), ("cds c", "cds-8"));
}

#[test]
fn s8_a_set_under_a_version_of_the_embedders_is_answered_after_a_reconnect() {
    let view = view(own(1, "v1"), Some("cds-7"));
    let mut peer = Peer::with_view(Sotw, &view);
    peer.send(
        envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest {
            node: peer.node(),
            type_url: CDS.as_str().to_owned(),
            version_info: "cds-7".to_owned(),
            ..Default::default()
        },
    );
    assert_eq!(peer.settle(), ["cds a b"]);
}

#[test]
fn c16_the_version_of_a_type_is_bounded_and_never_empty() {
    for version in ["", &"x".repeat(VERSION_BYTES_MAX + 1)] {
        let mut builder = Snapshot::builder();
        builder.version(CDS, version);
        let refused = builder.build().unwrap_err();
        assert!(matches!(
            &refused.problems[..],
            [SnapshotProblem::BadVersion { .. }]
        ));
    }
    let versioned = |version: &str| view(own(1, "v1"), Some(version)).id().clone();
    assert_ne!(versioned("cds-7"), versioned("cds-8"));
}
