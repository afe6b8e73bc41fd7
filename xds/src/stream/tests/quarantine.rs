//! State of the world: a whole set with one bad resource in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::protobuf::Duration as PbDuration;

use super::*;
use crate::delivery::ResourceStatus;
use crate::stream::Variant::{Delta, Sotw};
use crate::stream::{Response, SessionSettings};

/// A cluster without endpoints of its own.
fn fixed(name: &str, content: i64) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        connect_timeout: Some(PbDuration {
            seconds: content,
            nanos: 0,
        }),
        ..Cluster::default()
    };
    Resource::encode(CDS, name, &cluster).unwrap()
}

/// Clusters of these names and contents.
fn clusters(clusters: &[(&str, i64)]) -> Arc<Snapshot> {
    let mut resources = Vec::new();
    for (name, content) in clusters {
        resources.push(fixed(name, *content));
    }
    snapshot(resources)
}

/// A client at rest with a view of clusters.
fn at_rest(view: &Arc<Snapshot>) -> Peer {
    let mut peer = Peer::with_view(Sotw, view);
    peer.subscribe(CDS, &[]);
    peer.settle();
    peer
}

/// Rejects every set that is bad, takes the others; what came, and the names of the last set that
/// it took.
fn exchange(peer: &mut Peer, is_bad: impl Fn(&Response) -> bool) -> (Vec<Response>, Vec<String>) {
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    let mut rejected = BTreeSet::new();
    while let Some(response) = peer.poll() {
        assert!(
            !rejected.contains(&response.version),
            "a rejected set again: {}",
            brief(&response)
        );
        if is_bad(&response) {
            rejected.insert(response.version.clone());
            peer.nack(&response, "no such filter");
        } else {
            let items = response.items.iter();
            taken = items.map(|item| item.resource.name().to_string()).collect();
            peer.ack(&response);
        }
        all.push(response);
        assert!(all.len() < 200, "an endless exchange");
    }
    (all, taken)
}

fn holds(response: &Response, resource: &Resource) -> bool {
    let mut items = response.items.iter();
    items.any(|item| item.resource.version() == resource.version())
}

fn rejections(peer: &Peer) -> Vec<(String, String)> {
    let rejections = peer.session.delivery().rejections;
    let names = |names: &[crate::Name]| names.join(" ");
    rejections
        .iter()
        .map(|it| (names(&it.names), it.text.to_string()))
        .collect()
}

#[test]
fn c12_the_culprit_of_a_rejected_set_is_named_and_the_others_arrive() {
    for bad in ["a", "d", "g"] {
        let mut peer = at_rest(&clusters(&[("base", 1)]));
        let all: Vec<(&str, i64)> = ["a", "b", "base", "c", "d", "e", "f", "g"]
            .map(|name| (name, 1))
            .to_vec();
        let view = clusters(&all);
        peer.view(&view);
        let (responses, taken) = exchange(&mut peer, |set| holds(set, &fixed(bad, 1)));
        let others: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let others: Vec<&str> = others.into_iter().filter(|name| *name != bad).collect();
        assert_eq!(taken, others);
        assert!(responses.len() <= 2 + 2 * 3, "{:?}", briefs(&responses));
        let said = vec![(bad.to_owned(), "no such filter".to_owned())];
        assert_eq!(rejections(&peer), said);
        let status = peer.session.resource_status(&CDS, bad).unwrap();
        assert!(matches!(status, ResourceStatus::Rejected { .. }));
        assert_ne!(peer.acknowledged().as_deref(), Some(&**view.id()));
        for name in others {
            let status = peer.session.resource_status(&CDS, name).unwrap();
            assert_eq!(status, ResourceStatus::Acknowledged, "{name}");
        }
    }
}

#[test]
fn c12_a_culprit_stays_at_its_last_acknowledged_version_until_it_changes() {
    let mut peer = at_rest(&clusters(&[("a", 1), ("bad", 1), ("z", 1)]));
    peer.view(&clusters(&[("a", 2), ("bad", 2), ("z", 2)]));
    let (responses, _) = exchange(&mut peer, |set| holds(set, &fixed("bad", 2)));
    let last = responses.last().unwrap();
    assert!(holds(last, &fixed("bad", 1)), "{}", brief(last));
    assert!(holds(last, &fixed("a", 2)) && holds(last, &fixed("z", 2)));
    assert_eq!(rejections(&peer).len(), 1);
    // Others aren't held up by it.
    peer.view(&clusters(&[("a", 3), ("bad", 2), ("z", 2)]));
    let update = peer.one();
    assert!(holds(&update, &fixed("a", 3)) && holds(&update, &fixed("bad", 1)));
    peer.ack(&update);
    let good = clusters(&[("a", 3), ("bad", 3), ("z", 2)]);
    peer.view(&good);
    let corrected = peer.one();
    assert!(holds(&corrected, &fixed("bad", 3)));
    peer.ack(&corrected);
    assert!(peer.drain().is_empty());
    assert!(rejections(&peer).is_empty());
    assert_eq!(peer.acknowledged().as_deref(), Some(&**good.id()));
}

