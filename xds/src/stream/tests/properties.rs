//! Random requests, answers and views: the invariants hold after every step, and in the end the
//! client has what it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::stream::Variant::{self, Delta, Sotw};
use crate::stream::{Outcome, Proven, Response, SessionSettings};
use crate::{ResourceStatus, Version};

/// What may happen to a stream.
#[derive(Debug, Clone)]
enum Step {
    /// A view: which clusters, with which content; the route leads to `clusters[route]`.
    View {
        clusters: BTreeSet<u8>,
        content: u8,
        endpoints: u8,
        route: u8,
    },
    /// An answer to the oldest response that is open, of the type with this index.
    Answer {
        open: u8,
        reject: bool,
    },
    Subscribe {
        name: u8,
    },
    Unsubscribe {
        name: u8,
    },
    Pass {
        seconds: u8,
    },
    Heartbeat,
}

fn step() -> impl Strategy<Value = Step> {
    let clusters = proptest::collection::btree_set(0_u8..5, 1..5);
    prop_oneof![
        3 => (clusters, 1_u8..4, 1_u8..4, any::<u8>())
            .prop_map(|(clusters, content, endpoints, route)| Step::View { clusters, content, endpoints, route }),
        6 => any::<u8>().prop_map(|open| Step::Answer { open, reject: false }),
        1 => any::<u8>().prop_map(|open| Step::Answer { open, reject: true }),
        1 => (0_u8..6).prop_map(|name| Step::Subscribe { name }),
        1 => (0_u8..6).prop_map(|name| Step::Unsubscribe { name }),
        1 => (0_u8..5).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Heartbeat),
    ]
}

fn name(index: u8) -> String {
    format!("c{index}")
}

fn view(clusters: &BTreeSet<u8>, content: u8, endpoints: u8, route_to: u8) -> Arc<Snapshot> {
    let index = usize::from(route_to) % clusters.len();
    let target = name(*clusters.iter().nth(index).unwrap());
    let mut resources = vec![listener("l", ROUTE), route(ROUTE, &target)];
    resources.push(timed_runtime(
        "shift",
        u32::from(content),
        Duration::from_secs(6),
    ));
    for cluster_index in clusters {
        resources.push(cluster(&name(*cluster_index), i64::from(content)));
        resources.push(assignment(&name(*cluster_index), u32::from(endpoints)));
    }
    snapshot(resources)
}

/// What a client holds, as an Envoy would: what it acknowledged.
#[derive(Default)]
struct Model {
    held: BTreeMap<TypeUrl, BTreeMap<String, Arc<Resource>>>,
    open: BTreeMap<TypeUrl, Response>,
    eds: BTreeSet<String>,
    /// How often a content was rejected: in company, alone.
    rejected_alone: BTreeSet<(TypeUrl, String, Version)>,
    rejected_sets: BTreeSet<(TypeUrl, String)>,
    nonces: BTreeMap<u64, TypeUrl>,
    /// What the session may send together with others, if it isolates the rest.
    proven: Option<Arc<Proven>>,
}

impl Model {
    fn receive(&mut self, variant: Variant, response: Response, forced: bool) {
        let type_url = response.type_url.clone();
        assert!(
            self.nonces
                .insert(response.nonce, type_url.clone())
                .is_none(),
            "C5: a nonce was used twice"
        );
        assert!(
            !self.open.contains_key(&type_url),
            "X1: two {type_url} responses in flight"
        );
        if let Some(proven) = &self.proven
            && variant == Delta
            && (type_url == CDS || type_url == LDS)
        {
            let mut items = response.items.iter();
            assert!(
                items.len() <= 1 || items.all(|item| proven.contains(&item.resource)),
                "S22: something unproven in company"
            );
        }
        let names: Vec<_> = response
            .items
            .iter()
            .map(|item| item.resource.name())
            .collect();
        let distinct: BTreeSet<_> = names
            .iter()
            .chain(&response.removed.iter().collect::<Vec<_>>())
            .copied()
            .cloned()
            .collect();
        assert_eq!(
            distinct.len(),
            names.len() + response.removed.len(),
            "C6: a name twice"
        );
        let whole = variant == Sotw && (type_url == CDS || type_url == LDS);
        if whole {
            let set = (type_url.clone(), response.version.to_string());
            assert!(
                !self.rejected_sets.contains(&set),
                "X8: a rejected set again"
            );
        } else {
            for item in response.items.iter().filter(|item| !item.renewal) {
                let key = (
                    type_url.clone(),
                    item.resource.name().to_string(),
                    item.resource.version(),
                );
                assert!(
                    !self.rejected_alone.contains(&key),
                    "X8: rejected bytes again"
                );
            }
        }
        if type_url == RTDS {
            assert_eq!(
                names.len() + response.removed.len(),
                1,
                "D3c: one runtime resource"
            );
        }
        if !forced {
            self.check_closed(variant, &response);
        }
        self.open.insert(type_url, response);
    }

