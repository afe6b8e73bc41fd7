use std::time::Duration;

use super::*;
use crate::delivery::ResourceStatus;
use crate::limits::REJECTION_TEXT_BYTES_MAX;
use crate::stream::Variant::{Delta, Sotw};

#[test]
fn a_view_is_acknowledged_when_everything_subscribed_is() {
    for variant in [Delta, Sotw] {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        let first = peer.acknowledged();
        peer.pass(Duration::from_secs(1));
        let changed_at = peer.now;
        let next = world_with(&["a"], weighted_route(ROUTE, &[("a", 1)]));
        peer.view(&next);
        let response = peer.one();
        peer.pass(Duration::from_secs(1));
        let delivery = peer.session.delivery();
        assert_eq!(delivery.wanted.as_deref(), Some(&**next.id()));
        assert_eq!(delivery.acknowledged.map(|id| id.to_string()), first);
        assert_eq!(delivery.behind_since, Some(changed_at));
        peer.ack(&response);
        assert!(peer.poll().is_none());
        let delivery = peer.session.delivery();
        assert_eq!(
            (delivery.acknowledged, delivery.behind_since),
            (delivery.wanted, None)
        );
    }
}

#[test]
fn nothing_is_acknowledged_by_a_client_that_asked_for_nothing() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    assert!(peer.poll().is_none());
    assert_eq!(peer.acknowledged(), None);
}

#[test]
fn a_client_that_did_not_ask_for_the_routes_of_its_listener_is_behind() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    peer.subscribe(LDS, &[]);
    peer.settle();
    assert_eq!(peer.acknowledged(), None);
    peer.subscribe(RDS, &[ROUTE]);
    peer.settle();
    assert!(peer.acknowledged().is_some());
}

/// Envoy's order at its start, whether or not there is such a layer.
#[test]
fn a_client_that_has_nothing_but_its_runtime_layer_has_not_acknowledged_the_view() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &world(&["a"], "a"));
        peer.subscribe(TypeUrl::RUNTIME, &["shift"]);
        peer.settle();
        assert_eq!(peer.acknowledged(), None, "{variant:?}");
        peer.subscribe(CDS, &[]);
        peer.subscribe(EDS, &["a"]);
        peer.settle();
        assert!(peer.acknowledged().is_some(), "{variant:?}");
        // Where there is nothing else, it is all.
        let mut peer = Peer::with_view(variant, &snapshot([runtime("shift", 1)]));
        peer.subscribe(TypeUrl::RUNTIME, &["shift"]);
        peer.settle();
        assert!(peer.acknowledged().is_some(), "{variant:?}");
    }
}

#[test]
fn every_resource_tells_where_it_stands() {
    let view = world(&["a"], "a");
    let mut peer = Peer::with_view(Delta, &view);
    let status = |peer: &Peer| peer.session.resource_status(&EDS, "a").unwrap();
    assert_eq!(status(&peer), ResourceStatus::NotSubscribed);
    peer.subscribe(EDS, &["a"]);
    assert_eq!(status(&peer), ResourceStatus::NotSent);
    let response = peer.one();
    assert_eq!(status(&peer), ResourceStatus::Sent);
    peer.ack(&response);
    assert_eq!(status(&peer), ResourceStatus::Acknowledged);
    peer.view(&snapshot([cluster("a", 1), assignment("a", 2)]));
    let response = peer.one();
    peer.nack(&response, &"ü".repeat(REJECTION_TEXT_BYTES_MAX));
    match status(&peer) {
        ResourceStatus::Rejected { text } => assert_eq!(text.len(), REJECTION_TEXT_BYTES_MAX),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.session.resource_status(&EDS, "nope"), None);
}

#[test]
fn a_rejected_view_is_not_acknowledged_and_the_next_good_one_is() {
    for variant in [Delta, Sotw] {
        let (good, bad) = (world(&["a"], "a"), world(&["a", "bad"], "a"));
        let mut peer = envoy(variant, &good);
        peer.view(&bad);
        let response = peer.one();
        peer.nack(&response, "no");
        peer.settle();
        assert_eq!(peer.acknowledged().as_deref(), Some(&**good.id()));
        assert!(peer.session.delivery().behind_since.is_some());
        peer.view(&good);
        peer.settle();
        let delivery = peer.session.delivery();
        assert!(delivery.rejections.is_empty() && delivery.behind_since.is_none());
    }
}

#[test]
fn sends_are_counted_by_type() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    peer.view(&world(&["a"], "a"));
    peer.unsubscribe(EDS, &["b"]);
    peer.settle();
    let counts = peer.session.delivery().sent[&CDS];
    assert_eq!(
        (counts.responses, counts.resources, counts.removals),
        (2, 2, 1)
    );
}
