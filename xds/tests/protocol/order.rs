//! Make before break, O1 to O6.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::*;

/// The share of a new cluster `c`, beside `a`.
fn split(canary: u32) -> Resource {
    weighted_route(ROUTE, &[("a", 100 - canary), ("c", canary)])
}

runs!(o1_clusters_then_endpoints_then_listeners_then_routes_and_removals_last: aggregated);
async fn o1_clusters_then_endpoints_then_listeners_then_routes_and_removals_last(mode: Mode) {
    let old = world(&["a"], "a");
    let running = serve(&old).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&old).await;
    client
        .until(&CDS, |status| status.acknowledged.is_some())
        .await;
    client.subscribe(&EDS, &["c"]).await;
    if mode.is_delta() {
        assert_eq!(client.take(&EDS).await, "eds -c");
    }
    // What was asked for is known, and nothing is in flight.
    client.is_quiet().await;
    let new = closed([
        cluster("c", 1),
        assignment("c", 1),
        listener("l", ROUTE),
        listener("m", ROUTE),
        route(ROUTE, "c"),
    ]);
    client.publish(&new).await;
    let mut seen = Vec::new();
    let last = mode.either("cds -a", "cds c");
    while seen.last().is_none_or(|text| text != last) {
        seen.push(client.take_any().await);
        assert!(seen.len() < 10, "{seen:?}");
    }
    let wanted = mode.either(
        ["cds c", "eds c", "lds m", "rds rt", "cds -a"],
        // Whole sets: the union first, the new set last.
        ["cds a c", "eds c", "lds l m", "rds rt", "cds c"],
    );
    assert_eq!(seen, wanted);
}

runs!(o2_a_route_waits_for_the_ack_of_its_cluster_and_of_that_one_s_endpoints: aggregated);
async fn o2_a_route_waits_for_the_ack_of_its_cluster_and_of_that_one_s_endpoints(mode: Mode) {
    for endpoints_first in [true, false] {
        let old = world(&["a"], "a");
        let running = serve(&old).await;
        let mut client = Client::new(&running, mode);
        client.has_all(&old).await;
        client.publish(&world_with(&["a", "c"], [split(5)])).await;
        let clusters = client.next(&CDS).await;
        assert_eq!(clusters.brief(), mode.either("cds c", "cds a c"));
        client.subscribe(&EDS, &["c"]).await;
        let endpoints = client.next(&EDS).await;
        assert_eq!(endpoints.brief(), "eds c");
        client.is_quiet().await;
        let both = if endpoints_first {
            [endpoints, clusters]
        } else {
            [clusters, endpoints]
        };
        client.ack(&both[0]).await;
        client.is_quiet().await;
        client.ack(&both[1]).await;
        assert_eq!(client.take_any().await, "rds rt");
        client.is_quiet().await;
        assert_eq!(running.server.client("e1").unwrap().gates_forced, 0);
    }
}

runs!(o3_a_cluster_goes_after_the_ack_of_the_route_that_dropped_it: aggregated);
async fn o3_a_cluster_goes_after_the_ack_of_the_route_that_dropped_it(mode: Mode) {
    let old = world(&["a", "b"], "b");
    let running = serve(&old).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&old).await;
    client.publish(&world(&["a"], "a")).await;
    let routes = client.next(&RDS).await;
    client.is_quiet().await;
    client.unsubscribe(&EDS, &["b"]).await;
    client.ack(&routes).await;
    assert_eq!(client.take(&CDS).await, mode.either("cds -b", "cds a"));
    client.ends_quietly().await;
}

runs!(o3_a_client_that_refuses_the_route_keeps_its_old_cluster: aggregated);
async fn o3_a_client_that_refuses_the_route_keeps_its_old_cluster(mode: Mode) {
    let old = world(&["a", "b"], "b");
    let mut settings = together();
    // Not even the deadline takes the cluster away.
    settings.session.gate_deadline = Duration::from_millis(1);
    let running = serve_with(&old, settings).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&old).await;
    client
        .until(&RDS, |status| status.acknowledged.is_some())
        .await;
    // Were the route in flight for longer than the deadline, the cluster would go with reason; the
    // refusal is what this is about, so that it comes with nothing to take away yet.
    let refused = world_with(&["a", "b"], [weighted_route(ROUTE, &[("a", 0)])]);
    client.publish(&refused).await;
    let routes = client.next(&RDS).await;
    client.nack(&routes, "no").await;
    client
        .until(&RDS, |status| !status.rejections.is_empty())
        .await;
    let lacking = world_with(&["a"], [weighted_route(ROUTE, &[("a", 0)])]);
    client.publish(&lacking).await;
    client.is_quiet().await;
    client.is_quiet().await;
    client.publish(&old).await;
    assert_eq!(client.take_any().await, "rds rt");
    client.ends_quietly().await;
}

