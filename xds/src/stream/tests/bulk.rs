//! Answers that are sent and acknowledged all at once, and what tells them apart again. That
//! nobody sees a difference is shown in `alike`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::delivery::ResourceStatus;
use crate::stream::SessionSettings;
use crate::stream::Variant::Delta;

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Clusters and their endpoints; content 0 is none.
pub(super) fn view(contents: &[(&str, u8)]) -> Arc<Snapshot> {
    let there = contents.iter().filter(|(_, content)| *content > 0);
    snapshot(there.flat_map(|(name, content)| {
        [
            cluster(name, i64::from(*content)),
            assignment(name, u32::from(*content)),
        ]
    }))
}

fn abc(content: u8) -> Arc<Snapshot> {
    view(&[("a", content), ("b", content), ("c", content)])
}

/// Settings with which these clusters were taken by some client.
pub(super) fn proving(view: &Arc<Snapshot>) -> SessionSettings {
    let settings = SessionSettings::default();
    start(&settings, view).settle();
    settings
}

fn start(settings: &SessionSettings, view: &Arc<Snapshot>) -> Peer {
    let mut peer = Peer::with_settings(Delta, settings.clone());
    peer.view(view);
    peer.subscribe(CDS, &[]);
    peer
}

/// Whether what is in flight is told of as one.
fn is_whole(peer: &Peer, type_url: &TypeUrl) -> bool {
    let in_flight = peer.session.types[type_url].in_flight.as_ref();
    in_flight.is_some_and(|it| it.whole.is_some())
}

/// How many entries are told apart, of all types.
fn apart(peer: &Peer) -> usize {
    let types = peer.session.types.values();
    types.map(|state| state.held.apart().count()).sum()
}

#[test]
fn a_cold_start_tells_nothing_apart() {
    let view = abc(1);
    let settings = proving(&view);
    let mut peer = start(&settings, &view);
    let clusters = peer.one();
    assert_eq!(brief(&clusters), "cds a b c");
    assert!(is_whole(&peer, &CDS));
    peer.subscribe(EDS, &["c", "a", "b", "a"]);
    let endpoints = peer.one();
    assert_eq!(brief(&endpoints), "eds a b c");
    assert!(is_whole(&peer, &EDS));
    let statuses = peer.session.resource_statuses();
    assert!(statuses.iter().all(|(_, it)| *it == ResourceStatus::Sent));
    assert_eq!(statuses.len(), 6);
    peer.ack(&clusters);
    peer.ack(&endpoints);
    assert_eq!(apart(&peer), 0);
    assert!(peer.drain().is_empty());
    assert_eq!(apart(&peer), 0);
    assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
}

#[test]
fn c11_a_rejected_whole_is_tried_one_by_one() {
    let view = abc(1);
    let settings = proving(&view);
    let mut peer = start(&settings, &view);
    let all = peer.one();
    assert!(is_whole(&peer, &CDS));
    peer.nack(&all, "no");
    let a = peer.one();
    assert_eq!(brief(&a), "cds a");
    peer.ack(&a);
    let b = peer.one();
    assert_eq!(brief(&b), "cds b");
    peer.nack(&b, "not this");
    assert_eq!(peer.settle(), ["cds c"]);
    let status = |name| peer.session.resource_status(&CDS, name).unwrap();
    assert_eq!(status("a"), ResourceStatus::Acknowledged);
    assert!(matches!(status("b"), ResourceStatus::Rejected { .. }));
    // Nobody else gets it with others.
    let mut other = start(&settings, &view);
    assert_eq!(other.settle(), ["cds a c", "cds b"]);
}

#[test]
fn d7_a_name_dropped_while_it_travels_with_all_is_not_held() {
    let view = abc(1);
    let mut peer = start(&proving(&view), &view);
    peer.settle();
    peer.subscribe(EDS, &["a", "b", "c"]);
    let all = peer.one();
    assert!(is_whole(&peer, &EDS));
    peer.unsubscribe(EDS, &["b"]);
    peer.ack(&all);
    assert!(peer.drain().is_empty());
    assert!(!peer.session.types[&EDS].held.contains("b"));
    assert!(peer.session.types[&EDS].held.contains("c"));
    peer.subscribe(EDS, &["b"]);
    assert_eq!(peer.settle(), ["eds b"]);
}