#[test]
fn x8_two_culprits_are_both_named() {
    let mut peer = at_rest(&clusters(&[("base", 1)]));
    let names = ["a", "b", "base", "c", "d", "e"].map(|name| (name, 1));
    peer.view(&clusters(&names));
    let bad = [fixed("b", 1), fixed("e", 1)];
    let (_, taken) = exchange(&mut peer, |set| bad.iter().any(|bad| holds(set, bad)));
    assert_eq!(taken, ["a", "base", "c", "d"]);
    let named: Vec<String> = rejections(&peer).into_iter().map(|it| it.0).collect();
    assert_eq!(named, ["b", "e"]);
}

#[test]
fn x8_the_culprit_is_inferred_where_its_set_was_rejected_before() {
    let mut peer = at_rest(&clusters(&[("base", 1)]));
    peer.view(&clusters(&[("a", 1), ("base", 1), ("z", 1)]));
    let (responses, taken) = exchange(&mut peer, |set| holds(set, &fixed("z", 1)));
    assert_eq!(briefs(&responses), ["cds a base z", "cds a base"]);
    assert_eq!(taken, ["a", "base"]);
    assert_eq!(rejections(&peer)[0].0, "z");
}

#[test]
fn x8_a_client_that_rejects_everything_gets_each_content_once() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
    for variant in [Delta, Sotw] {
        let mut peer = Peer::with_view(variant, &clusters(&[("base", 1)]));
        peer.subscribe(CDS, &[]);
        peer.settle();
        let mut all: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        all.push(("base", 1));
        let mut count = 0;
        for round in 0..3 {
            peer.view(&clusters(&all));
            while let Some(response) = peer.poll() {
                count += 1;
                peer.nack(&response, "no");
            }
            peer.pass(Duration::from_secs(60));
            assert!(peer.drain().is_empty(), "{variant:?}, round {round}");
            // The view goes and comes back.
            peer.view(&clusters(&[("base", 1)]));
            for response in peer.drain() {
                peer.ack(&response);
            }
        }
        // All together, halves while it is looked for the first culprit, and each alone.
        assert!(count <= 20 + 1 + 5, "{variant:?}: {count}");
        peer.view(&clusters(&all));
        assert!(peer.drain().is_empty());
        assert_eq!(rejections(&peer).len(), 20, "{variant:?}");
    }
}

#[test]
fn x8_a_trial_never_lacks_what_a_client_may_have_from_an_earlier_stream() {
    let names = [("a", 1), ("bad", 1), ("c", 1)];
    let mut peer = Peer::with_view(Sotw, &clusters(&names));
    peer.send(DiscoveryRequest {
        node: peer.node(),
        type_url: CDS.as_str().to_owned(),
        version_info: "of another control plane".to_owned(),
        ..Default::default()
    });
    let all = peer.one();
    assert_eq!(brief(&all), "cds a bad c");
    peer.nack(&all, "no such filter");
    assert!(peer.drain().is_empty(), "less would delete what it has");
    assert_eq!(rejections(&peer)[0].0, "a bad c");
    peer.view(&clusters(&[("a", 1), ("bad", 2), ("c", 1)]));
    let corrected = peer.one();
    assert_eq!(brief(&corrected), "cds a bad c");
    peer.ack(&corrected);
    assert!(peer.drain().is_empty());
    assert!(rejections(&peer).is_empty());
    // From now on it is known.
    peer.view(&clusters(&[("a", 1), ("bad", 3), ("c", 1), ("d", 1)]));
    let (_, taken) = exchange(&mut peer, |set| holds(set, &fixed("bad", 3)));
    assert_eq!(taken, ["a", "bad", "c", "d"]);
    assert_eq!(rejections(&peer)[0].0, "bad");
}

