//! What a stream keeps when nothing is under way, and that a look at what changed finds what a
//! look at everything does (the comparison itself is in `oracle`, at every look).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;

use super::*;
use crate::stream::Variant::{self, Delta, Sotw};
use crate::stream::bulk::without_bulk;
use crate::stream::plan::classed_by;
use crate::stream::{NameLists, SessionSettings};

fn many(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c{n:03}")).collect()
}

fn view_of(names: &[String], changed: &str) -> Arc<Snapshot> {
    let mut resources = vec![listener("l", ROUTE), route(ROUTE, &names[0])];
    for name in names {
        resources.push(cluster(name, 1));
        resources.push(assignment(name, if name == changed { 2 } else { 1 }));
    }
    snapshot(resources)
}

/// How many entries the session has of its own, of all types.
fn apart(peer: &Peer) -> usize {
    let types = peer.session.types.values();
    types.map(|state| state.held.apart().count()).sum()
}

#[test]
fn a_stream_at_rest_tells_nothing_apart_and_keeps_no_old_view() {
    let names = many(100);
    for variant in [Delta, Sotw] {
        let old = view_of(&names, "");
        let mut peer = envoy(variant, &old);
        assert_eq!(apart(&peer), 0, "{variant:?}");
        let weak = Arc::downgrade(old.of_type(&EDS).unwrap());
        drop(old);
        let new = view_of(&names, "c007");
        peer.view(&new);
        let update = peer.one();
        assert_eq!(brief(&update), "eds c007");
        assert!(apart(&peer) <= 2, "{variant:?}: {}", apart(&peer));
        assert!(
            weak.upgrade().is_none(),
            "the old view is gone at once, and not when the client answers"
        );
        peer.ack(&update);
        assert!(peer.drain().is_empty());
        assert_eq!(apart(&peer), 0, "{variant:?}");
        assert_eq!(peer.acknowledged().as_deref(), Some(&**new.id()));
    }
}

#[test]
fn streams_that_name_the_same_share_one_list() {
    let names = many(100);
    let view = view_of(&names, "");
    let lists = Arc::new(NameLists::default());
    let list = |order: Vec<&str>| {
        let settings = SessionSettings {
            names: lists.clone(),
            ..together()
        };
        let mut peer = Peer::with_settings(Delta, settings);
        peer.view(&view);
        for some in order.chunks(30) {
            peer.subscribe(EDS, some);
            peer.settle();
        }
        let names = &peer.session.types[&EDS].subscription.names;
        names.settled().unwrap().clone()
    };
    let forth: Vec<&str> = names.iter().map(String::as_str).collect();
    let back: Vec<&str> = forth.iter().rev().copied().collect();
    let (a, b) = (list(forth), list(back));
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(a.len(), 100);
}

#[test]
fn a_look_after_a_change_considers_only_what_changed() {
    let names = many(200);
    let mut peer = envoy(Delta, &view_of(&names, ""));
    without_bulk(|| peer.view(&view_of(&names, "c042")));
    for (type_url, state) in &peer.session.types {
        let touched = state.agenda.touched();
        let expected = if *type_url == EDS {
            vec!["c042"]
        } else {
            vec![]
        };
        assert_eq!(touched, Some(expected), "{type_url}");
    }
    assert_eq!(peer.settle(), ["eds c042"]);
}

/// Clients reject what they reject together, a thousand resources at a time.
#[test]
fn each_name_of_a_rejected_response_is_looked_at_once_and_then_no_more() {
    let names = many(200);
    let mut peer = Peer::with_view(Delta, &view_of(&names, ""));
    peer.subscribe(CDS, &[]);
    let mut rejected = peer.one();
    assert_eq!(rejected.items.len(), names.len());
    for looks in [names.len(), 1, 1, 1] {
        peer.nack(&rejected, "no");
        let looked = classed_by(|| rejected = peer.poll().unwrap());
        assert_eq!(looked, looks);
        assert_eq!(rejected.items.len(), 1, "one by one");
    }
    // What changes meanwhile is no reason to look at the others.
    peer.view(&view_of(&names, "c007"));
    assert_eq!(classed_by(|| assert!(peer.poll().is_none())), 0);
}

