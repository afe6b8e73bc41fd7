//! Rules that both protocols share, where `delta` or `sotw` shows them for one only.

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::*;
use crate::limits::{NAME_BYTES_MAX, NAMES_MAX, TYPES_MAX};
use crate::stream::Variant::{Delta, Sotw};
use crate::stream::{Outcome, Request, Variant, Violation};

const BOTH: [Variant; 2] = [Delta, Sotw];

/// A request with nothing but a type and names: state of the world's whole list.
fn bare(variant: Variant, type_url: &TypeUrl, names: &[&str]) -> Request {
    let type_url = type_url.as_str().to_owned();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    match variant {
        Delta => Request::Delta(DeltaDiscoveryRequest {
            type_url,
            resource_names_subscribe: names,
            ..Default::default()
        }),
        Sotw => Request::Sotw(DiscoveryRequest {
            type_url,
            resource_names: names,
            ..Default::default()
        }),
    }
}

/// The same, in answer to a nonce.
fn answer(variant: Variant, nonce: &str, names: &[&str], error: Option<&str>) -> Request {
    let detail = error.map(|message| envoy_types::pb::google::rpc::Status {
        message: message.to_owned(),
        ..Default::default()
    });
    let mut request = bare(variant, &EDS, names);
    match &mut request {
        Request::Delta(request) => {
            request.response_nonce = nonce.to_owned();
            request.error_detail = detail;
        }
        Request::Sotw(request) => {
            request.response_nonce = nonce.to_owned();
            request.error_detail = detail;
        }
    }
    request
}

fn endpoints(contents: &[(&str, u32)]) -> std::sync::Arc<Snapshot> {
    snapshot(
        contents
            .iter()
            .map(|(name, content)| assignment(name, *content)),
    )
}

#[test]
fn c1_only_the_first_request_of_a_stream_names_its_node() {
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &world(&["a"], "a"));
        let nameless = bare(variant, &CDS, &[]);
        let refused = peer.session.handle_request(nameless, peer.now);
        assert_eq!(refused, Err(Violation::NodeMissing));
        peer.subscribe(CDS, &[]);
        peer.send(bare(variant, &LDS, &[]));
        assert_eq!(briefs(&peer.drain()), ["cds a", "lds l"]);
    }
}

#[test]
fn c4_what_one_type_refuses_or_leaves_unanswered_delays_no_other() {
    let view = |clusters, endpoints| {
        snapshot([
            cluster("a", clusters),
            assignment("a", endpoints),
            listener("l", ROUTE),
            route(ROUTE, "a"),
        ])
    };
    for variant in BOTH {
        let mut peer = envoy(variant, &view(1, 1));
        peer.view(&view(2, 2));
        let responses = peer.drain();
        assert_eq!(briefs(&responses), ["cds a", "eds a"]);
        peer.nack(&responses[0], "no");
        peer.ack(&responses[1]);
        peer.view(&view(2, 3));
        let endpoints = peer.one();
        assert_eq!(brief(&endpoints), "eds a");
        peer.view(&view(3, 3));
        assert_eq!(brief(&peer.one()), "cds a");
    }
}

#[test]
fn c5_no_nonce_comes_twice_on_a_stream() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        let mut nonces = Vec::new();
        for content in 2..5 {
            peer.view(&snapshot([
                cluster("a", content),
                assignment("a", 1),
                listener("l", ROUTE),
                route(ROUTE, "a"),
            ]));
            for response in peer.drain() {
                nonces.push(response.nonce);
                peer.ack(&response);
            }
        }
        let count = nonces.len();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!((nonces.len(), count), (6, 6), "clusters and endpoints");
    }
}

#[test]
fn c6_every_resource_is_of_the_type_of_its_response_and_there_once() {
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &world(&["a", "b"], "a"));
        peer.subscribe(CDS, &["*", "a", "a"]);
        peer.subscribe(EDS, &["a", "b", "b"]);
        let responses = peer.drain();
        assert_eq!(briefs(&responses), ["cds a b", "eds a b"]);
        for response in responses {
            let mut types = response.items.iter().map(|item| item.resource.type_url());
            assert!(types.all(|type_url| *type_url == response.type_url));
        }
    }
}