/// The client of an earlier stream comes back, to the same control plane, with what it took last.
fn come_back(old: &Peer, version: &str, view: &Arc<Snapshot>) -> Peer {
    let mut peer = Peer::with_settings(Sotw, together());
    peer.session.remember(old.session.earlier());
    peer.send(DiscoveryRequest {
        node: peer.node(),
        type_url: CDS.as_str().to_owned(),
        version_info: version.to_owned(),
        ..DiscoveryRequest::default()
    });
    peer.view(view);
    peer
}

#[test]
fn c12_a_client_that_came_back_is_not_held_back_whole_by_one_bad_cluster() {
    let mut old = Peer::with_view(
        Sotw,
        &clusters(&[("bad", 1), ("base", 1), ("gone", 1), ("old", 1)]),
    );
    old.subscribe(CDS, &[]);
    let had = old.one();
    old.ack(&had);
    let all = [("bad", 2), ("base", 1), ("good", 1), ("old", 2)];
    let mut peer = come_back(&old, &had.version, &clusters(&all));
    let (responses, taken) = exchange(&mut peer, |set| holds(set, &fixed("bad", 2)));
    assert_eq!(brief(&responses[0]), "cds bad base gone good old");
    // Nobody knows yet what leads to the one that is gone.
    assert_eq!(taken, ["bad", "base", "gone", "good", "old"]);
    let last = responses.last().unwrap();
    assert!(holds(last, &fixed("bad", 1)) && holds(last, &fixed("old", 2)));
    let said = [("bad".to_owned(), "no such filter".to_owned())];
    assert_eq!(rejections(&peer), said);
    peer.pass(SessionSettings::default().gate_deadline);
    let (_, taken) = exchange(&mut peer, |set| holds(set, &fixed("bad", 2)));
    assert_eq!(taken, ["bad", "base", "good", "old"]);
    assert_eq!(rejections(&peer), said);
}

#[test]
fn s8_a_client_that_came_back_with_what_it_had_not_acknowledged_yet_is_believed() {
    let mut old = at_rest(&clusters(&[("a", 1)]));
    let view = clusters(&[("a", 2), ("b", 1)]);
    old.view(&view);
    let unanswered = old.one();
    let mut peer = come_back(&old, &unanswered.version, &view);
    assert!(peer.drain().is_empty());
    assert_eq!(peer.acknowledged().as_deref(), Some(&**view.id()));
    let mut peer = come_back(&old, &unanswered.version, &clusters(&[("a", 2), ("b", 2)]));
    let (_, taken) = exchange(&mut peer, |set| holds(set, &fixed("b", 2)));
    assert!(taken.is_empty(), "it has that");
    assert_eq!(peer.acknowledged(), None);
    let status = peer.session.resource_status(&CDS, "a").unwrap();
    assert_eq!(status, ResourceStatus::Acknowledged);
}

#[test]
fn c12_what_may_be_applied_of_a_rejected_set_is_in_doubt_on_the_next_stream() {
    let good = clusters(&[("a", 1), ("b", 1)]);
    for answered in [true, false] {
        let mut old = Peer::with_view(Sotw, &good);
        old.subscribe(CDS, &[]);
        let had = old.one();
        old.ack(&had);
        // Envoy applies the good ones, names the set before, and the stream ends.
        old.view(&clusters(&[("a", 2), ("bad", 1), ("new", 1)]));
        let spoilt = old.one();
        if answered {
            old.nack(&spoilt, "no such filter");
        }
        let mut peer = come_back(&old, &had.version, &good);
        assert_ne!(peer.acknowledged().as_deref(), Some(&**good.id()));
        let status = peer.session.resource_status(&CDS, "a").unwrap();
        assert_ne!(status, ResourceStatus::Acknowledged);
        // What may be new to it can be neither in the set nor missing from it, until it is known
        // that nothing leads there.
        assert!(peer.drain().is_empty());
        peer.pass(SessionSettings::default().gate_deadline);
        assert_eq!(peer.settle().last().unwrap(), "cds a b");
        assert_eq!(peer.acknowledged().as_deref(), Some(&**good.id()));
    }
}

#[test]
fn c12_a_set_that_nobody_knows_is_not_taken_for_one_that_was_sent() {
    let old = at_rest(&clusters(&[("a", 1), ("secret", 1)]));
    for version in ["", "v1", "0123456789abcdef"] {
        let mut peer = come_back(&old, version, &clusters(&[("a", 2)]));
        assert_eq!(peer.settle(), ["cds a"]);
    }
}

