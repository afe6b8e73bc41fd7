//! Clients that fall silent.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::delivery::{ResourceStatus, SuspicionKind};
use crate::limits::{CURE_AFTER, CURE_AGAIN_AFTER, CURES_MAX, SUSPECT_AFTER};
use crate::stream::Variant::{Delta, Sotw};
use crate::stream::{Legacy, Response};

const TICK: Duration = Duration::from_millis(1);

fn suspect(peer: &Peer) -> Option<SuspicionKind> {
    let suspicion = peer.session.delivery().suspect?;
    assert!(!suspicion.sentence.is_empty());
    Some(suspicion.kind)
}

/// The one response of clusters; the endpoints that follow it are answered.
fn clusters(peer: &mut Peer) -> Response {
    let (mut clusters, others): (Vec<_>, Vec<_>) = peer
        .drain()
        .into_iter()
        .partition(|response| response.type_url == CDS);
    assert_eq!(clusters.len(), 1, "{:?}", briefs(&clusters));
    others.iter().for_each(|response| peer.ack(response));
    clusters.remove(0)
}

#[test]
fn m12_an_unanswered_response_is_suspect_after_ten_seconds_until_it_is_answered() {
    for (variant, type_url) in [(Delta, CDS), (Sotw, CDS), (Delta, RDS), (Sotw, EDS)] {
        let view = world(&["a"], "a");
        let mut peer = Peer::with_view(variant, &view);
        let names: &[&str] = if type_url == CDS { &[] } else { &["a", ROUTE] };
        peer.subscribe(type_url.clone(), names);
        let response = peer.drain().remove(0);
        peer.pass(SUSPECT_AFTER - TICK);
        assert_eq!(suspect(&peer), None);
        peer.pass(TICK);
        assert_eq!(suspect(&peer), Some(SuspicionKind::Unanswered(type_url)));
        peer.ack(&response);
        assert_eq!(suspect(&peer), None);
    }
}

#[test]
fn m12_delta_clusters_that_stay_unanswered_are_taken_back_and_then_tried_alone() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world(&["a", "bad", "new"], "a"));
    let both = clusters(&mut peer);
    assert_eq!(brief(&both), "cds bad new");
    peer.pass(CURE_AFTER - TICK);
    assert!(peer.drain().is_empty());
    peer.pass(TICK);
    let cure = clusters(&mut peer);
    assert_eq!(
        brief(&cure),
        "cds a -bad -new",
        "what it took, without what it didn't"
    );
    // Now everything is answered at once, in order.
    peer.nack(&both, "bad is bad");
    peer.ack(&cure);
    let bad = clusters(&mut peer);
    assert_eq!(brief(&bad), "cds bad");
    peer.nack(&bad, "bad is bad");
    assert_eq!(peer.settle(), ["cds new"]);
    assert_eq!(suspect(&peer), None);
    let rejections = peer.session.delivery().rejections;
    assert_eq!(rejections.len(), 1);
    assert_eq!(*rejections[0].names[0], *"bad");
}

#[test]
fn m12_sotw_clusters_that_stay_unanswered_give_way_to_the_last_good_set() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.view(&world(&["a", "bad", "new"], "a"));
    let all = clusters(&mut peer);
    peer.pass(CURE_AFTER);
    let cure = clusters(&mut peer);
    assert_eq!(brief(&cure), "cds a");
    peer.nack(&all, "bad is bad");
    peer.ack(&cure);
    assert!(
        peer.settle().is_empty(),
        "the refused set doesn't come back"
    );
    assert_eq!(suspect(&peer), None);
    assert_eq!(&*peer.session.delivery().rejections[0].text, "bad is bad");
    peer.view(&world(&["a", "new"], "a"));
    assert_eq!(peer.settle(), ["cds a new"]);
}

#[test]
fn m12_a_set_that_was_only_slow_comes_back() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.view(&world(&["a", "slow"], "a"));
    let all = clusters(&mut peer);
    peer.pass(CURE_AFTER);
    let cure = clusters(&mut peer);
    peer.ack(&all);
    peer.ack(&cure);
    assert_eq!(brief(&clusters(&mut peer)), "cds a slow");
    assert!(peer.session.delivery().rejections.is_empty());
}