#[test]
fn c7_equal_content_has_the_equal_version_on_every_replica() {
    for variant in BOTH {
        let version = |view: std::sync::Arc<Snapshot>| {
            let mut peer = Peer::with_view(variant, &view);
            peer.subscribe(EDS, &["a"]);
            let response = peer.one();
            match variant {
                Delta => response.items[0].resource.version().to_string(),
                Sotw => response.version.to_string(),
            }
        };
        assert_eq!(
            version(endpoints(&[("a", 1)])),
            version(endpoints(&[("a", 1), ("b", 1)]))
        );
        assert_ne!(
            version(endpoints(&[("a", 1)])),
            version(endpoints(&[("a", 2)]))
        );
    }
}

#[test]
fn c8_neither_an_ack_nor_an_equal_view_is_answered() {
    for variant in BOTH {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        assert!(peer.poll().is_none());
        peer.view(&world(&["a"], "a"));
        assert!(peer.poll().is_none());
    }
}

#[test]
fn c9_a_name_without_a_resource_stays_subscribed() {
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &endpoints(&[("a", 1)]));
        peer.subscribe(EDS, &["b"]);
        peer.settle();
        peer.view(&endpoints(&[("a", 1), ("b", 1)]));
        assert_eq!(peer.settle(), ["eds b"]);
    }
}

#[test]
fn c10_unknown_nonces_and_repeated_answers_are_passed_over() {
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &endpoints(&[("a", 1)]));
        peer.subscribe(EDS, &["a"]);
        let response = peer.one();
        peer.ack(&response);
        assert_eq!(peer.answer_again(&response), Outcome::Stale);
        let names: &[&str] = if variant == Sotw { &["a"] } else { &[] };
        for nonce in ["4711", "not a number", "-1", "18446744073709551616"] {
            for error in [None, Some("no")] {
                let request = answer(variant, nonce, names, error);
                assert_eq!(peer.send(request), Outcome::Stale);
            }
        }
        assert!(peer.poll().is_none());
        assert!(peer.session.delivery().rejections.is_empty());
    }
}

#[test]
fn c11_an_answer_is_a_nack_exactly_if_it_has_an_error_detail() {
    for variant in BOTH {
        for (error, outcome) in [
            (None, Outcome::Acknowledged),
            (Some(""), Outcome::Rejected),
            (Some("no"), Outcome::Rejected),
        ] {
            let mut peer = Peer::with_view(variant, &endpoints(&[("a", 1)]));
            peer.subscribe(EDS, &["a"]);
            let nonce = peer.one().nonce.to_string();
            let names: &[&str] = if variant == Sotw { &["a"] } else { &[] };
            assert_eq!(peer.send(answer(variant, &nonce, names, error)), outcome);
        }
    }
}

#[test]
fn c14_requests_that_come_before_the_first_response_lose_no_name() {
    for variant in BOTH {
        // Before there is anything to answer with, and after.
        for early in [true, false] {
            let view = endpoints(&[("canary", 1), ("stable", 1)]);
            let mut peer = Peer::new(variant);
            if !early {
                peer.view(&view);
            }
            peer.subscribe(EDS, &["canary"]);
            let names: &[&str] = match variant {
                Delta => &["stable"],
                Sotw => &["canary", "stable"],
            };
            peer.subscribe(EDS, names);
            peer.view(&view);
            assert_eq!(peer.settle(), ["eds canary stable"]);
        }
    }
}

#[test]
fn c16_requests_of_either_variant_are_bounded() {
    for variant in BOTH {
        let mut peer = Peer::new(variant);
        peer.subscribe(CDS, &[]);
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let names: Vec<String> = (0..=NAMES_MAX).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (names, violation) in [
            (&[long.as_str()][..], Violation::TooLong),
            (&names, Violation::TooManyNames),
        ] {
            let request = bare(variant, &EDS, names);
            let refused = peer.session.handle_request(request, peer.now);
            assert_eq!(refused, Err(violation));
        }
        for number in 1..TYPES_MAX {
            peer.send(bare(variant, &TypeUrl::new(&format!("acme/{number}")), &[]));
        }
        let refused = peer
            .session
            .handle_request(bare(variant, &EDS, &[]), peer.now);
        assert_eq!(refused, Err(Violation::TooManyTypes));
    }
}

