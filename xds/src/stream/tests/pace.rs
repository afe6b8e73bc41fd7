//! Clients that reject one response after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::limits::{REJECTED_IN_A_ROW_MAX, REJECTION_PACE};
use crate::stream::Response;
use crate::stream::Variant::{Delta, Sotw};

const MANY: usize = REJECTED_IN_A_ROW_MAX as usize + 8;

/// Assignments of this content, and a client that asks for each by its name.
fn assignments(content: u32) -> (Arc<Snapshot>, Vec<String>) {
    let names: Vec<String> = (0..MANY).map(|number| format!("a{number:03}")).collect();
    let view = snapshot(names.iter().map(|name| assignment(name, content)));
    (view, names)
}

fn asks_for_all(variant: crate::stream::Variant) -> Peer {
    let (view, names) = assignments(1);
    let mut peer = Peer::with_view(variant, &view);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    peer.subscribe(EDS, &names);
    peer
}

/// Rejects what comes without waiting; all of it.
fn reject_all(peer: &mut Peer) -> Vec<Response> {
    let mut all = Vec::new();
    while let Some(response) = peer.poll() {
        peer.nack(&response, "no");
        all.push(response);
        assert!(all.len() <= MANY + 1, "an endless exchange");
    }
    all
}

/// One that rejected so much that it has to wait.
fn paced(variant: crate::stream::Variant) -> Peer {
    let mut peer = asks_for_all(variant);
    let at_once = reject_all(&mut peer);
    assert_eq!(at_once.len(), REJECTED_IN_A_ROW_MAX as usize + 1);
    peer
}

#[test]
fn x8_who_rejects_everything_is_tried_once_with_each_content_and_then_at_a_pace() {
    for variant in [Delta, Sotw] {
        let mut peer = asks_for_all(variant);
        let mut alone = BTreeSet::new();
        let mut waited = 0;
        loop {
            let came = reject_all(&mut peer);
            if waited > 0 && came.is_empty() {
                break;
            }
            assert!(waited == 0 || came.len() == 1, "more than the pace allows");
            for response in came.iter().filter(|response| response.items.len() == 1) {
                assert!(alone.insert(brief(response)), "sent again");
            }
            assert_eq!(peer.session.next_timeout(), Some(peer.now + REJECTION_PACE));
            peer.pass(REJECTION_PACE);
            waited += 1;
        }
        assert_eq!(alone.len(), MANY, "each was tried");
        assert_eq!(waited, MANY - REJECTED_IN_A_ROW_MAX as usize + 1);
        assert_eq!(peer.session.next_timeout(), None);
        assert_eq!(peer.session.delivery().rejections.len(), MANY);
    }
}

#[test]
fn who_takes_something_again_waits_for_nothing_any_more() {
    for variant in [Delta, Sotw] {
        let mut peer = paced(variant);
        peer.pass(REJECTION_PACE);
        let next = peer.one();
        peer.ack(&next);
        let rest = peer.settle();
        let tried = REJECTED_IN_A_ROW_MAX as usize;
        assert_eq!(rest.len(), MANY - tried - 1, "one by one, and at once");
        assert_eq!(peer.session.delivery().rejections.len(), tried);
        // And it may reject as many again.
        let (better, _) = assignments(2);
        peer.view(&better);
        assert_eq!(reject_all(&mut peer).len(), tried + 1);
    }
}

#[test]
fn a_better_view_reaches_who_rejected_everything_with_the_next_beat() {
    for variant in [Delta, Sotw] {
        let mut peer = paced(variant);
        let (better, _) = assignments(2);
        peer.view(&better);
        assert!(peer.drain().is_empty());
        peer.pass(REJECTION_PACE);
        peer.settle();
        assert_eq!(peer.acknowledged().as_deref(), Some(&**better.id()));
    }
}

#[test]
fn what_was_rejected_is_told_once_with_what_was_in_it() {
    for variant in [Delta, Sotw] {
        let mut peer =
            Peer::with_view(variant, &snapshot([assignment("a", 1), assignment("b", 1)]));
        peer.subscribe(EDS, &["a", "b"]);
        let both = peer.one();
        peer.nack(&both, "one of them");
        let refusal = peer.session.take_refusal().unwrap();
        let names: Vec<&str> = refusal.names.iter().map(|name| &**name).collect();
        assert_eq!((refusal.type_url, names), (EDS, vec!["a", "b"]));
        assert_eq!(&*refusal.text, "one of them");
        assert_eq!(peer.session.take_refusal(), None);
        let a = peer.one();
        peer.ack(&a);
        assert_eq!(peer.session.take_refusal(), None);
        let b = peer.one();
        peer.nack(&b, "this one");
        let refusal = peer.session.take_refusal().unwrap();
        assert_eq!((&*refusal.names[0], &*refusal.text), ("b", "this one"));
    }
}

#[test]
fn c17_names_that_do_not_exist_are_told_in_pieces() {
    let mut peer = Peer::with_view(Delta, &snapshot([assignment("a", 1)]));
    let long = "x".repeat(500);
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("{long}{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    peer.subscribe(EDS, &names);
    let mut told = 0;
    while let Some(response) = peer.poll() {
        let bytes: usize = response.removed.iter().map(|name| name.len()).sum();
        assert!(bytes <= crate::limits::RESPONSE_BYTES_TARGET, "{bytes}");
        told += response.removed.len();
        peer.ack(&response);
    }
    assert_eq!(told, names.len());
}