#[test]
fn x1_a_view_that_comes_while_all_is_in_flight_sends_what_differs() {
    let old = abc(1);
    let mut peer = start(&proving(&old), &old);
    let all = peer.one();
    assert!(is_whole(&peer, &CDS));
    let new = view(&[("a", 1), ("b", 2), ("d", 1)]);
    peer.view(&new);
    assert!(peer.drain().is_empty());
    peer.ack(&all);
    assert_eq!(peer.settle(), ["cds b", "cds d", "cds -c"]);
    assert_eq!(apart(&peer), 0);
}

#[test]
fn s22_what_nobody_took_is_not_sent_with_all() {
    let old = view(&[("a", 1), ("b", 1)]);
    let settings = proving(&old);
    let new = abc(1);
    let mut first = start(&settings, &new);
    let proven = first.one();
    assert_eq!(brief(&proven), "cds a b");
    assert!(!is_whole(&first, &CDS));
    first.ack(&proven);
    assert_eq!(first.settle(), ["cds c"]);
    let mut second = start(&settings, &new);
    assert_eq!(brief(&second.one()), "cds a b c");
    assert!(is_whole(&second, &CDS));
}

#[test]
fn d8_a_client_that_comes_back_with_everything_is_believed_at_once() {
    let view = abc(1);
    let held = |type_url: &TypeUrl| -> Vec<(String, String)> {
        let all = view.iter(type_url);
        all.map(|it| (it.name().to_string(), it.version_text().to_string()))
            .collect()
    };
    for view_first in [false, true] {
        let settings = SessionSettings::default();
        let mut peer = Peer::with_settings(Delta, settings.clone());
        if view_first {
            peer.view(&view);
        }
        for (type_url, names) in [(CDS, &[][..]), (EDS, &["a", "b", "c"][..])] {
            let held = held(&type_url);
            let held: Vec<(&str, &str)> = held.iter().map(|(n, v)| (&**n, &**v)).collect();
            peer.resume(type_url, names, &held);
        }
        peer.view(&view);
        assert_eq!(apart(&peer), 0);
        assert!(view.iter(&CDS).all(|it| settings.proven.contains(it)));
        let responses = peer.drain();
        assert_eq!(briefs(&responses), ["cds", "eds a b c"]);
        assert!(is_whole(&peer, &EDS));
        responses.iter().for_each(|response| peer.ack(response));
        assert!(peer.drain().is_empty());
        assert_eq!(apart(&peer), 0);
        assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
    }
}

#[test]
fn d8_a_client_that_comes_back_with_nearly_everything_gets_the_difference() {
    let view = view(&NAMES.map(|name| (name, 1)));
    let mut peer = Peer::with_settings(Delta, proving(&view));
    let version = |type_url: &TypeUrl, name| view.get(type_url, name).unwrap().version_text();
    for (type_url, names) in [(CDS, &[][..]), (EDS, &NAMES[..])] {
        let versions = ["a", "d"].map(|name| (name, version(&type_url, name)));
        let mut held: Vec<(&str, &str)> = versions.iter().map(|(n, v)| (*n, &**v)).collect();
        held.push(("b", "0123456789abcdef"));
        held.extend([("c", &*versions[0].1)].iter().filter(|_| type_url == EDS));
        peer.resume(type_url, names, &held);
    }
    peer.view(&view);
    assert_eq!(
        apart(&peer),
        1 + 2,
        "b of the clusters, b and c of the endpoints"
    );
    let responses = peer.drain();
    assert_eq!(briefs(&responses), ["cds b c", "eds a b c d"]);
    assert!(is_whole(&peer, &EDS));
    responses.iter().for_each(|response| peer.ack(response));
    assert!(peer.drain().is_empty());
    assert_eq!(apart(&peer), 0);
    assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
}

#[test]
fn d8_what_went_while_a_client_was_away_is_taken_from_it() {
    let view = abc(1);
    let mut peer = Peer::with_settings(Delta, proving(&view));
    let versions = ["a", "b", "c"].map(|name| view.get(&CDS, name).unwrap().version_text());
    let mut held: Vec<(&str, &str)> = NAMES
        .into_iter()
        .zip(versions.iter().map(|it| &**it))
        .collect();
    held.push(("gone", "0123456789abcdef"));
    peer.resume(CDS, &[], &held);
    peer.view(&view);
    assert_eq!(apart(&peer), 1);
    peer.session.handle_timeout(peer.now);
    assert_eq!(peer.settle(), ["cds"]);
    peer.pass(Duration::from_secs(60));
    assert_eq!(peer.settle(), ["cds -gone"]);
    assert_eq!(apart(&peer), 0);
}
