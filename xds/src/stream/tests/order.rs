use std::time::Duration;

use super::*;
use crate::limits::GATE_DEADLINE;
use crate::stream::Variant::{self, Delta, Sotw};

const BOTH: [Variant; 2] = [Delta, Sotw];

fn split(canary: u32) -> Resource {
    weighted_route(ROUTE, &[("a", 100 - canary), ("c", canary)])
}

fn names(variant: Variant, delta: &str, sotw: &str) -> String {
    match variant {
        Delta => delta.to_owned(),
        Sotw => sotw.to_owned(),
    }
}

#[test]
fn o1_o2_a_route_to_a_new_cluster_waits_for_the_ack_of_its_endpoints_and_of_itself() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world_with(&["a", "c"], split(5)));
        let clusters = peer.one();
        assert_eq!(brief(&clusters), names(variant, "cds c", "cds a c"));
        peer.subscribe(EDS, &["a", "c"]);
        let mut endpoints = peer.one();
        assert!(brief(&endpoints).contains('c'), "{}", brief(&endpoints));
        if variant == Delta {
            assert_eq!(brief(&endpoints), "eds a c");
        }
        peer.ack(&endpoints);
        assert!(peer.poll().is_none(), "the cluster is still warming");
        peer.ack(&clusters);
        assert_eq!(peer.settle(), ["rds rt"], "{variant:?}");

        // And the other way round.
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world_with(&["a", "c"], split(5)));
        let clusters = peer.one();
        peer.subscribe(EDS, &["a", "c"]);
        endpoints = peer.one();
        peer.ack(&clusters);
        assert!(peer.poll().is_none(), "its endpoints are not acknowledged");
        peer.ack(&endpoints);
        assert_eq!(peer.settle(), ["rds rt"], "{variant:?}");
    }
}

#[test]
fn o1_o3_a_cluster_is_removed_after_the_ack_of_the_route_that_dropped_it() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a", "b"], "b"));
        peer.view(&world(&["a"], "a"));
        let routes = peer.one();
        assert_eq!(brief(&routes), "rds rt", "the removal waits");
        peer.ack(&routes);
        let clusters = peer.one();
        assert_eq!(brief(&clusters), names(variant, "cds -b", "cds a"));
        if variant == Delta {
            peer.unsubscribe(EDS, &["b"]);
        }
        peer.ack(&clusters);
        assert!(peer.poll().is_none());
    }
}

#[test]
fn o1_a_switch_sends_the_union_of_clusters_first_and_the_new_set_last() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world(&["c"], "c"));
        let union = peer.one();
        assert_eq!(brief(&union), names(variant, "cds c", "cds a c"));
        peer.subscribe(EDS, &["a", "c"]);
        peer.ack(&union);
        let mut seen = peer.settle();
        seen.retain(|text| !text.starts_with("eds"));
        assert_eq!(
            seen,
            ["rds rt".to_owned(), names(variant, "cds -a", "cds c")],
            "{variant:?}"
        );
    }
}

#[test]
fn o3_a_client_that_rejects_the_route_keeps_the_old_cluster_for_good() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a", "b"], "b"));
        peer.view(&world(&["a"], "a"));
        let routes = peer.one();
        peer.nack(&routes, "no");
        peer.pass(GATE_DEADLINE * 10);
        assert!(peer.poll().is_none());
        peer.view(&world(&["a", "b"], "b"));
        assert_eq!(peer.settle(), ["rds rt"]);
    }
}

#[test]
fn a_route_is_held_back_for_good_if_its_cluster_was_rejected() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world_with(&["a", "c"], split(5)));
        let clusters = peer.one();
        peer.nack(&clusters, "c is bad");
        peer.pass(GATE_DEADLINE * 10);
        assert!(peer.poll().is_none());
        assert_eq!(peer.session.delivery().gates_forced, 0);
        assert_eq!(peer.session.next_timeout(), None);
    }
}

#[test]
fn a_corrected_cluster_gets_the_full_wait_after_a_long_rejection() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world_with(&["a", "c"], split(5)));
    let clusters = peer.one();
    peer.nack(&clusters, "c is bad");
    peer.drain();
    peer.pass(GATE_DEADLINE * 10);
    peer.view(&snapshot([
        listener("l", ROUTE),
        split(5),
        cluster("a", 1),
        assignment("a", 1),
        cluster("c", 2),
        assignment("c", 1),
    ]));
    assert_eq!(briefs(&peer.drain()), ["cds c"]);
}

#[test]
fn o4_a_silent_client_gets_the_route_after_the_deadline_and_it_is_marked() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world_with(&["a", "c"], split(5)));
        peer.one();
        peer.pass(GATE_DEADLINE - Duration::from_millis(1));
        assert!(peer.poll().is_none());
        peer.pass(Duration::from_millis(1));
        assert_eq!(briefs(&peer.drain()), ["rds rt"]);
        assert_eq!(peer.session.delivery().gates_forced, 1);
        assert!(peer.session.next_timeout().is_none_or(|at| at > peer.now));
    }
}

