use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::stream::{Outcome, Variant::Sotw};

fn request(type_url: TypeUrl, names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Peer::new(Sotw).node(),
        type_url: type_url.as_str().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        version_info: version.to_owned(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

#[test]
fn c3_an_unknown_type_is_not_answered_and_does_not_disturb_the_stream() {
    let mut peer = Peer::with_view(Sotw, &world(&["a"], "a"));
    peer.subscribe(TypeUrl::new("acme/Secret"), &["cert"]);
    peer.subscribe(CDS, &[]);
    assert_eq!(peer.settle(), ["cds a"]);
}

#[test]
fn c7_the_version_depends_on_the_content_of_the_type_alone() {
    let version = |view| {
        let mut peer = Peer::with_view(Sotw, &view);
        peer.subscribe(CDS, &[]);
        peer.one().version
    };
    let (one, other) = (world(&["a", "b"], "a"), world(&["a", "b"], "b"));
    assert_ne!(one.id(), other.id());
    assert_eq!(version(one), version(other));
    assert_ne!(
        version(world(&["a", "b"], "a")),
        version(world(&["a"], "a"))
    );
}

#[test]
fn c11_a_nack_is_told_by_its_error_detail_even_if_it_names_the_rejected_version() {
    let view = world(&["a", "b"], "a");
    let mut peer = Peer::with_view(Sotw, &view);
    peer.subscribe(CDS, &["a", "b"]);
    let response = peer.one();
    let nonce = response.nonce.to_string();
    let mut nack = request(CDS, &["a", "b"], &response.version, &nonce);
    nack.error_detail = Some(Status {
        message: "b is bad".to_owned(),
        ..Status::default()
    });
    assert_eq!(peer.send(nack), Outcome::Rejected);
    assert!(peer.acknowledged().is_none());
    assert_eq!(&*peer.session.delivery().rejections[0].text, "b is bad");
}

#[test]
fn c12_a_rejected_set_is_not_sent_again_until_it_changes() {
    let (good, bad) = (world(&["a"], "a"), world(&["a", "bad"], "a"));
    let mut peer = envoy(Sotw, &good);
    peer.view(&bad);
    let response = peer.one();
    peer.nack(&response, "no");
    assert!(peer.drain().is_empty());
    assert_eq!(
        peer.session.delivery().rejections[0].names,
        vec!["bad".into()]
    );
    peer.view(&good);
    assert_eq!(peer.settle(), ["cds a"]);
    assert!(peer.session.delivery().rejections.is_empty());
    peer.view(&bad);
    assert!(
        peer.drain().is_empty(),
        "the same set is not sent again on this stream"
    );
}

#[test]
fn c13_the_names_in_a_nack_count() {
    let mut peer = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a"]);
    let response = peer.one();
    let mut nack = request(EDS, &["a", "b"], "", &response.nonce.to_string());
    nack.error_detail = Some(Status::default());
    peer.send(nack);
    assert_eq!(briefs(&peer.drain()), ["eds b"]);
}

#[test]
fn c14_several_requests_before_the_first_response_are_all_served() {
    let mut peer = Peer::with_view(Sotw, &world(&["canary", "stable"], "stable"));
    peer.subscribe(CDS, &["canary"]);
    let first = peer.one();
    peer.subscribe(CDS, &["canary", "stable"]);
    peer.ack(&first);
    assert_eq!(peer.settle(), ["cds canary stable"]);
}

#[test]
fn s1_a_response_for_clusters_or_listeners_is_the_whole_set() {
    let mut peer = envoy(Sotw, &world(&["a", "b"], "a"));
    peer.view(&world(&["a", "b", "c"], "a"));
    assert_eq!(peer.settle(), ["cds a b c"]);
}

#[test]
fn s2_a_response_for_endpoints_carries_what_changed_and_absence_says_nothing() {
    let mut peer = envoy(Sotw, &world(&["a", "b"], "a"));
    let resources = [
        cluster("a", 1),
        assignment("a", 1),
        cluster("b", 1),
        assignment("b", 2),
    ];
    peer.view(&snapshot(
        resources
            .into_iter()
            .chain([listener("l", ROUTE), route(ROUTE, "a")]),
    ));
    assert_eq!(peer.settle(), ["eds b"]);
    peer.view(&world(&["a"], "a"));
    assert_eq!(peer.settle(), ["cds a"]);
}

#[test]
fn s3_s4_a_newly_named_resource_is_sent_though_nothing_changed() {
    let mut peer = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a"]);
    let response = peer.one();
    peer.ack(&response);
    assert!(peer.poll().is_none());
    peer.send(request(
        EDS,
        &["a", "b"],
        &response.version,
        &response.nonce.to_string(),
    ));
    assert_eq!(briefs(&peer.drain()), ["eds b"]);
}

#[test]
fn s5_a_resource_that_was_dropped_and_named_again_is_sent_again() {
    let mut peer = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a", "b"]);
    let response = peer.one();
    peer.ack(&response);
    let nonce = response.nonce.to_string();
    peer.send(request(EDS, &["a"], &response.version, &nonce));
    assert!(peer.poll().is_none());
    peer.send(request(EDS, &["a", "b"], &response.version, &nonce));
    assert_eq!(briefs(&peer.drain()), ["eds b"]);
}

#[test]
fn s6_empty_means_all_only_until_a_name_was_seen() {
    let mut peer = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    peer.subscribe(CDS, &[]);
    assert_eq!(peer.settle(), ["cds a b"]);
    peer.subscribe(CDS, &["*", "a"]);
    assert_eq!(peer.settle(), ["cds a b"]);
    peer.subscribe(CDS, &["a"]);
    peer.settle();
    peer.view(&snapshot([
        cluster("a", 1),
        assignment("a", 1),
        cluster("b", 2),
        assignment("b", 1),
    ]));
    assert!(peer.drain().is_empty(), "b is not subscribed any more");
    peer.subscribe(CDS, &[]);
    peer.settle();
    peer.view(&snapshot([cluster("a", 3), assignment("a", 1)]));
    assert!(peer.drain().is_empty(), "empty means nothing now");
}

#[test]
fn s6_empty_never_means_all_for_endpoints_and_routes() {
    let mut peer = Peer::with_view(Sotw, &world(&["a"], "a"));
    peer.subscribe(EDS, &[]);
    peer.subscribe(RDS, &[]);
    assert!(peer.drain().is_empty());
}

#[test]
fn s7_a_stale_nonce_changes_nothing() {
    let mut peer = envoy(Sotw, &world(&["a", "b"], "a"));
    peer.view(&world(&["a", "b"], "b"));
    let in_flight = peer.one();
    let stale = request(RDS, &["other"], "x", "1");
    assert_eq!(peer.send(stale), Outcome::Stale);
    assert!(peer.poll().is_none());
    peer.ack(&in_flight);
    assert!(peer.drain().is_empty());
    assert!(peer.acknowledged().is_some());
}

#[test]
fn s7_an_empty_nonce_states_the_names_afresh() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.subscribe(EDS, &["a"]);
    assert_eq!(peer.settle(), ["eds a"]);
}

#[test]
fn s8_an_equal_wildcard_set_is_not_sent_after_a_reconnect_but_names_are() {
    let view = world(&["a"], "a");
    let mut before = Peer::with_view(Sotw, &view);
    before.subscribe(CDS, &[]);
    before.subscribe(EDS, &["a"]);
    let versions: Vec<_> = before
        .drain()
        .iter()
        .map(|r| r.version.to_string())
        .collect();
    let mut peer = Peer::with_view(Sotw, &view);
    peer.send(request(CDS, &[], &versions[0], ""));
    peer.send(request(EDS, &["a"], &versions[1], ""));
    assert_eq!(briefs(&peer.drain()), ["eds a"]);
    let mut other = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    other.send(request(CDS, &[], &versions[0], ""));
    assert_eq!(briefs(&other.drain()), ["cds a b"]);
    let mut named = Peer::with_view(Sotw, &view);
    named.send(request(CDS, &["a"], &versions[0], ""));
    assert_eq!(briefs(&named.drain()), ["cds a"]);
}

#[test]
fn s9_endpoints_of_a_changed_cluster_are_sent_again_unchanged() {
    let mut peer = envoy(Sotw, &world(&["a", "b"], "a"));
    let resources = [
        cluster("a", 2),
        assignment("a", 1),
        cluster("b", 1),
        assignment("b", 1),
    ];
    peer.view(&snapshot(
        resources
            .into_iter()
            .chain([listener("l", ROUTE), route(ROUTE, "a")]),
    ));
    assert_eq!(peer.settle(), ["cds a b", "eds a"]);
}

#[test]
fn s10_a_route_request_with_new_names_is_answered() {
    let view = snapshot([
        cluster("a", 1),
        assignment("a", 1),
        listener("l", ROUTE),
        route(ROUTE, "a"),
        listener("m", "rt2"),
        route("rt2", "a"),
    ]);
    let mut peer = Peer::with_view(Sotw, &view);
    peer.subscribe(RDS, &[ROUTE]);
    let response = peer.one();
    peer.ack(&response);
    peer.send(request(
        RDS,
        &[ROUTE, "rt2"],
        &response.version,
        &response.nonce.to_string(),
    ));
    assert_eq!(briefs(&peer.drain()), ["rds rt2"]);
}

#[test]
fn s11_a_wildcard_with_nothing_is_answered_with_an_empty_response() {
    let mut peer = Peer::with_view(Sotw, &snapshot([]));
    peer.subscribe(CDS, &[]);
    peer.subscribe(LDS, &[]);
    assert_eq!(peer.settle(), ["cds", "lds"]);
}

#[test]
fn a_grpc_client_that_names_a_missing_cluster_hears_of_it_at_once() {
    let mut peer = Peer::with_view(Sotw, &world(&["a"], "a"));
    peer.subscribe(CDS, &["nope"]);
    assert_eq!(peer.settle(), ["cds"]);
}

#[test]
fn rejected_endpoints_go_out_once_more_alone() {
    let mut peer = Peer::with_view(Sotw, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a", "b"]);
    let both = peer.one();
    peer.nack(&both, "one of them");
    let a = peer.one();
    assert_eq!(brief(&a), "eds a");
    peer.nack(&a, "a it was");
    assert_eq!(peer.settle(), ["eds b"]);
    let rejections = peer.session.delivery().rejections;
    assert_eq!((rejections.len(), &*rejections[0].text), (1, "a it was"));
}