    /// O6: what a route leads to is there and stays there.
    fn check_closed(&self, variant: Variant, response: &Response) {
        let none = BTreeMap::new();
        let clusters = self.held.get(&CDS).unwrap_or(&none);
        if response.type_url == RDS {
            for item in response.items.iter() {
                for cluster in &item.resource.references().clusters {
                    assert!(
                        clusters.contains_key(&**cluster),
                        "O2: a route to {cluster}, which isn't there"
                    );
                }
            }
        }
        if response.type_url == CDS {
            let routes = self.held.get(&RDS).unwrap_or(&none).values();
            let flying = self
                .open
                .get(&RDS)
                .into_iter()
                .flat_map(|open| open.items.iter());
            let needed: BTreeSet<_> = routes
                .chain(flying.map(|item| &item.resource))
                .flat_map(|route| &route.references().clusters)
                .collect();
            for cluster in needed
                .into_iter()
                .filter(|cluster| clusters.contains_key(&***cluster))
            {
                let stays = match variant {
                    Delta => !response.removed.contains(cluster),
                    Sotw => response
                        .items
                        .iter()
                        .any(|item| item.resource.name() == cluster),
                };
                assert!(stays, "O3: {cluster} is taken away under a route");
            }
        }
    }

    fn acknowledge(&mut self, variant: Variant, response: &Response) {
        let held = self.held.entry(response.type_url.clone()).or_default();
        if variant == Sotw && (response.type_url == CDS || response.type_url == LDS) {
            held.clear();
        }
        for item in response.items.iter() {
            held.insert(item.resource.name().to_string(), item.resource.clone());
        }
        for name in &response.removed {
            held.remove(&**name);
        }
    }

    /// `given_up`: the responses that were never answered, as far as the session knows.
    fn reject(&mut self, response: &Response, given_up: &[u64]) {
        let type_url = &response.type_url;
        // The words may be about an earlier set that was given up (Envoy answers a burst of sets
        // once, with its first error), so that this one gets one more chance.
        let ambiguous = given_up
            .iter()
            .any(|nonce| self.nonces.get(nonce) == Some(type_url));
        if !ambiguous {
            self.rejected_sets
                .insert((type_url.clone(), response.version.to_string()));
        }
        if let [item] = &*response.items {
            let resource = &item.resource;
            let key = (
                type_url.clone(),
                resource.name().to_string(),
                resource.version(),
            );
            if !item.renewal && response.removed.is_empty() {
                self.rejected_alone.insert(key);
            }
        }
    }
}

fn drain(peer: &mut Peer, model: &mut Model, variant: Variant) {
    loop {
        let before = peer.session.delivery().gates_forced;
        let Some(response) = peer.poll() else { return };
        // What was given up needs no answer any more.
        let overdue = peer.session.given_up();
        model.open.retain(|_, open| !overdue.contains(&open.nonce));
        let forced = peer.session.delivery().gates_forced > before;
        model.receive(variant, response, forced);
    }
}

fn restate(peer: &mut Peer, model: &Model) {
    let names: Vec<&str> = model.eds.iter().map(String::as_str).collect();
    peer.state_names(EDS, &names);
}

