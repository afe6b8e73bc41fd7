//! Streams of one type.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::*;
use crate::limits::REMOVAL_GRACE;
use crate::stream::Variant::{Delta, Sotw};
use crate::stream::{Request, Variant, Violation};

fn request(peer: &Peer, variant: Variant, url: &str) -> Request {
    let (node, type_url) = (peer.node(), url.to_owned());
    match variant {
        Delta => Request::Delta(DeltaDiscoveryRequest {
            node,
            type_url,
            ..Default::default()
        }),
        Sotw => Request::Sotw(DiscoveryRequest {
            node,
            type_url,
            ..Default::default()
        }),
    }
}

#[test]
fn c2_on_a_stream_of_one_type_an_empty_type_url_means_that_type() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::only(variant, CDS, &world(&["a"], "a"));
        let unnamed = request(&peer, variant, "");
        peer.send(unnamed);
        assert_eq!(brief(&peer.one()), "cds a");
    }
}

#[test]
fn c2_a_stream_of_one_type_refuses_every_other_type() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::only(variant, CDS, &world(&["a"], "a"));
        let other = request(&peer, variant, LDS.as_str());
        let refused = peer.session.handle_request(other, peer.now).unwrap_err();
        let expected = Violation::TypeDiffers {
            expected: CDS,
            url: LDS.as_str().to_owned(),
        };
        assert_eq!(refused, expected);
        assert!(refused.to_string().contains("serves cds only"));
    }
}

#[test]
fn c2_on_an_aggregated_stream_an_empty_type_url_is_refused() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &world(&["a"], "a"));
        let unnamed = request(&peer, variant, "");
        let refused = peer.session.handle_request(unnamed, peer.now);
        assert_eq!(refused.unwrap_err(), Violation::TypeMissing);
    }
}

#[test]
fn o5_nothing_waits_for_what_is_on_other_streams() {
    for variant in [Delta, Sotw] {
        let mut peer = Peer::only(variant, RDS, &world(&["a"], "a"));
        peer.subscribe(RDS, &[ROUTE]);
        assert_eq!(peer.settle(), ["rds rt"]);
        peer.view(&world(&["a", "b"], "b"));
        assert_eq!(peer.settle(), ["rds rt"]);
        assert!(peer.acknowledged().is_some());
    }
}

#[test]
fn o5_what_the_view_no_longer_has_stays_for_a_grace() {
    for (variant, removal) in [(Delta, "cds -b"), (Sotw, "cds a")] {
        let mut peer = Peer::only(variant, CDS, &world(&["a", "b"], "a"));
        peer.subscribe(CDS, &[]);
        peer.settle();
        peer.view(&world(&["a"], "a"));
        assert!(peer.settle().is_empty());
        peer.pass(REMOVAL_GRACE - Duration::from_millis(1));
        assert!(peer.settle().is_empty());
        peer.pass(Duration::from_millis(1));
        assert_eq!(peer.settle(), [removal]);
        assert_eq!(peer.session.delivery().gates_forced, 0);
    }
}

#[test]
fn o5_additions_hold_the_union_while_the_grace_runs() {
    let mut peer = Peer::only(Sotw, CDS, &world(&["a", "b"], "a"));
    peer.subscribe(CDS, &[]);
    peer.settle();
    peer.view(&world(&["a", "c"], "a"));
    assert_eq!(peer.settle(), ["cds a b c"]);
    peer.pass(REMOVAL_GRACE);
    assert_eq!(peer.settle(), ["cds a c"]);
}

#[test]
fn s6_scopes_are_asked_for_without_names() {
    let scope = |name: &str| {
        let type_url = TypeUrl::SCOPED_ROUTE_CONFIGURATION;
        Resource::new(type_url, name, name.as_bytes().to_vec().into()).unwrap()
    };
    for variant in [Delta, Sotw] {
        let view = snapshot([scope("s1"), scope("s2")]);
        let mut peer = Peer::only(variant, TypeUrl::SCOPED_ROUTE_CONFIGURATION, &view);
        peer.subscribe(TypeUrl::SCOPED_ROUTE_CONFIGURATION, &[]);
        assert_eq!(brief(&peer.one()), "srds s1 s2");
    }
}