#[test]
fn x13_what_was_remembered_of_a_client_survives_a_stream_that_asks_for_nothing() {
    let mut old = Peer::with_view(Sotw, &clusters(&[("a", 1), ("b", 1)]));
    old.subscribe(CDS, &[]);
    let had = old.one();
    old.ack(&had);
    let mut short = Peer::with_settings(Sotw, together());
    short.session.remember(old.session.earlier());
    short.subscribe(EDS, &["a"]);
    let mut peer = come_back(&short, &had.version, &clusters(&[("a", 2), ("b", 2)]));
    let (responses, taken) = exchange(&mut peer, |set| holds(set, &fixed("b", 2)));
    assert_eq!(taken, ["a", "b"]);
    assert!(holds(responses.last().unwrap(), &fixed("b", 1)));
}

#[test]
fn o3_a_cluster_that_went_while_the_client_was_away_goes_after_its_route() {
    let mut old = envoy(Sotw, &world(&["a"], "a"));
    let version = |old: &Peer, type_url: &TypeUrl| {
        let state = old.session.types.get(type_url).unwrap();
        state.last_news.as_ref().unwrap().0.to_string()
    };
    old.pass(Duration::from_secs(1));
    let mut peer = Peer::with_settings(Sotw, together());
    peer.session.remember(old.session.earlier());
    let names: [(TypeUrl, &[&str]); 4] = [(CDS, &[]), (EDS, &["a"]), (LDS, &[]), (RDS, &[ROUTE])];
    for (type_url, names) in names {
        peer.send(DiscoveryRequest {
            node: peer.node(),
            version_info: version(&old, &type_url),
            type_url: type_url.as_str().to_owned(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DiscoveryRequest::default()
        });
    }
    peer.view(&world(&["b"], "b"));
    let union = peer.one();
    assert_eq!(brief(&union), "cds a b");
    peer.ack(&union);
    assert!(peer.drain().is_empty(), "its route leads to `a` still");
    peer.subscribe(EDS, &["a", "b"]);
    assert_eq!(peer.settle(), ["eds b", "rds rt", "cds b"]);
}

#[test]
fn x8_listeners_are_tried_in_the_same_way() {
    let view = |contents: &[(&str, &str)]| {
        let mut resources = vec![route("rt", "a"), fixed("a", 1)];
        resources.extend(contents.iter().map(|(name, to)| listener(name, to)));
        snapshot(resources)
    };
    let mut peer = Peer::with_view(Sotw, &view(&[("l", "rt")]));
    peer.subscribe(LDS, &[]);
    peer.settle();
    peer.view(&view(&[
        ("bad", "rt"),
        ("k", "rt"),
        ("l", "rt"),
        ("m", "rt"),
    ]));
    let (_, taken) = exchange(&mut peer, |set| holds(set, &listener("bad", "rt")));
    assert_eq!(taken, ["k", "l", "m"]);
    assert_eq!(rejections(&peer)[0].0, "bad");
}

#[test]
fn o2_a_route_to_a_culprit_is_held_back_and_others_are_not() {
    let mut peer = envoy(Sotw, &world(&["a"], "a"));
    peer.view(&world_with(
        &["a", "bad", "c"],
        weighted_route(ROUTE, &[("a", 50), ("bad", 50)]),
    ));
    peer.subscribe(EDS, &["a", "bad", "c"]);
    let is_bad = |set: &Response| set.type_url == CDS && holds(set, &cluster("bad", 1));
    let (responses, _) = exchange(&mut peer, is_bad);
    assert!(responses.iter().all(|it| it.type_url != RDS));
    peer.pass(Duration::from_secs(60));
    assert!(peer.drain().is_empty(), "a route to nowhere");
    peer.view(&world_with(&["a", "bad", "c"], route(ROUTE, "c")));
    assert_eq!(peer.settle(), ["rds rt"]);
}

/// A gRPC client: it asks for clusters once it has the route to them (rule G2), and here finds one
/// of the two bad. Whether other clients take both.
fn grpc_with_half_of_a_route(others_take_both: bool) -> Peer {
    let settings = together();
    let view = world_with(
        &["a", "bad"],
        weighted_route(ROUTE, &[("a", 1), ("bad", 1)]),
    );
    if others_take_both {
        let mut other = Peer::with_settings(Sotw, settings.clone());
        other.view(&view);
        other.subscribe(CDS, &[]);
        assert_eq!(other.settle(), ["cds a bad"]);
    }
    let mut peer = Peer::with_settings(Sotw, settings);
    peer.view(&view);
    peer.subscribe(RDS, &[ROUTE]);
    assert_eq!(peer.settle(), ["rds rt"]);
    peer.subscribe(CDS, &["a", "bad"]);
    let both = peer.one();
    assert_eq!(brief(&both), "cds a bad");
    peer.nack(&both, "no such filter");
    assert!(peer.drain().is_empty(), "less would delete what it may use");
    peer.subscribe(EDS, &["a"]);
    assert_eq!(peer.settle(), ["eds a"]);
    peer
}

#[test]
fn o4_a_route_does_not_wait_for_good_for_a_set_that_waits_for_the_route() {
    let deadline = crate::stream::SessionSettings::default().gate_deadline;
    for others_take_both in [true, false] {
        let mut peer = grpc_with_half_of_a_route(others_take_both);
        // The culprit leaves with its traffic. It may be applied all the same, and the route leads
        // there, so that it stays in the set; but with it the set is the one that was rejected.
        let good = world(&["a"], "a");
        peer.view(&good);
        assert!(peer.drain().is_empty(), "{others_take_both}");
        peer.pass(deadline - Duration::from_millis(1));
        assert!(peer.drain().is_empty(), "{others_take_both}");
        peer.pass(Duration::from_millis(1));
        assert_eq!(peer.settle(), ["cds a", "eds a", "rds rt"]);
        assert_eq!(peer.session.delivery().gates_forced, 1);
        assert!(rejections(&peer).is_empty());
        peer.subscribe(CDS, &["a"]);
        peer.settle();
        assert_eq!(peer.acknowledged().as_deref(), Some(&**good.id()));
    }
}

#[test]
fn o4_a_route_does_not_wait_for_good_for_a_suspect_that_it_left() {
    let deadline = crate::stream::SessionSettings::default().gate_deadline;
    for (good, bad) in [("a", "bad"), ("bad", "a")] {
        let mut peer = grpc_with_half_of_a_route(false);
        peer.subscribe(EDS, &["a", "bad"]);
        peer.settle();
        // The traffic leaves the culprit, which stays in the view. The client may use it until it
        // has the new route, so that no set may lack it; but no set with it is taken.
        peer.view(&world(&["a", "bad"], good));
        assert!(peer.drain().is_empty(), "{good}");
        peer.pass(deadline - Duration::from_millis(1));
        assert!(peer.drain().is_empty(), "{good}");
        peer.pass(Duration::from_millis(1));
        let expected = [format!("cds {good}"), format!("eds {good}")];
        let (responses, _) = exchange(&mut peer, |set| holds(set, &cluster(bad, 1)));
        let mut seen = briefs(&responses);
        assert!(seen.contains(&"rds rt".to_owned()), "{seen:?}");
        assert_eq!(seen.drain(..2).collect::<Vec<_>>(), expected);
        assert_eq!(peer.session.delivery().gates_forced, 1);
        assert_eq!(
            rejections(&peer),
            [(bad.to_owned(), "no such filter".to_owned())]
        );
    }
}

#[test]
fn o3_a_suspect_stays_in_every_set_while_a_route_is_to_lead_to_it() {
    let mut peer = grpc_with_half_of_a_route(false);
    peer.pass(Duration::from_secs(60));
    assert!(peer.drain().is_empty());
    // More traffic for one of them leaves the other in use.
    let routes = weighted_route(ROUTE, &[("a", 9), ("bad", 1)]);
    peer.view(&world_with(&["a", "bad"], routes));
    peer.pass(Duration::from_secs(60));
    assert!(peer.drain().is_empty());
    assert_eq!(peer.session.delivery().gates_forced, 0);
}

#[test]
fn x8_what_no_route_leads_to_is_tried_after_what_is_in_use() {
    // As a client that asks for more than its route leads to; the culprit is among that.
    let routes = || weighted_route(ROUTE, &[("b", 1), ("c", 1)]);
    let view = world_with(&["a", "b", "c", "d"], routes());
    let mut peer = Peer::with_view(Sotw, &view);
    peer.subscribe(RDS, &[ROUTE]);
    peer.settle();
    peer.subscribe(CDS, &["a", "b", "c", "d"]);
    let (responses, taken) = exchange(&mut peer, |set| holds(set, &cluster("a", 1)));
    let seen = briefs(&responses);
    assert_eq!(seen[..2], ["cds a b c d", "cds b c"]);
    assert_eq!(taken, ["b", "c", "d"]);
    assert_eq!(rejections(&peer)[0].0, "a");
}
