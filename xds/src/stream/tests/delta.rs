use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::*;
use crate::limits::{NAME_BYTES_MAX, TYPES_MAX};
use crate::stream::{Outcome, Variant::Delta, Violation};

fn version(resource: &Resource) -> String {
    resource.version().to_string()
}

#[test]
fn c1_the_node_is_needed_in_the_first_request_of_the_stream_only() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    let anonymous = |type_url: TypeUrl| DeltaDiscoveryRequest {
        type_url: type_url.as_str().to_owned(),
        ..Default::default()
    };
    let refused = peer.session.handle_request(anonymous(CDS), peer.now);
    assert_eq!(refused, Err(Violation::NodeMissing));
    peer.subscribe(CDS, &[]);
    peer.send(anonymous(LDS));
    assert_eq!(briefs(&peer.drain()), ["cds a", "lds l"]);
}

#[test]
fn c2_a_request_without_a_type_is_refused() {
    let mut peer = Peer::new(Delta);
    let request = DeltaDiscoveryRequest {
        node: peer.node(),
        ..Default::default()
    };
    assert_eq!(
        peer.session.handle_request(request, peer.now),
        Err(Violation::TypeMissing)
    );
}

#[test]
fn c3_an_unknown_type_does_not_disturb_the_stream() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    let secrets = TypeUrl::new("type.googleapis.com/acme.Secret");
    peer.subscribe(secrets, &["cert"]);
    peer.subscribe(CDS, &[]);
    assert_eq!(
        briefs(&peer.drain()),
        ["cds a", "type.googleapis.com/acme.Secret -cert"]
    );
}

#[test]
fn c4_a_rejection_of_one_type_does_not_delay_another() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    let next = snapshot([
        cluster("a", 2),
        assignment("a", 2),
        listener("l", ROUTE),
        route(ROUTE, "a"),
    ]);
    peer.view(&next);
    let responses = peer.drain();
    assert_eq!(briefs(&responses), ["cds a", "eds a"]);
    peer.nack(&responses[0], "no");
    peer.ack(&responses[1]);
    let third = snapshot([
        cluster("a", 2),
        assignment("a", 3),
        listener("l", ROUTE),
        route(ROUTE, "a"),
    ]);
    peer.view(&third);
    assert_eq!(briefs(&peer.drain()), ["eds a"]);
}

#[test]
fn c5_nonces_are_unique_over_all_types_of_a_stream() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    peer.subscribe(CDS, &[]);
    peer.subscribe(LDS, &[]);
    let responses = peer.drain();
    assert_eq!(responses.len(), 2);
    assert_ne!(responses[0].nonce, responses[1].nonce);
}

#[test]
fn c8_an_ack_is_not_answered() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    peer.subscribe(CDS, &[]);
    let response = peer.one();
    peer.ack(&response);
    assert!(peer.poll().is_none());
}

#[test]
fn c9_a_name_that_does_not_exist_yet_is_sent_when_it_does() {
    let mut peer = Peer::with_view(Delta, &world(&["a"], "a"));
    peer.subscribe(EDS, &["b"]);
    assert_eq!(peer.settle(), ["eds -b"]);
    peer.view(&world(&["a", "b"], "a"));
    assert_eq!(peer.settle(), ["eds b"]);
}

#[test]
fn c10_superfluous_unsubscribes_and_unknown_nonces_are_ignored() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.unsubscribe(EDS, &["never", "a"]);
    peer.unsubscribe(EDS, &["a"]);
    let stray = DeltaDiscoveryRequest {
        type_url: EDS.as_str().to_owned(),
        response_nonce: "4711".to_owned(),
        ..Default::default()
    };
    assert_eq!(peer.send(stray), Outcome::Stale);
    assert!(peer.poll().is_none());
}

#[test]
fn c12_after_a_rejection_even_a_return_to_the_last_good_content_is_sent() {
    let (good, bad) = (
        world(&["a"], "a"),
        world_with(&["a"], weighted_route(ROUTE, &[("a", 0)])),
    );
    let mut peer = envoy(Delta, &good);
    peer.view(&bad);
    let response = peer.one();
    peer.nack(&response, "sum of weights");
    assert!(peer.poll().is_none());
    peer.view(&good);
    assert_eq!(peer.settle(), ["rds rt"]);
    assert_eq!(peer.acknowledged().as_deref(), Some(&**good.id()));
}

