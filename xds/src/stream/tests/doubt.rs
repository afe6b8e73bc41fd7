//! One resource of doubt per response.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::delivery::ResourceStatus;
use crate::stream::SessionSettings;
use crate::stream::Variant::{Delta, Sotw};

fn clusters(contents: &[(&str, i64)]) -> Arc<Snapshot> {
    snapshot(contents.iter().flat_map(|(name, content)| {
        let endpoints = assignment(name, 1);
        [cluster(name, *content), endpoints]
    }))
}

/// Clients that share what they learn, as those of one server do.
fn shared() -> impl Fn(&Arc<Snapshot>) -> Peer {
    let settings = SessionSettings::default();
    move |view| {
        let mut peer = Peer::with_settings(Delta, settings.clone());
        peer.view(view);
        peer
    }
}

#[test]
fn s22_the_first_client_gets_what_nobody_took_one_by_one() {
    let mut peer = shared()(&clusters(&[("a", 1), ("b", 1), ("c", 1)]));
    peer.subscribe(CDS, &[]);
    assert_eq!(peer.settle(), ["cds a", "cds b", "cds c"]);
}

#[test]
fn s22_the_second_client_gets_what_the_first_took_at_once() {
    let (connect, view) = (shared(), clusters(&[("a", 1), ("b", 1), ("c", 1)]));
    let mut first = connect(&view);
    first.subscribe(CDS, &[]);
    first.settle();
    let mut second = connect(&view);
    second.subscribe(CDS, &[]);
    assert_eq!(second.settle(), ["cds a b c"]);
}

#[test]
fn s22_what_is_proven_survives_changes_of_the_view() {
    let (connect, old) = (shared(), clusters(&[("a", 1), ("b", 1)]));
    let mut first = connect(&old);
    first.subscribe(CDS, &[]);
    first.settle();
    first.view(&clusters(&[("a", 2), ("b", 2), ("c", 1)]));
    assert_eq!(first.settle(), ["cds a", "cds b", "cds c"]);
    first.view(&clusters(&[("a", 1), ("b", 1), ("c", 1)]));
    assert_eq!(first.settle(), ["cds a b"]);
}

#[test]
fn s22_the_bad_one_is_named_and_the_others_arrive() {
    let (connect, view) = (shared(), clusters(&[("a", 1), ("bad", 1), ("c", 1)]));
    let mut peer = connect(&view);
    peer.subscribe(CDS, &[]);
    let response = peer.one();
    peer.ack(&response);
    let bad = peer.one();
    assert_eq!(brief(&bad), "cds bad");
    peer.nack(&bad, "no");
    assert_eq!(peer.settle(), ["cds c"]);
    let status = peer.session.resource_status(&CDS, "bad");
    assert!(matches!(status, Some(ResourceStatus::Rejected { .. })));
}

#[test]
fn s22_what_one_client_refused_never_travels_with_others() {
    let (connect, view) = (shared(), clusters(&[("a", 1), ("b", 1)]));
    let mut old_version = connect(&view);
    old_version.subscribe(CDS, &[]);
    let a = old_version.one();
    old_version.nack(&a, "a field that it doesn't know");
    old_version.settle();
    for _ in 0..2 {
        let mut new_version = connect(&view);
        new_version.subscribe(CDS, &[]);
        assert_eq!(new_version.settle(), ["cds b", "cds a"]);
    }
}

#[test]
fn s22_after_a_restart_what_clients_hold_is_proven() {
    let (connect, view) = (shared(), clusters(&[("a", 1), ("b", 1), ("c", 1)]));
    let version = |name: &str| view.get(&CDS, name).unwrap().version().to_string();
    let mut returning = connect(&view);
    let held = [("a", version("a")), ("b", version("b"))];
    let held: Vec<_> = held.iter().map(|(n, v)| (*n, v.as_str())).collect();
    returning.resume(CDS, &[], &held);
    assert_eq!(returning.settle(), ["cds c"]);
    let mut fresh = connect(&view);
    fresh.subscribe(CDS, &[]);
    assert_eq!(fresh.settle(), ["cds a b c"]);
}

#[test]
fn s22_a_claim_of_something_else_proves_nothing() {
    let (connect, view) = (shared(), clusters(&[("a", 1), ("b", 1)]));
    let mut returning = connect(&view);
    returning.resume(CDS, &[], &[("a", "0123456789abcdef"), ("b", "v7")]);
    assert_eq!(returning.settle(), ["cds a", "cds b"]);
}

#[test]
fn s22_listeners_and_clusters_do_not_wait_for_each_other() {
    let view = snapshot([
        inline_listener("l1", "a"),
        inline_listener("l2", "a"),
        static_cluster("a"),
        static_cluster("b"),
    ]);
    let mut peer = shared()(&view);
    peer.subscribe(CDS, &[]);
    peer.subscribe(LDS, &[]);
    assert_eq!(briefs(&peer.drain()), ["cds a"]);
    // `a` is never answered, and the listeners that lead to it wait, up to their deadline.
    peer.pass(Duration::from_millis(1));
    assert!(peer.drain().is_empty());
    peer.pass(SessionSettings::default().gate_deadline);
    assert_eq!(briefs(&peer.drain()), ["lds l1"]);
}

#[test]
fn s11_no_empty_answer_while_what_is_wanted_waits_for_a_cluster() {
    let view = snapshot([inline_listener("l", "a"), static_cluster("a")]);
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_settings(variant, SessionSettings::default());
        peer.view(&view);
        peer.subscribe(CDS, &[]);
        peer.subscribe(LDS, &[]);
        let clusters = peer.one();
        assert_eq!(brief(&clusters), "cds a");
        peer.ack(&clusters);
        assert_eq!(peer.settle(), ["lds l"]);
    }
}

#[test]
fn s22_endpoints_and_routes_travel_together() {
    let mut peer = shared()(&clusters(&[("a", 1), ("b", 1)]));
    peer.subscribe(EDS, &["a", "b"]);
    assert_eq!(peer.settle(), ["eds a b"]);
}

#[test]
fn s22_a_state_of_the_world_set_proves_all_of_it() {
    let settings = SessionSettings::default();
    let view = clusters(&[("a", 1), ("b", 1)]);
    let mut whole = Peer::with_settings(Sotw, settings.clone());
    whole.view(&view);
    whole.subscribe(CDS, &[]);
    assert_eq!(whole.settle(), ["cds a b"]);
    let mut delta = Peer::with_settings(Delta, settings);
    delta.view(&view);
    delta.subscribe(CDS, &[]);
    assert_eq!(delta.settle(), ["cds a b"]);
}

#[test]
fn s22_a_thousand_unproven_clusters_cost_the_first_client_a_thousand_exchanges() {
    let connect = shared();
    let view = snapshot((0..1000).map(|number| static_cluster(&format!("c{number:04}"))));
    let exchanges = |mut peer: Peer| {
        peer.subscribe(CDS, &[]);
        let mut count = 0;
        while let Some(response) = peer.poll() {
            peer.ack(&response);
            count += 1;
        }
        count
    };
    assert_eq!(exchanges(connect(&view)), 1000);
    assert_eq!(exchanges(connect(&view)), 1);
}