fn run(variant: Variant, settings: SessionSettings, steps: Vec<Step>) {
    let proven = settings
        .one_doubt_per_response
        .then(|| settings.proven.clone());
    let mut peer = Peer::with_settings(variant, settings);
    let mut model = Model {
        proven,
        ..Model::default()
    };
    peer.subscribe(RTDS, &["shift"]);
    peer.subscribe(CDS, &[]);
    model.eds = (0..5).map(name).collect();
    let all: Vec<String> = model.eds.iter().cloned().collect();
    peer.subscribe(EDS, &all.iter().map(String::as_str).collect::<Vec<_>>());
    peer.subscribe(LDS, &[]);
    peer.subscribe(RDS, &[ROUTE]);
    for step in steps {
        match step {
            Step::View {
                clusters,
                content,
                endpoints,
                route,
            } => {
                peer.view(&view(&clusters, content, endpoints, route));
            }
            Step::Answer { open, reject } => {
                let index = usize::from(open) % model.open.len().max(1);
                let Some(type_url) = model.open.keys().nth(index).cloned() else {
                    continue;
                };
                let response = model.open.remove(&type_url).unwrap();
                if reject {
                    model.reject(&response, &peer.session.given_up());
                    peer.nack(&response, "no");
                } else {
                    model.acknowledge(variant, &response);
                    peer.ack(&response);
                    assert_eq!(peer.answer_again(&response), Outcome::Stale);
                }
            }
            Step::Subscribe { name: index } => {
                model.eds.insert(name(index));
                match variant {
                    Delta => peer.subscribe(EDS, &[&name(index)]),
                    Sotw => restate(&mut peer, &model),
                }
            }
            Step::Unsubscribe { name: index } => {
                model.eds.remove(&name(index));
                match variant {
                    Delta => peer.unsubscribe(EDS, &[&name(index)]),
                    Sotw => restate(&mut peer, &model),
                }
            }
            Step::Pass { seconds } => peer.pass(Duration::from_secs(u64::from(seconds))),
            Step::Heartbeat => peer.session.heartbeat(peer.now),
        }
        drain(&mut peer, &mut model, variant);
    }
    converge(peer, model, variant);
}

/// A view that nobody rejected yet, a client that takes everything and asks for all it needs: it
/// must end up with exactly that view.
fn converge(mut peer: Peer, mut model: Model, variant: Variant) {
    let resources = [
        api_listener("l", ROUTE),
        weighted_route(ROUTE, &[("c0", 9), ("c1", 9)]),
    ];
    let clusters = [
        cluster("c0", 9),
        assignment("c0", 9),
        cluster("c1", 9),
        assignment("c1", 9),
    ];
    let layer = timed_runtime("shift", 9, Duration::from_secs(6));
    let last = snapshot(resources.into_iter().chain(clusters).chain([layer]));
    model.eds.extend([name(0), name(1)]);
    match variant {
        Delta => peer.subscribe(EDS, &[&name(0), &name(1)]),
        Sotw => restate(&mut peer, &model),
    }
    peer.view(&last);
    for _ in 0..100 {
        drain(&mut peer, &mut model, variant);
        while let Some((_, response)) = model.open.pop_first() {
            model.acknowledge(variant, &response);
            peer.ack(&response);
            if variant == Sotw && response.type_url == EDS {
                // An ACK of the state of the world repeats the names as they are by now.
                restate(&mut peer, &model);
            }
        }
        peer.pass(Duration::from_secs(1));
        peer.session.heartbeat(peer.now);
    }
    drain(&mut peer, &mut model, variant);
    for type_url in [CDS, EDS, LDS, RDS, RTDS] {
        for resource in last.iter(&type_url) {
            let status = peer.session.resource_status(&type_url, resource.name());
            assert_eq!(
                status,
                Some(ResourceStatus::Acknowledged),
                "{type_url} {}",
                resource.name()
            );
            let held = model.held[&type_url].get(&**resource.name());
            assert_eq!(held.map(|held| held.version()), Some(resource.version()));
        }
    }
    let clusters: Vec<&String> = model.held[&CDS].keys().collect();
    assert_eq!(
        clusters,
        ["c0", "c1"],
        "what is gone from the view is gone from the client"
    );
    assert_eq!(peer.acknowledged().as_deref(), Some(&**last.id()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn x1_x8_o6_hold_and_a_delta_client_converges(steps in proptest::collection::vec(step(), 0..80)) {
        run(Delta, together(), steps);
    }

    #[test]
    fn s22_x1_x8_o6_hold_and_a_delta_client_converges_one_doubt_at_a_time(steps in proptest::collection::vec(step(), 0..80)) {
        run(Delta, SessionSettings::default(), steps);
    }

    #[test]
    fn x1_x8_o6_hold_and_a_state_of_the_world_client_converges(steps in proptest::collection::vec(step(), 0..80)) {
        run(Sotw, SessionSettings::default(), steps);
    }
}