runs!(o3_a_client_that_comes_back_keeps_a_cluster_until_its_routes_are_known: delta_ads);
async fn o3_a_client_that_comes_back_keeps_a_cluster_until_its_routes_are_known(mode: Mode) {
    let old = world(&["a", "b"], "b");
    let running = serve(&world(&["a"], "a")).await;
    let mut client = Client::new(&running, mode);
    let held = |type_url: &TypeUrl, name: &str| {
        let resource = old.get(type_url, name).unwrap();
        resource.version().to_string()
    };
    let (a, b) = (held(&CDS, "a"), held(&CDS, "b"));
    client.resume(&CDS, &[], &[("a", &a), ("b", &b)], "").await;
    assert_eq!(client.take(&CDS).await, "cds", "nothing to add");
    client.subscribe(&EDS, &["a"]).await;
    assert_eq!(client.take(&EDS).await, "eds a");
    client
        .resume(&LDS, &[], &[("l", &held(&LDS, "l"))], "")
        .await;
    assert_eq!(client.take(&LDS).await, "lds");
    // Its route may lead to `b`.
    client.is_quiet().await;
    client
        .resume(&RDS, &[ROUTE], &[(ROUTE, &held(&RDS, ROUTE))], "")
        .await;
    let routes = client.next(&RDS).await;
    client.is_quiet().await;
    client.ack(&routes).await;
    assert_eq!(client.take_any().await, "cds -b");
    client.ends_quietly().await;
}

runs!(o4_a_gate_holds_up_nothing_else_and_opens_for_a_silent_client: aggregated);
async fn o4_a_gate_holds_up_nothing_else_and_opens_for_a_silent_client(mode: Mode) {
    const DEADLINE: Duration = Duration::from_millis(300);
    let old = world(&["a"], "a");
    let mut settings = together();
    settings.session.gate_deadline = DEADLINE;
    let running = serve_with(&old, settings).await;
    let mut client = Client::new(&running, mode);
    client.has_all(&old).await;
    client.subscribe(&RTDS, &["shift"]).await;
    if mode.is_delta() {
        client.take(&RTDS).await;
    }
    client
        .until(&RTDS, |status| status.subscribed.contains(&RTDS))
        .await;
    let before = Instant::now();
    let next = closed([
        cluster("a", 1),
        assignment("a", 2),
        cluster("c", 1),
        assignment("c", 1),
        listener("l", ROUTE),
        split(5),
        runtime("shift", 0),
    ]);
    client.publish(&next).await;
    // The clusters are never answered. What has nothing to do with them is there at once.
    let clusters = client.next(&CDS).await;
    assert_eq!(clusters.brief(), mode.either("cds c", "cds a c"));
    assert_eq!(client.take(&EDS).await, "eds a");
    assert_eq!(client.take(&RTDS).await, "rtds shift");
    // And the route after its deadline.
    assert_eq!(client.take_any().await, "rds rt");
    assert!(before.elapsed() >= DEADLINE);
    let status = client.until(&RDS, |status| status.gates_forced > 0).await;
    assert_eq!(status.gates_forced, 1);
}

runs!(o5_streams_of_one_type_wait_for_no_other_and_keep_what_is_gone_for_a_grace: per_type);
async fn o5_streams_of_one_type_wait_for_no_other_and_keep_what_is_gone_for_a_grace(mode: Mode) {
    const GRACE: Duration = Duration::from_millis(300);
    let mut settings = together();
    settings.session.removal_grace = GRACE;
    let running = serve_with(&world(&["a", "b"], "b"), settings).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&CDS, &[]).await;
    assert_eq!(client.take(&CDS).await, "cds a b");
    client.subscribe(&RDS, &[ROUTE]).await;
    assert_eq!(client.take(&RDS).await, "rds rt");
    let before = Instant::now();
    client.publish(&world(&["a", "c"], "c")).await;
    // The cluster isn't acknowledged, and the route goes out all the same.
    assert_eq!(client.take(&RDS).await, "rds rt");
    assert_eq!(client.take(&CDS).await, mode.either("cds c", "cds a b c"));
    assert_eq!(client.take(&CDS).await, mode.either("cds -b", "cds a c"));
    assert!(before.elapsed() >= GRACE);
    client.ends_quietly().await;
}