#[test]
fn o2_a_cluster_that_changes_after_a_rest_waits_for_its_endpoints_again() {
    for variant in [Delta, Sotw] {
        let mut peer = envoy(variant, &world(&["a", "b"], "a"));
        assert_eq!(apart(&peer), 0);
        let resources = [
            cluster("a", 1),
            assignment("a", 1),
            cluster("b", 2),
            assignment("b", 1),
            listener("l", ROUTE),
            route(ROUTE, "b"),
        ];
        peer.view(&snapshot(resources));
        let responses = peer.drain();
        assert_eq!(responses[0].type_url, CDS);
        assert_eq!(brief(&responses[1]), "eds b", "as it was, but again");
        peer.ack(&responses[0]);
        assert!(peer.drain().is_empty(), "its endpoints are not there");
        peer.ack(&responses[1]);
        assert_eq!(peer.settle(), ["rds rt"], "{variant:?}");
        assert_eq!(apart(&peer), 0);
    }
}

#[test]
fn o2_endpoints_that_did_not_come_since_are_missed_after_a_rest_too() {
    // The endpoints are gone from the view when their cluster is sent again, so that they aren't
    // sent after it; then they are back, as they were.
    let resources = |content, endpoints: bool, to: &str| {
        let mut resources = vec![
            cluster("a", 1),
            assignment("a", 1),
            cluster("b", content),
            listener("l", ROUTE),
            route(ROUTE, to),
        ];
        if endpoints {
            resources.push(assignment("b", 1));
        }
        let mut builder = Snapshot::builder();
        builder.assume(EDS, "b");
        for resource in resources {
            builder.insert(resource);
        }
        Arc::new(builder.build().unwrap())
    };
    let mut peer = envoy(Delta, &resources(1, true, "a"));
    peer.view(&resources(2, false, "a"));
    assert_eq!(
        peer.settle(),
        ["cds b"],
        "the endpoints are kept by the cluster"
    );
    peer.view(&resources(2, true, "a"));
    assert!(peer.settle().is_empty());
    assert_eq!(apart(&peer), 2, "the cluster and its endpoints");
    peer.view(&resources(2, true, "b"));
    assert!(
        peer.drain().is_empty(),
        "the endpoints are older than the cluster"
    );
    peer.view(&resources(3, true, "b"));
    assert_eq!(peer.settle(), ["cds b", "eds b", "rds rt"]);
    assert_eq!(apart(&peer), 0);
}

/// What may happen to a stream, sensible or not.
#[derive(Debug, Clone)]
enum Step {
    View {
        clusters: BTreeSet<u8>,
        content: u8,
        routes: u8,
    },
    /// A request of a type, by its index; names to add and to drop; 6 stands for `*`.
    Request {
        of: u8,
        add: BTreeSet<u8>,
        drop: BTreeSet<u8>,
        error: bool,
        nonce: u8,
    },
    Pass {
        seconds: u8,
    },
    Heartbeat,
}

const TYPES: [TypeUrl; 5] = [CDS, EDS, LDS, RDS, RTDS];

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::collection::btree_set(0_u8..7, 0..3);
    prop_oneof![
        3 => (proptest::collection::btree_set(0_u8..5, 0..5), 1_u8..4, any::<u8>())
            .prop_map(|(clusters, content, routes)| Step::View { clusters, content, routes }),
        8 => (0_u8..5, names(), names(), proptest::bool::weighted(0.2), 0_u8..4)
            .prop_map(|(of, add, drop, error, nonce)| Step::Request { of, add, drop, error, nonce }),
        2 => (0_u8..20).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Heartbeat),
    ]
}

fn name(of: &TypeUrl, index: u8) -> String {
    match index {
        6 => "*".to_owned(),
        _ if *of == RDS => format!("rt{index}"),
        _ if *of == RTDS => "shift".to_owned(),
        _ => format!("c{index}"),
    }
}