#[test]
fn o4_a_gate_does_not_block_unrelated_resources() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&snapshot([
            listener("l", ROUTE),
            split(5),
            cluster("a", 1),
            assignment("a", 2),
            cluster("c", 1),
            assignment("c", 1),
            runtime("shift", 0),
        ]));
        peer.subscribe(RTDS, &["shift"]);
        let sent = briefs(&peer.drain());
        assert_eq!(sent[1..], ["eds a", "rtds shift"], "{sent:?}");
    }
}

#[test]
fn o4_a_removal_waits_for_the_deadline_of_the_route_that_is_in_flight() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "b"));
    peer.pass(Duration::from_secs(1));
    peer.view(&world(&["a"], "a"));
    peer.one();
    peer.pass(GATE_DEADLINE - Duration::from_millis(1));
    assert!(peer.poll().is_none());
    peer.pass(Duration::from_millis(1));
    assert_eq!(briefs(&peer.drain()), ["cds -b"]);
}

#[test]
fn g2_a_grpc_client_that_asks_for_clusters_after_routes_is_not_gated() {
    let mut peer = Peer::with_view(Sotw, &world(&["a"], "a"));
    peer.subscribe(LDS, &["l"]);
    assert_eq!(peer.settle(), ["lds l"]);
    peer.subscribe(RDS, &[ROUTE]);
    assert_eq!(peer.settle(), ["rds rt"]);
    peer.subscribe(CDS, &["a"]);
    assert_eq!(peer.settle(), ["cds a"]);
    peer.subscribe(EDS, &["a"]);
    assert_eq!(peer.settle(), ["eds a"]);
    // A new arm, of which it does not know yet.
    peer.view(&world_with(&["a", "c"], split(5)));
    assert_eq!(peer.settle(), ["rds rt"]);
    peer.subscribe(CDS, &["a", "c"]);
    assert_eq!(peer.settle(), ["cds a c"]);
    peer.subscribe(EDS, &["a", "c"]);
    peer.settle();
    assert!(peer.acknowledged().is_some());
}

#[test]
fn versions_held_from_an_earlier_stream_count_as_acknowledged() {
    let view = world(&["a", "c"], "a");
    let mut peer = Peer::with_view(Delta, &world_with(&["a", "c"], split(5)));
    let version =
        |type_url: &TypeUrl, name: &str| view.get(type_url, name).unwrap().version().to_string();
    let (a, c) = (version(&CDS, "a"), version(&CDS, "c"));
    peer.resume(CDS, &[], &[("a", &a), ("c", &c)]);
    let (a, c) = (version(&EDS, "a"), version(&EDS, "c"));
    peer.resume(EDS, &["a", "c"], &[("a", &a), ("c", &c)]);
    peer.resume(RDS, &[ROUTE], &[(ROUTE, &version(&RDS, ROUTE))]);
    assert_eq!(briefs(&peer.drain()), ["cds", "eds a c", "rds rt"]);
}

#[test]
fn o3_a_reconnecting_client_keeps_a_cluster_until_its_routes_are_known() {
    let old = world(&["a", "b"], "b");
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    let version =
        |type_url: &TypeUrl, name: &str| old.get(type_url, name).unwrap().version().to_string();
    let (a, b) = (version(&CDS, "a"), version(&CDS, "b"));
    peer.resume(CDS, &[], &[("a", &a), ("b", &b)]);
    assert_eq!(peer.settle(), ["cds"]);
    peer.resume(EDS, &["a", "b"], &[]);
    peer.resume(LDS, &[], &[("l", &version(&LDS, "l"))]);
    assert_eq!(peer.settle(), ["eds a", "lds", "eds -b"]);
    peer.resume(RDS, &[ROUTE], &[(ROUTE, &version(&RDS, ROUTE))]);
    assert_eq!(peer.settle(), ["rds rt", "cds -b"]);
}

#[test]
fn a_listener_with_inline_routes_waits_like_a_route() {
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &snapshot([static_cluster("a")]));
        peer.subscribe(CDS, &[]);
        peer.settle();
        peer.subscribe(LDS, &[]);
        peer.settle();
        peer.view(&snapshot([
            static_cluster("a"),
            static_cluster("c"),
            inline_listener("l", "c"),
        ]));
        let clusters = peer.one();
        peer.ack(&clusters);
        assert_eq!(peer.settle(), ["lds l"]);
    }
}

#[test]
fn d10_the_routes_of_a_removed_listener_are_left_to_the_client() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&snapshot([cluster("a", 1), assignment("a", 1)]));
    let listeners = peer.one();
    assert_eq!(brief(&listeners), "lds -l");
    peer.unsubscribe(RDS, &[ROUTE]);
    peer.ack(&listeners);
    assert!(peer.poll().is_none());
    assert!(peer.acknowledged().is_some());
}
