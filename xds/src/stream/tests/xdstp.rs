//! Names of the scheme `xdstp:` and glob collections (xRFC TP1).

use std::sync::Arc;

use super::*;
use crate::stream::Variant::{Delta, Sotw};

fn name(id: &str) -> String {
    format!("xdstp://acme/envoy.config.cluster.v3.Cluster/{id}")
}

/// Clusters with these ids, and one with an opaque name.
fn view(ids: &[&str]) -> Arc<Snapshot> {
    let members = ids.iter().map(|id| static_cluster(&name(id)));
    snapshot(members.chain([static_cluster("plain")]))
}

/// What came, with ids in the place of names.
fn seen(peer: &mut Peer) -> Vec<String> {
    let seen = peer.settle();
    seen.iter()
        .map(|seen| seen.replace(&name(""), ""))
        .collect()
}

#[test]
fn tp1_a_collection_is_its_members_and_nothing_else() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a", "x/b", "x/deep/c", "y/d", "x/e?v=1"]));
    peer.subscribe(CDS, &[&name("x/*")]);
    assert_eq!(seen(&mut peer), ["cds x/a x/b"]);
    peer.subscribe(CDS, &[&name("x/*?v=1")]);
    assert_eq!(seen(&mut peer), ["cds x/e?v=1"]);
}

#[test]
fn tp1_members_come_and_go_one_by_one() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a", "x/b"]));
    peer.subscribe(CDS, &[&name("x/*")]);
    assert_eq!(seen(&mut peer), ["cds x/a x/b"]);
    peer.view(&view(&["x/a", "x/c", "y/d"]));
    assert_eq!(seen(&mut peer), ["cds x/c", "cds -x/b"]);
    peer.view(&view(&[]));
    assert_eq!(seen(&mut peer), ["cds -x/a -x/c"]);
}

#[test]
fn tp1_an_empty_collection_is_answered_as_removed_and_filled_later() {
    let mut peer = Peer::with_view(Delta, &view(&[]));
    peer.subscribe(CDS, &[&name("x/*")]);
    assert_eq!(seen(&mut peer), ["cds -x/*"]);
    peer.view(&view(&["x/a"]));
    assert_eq!(seen(&mut peer), ["cds x/a"]);
}

#[test]
fn tp1_d3_a_collection_that_is_asked_for_again_is_sent_again() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a", "x/b"]));
    peer.subscribe(CDS, &[&name("x/*")]);
    seen(&mut peer);
    peer.subscribe(CDS, &[&name("x/*")]);
    assert_eq!(seen(&mut peer), ["cds x/a x/b"]);
}

#[test]
fn tp1_d7_a_dropped_collection_is_forgotten_but_for_what_is_asked_for_by_name() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a", "x/b"]));
    peer.subscribe(CDS, &[&name("x/*"), &name("x/b")]);
    assert_eq!(seen(&mut peer), ["cds x/a x/b"]);
    peer.unsubscribe(CDS, &[&name("x/*")]);
    assert_eq!(
        seen(&mut peer),
        Vec::<String>::new(),
        "a plain unsubscribe needs no answer"
    );
    peer.view(&view(&[]));
    assert_eq!(seen(&mut peer), ["cds -x/b"]);
}

#[test]
fn tp1_the_order_of_parameters_makes_no_difference() {
    let (one, other) = (name("x/a?v=1&w=2"), name("x/a?w=2&v=1"));
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &view(&["x/a?v=1&w=2"]));
        peer.subscribe(CDS, &[&other]);
        assert_eq!(seen(&mut peer), ["cds x/a?v=1&w=2"]);
        if variant == Delta {
            peer.unsubscribe(CDS, &[&one]);
        } else {
            peer.state_names(CDS, &[&one, "plain"]);
        }
        peer.view(&view(&[]));
        let expected: &[&str] = if variant == Delta {
            &[]
        } else {
            &["cds plain"]
        };
        let last = seen(&mut peer);
        assert_eq!(last.last().map(String::as_str), expected.last().copied());
    }
}

#[test]
fn tp1_a_claim_counts_whatever_the_order_of_its_parameters() {
    let view = view(&["x/a?v=1&w=2"]);
    let version = view.get(&CDS, &name("x/a?v=1&w=2")).unwrap().version_text();
    let mut peer = Peer::with_view(Delta, &view);
    let claim = name("x/a?w=2&v=1");
    // A name under a wildcard: nothing is owed but what is named.
    peer.resume(CDS, &["*", &name("x/*?v=1&w=2")], &[(&claim, &version)]);
    peer.settle();
    assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
}

#[test]
fn tp1_who_asks_for_everything_does_not_get_names_of_a_scheme_it_may_not_know() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &view(&["x/a"]));
        peer.subscribe(CDS, &["*"]);
        assert_eq!(seen(&mut peer), ["cds plain"]);
        assert!(peer.acknowledged().is_some(), "nothing is missing");
        let mut peer = Peer::with_view(variant, &view(&["x/a"]));
        peer.subscribe(CDS, &["*", &name("x/*")]);
        assert_eq!(seen(&mut peer), ["cds plain x/a"]);
    }
}

#[test]
fn tp1_d6_under_a_wildcard_a_dropped_collection_is_taken_away() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a"]));
    peer.subscribe(CDS, &["*", &name("x/*")]);
    assert_eq!(seen(&mut peer), ["cds plain x/a"]);
    peer.unsubscribe(CDS, &[&name("x/*")]);
    let seen = seen(&mut peer);
    assert!(seen.join(" ").contains("-x/a"), "{seen:?}");
}

#[test]
fn tp1_a_malformed_name_is_a_name_that_does_not_exist_and_disturbs_nothing() {
    let mut peer = Peer::with_view(Delta, &view(&["x/a"]));
    let bad = [
        "xdstp:nonsense",
        "xdstp://acme",
        &name("x/*/y"),
        &name("x/a#entry=b"),
    ];
    peer.subscribe(CDS, &[bad[0], bad[1], bad[2], bad[3], "plain"]);
    let seen = peer.settle();
    assert_eq!(seen[0], "cds plain");
    assert!(
        bad.iter().all(|bad| seen[1].contains(&format!("-{bad}"))),
        "{seen:?}"
    );
}