fn chaotic_view(clusters: &BTreeSet<u8>, content: u8, routes: u8) -> Arc<Snapshot> {
    let mut resources = Vec::new();
    for (place, index) in clusters.iter().enumerate() {
        let name = format!("c{index}");
        resources.push(cluster(&name, i64::from(content % 2 + index % 2)));
        resources.push(assignment(&name, u32::from(content)));
        if routes & (1 << place) != 0 {
            resources.push(route(&format!("rt{index}"), &name));
            resources.push(listener(&name, &format!("rt{index}")));
        } else if routes & (8 << place) != 0 {
            resources.push(inline_listener(&name, &name));
        }
    }
    if routes & 1 == 0 {
        let layer = timed_runtime("shift", u32::from(content), Duration::from_secs(6));
        resources.push(layer);
    }
    snapshot(resources)
}

fn chaos(variant: Variant, settings: SessionSettings, only: Option<TypeUrl>, steps: Vec<Step>) {
    let mut peer = Peer::with_settings(variant, settings);
    if let Some(only) = &only {
        let settings = peer.session.settings.clone();
        peer.session = crate::stream::Session::new(variant, settings).only(only.clone());
    }
    let mut nonces: std::collections::BTreeMap<TypeUrl, Vec<u64>> = Default::default();
    let mut first = true;
    for step in steps {
        match step {
            Step::View {
                clusters,
                content,
                routes,
            } => {
                peer.view(&chaotic_view(&clusters, content, routes));
            }
            Step::Request {
                of,
                add,
                drop,
                error,
                nonce,
            } => {
                let of = only
                    .clone()
                    .unwrap_or_else(|| TYPES[usize::from(of)].clone());
                let names =
                    |set: &BTreeSet<u8>| set.iter().map(|index| name(&of, *index)).collect();
                let sent = nonces.get(&of).map_or(&[][..], |sent| sent);
                // Mostly the last one.
                let place = sent.len().checked_sub(1 + usize::from(nonce / 3));
                let nonce = place.map_or_else(String::new, |place| sent[place].to_string());
                let error_detail = error.then(Status::default);
                let type_url = of.as_str().to_owned();
                let node = peer.node();
                let request: crate::stream::Request = match variant {
                    Delta => {
                        let held = |index: &u8| {
                            let version = cluster(&format!("c{index}"), 1).version().to_string();
                            (name(&of, *index), version)
                        };
                        let claims = drop.iter().filter(|_| first).map(held);
                        DeltaDiscoveryRequest {
                            node,
                            type_url,
                            resource_names_subscribe: names(&add),
                            resource_names_unsubscribe: names(&drop),
                            initial_resource_versions: claims.collect(),
                            response_nonce: nonce,
                            error_detail,
                            ..Default::default()
                        }
                        .into()
                    }
                    Sotw => DiscoveryRequest {
                        node,
                        type_url,
                        resource_names: names(&add),
                        version_info: if drop.is_empty() {
                            String::new()
                        } else {
                            "v".to_owned()
                        },
                        response_nonce: nonce,
                        error_detail,
                        ..Default::default()
                    }
                    .into(),
                };
                first = of != CDS && first;
                peer.send(request);
            }
            Step::Pass { seconds } => {
                let end = peer.now + Duration::from_secs(u64::from(seconds));
                // What is overdue since the view changed is due at once.
                while let Some(at) = peer.session.next_timeout().filter(|at| *at <= end) {
                    peer.now = peer.now.max(at);
                    peer.session.handle_timeout(peer.now);
                }
                peer.now = end;
            }
            Step::Heartbeat => peer.session.heartbeat(peer.now),
        }
        for response in peer.drain() {
            nonces
                .entry(response.type_url.clone())
                .or_default()
                .push(response.nonce);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_look_at_what_changed_finds_everything_over_delta(steps in proptest::collection::vec(step(), 0..60)) {
        chaos(Delta, SessionSettings::default(), None, steps);
    }

    #[test]
    fn a_look_at_what_changed_finds_everything_over_state_of_the_world(steps in proptest::collection::vec(step(), 0..60)) {
        chaos(Sotw, SessionSettings::default(), None, steps);
    }

    #[test]
    fn a_look_at_what_changed_finds_everything_of_one_type(steps in proptest::collection::vec(step(), 0..60), of in 0_usize..4, delta: bool) {
        let variant = if delta { Delta } else { Sotw };
        chaos(variant, together(), Some(TYPES[of].clone()), steps);
    }
}
