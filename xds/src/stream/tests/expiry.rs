use std::time::Duration;

use super::*;
use crate::delivery::ResourceStatus;
use crate::stream::Variant::{Delta, Sotw};

const TTL: Duration = Duration::from_secs(6);
const BEAT: Duration = Duration::from_secs(1);

fn view(share: u32) -> std::sync::Arc<Snapshot> {
    snapshot([timed_runtime("shift", share, TTL)])
}

fn holder(share: u32) -> Peer {
    let mut peer = Peer::with_view(Delta, &view(share));
    peer.subscribe(RTDS, &["shift"]);
    assert_eq!(peer.settle(), ["rtds shift"]);
    peer
}

#[test]
fn d12_a_heartbeat_renews_without_a_body_and_only_when_driven() {
    let mut peer = holder(5);
    peer.pass(BEAT);
    assert!(peer.poll().is_none(), "no timer of its own");
    peer.session.heartbeat(peer.now);
    let beat = peer.one();
    assert_eq!(brief(&beat), "rtds ~shift");
    assert_eq!(beat.items[0].resource.ttl(), Some(TTL));
    peer.ack(&beat);
    let counts = peer.session.delivery().sent[&RTDS];
    assert_eq!((counts.resources, counts.renewals), (1, 1));
    assert!(peer.acknowledged().is_some());
}

#[test]
fn a_heartbeat_does_not_queue_behind_a_response_in_flight() {
    let mut peer = holder(5);
    peer.view(&view(10));
    let change = peer.one();
    peer.session.heartbeat(peer.now);
    peer.session.heartbeat(peer.now);
    peer.ack(&change);
    assert!(peer.poll().is_none());
}

#[test]
fn only_what_is_acknowledged_is_renewed() {
    let mut peer = Peer::with_view(Delta, &view(5));
    peer.subscribe(RTDS, &["shift"]);
    let response = peer.one();
    peer.session.heartbeat(peer.now);
    assert!(peer.poll().is_none());
    peer.nack(&response, "no runtime here");
    peer.session.heartbeat(peer.now);
    assert!(peer.poll().is_none());
}

#[test]
fn a_heartbeat_in_flight_does_not_make_the_client_look_behind() {
    let mut peer = holder(5);
    let before = peer.acknowledged();
    peer.session.heartbeat(peer.now);
    peer.one();
    assert_eq!(peer.acknowledged(), before);
}

#[test]
fn without_heartbeats_the_resource_expires_and_nothing_sends_it_again() {
    let mut peer = holder(5);
    peer.pass(TTL);
    assert!(peer.poll().is_none());
    assert_eq!(
        peer.session.resource_status(&RTDS, "shift"),
        Some(ResourceStatus::Expired)
    );
    assert_eq!(peer.acknowledged(), None);
    peer.pass(TTL * 10);
    assert!(peer.poll().is_none());
    assert_eq!(peer.session.next_timeout(), None);
}

#[test]
fn a_heartbeat_after_the_expiry_sends_the_body_again() {
    let mut peer = holder(5);
    peer.pass(TTL);
    peer.session.heartbeat(peer.now);
    assert_eq!(peer.settle(), ["rtds shift"]);
    assert!(peer.acknowledged().is_some());
}

#[test]
fn a_heartbeat_that_could_come_too_late_carries_the_body() {
    let mut peer = holder(5);
    peer.pass(TTL * 3 / 4);
    peer.session.heartbeat(peer.now);
    assert_eq!(peer.settle(), ["rtds shift"]);
}

#[test]
fn heartbeats_keep_a_resource_for_as_long_as_they_come() {
    let mut peer = holder(5);
    for _ in 0..60 {
        peer.pass(BEAT);
        peer.session.heartbeat(peer.now);
        assert_eq!(peer.settle(), ["rtds ~shift"]);
    }
    assert!(peer.acknowledged().is_some());
}

#[test]
fn d12_equal_bytes_without_a_time_to_live_are_sent_to_clear_the_timer() {
    let mut peer = holder(5);
    peer.view(&snapshot([runtime("shift", 5)]));
    assert_eq!(peer.settle(), ["rtds shift"]);
    assert_eq!(peer.session.next_timeout(), None);
}

#[test]
fn the_runtime_is_never_gated() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    let resources = [
        cluster("a", 1),
        assignment("a", 1),
        cluster("c", 1),
        assignment("c", 1),
    ];
    let rest = [
        listener("l", ROUTE),
        route(ROUTE, "c"),
        timed_runtime("shift", 5, TTL),
    ];
    peer.subscribe(RTDS, &["shift"]);
    peer.settle();
    peer.view(&snapshot(resources.into_iter().chain(rest)));
    assert_eq!(briefs(&peer.drain()), ["cds c", "rtds shift"]);
}

#[test]
fn s13_x12_state_of_the_world_wraps_and_resends_whole_for_clients_that_ask_for_it() {
    for feature in [
        "xds.config.supports-resource-in-sotw",
        "envoy.config.resource-in-sotw",
    ] {
        let mut peer = Peer::with_view(Sotw, &view(5)).advertising(feature);
        peer.subscribe(RTDS, &["shift"]);
        let response = peer.one();
        assert!(response.items[0].wrapped);
        peer.ack(&response);
        peer.session.heartbeat(peer.now);
        let beat = peer.one();
        assert!(
            beat.items[0].wrapped && !beat.items[0].renewal,
            "the body goes along"
        );
        peer.ack(&beat);
        assert_eq!(peer.session.delivery().sent[&RTDS].renewals, 1);
    }
}

#[test]
fn an_envoy_gets_it_wrapped_without_asking() {
    let mut peer = Peer::with_view(Sotw, &view(5)).of_envoy();
    peer.subscribe(RTDS, &["shift"]);
    assert!(peer.one().items[0].wrapped);
    assert!(peer.session.delivery().takes_ttl);
}

#[test]
fn s13_other_state_of_the_world_clients_get_it_bare_and_without_expiry() {
    let mut peer = Peer::with_view(Sotw, &view(5));
    peer.subscribe(RTDS, &["shift"]);
    let response = peer.one();
    assert!(!response.items[0].wrapped);
    assert!(!peer.session.delivery().takes_ttl);
    peer.ack(&response);
    peer.session.heartbeat(peer.now);
    assert!(peer.poll().is_none());
    assert_eq!(peer.session.next_timeout(), None);
}