#[test]
fn c13_the_subscription_in_a_nack_counts() {
    let mut peer = Peer::with_view(Delta, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a"]);
    let response = peer.one();
    peer.send(DeltaDiscoveryRequest {
        type_url: EDS.as_str().to_owned(),
        response_nonce: response.nonce.to_string(),
        error_detail: Some(Default::default()),
        resource_names_subscribe: vec!["b".to_owned()],
        ..Default::default()
    });
    assert_eq!(peer.settle(), ["eds b"]);
}

#[test]
fn c16_names_types_and_lists_are_bounded() {
    let mut peer = Peer::new(Delta);
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let request = |names: Vec<String>| DeltaDiscoveryRequest {
        node: Peer::new(Delta).node(),
        type_url: EDS.as_str().to_owned(),
        resource_names_subscribe: names,
        ..Default::default()
    };
    let now = peer.now;
    assert_eq!(
        peer.session.handle_request(request(vec![long]), now),
        Err(Violation::TooLong)
    );
    let many = (0..=crate::limits::NAMES_MAX)
        .map(|i| i.to_string())
        .collect();
    assert_eq!(
        peer.session.handle_request(request(many), now),
        Err(Violation::TooManyNames)
    );
    for i in 0..TYPES_MAX {
        peer.subscribe(TypeUrl::new(&format!("acme/{i}")), &["a"]);
    }
    let refused = peer.session.handle_request(request(vec![]), now);
    assert_eq!(refused, Err(Violation::TooManyTypes));
}

#[test]
fn c17_a_large_answer_is_split_into_several_responses() {
    let resources = (0..5).map(|i| {
        let body = bytes::Bytes::from(vec![i; 1024 * 1024]);
        Resource::new(TypeUrl::new("acme/Blob"), &format!("b{i}"), body).unwrap()
    });
    let mut peer = Peer::with_view(Delta, &snapshot(resources));
    peer.subscribe(TypeUrl::new("acme/Blob"), &["*"]);
    assert_eq!(
        peer.settle(),
        ["acme/Blob b0 b1", "acme/Blob b2 b3", "acme/Blob b4"]
    );
}

#[test]
fn nothing_is_answered_before_there_is_a_view() {
    let mut peer = Peer::new(Delta);
    peer.subscribe(CDS, &[]);
    peer.resume(EDS, &["a"], &[("a", "1")]);
    assert!(peer.poll().is_none());
    peer.view(&world(&["a"], "a"));
    assert_eq!(briefs(&peer.drain()), ["cds a", "eds a"]);
}

#[test]
fn s11_a_wildcard_with_nothing_is_answered_with_an_empty_response() {
    let mut peer = Peer::with_view(Delta, &snapshot([]));
    peer.subscribe(CDS, &[]);
    peer.subscribe(LDS, &[]);
    assert_eq!(peer.settle(), ["cds", "lds"]);
}

#[test]
fn d1_an_empty_list_is_no_edit() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.send(DeltaDiscoveryRequest {
        type_url: EDS.as_str().to_owned(),
        ..Default::default()
    });
    peer.view(&snapshot([
        cluster("a", 1),
        assignment("a", 2),
        listener("l", ROUTE),
        route(ROUTE, "a"),
    ]));
    assert_eq!(peer.settle(), ["eds a"]);
}

#[test]
fn d2_a_name_keeps_the_legacy_wildcard_and_unsubscribing_the_star_ends_it() {
    let mut peer = Peer::with_view(Delta, &world(&["a", "b"], "a"));
    peer.subscribe(CDS, &[]);
    assert_eq!(peer.settle(), ["cds a b"]);
    peer.subscribe(CDS, &["a"]);
    assert_eq!(peer.settle(), ["cds a"]);
    peer.unsubscribe(CDS, &["*"]);
    let changed = snapshot([
        cluster("a", 2),
        assignment("a", 1),
        cluster("b", 2),
        assignment("b", 1),
    ]);
    peer.view(&changed);
    assert_eq!(peer.settle(), ["cds a"]);
}

#[test]
fn d3_d3a_d3b_every_subscribed_name_is_answered_even_if_it_is_held() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.subscribe(EDS, &["a", "nope"]);
    assert_eq!(peer.settle(), ["eds a", "eds -nope"]);
}

#[test]
fn d3c_the_runtime_goes_one_resource_a_response() {
    let mut peer = Peer::with_view(Delta, &snapshot([runtime("x", 1), runtime("y", 1)]));
    peer.subscribe(RTDS, &["x", "y", "z", "zz"]);
    assert_eq!(peer.settle(), ["rtds x", "rtds y", "rtds -z", "rtds -zz"]);
}

#[test]
fn d4_a_stale_nonce_does_not_void_the_edits() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    peer.unsubscribe(EDS, &["b"]);
    peer.send(DeltaDiscoveryRequest {
        type_url: EDS.as_str().to_owned(),
        response_nonce: "0".to_owned(),
        resource_names_subscribe: vec!["b".to_owned()],
        ..Default::default()
    });
    assert_eq!(peer.settle(), ["eds b"]);
}