#[test]
fn m12_nothing_is_taken_back_that_a_route_may_lead_to() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world(&["a", "c"], "c"));
    let cluster = clusters(&mut peer);
    assert_eq!(brief(&cluster), "cds c");
    // The route went out when its gate's deadline had passed.
    peer.pass(CURE_AFTER - TICK);
    assert_eq!(briefs(&peer.drain()), ["rds rt"]);
    peer.pass(TICK);
    assert_eq!(brief(&clusters(&mut peer)), "cds a");
}

#[test]
fn m12_cures_are_bounded_and_the_culprit_is_held_off() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world(&["a", "stuck"], "a"));
    assert_eq!(brief(&clusters(&mut peer)), "cds stuck");
    let mut cures = 0;
    for wait in [CURE_AFTER, CURE_AGAIN_AFTER, CURE_AGAIN_AFTER] {
        peer.pass(wait);
        let cure = clusters(&mut peer);
        assert_eq!(brief(&cure), "cds a -stuck");
        cures += 1;
        if cures < CURES_MAX {
            peer.ack(&cure);
            assert_eq!(brief(&clusters(&mut peer)), "cds stuck");
        } else {
            peer.ack(&cure);
        }
    }
    assert!(peer.settle().is_empty());
    let status = peer.session.resource_status(&CDS, "stuck").unwrap();
    let ResourceStatus::Rejected { text } = status else {
        panic!("{status:?}");
    };
    assert!(text.contains("no answer for"), "{text}");
    peer.pass(Duration::from_secs(600));
    assert!(peer.settle().is_empty());
}

#[test]
fn m12_a_client_that_answers_nothing_gets_a_bounded_number_of_responses() {
    for variant in [Delta, Sotw] {
        let mut peer = envoy(variant, &world(&["a"], "a"));
        peer.view(&world(&["a", "new"], "a"));
        let mut responses = peer.drain().len();
        for _ in 0..600 {
            peer.pass(Duration::from_secs(1));
            responses += peer.drain().len();
        }
        assert!(
            responses <= 2 + CURES_MAX as usize,
            "{variant:?}: {responses}"
        );
        assert_eq!(suspect(&peer), Some(SuspicionKind::Unanswered(CDS)));
    }
}

#[test]
fn m12_an_empty_set_is_never_a_cure() {
    let mut peer = Peer::with_view(Sotw, &world(&["a"], "a"));
    peer.subscribe(CDS, &[]);
    assert_eq!(brief(&clusters(&mut peer)), "cds a");
    peer.pass(Duration::from_secs(600));
    assert!(
        peer.drain()
            .iter()
            .all(|response| !response.items.is_empty())
    );
}

#[test]
fn m12_a_client_that_comes_back_without_asking_for_clusters_gets_them_unasked() {
    for (variant, cured) in [(Delta, vec!["cds -stuck", "cds a"]), (Sotw, vec!["cds a"])] {
        let mut old = envoy(variant, &world(&["a"], "a"));
        old.view(&world(&["a", "stuck"], "a"));
        old.drain();
        let legacy = old.session.legacy();
        assert_eq!(legacy.types, [CDS, EDS, LDS, RDS]);

        let mut peer = Peer::with_view(variant, &world(&["a"], "a"));
        peer.session.expect(legacy, peer.now);
        peer.subscribe(EDS, &["a"]);
        peer.subscribe(LDS, &[]);
        peer.subscribe(RDS, &[ROUTE]);
        peer.settle();
        peer.pass(SUSPECT_AFTER - TICK);
        assert_eq!((suspect(&peer), peer.settle()), (None, Vec::new()));
        peer.pass(TICK);
        assert_eq!(suspect(&peer), Some(SuspicionKind::NotAsked(CDS)));
        let seen = peer.settle();
        let clusters: Vec<_> = seen.iter().filter(|text| text.starts_with("cds")).collect();
        assert_eq!(clusters, cured.iter().collect::<Vec<_>>());
        assert_eq!(suspect(&peer), None, "its answer shows that it is back");
    }
}