/// What a client has, as far as references go.
#[derive(Default)]
struct Holds(BTreeMap<TypeUrl, BTreeMap<String, Resource>>);

impl Holds {
    fn apply(&mut self, mode: Mode, got: &Got) {
        let of_type = self.0.entry(got.type_url.clone()).or_default();
        let whole = [CDS, LDS].contains(&got.type_url);
        if !mode.is_delta() && whole {
            of_type.clear();
        }
        for resource in &got.resources {
            let body = resource.body.as_ref().unwrap().value.clone();
            let held = Resource::new(got.type_url.clone(), &resource.name, body.into());
            of_type.insert(resource.name.clone(), held.unwrap());
        }
        for name in &got.removed {
            of_type.remove(name);
        }
    }

    fn names(&self, type_url: &TypeUrl) -> BTreeSet<&str> {
        let of_type = self.0.get(type_url).into_iter().flatten();
        of_type.map(|(name, _)| name.as_str()).collect()
    }

    /// No route, and no listener, leads to a cluster that isn't there; no listener that serves to
    /// a route that was there and is gone; no cluster that serves to endpoints that are gone.
    fn check(&self, seen: &[String]) {
        let all = self.0.values().flatten();
        for (name, resource) in all {
            let references = resource.references();
            for cluster in &references.clusters {
                let there = self.names(&CDS).contains(&**cluster);
                assert!(there, "{name} leads to no {cluster}: {seen:?}");
            }
            let endpoints = self.names(&EDS);
            for assignment in references
                .assignment
                .iter()
                .filter(|_| is_routed(self, name))
            {
                let there = endpoints.contains(&**assignment);
                assert!(there, "{name} has traffic and no endpoints: {seen:?}");
            }
        }
    }
}

/// Whether a route leads to a cluster.
fn is_routed(holds: &Holds, cluster: &str) -> bool {
    let mut routes = holds.0.get(&RDS).into_iter().flat_map(BTreeMap::values);
    routes.any(|route| route.references().clusters.contains(cluster))
}

runs!(o6_what_a_client_has_leads_somewhere_at_every_moment: aggregated);
async fn o6_what_a_client_has_leads_somewhere_at_every_moment(mode: Mode) {
    let views: [Arc<Snapshot>; 6] = [
        world(&["a"], "a"),
        world_with(&["a", "c"], [split(5)]),
        world(&["a", "c"], "c"),
        world(&["c"], "c"),
        world(&["d"], "d"),
        world_with(&["a", "c"], [split(50)]),
    ];
    let running = serve(&views[0]).await;
    let mut client = Client::new(&running, mode);
    let (mut holds, mut seen) = (Holds::default(), Vec::new());
    for (type_url, names) in [
        (CDS, vec![]),
        (EDS, vec!["a"]),
        (LDS, vec![]),
        (RDS, vec![ROUTE]),
    ] {
        client.subscribe(&type_url, &names).await;
        let got = client.next(&type_url).await;
        holds.apply(mode, &got);
        client.ack(&got).await;
    }
    for view in views.iter().skip(1) {
        publish(&running, view);
        let current = || {
            let status = running.server.client("e1").unwrap();
            status.acknowledged.as_deref() == Some(&**view.id())
        };
        while !current() {
            // What is to be read next, unless the view is in place: then nothing is.
            let got = tokio::select! {
                biased;
                got = client.next_any() => got,
                () = wait(current) => break,
            };
            seen.push(got.brief());
            holds.apply(mode, &got);
            holds.check(&seen);
            if got.type_url == CDS {
                follow(&mut client, &mut holds).await;
            }
            client.ack(&got).await;
        }
    }
    let switches = seen.iter().filter(|text| text.starts_with("rds")).count();
    assert_eq!(switches, 4, "one view leaves the route alone: {seen:?}");
}

/// As Envoy does: asks for the endpoints of new clusters, and drops those of clusters that are gone.
async fn follow(client: &mut Client<'_>, holds: &mut Holds) {
    let (clusters, endpoints) = (holds.names(&CDS), holds.names(&EDS));
    let owned = |name: &&str| (*name).to_owned();
    let new: Vec<String> = clusters.difference(&endpoints).map(owned).collect();
    let old: Vec<String> = endpoints.difference(&clusters).map(owned).collect();
    for name in &old {
        client.unsubscribe(&EDS, &[name]).await;
        holds.0.entry(EDS).or_default().remove(name);
    }
    for name in &new {
        client.subscribe(&EDS, &[name]).await;
    }
}