#[test]
fn d6_unsubscribing_a_name_under_a_wildcard_is_answered() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.subscribe(CDS, &["a", "nope"]);
    peer.settle();
    peer.unsubscribe(CDS, &["a"]);
    assert_eq!(peer.settle()[0], "cds a");
    peer.unsubscribe(CDS, &["nope"]);
    assert_eq!(peer.settle(), ["cds -nope"]);
}

#[test]
fn d7_an_unsubscribe_is_not_answered_and_a_later_subscription_is() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.unsubscribe(EDS, &["a"]);
    assert!(peer.poll().is_none());
    peer.subscribe(EDS, &["a"]);
    assert_eq!(peer.settle(), ["eds a"]);
}

#[test]
fn d8_a_reconnecting_wildcard_gets_only_the_difference() {
    let view = world(&["a", "b"], "a");
    let mut peer = Peer::with_view(Delta, &view);
    let (a, l) = (cluster("a", 1), listener("l", ROUTE));
    let (a, l) = (version(&a), version(&l));
    peer.resume(CDS, &[], &[("a", &a), ("b", "another-control-plane")]);
    peer.resume(LDS, &[], &[("l", &l), ("gone", "1")]);
    let responses = peer.drain();
    assert_eq!(briefs(&responses), ["cds b", "lds"]);
    responses.iter().for_each(|response| peer.ack(response));
    assert_eq!(peer.settle(), ["lds -gone"]);
}

#[test]
fn x7_a_reconnect_with_equal_versions_resends_no_wildcard_resource() {
    let view = world(&["a", "b"], "a");
    let mut peer = Peer::with_view(Delta, &view);
    let held = |type_url: TypeUrl| -> Vec<(String, String)> {
        view.iter(&type_url)
            .map(|r| (r.name().to_string(), version(r)))
            .collect()
    };
    for (type_url, explicit) in [(CDS, false), (EDS, true), (LDS, false), (RDS, true)] {
        let held = held(type_url.clone());
        let held: Vec<(&str, &str)> = held.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let names: Vec<&str> = held.iter().map(|(n, _)| *n).filter(|_| explicit).collect();
        peer.resume(type_url, &names, &held);
    }
    assert_eq!(peer.settle(), ["cds", "eds a b", "lds", "rds rt"]);
    let delivery = peer.session.delivery();
    assert_eq!(
        (delivery.sent[&CDS].resources, delivery.sent[&LDS].resources),
        (0, 0)
    );
    assert_eq!(delivery.acknowledged.as_deref(), Some(&**view.id()));
}

#[test]
fn d8b_endpoints_of_a_changed_cluster_are_pushed_again_after_a_reconnect() {
    let view = world(&["a"], "a");
    let mut peer = Peer::with_view(Delta, &view);
    let eds = version(&assignment("a", 1));
    peer.resume(EDS, &["a"], &[("a", &eds)]);
    assert_eq!(peer.settle(), ["eds a"]);
    peer.resume(CDS, &[], &[("a", "0000000000000000")]);
    assert_eq!(briefs(&peer.drain()), ["cds a", "eds a"]);
}

#[test]
fn envoy_facts_7_endpoints_of_every_changed_cluster_are_sent_again_unchanged() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    peer.view(&snapshot([
        cluster("a", 2),
        assignment("a", 1),
        cluster("b", 1),
        assignment("b", 1),
        listener("l", ROUTE),
        route(ROUTE, "a"),
    ]));
    assert_eq!(peer.settle(), ["cds a", "eds a"]);
}

#[test]
fn d9_new_content_is_compared_with_what_is_in_flight() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    peer.view(&world(&["a", "b"], "b"));
    let in_flight = peer.one();
    peer.view(&world(&["a", "b"], "a"));
    assert!(peer.poll().is_none(), "one response in flight");
    peer.ack(&in_flight);
    assert_eq!(peer.settle(), ["rds rt"]);
}

#[test]
fn d11_an_ack_commits_only_what_its_response_carried() {
    let mut peer = Peer::with_view(Delta, &world(&["a", "b"], "a"));
    peer.subscribe(EDS, &["a"]);
    let first = peer.one();
    peer.subscribe(EDS, &["b"]);
    peer.ack(&first);
    let second = peer.one();
    assert_eq!(brief(&second), "eds b");
    assert_eq!(peer.answer_again(&first), Outcome::Stale);
    assert!(peer.acknowledged().is_none());
    peer.ack(&second);
    assert!(peer.poll().is_none());
    assert!(peer.acknowledged().is_some());
}