#[test]
fn m12_what_is_taken_back_does_not_count_as_held_though_the_client_says_so_in_the_meantime() {
    let view = world(&["a", "stuck"], "a");
    let mut old = envoy(Delta, &world(&["a"], "a"));
    old.view(&view);
    old.drain();
    let mut peer = Peer::with_view(Delta, &view);
    peer.session.expect(old.session.legacy(), peer.now);
    peer.subscribe(EDS, &["a"]);
    peer.settle();
    peer.pass(SUSPECT_AFTER);
    let cure = clusters(&mut peer);
    assert_eq!(brief(&cure), "cds -stuck");
    // It warmed after all, and what the client says crosses the cure.
    let version = |name: &str| view.get(&CDS, name).unwrap().version().to_string();
    let held = [("a", version("a")), ("stuck", version("stuck"))];
    let held = held.each_ref().map(|(name, text)| (*name, text.as_str()));
    peer.resume(CDS, &[], &held);
    let status = |peer: &Peer, name: &str| peer.session.resource_status(&CDS, name).unwrap();
    assert_eq!(status(&peer, "a"), ResourceStatus::Acknowledged);
    assert_eq!(status(&peer, "stuck"), ResourceStatus::NotSent);
    peer.ack(&cure);
    assert_eq!(peer.settle(), ["cds stuck"]);
    assert_eq!(status(&peer, "stuck"), ResourceStatus::Acknowledged);
}

#[test]
fn m12_a_client_that_asks_for_everything_again_is_not_suspect() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.session.expect(
        Legacy {
            types: vec![CDS, EDS, LDS, RDS],
            unanswered: Vec::new(),
        },
        peer.now,
    );
    peer.pass(Duration::from_secs(60));
    assert_eq!((suspect(&peer), peer.settle()), (None, Vec::new()));
}

#[test]
fn d11_a_late_answer_counts_for_its_own_response_only() {
    let mut peer = envoy(Delta, &world(&["a"], "a"));
    peer.view(&world(&["a", "b"], "a"));
    let first = clusters(&mut peer);
    peer.pass(CURE_AFTER);
    let cure = clusters(&mut peer);
    peer.ack(&cure);
    let again = clusters(&mut peer);
    assert_eq!(brief(&again), "cds b");
    peer.ack(&first);
    let status = peer.session.resource_status(&CDS, "b").unwrap();
    assert_eq!(status, ResourceStatus::Sent, "it was taken back in between");
    peer.ack(&again);
    let status = peer.session.resource_status(&CDS, "b").unwrap();
    assert_eq!(status, ResourceStatus::Acknowledged);
}

#[test]
fn m12_an_error_that_comes_with_the_nonce_of_the_cure_is_about_what_was_given_up() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.view(&world(&["a", "bad", "new"], "a"));
    clusters(&mut peer);
    peer.pass(CURE_AFTER);
    let cure = clusters(&mut peer);
    peer.nack(&cure, "bad is bad");
    let rejections = peer.session.delivery().rejections;
    let names: Vec<&str> = rejections[0].names.iter().map(|name| &**name).collect();
    assert_eq!(
        (names, &*rejections[0].text),
        (vec!["bad", "new"], "bad is bad")
    );
    peer.view(&world(&["a"], "a"));
    assert_eq!(peer.settle(), ["cds a"]);
    assert!(peer.acknowledged().is_some());
}

#[test]
fn m12_a_type_that_the_view_does_not_have_any_more_is_not_missed() {
    let connect = |view: &Arc<Snapshot>| {
        let mut peer = Peer::with_view(Delta, view);
        let legacy = Legacy {
            types: vec![CDS, RDS],
            unanswered: Vec::new(),
        };
        peer.session.expect(legacy, peer.now);
        peer.subscribe(CDS, &[]);
        peer.settle();
        peer.pass(SUSPECT_AFTER);
        peer
    };
    let without_routes = snapshot([static_cluster("a")]);
    assert_eq!(suspect(&connect(&without_routes)), None);
    let mut peer = connect(&world(&["a"], "a"));
    assert_eq!(suspect(&peer), Some(SuspicionKind::NotAsked(RDS)));
    peer.view(&without_routes);
    assert_eq!(suspect(&peer), None);
}
