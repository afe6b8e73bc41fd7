//! Stories that the simulation found, each told once more with nothing but its point.

use super::*;
use crate::limits::{CURE_AFTER, SUSPECT_AFTER};
use crate::stream::Legacy;
use crate::stream::Variant::{Delta, Sotw};

#[test]
fn o2_o3_a_route_does_not_lead_to_a_cluster_whose_removal_is_in_flight() {
    for variant in [Delta, Sotw] {
        let mut peer = envoy(variant, &world(&["a", "b"], "a"));
        peer.view(&world(&["a"], "a"));
        let removal = peer.one();
        assert!(!brief(&removal).ends_with(" b"), "{}", brief(&removal));
        // It is wanted again before the client has answered.
        peer.view(&world(&["a", "b"], "b"));
        assert!(peer.drain().iter().all(|it| it.type_url != RDS));
        assert_ne!(
            peer.session.resource_status(&CDS, "b"),
            Some(crate::ResourceStatus::Acknowledged)
        );
        peer.ack(&removal);
        let sent = peer.settle();
        let first = sent.iter().position(|text| text.contains("cds")).unwrap();
        let route = sent.iter().position(|text| text.contains("rds")).unwrap();
        assert!(first < route, "{variant:?}: {sent:?}");
    }
}

#[test]
fn o3_a_set_that_may_have_removed_a_cluster_before_it_was_refused_puts_it_in_doubt() {
    let mut peer = envoy(Sotw, &world(&["a", "b"], "a"));
    peer.view(&world(&["a"], "a"));
    let removal = peer.one();
    peer.nack(&removal, "no");
    peer.view(&world(&["a", "b"], "b"));
    assert_eq!(peer.settle(), ["cds a b", "eds b", "rds rt"]);
}

#[test]
fn o3_a_cluster_of_which_only_refused_sets_are_known_stays_while_a_route_leads_to_it() {
    let others = together();
    let mut taken = Peer::with_settings(Sotw, others.clone());
    taken.view(&world(&["a"], "a"));
    taken.subscribe(CDS, &[]);
    taken.settle();
    let mut peer = Peer::with_settings(Sotw, others);
    peer.view(&world(&["a", "bad"], "a"));
    peer.subscribe(LDS, &[]);
    peer.settle();
    peer.subscribe(RDS, &[ROUTE]);
    peer.settle();
    peer.subscribe(CDS, &[]);
    let clusters = peer.one();
    peer.nack(&clusters, "bad is bad");
    // Envoy took what was good of the refused set, and routes to it.
    peer.view(&world(&["b", "bad"], "b"));
    let set = peer.one();
    assert_eq!(brief(&set), "cds a b", "the suspect comes later");
}

#[test]
fn m12_a_refusal_that_may_mean_a_set_that_was_given_up_gives_the_next_one_a_second_chance() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.view(&world(&["a", "bad", "new"], "a"));
    let clusters = |peer: &mut Peer| {
        let mut all = peer.drain();
        all.retain(|response| response.type_url == CDS);
        assert_eq!(all.len(), 1, "{:?}", briefs(&all));
        all.remove(0)
    };
    let _unanswered = clusters(&mut peer);
    peer.view(&world(&["a", "good", "new"], "a"));
    peer.pass(CURE_AFTER);
    let cure = clusters(&mut peer);
    assert_eq!(brief(&cure), "cds a");
    peer.ack(&cure);
    let good = clusters(&mut peer);
    // One answer to a burst: the last nonce and the first error.
    peer.nack(&good, "bad is bad");
    let again = clusters(&mut peer);
    assert_eq!(again.version, good.version);
    peer.nack(&again, "good is bad, too");
    // X8: this time it was meant.
    let divided = clusters(&mut peer);
    assert_ne!(divided.version, good.version);
}

#[test]
fn x13_a_stream_that_ends_too_early_leaves_behind_what_was_expected_of_it() {
    let view = world(&["a"], "a");
    let mut peer = Peer::with_view(Delta, &view);
    let legacy = Legacy {
        types: vec![CDS, EDS],
        unanswered: vec!["new".into()],
    };
    peer.session.expect(legacy, peer.now);
    peer.subscribe(EDS, &["a"]);
    peer.settle();
    peer.pass(SUSPECT_AFTER / 2);
    let legacy = peer.session.legacy();
    assert_eq!(legacy.types, [EDS, CDS]);
    assert_eq!(legacy.unanswered, ["new".into()]);
}