#[test]
fn x1_one_response_is_in_flight_and_the_latest_view_wins() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    let weights = |weight| {
        world_with(
            &["a", "b"],
            weighted_route(ROUTE, &[("a", 100 - weight), ("b", weight)]),
        )
    };
    peer.view(&weights(5));
    let first = peer.one();
    for weight in 6..50 {
        peer.view(&weights(weight));
        assert!(peer.poll().is_none());
    }
    peer.ack(&first);
    let second = peer.one();
    assert_eq!(
        second.items[0].resource.version(),
        weighted_route(ROUTE, &[("a", 51), ("b", 49)]).version()
    );
    assert_eq!(second.version, *weights(49).id());
}

#[test]
fn x8_rejected_together_goes_out_once_more_alone_and_only_the_culprit_is_blamed() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    let next = world(&["a", "bad", "good"], "a");
    peer.view(&next);
    let both = peer.one();
    assert_eq!(brief(&both), "cds bad good");
    peer.nack(&both, "connect timeout");
    assert_eq!(peer.session.delivery().rejections[0].names.len(), 2);
    let alone = peer.one();
    assert_eq!(brief(&alone), "cds bad");
    peer.nack(&alone, "connect timeout of bad");
    let other = peer.one();
    assert_eq!(brief(&other), "cds good");
    peer.ack(&other);
    assert!(peer.poll().is_none(), "the same bytes are not sent again");
    let rejections = peer.session.delivery().rejections;
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].names, vec!["bad".into()]);
    assert_eq!(&*rejections[0].text, "connect timeout of bad");
    peer.view(&snapshot([
        cluster("bad", 2),
        assignment("bad", 1),
        cluster("a", 1),
        assignment("a", 1),
    ]));
    assert!(
        peer.settle().contains(&"cds bad".to_owned()),
        "new content is sent"
    );
}

#[test]
fn x8_bytes_that_were_rejected_before_other_content_are_not_sent_again_either() {
    let (good, bad) = (
        world(&["a"], "a"),
        world_with(&["a"], weighted_route(ROUTE, &[("a", 0)])),
    );
    let mut peer = envoy(Delta, &good);
    peer.view(&bad);
    let response = peer.one();
    peer.nack(&response, "no");
    peer.view(&good);
    peer.settle();
    peer.view(&bad);
    assert!(peer.poll().is_none());
    assert_eq!(peer.session.delivery().rejections.len(), 1);
}

#[test]
fn a_request_of_the_other_variant_is_refused() {
    let mut peer = Peer::new(Delta);
    let request = DiscoveryRequest {
        node: peer.node(),
        type_url: CDS.as_str().to_owned(),
        ..Default::default()
    };
    assert_eq!(
        peer.session.handle_request(request, peer.now),
        Err(Violation::VariantDiffers)
    );
}

#[test]
fn c6_no_name_comes_twice_in_a_response_that_replaces_and_removes() {
    let mut peer = envoy(Delta, &world(&["a", "b"], "a"));
    peer.view(&world(&["a", "c"], "a"));
    peer.subscribe(CDS, &["b", "c", "nowhere"]);
    let mut seen = 0;
    while let Some(response) = peer.poll() {
        let sent = response.items.iter().map(|item| item.resource.name());
        let mut names: Vec<_> = sent.chain(&response.removed).cloned().collect();
        seen += names.len();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{}", brief(&response));
        for item in response.items.iter() {
            assert_eq!(*item.resource.type_url(), response.type_url);
        }
        peer.ack(&response);
    }
    assert!(seen >= 3, "`c` came, `b` and `nowhere` are gone: {seen}");
}

#[test]
fn d5_a_spontaneous_request_answers_nothing_and_its_edits_count() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world(&["a", "b"], "a"));
    let response = peer.one();
    let spontaneous = DeltaDiscoveryRequest {
        type_url: EDS.as_str().to_owned(),
        resource_names_subscribe: vec!["b".to_owned()],
        ..Default::default()
    };
    assert_eq!(peer.send(spontaneous), Outcome::Stale);
    assert_eq!(brief(&peer.one()), "eds b");
    peer.ack(&response);
}

#[test]
fn d13_a_version_is_never_empty_and_changes_with_the_bytes_only() {
    assert_eq!(version(&cluster("a", 1)), version(&cluster("a", 1)));
    assert_ne!(version(&cluster("a", 1)), version(&cluster("a", 2)));
    let empty = Resource::new(
        TypeUrl::new("type.googleapis.com/acme.Thing"),
        "x",
        Vec::new().into(),
    );
    assert_eq!(version(&empty.unwrap()).len(), 16);
}