#[test]
fn c17_what_can_be_split_is_split() {
    let type_url = TypeUrl::new("acme/Blob");
    let names = ["b0", "b1", "b2", "b3", "b4"];
    let blob = |name: &str| {
        let body = bytes::Bytes::from(vec![7; 1024 * 1024]);
        Resource::new(type_url.clone(), name, body).unwrap()
    };
    for variant in BOTH {
        let mut peer = Peer::with_view(variant, &snapshot(names.map(blob)));
        peer.subscribe(type_url.clone(), &names);
        assert_eq!(
            peer.settle(),
            ["acme/Blob b0 b1", "acme/Blob b2 b3", "acme/Blob b4"]
        );
    }
}

#[test]
fn s9_endpoints_follow_a_changed_cluster_unchanged_and_unasked() {
    let view = |content| {
        snapshot([
            cluster("a", content),
            assignment("a", 1),
            cluster("b", 1),
            assignment("b", 1),
            listener("l", ROUTE),
            route(ROUTE, "a"),
        ])
    };
    for variant in BOTH {
        let mut peer = envoy(variant, &view(1));
        peer.view(&view(2));
        let clusters = if variant == Sotw { "cds a b" } else { "cds a" };
        assert_eq!(peer.settle(), [clusters, "eds a"]);
    }
}

#[test]
fn s12_no_answer_waits_until_everything_is_asked_for() {
    for variant in BOTH {
        let view = world(&["a", "b", "c"], "a");
        let mut peer = Peer::with_view(variant, &view);
        peer.subscribe(EDS, &["b"]);
        assert_eq!(peer.settle(), ["eds b"]);
        let mut other = Peer::with_view(variant, &view);
        other.subscribe(CDS, &["c"]);
        assert_eq!(other.settle(), ["cds c"]);
        other.subscribe(EDS, &["c"]);
        assert_eq!(other.settle(), ["eds c"]);
    }
}

#[test]
fn d13_what_is_sent_has_the_version_of_its_bytes() {
    let mut peer = Peer::with_view(Delta, &endpoints(&[("a", 1)]));
    peer.subscribe(EDS, &["a"]);
    let mut versions = Vec::new();
    for content in [2, 1, 1] {
        let response = peer.one();
        let resource = &response.items[0].resource;
        assert_eq!(resource.version(), crate::Version::of(resource.body()));
        versions.push(resource.version());
        peer.ack(&response);
        peer.view(&endpoints(&[("a", content)]));
    }
    assert!(versions[0] == versions[2] && versions[0] != versions[1]);
    assert!(peer.poll().is_none(), "equal bytes");
}

#[test]
fn x7_a_reconnect_with_an_equal_set_sends_no_cluster_and_no_listener() {
    let view = world(&["a", "b"], "a");
    let mut before = Peer::with_view(Sotw, &view);
    let names: [(TypeUrl, &[&str]); 4] =
        [(CDS, &[]), (EDS, &["a", "b"]), (LDS, &[]), (RDS, &[ROUTE])];
    let mut versions = Vec::new();
    for (type_url, names) in &names {
        before.subscribe(type_url.clone(), names);
        let response = before.one();
        before.ack(&response);
        versions.push(response.version.to_string());
    }
    let mut after = Peer::with_view(Sotw, &view);
    for ((type_url, names), version) in names.iter().zip(versions) {
        after.send(DiscoveryRequest {
            node: after.node(),
            version_info: version,
            type_url: type_url.as_str().to_owned(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        });
    }
    // What is named is sent again; the route once the endpoints that it leads to are there.
    let endpoints = after.one();
    assert_eq!(brief(&endpoints), "eds a b");
    let nonce = endpoints.nonce.to_string();
    after.send(answer(Sotw, &nonce, &["a", "b"], None));
    assert_eq!(brief(&after.one()), "rds rt");
}
