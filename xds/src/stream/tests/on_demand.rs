//! Clusters and virtual hosts that are fetched when a request needs them (ODCDS, VHDS).

use std::sync::Arc;

use super::*;
use crate::SnapshotProblem;
use crate::stream::Variant::{Delta, Sotw};

const VHDS: TypeUrl = TypeUrl::VIRTUAL_HOST;

fn clusters(on_demand: &[&str]) -> Arc<Snapshot> {
    let kept = on_demand
        .iter()
        .map(|name| static_cluster(name).on_demand());
    snapshot(kept.chain([static_cluster("a")]))
}

#[test]
fn d3_an_unknown_cluster_on_demand_is_answered_at_once_and_pushed_when_created() {
    let mut peer = Peer::with_view(Delta, &clusters(&[]));
    peer.subscribe(CDS, &["od"]);
    assert_eq!(
        peer.settle(),
        ["cds -od"],
        "it ends the wait of the request"
    );
    peer.view(&clusters(&["od"]));
    assert_eq!(peer.settle(), ["cds od"], "it stays asked for (rule C9)");
    peer.unsubscribe(CDS, &["od"]);
    assert_eq!(peer.settle(), Vec::<String>::new());
    peer.view(&clusters(&[]));
    assert_eq!(peer.settle(), Vec::<String>::new());
    peer.subscribe(CDS, &["od"]);
    assert_eq!(peer.settle(), ["cds -od"]);
}

#[test]
fn d2_a_cluster_on_demand_is_not_in_the_wildcard_and_comes_beside_it() {
    let mut peer = Peer::with_view(Delta, &clusters(&["od", "od2"]));
    peer.subscribe(CDS, &[]);
    assert_eq!(peer.settle(), ["cds a"]);
    peer.subscribe(EDS, &[]);
    peer.settle();
    peer.subscribe(CDS, &["od"]);
    assert_eq!(peer.settle(), ["cds od"]);
    assert!(peer.acknowledged().is_some(), "nobody waits for `od2`");
    let mut peer = Peer::with_view(Sotw, &clusters(&["od", "od2"]));
    peer.subscribe(CDS, &["*"]);
    assert_eq!(peer.settle(), ["cds a"]);
    peer.state_names(CDS, &["*", "od"]);
    assert_eq!(peer.settle(), ["cds a od"]);
}

#[test]
fn d6_a_cluster_on_demand_that_is_dropped_under_a_wildcard_is_taken_away() {
    let mut peer = Peer::with_view(Delta, &clusters(&["od"]));
    peer.subscribe(CDS, &["*", "od", "a"]);
    assert_eq!(peer.settle(), ["cds a od"]);
    peer.unsubscribe(CDS, &["od", "a"]);
    assert_eq!(peer.settle(), ["cds a", "cds -od"]);
}

#[test]
fn d8_a_cluster_on_demand_survives_a_reconnect() {
    let view = clusters(&["od"]);
    let version = |name| view.get(&CDS, name).unwrap().version_text();
    let held = [
        ("a", &*version("a")),
        ("od", &*version("od")),
        ("gone", "1"),
    ];
    let mut peer = Peer::with_view(Delta, &view);
    peer.resume(CDS, &["*", "od"], &held);
    let seen = peer.settle();
    assert!(seen.contains(&"cds od".to_owned()) && !seen.contains(&"cds -od".to_owned()));
}

#[test]
fn o2_a_route_waits_only_for_a_cluster_that_was_asked_for() {
    let mut builder = Snapshot::builder();
    builder
        .insert(static_cluster("od").on_demand())
        .insert(listener("l", ROUTE))
        .insert(route(ROUTE, "od"));
    let mut peer = Peer::with_view(Delta, &Arc::new(builder.build().unwrap()));
    peer.subscribe(CDS, &[]);
    peer.subscribe(LDS, &[]);
    peer.subscribe(RDS, &[ROUTE]);
    assert_eq!(peer.settle(), ["cds", "lds l", "rds rt"]);
}

fn hosts(named: &[(&str, &[&str])]) -> Arc<Snapshot> {
    let hosts = named.iter().map(|(name, aliases)| {
        let host = virtual_host(name, "a");
        host.with_aliases(aliases.iter().copied()).unwrap()
    });
    snapshot([static_cluster("a")].into_iter().chain(hosts))
}

#[test]
fn d14_an_alias_is_answered_with_the_resource_that_goes_by_it() {
    let view = hosts(&[("rt/shop", &["rt/shop.example", "rt/www.shop.example"])]);
    let mut peer = Peer::with_view(Delta, &view);
    peer.subscribe(VHDS, &["rt/www.shop.example"]);
    assert_eq!(peer.settle(), ["vhds rt/shop"]);
    peer.subscribe(VHDS, &["rt/shop.example"]);
    assert_eq!(
        peer.settle(),
        ["vhds rt/shop"],
        "every name is answered (rule D3)"
    );
    peer.subscribe(VHDS, &["rt/shop", "rt/shop.example"]);
    assert_eq!(
        peer.settle(),
        ["vhds rt/shop"],
        "and no resource comes twice (rule C6)"
    );
}

#[test]
fn d14_an_alias_that_leads_nowhere_is_told_so_and_resolved_later() {
    let mut peer = Peer::with_view(Delta, &hosts(&[]));
    peer.subscribe(VHDS, &["rt/shop.example"]);
    assert_eq!(peer.settle(), ["vhds ?rt/shop.example"]);
    peer.view(&hosts(&[("rt/shop", &["rt/shop.example"])]));
    assert_eq!(peer.settle(), ["vhds rt/shop"]);
    peer.view(&hosts(&[("rt/shop", &["rt/shop.example", "rt/s"])]));
    assert_eq!(
        peer.settle(),
        ["vhds rt/shop"],
        "its aliases are part of it"
    );
    peer.view(&hosts(&[]));
    assert_eq!(
        peer.settle(),
        ["vhds -rt/shop"],
        "what it has is taken away by its name"
    );
}

#[test]
fn d14_an_envoy_that_waits_for_virtual_hosts_hears_of_each_of_its_route_configurations() {
    use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, Vhds};
    let fetched = |name: &str| {
        let routes = RouteConfiguration {
            name: name.to_owned(),
            vhds: Some(Vhds::default()),
            ..Default::default()
        };
        Resource::encode(RDS, name, &routes).unwrap()
    };
    let mut peer = Peer::with_view(Delta, &snapshot([fetched("rt")]));
    peer.subscribe(RDS, &["rt", "rt2"]);
    assert_eq!(peer.settle(), ["rds rt", "rds -rt2"]);
    peer.subscribe(VHDS, &[]);
    assert_eq!(peer.settle(), ["vhds -rt/*"]);
    peer.view(&snapshot([
        fetched("rt"),
        fetched("rt2"),
        static_cluster("a"),
    ]));
    assert_eq!(peer.settle(), ["rds rt2", "vhds -rt2/*"]);
    let mut early = Peer::new(Delta);
    early.subscribe(VHDS, &[]);
    assert_eq!(early.settle(), Vec::<String>::new(), "no view yet");
    early.view(&snapshot([fetched("rt")]));
    assert_eq!(early.settle(), ["vhds -rt/*"]);
}

#[test]
fn d14_d7_a_dropped_alias_is_forgotten_and_sent_again_when_asked_for() {
    let view = hosts(&[("rt/shop", &["rt/shop.example"])]);
    let mut peer = Peer::with_view(Delta, &view);
    peer.subscribe(VHDS, &["rt/shop.example"]);
    peer.settle();
    peer.unsubscribe(VHDS, &["rt/shop.example"]);
    assert_eq!(peer.settle(), Vec::<String>::new());
    peer.subscribe(VHDS, &["rt/shop.example"]);
    assert_eq!(peer.settle(), ["vhds rt/shop"]);
}

#[test]
fn d14_d8_a_virtual_host_that_went_while_the_client_was_away_is_taken_away() {
    let view = hosts(&[("rt/shop", &["rt/shop.example"])]);
    let mut peer = Peer::with_view(Delta, &view);
    peer.resume(VHDS, &["rt/gone.example"], &[("rt/gone", "1")]);
    let seen = peer.settle();
    assert_eq!(seen, ["vhds ?rt/gone.example", "vhds -rt/gone"]);
}

#[test]
fn o3_a_cluster_stays_while_a_virtual_host_leads_to_it() {
    let with = |target: &str, clusters: &[&str]| {
        let clusters = clusters.iter().map(|name| static_cluster(name));
        snapshot(clusters.chain([virtual_host("rt/shop", target)]))
    };
    let mut peer = Peer::with_view(Delta, &with("a", &["a", "b"]));
    peer.subscribe(CDS, &["*"]);
    peer.subscribe(VHDS, &["rt/shop"]);
    assert_eq!(peer.settle(), ["cds a b", "vhds rt/shop"]);
    peer.view(&with("b", &["b"]));
    assert_eq!(peer.settle(), ["vhds rt/shop", "cds -a"]);
}

#[test]
fn d14_no_two_resources_go_by_one_name() {
    let with = |first: &[&str], second: &[&str]| {
        let mut builder = Snapshot::builder();
        let named = |name: &str, aliases: &[&str]| {
            let host = virtual_host(name, "a");
            host.with_aliases(aliases.iter().copied()).unwrap()
        };
        builder
            .insert(static_cluster("a"))
            .insert(named("rt/x", first))
            .insert(named("rt/y", second));
        builder.build()
    };
    assert!(with(&["rt/x", "rt/1"], &["rt/2"]).is_ok());
    for refused in [with(&["rt/1"], &["rt/1"]), with(&["rt/y"], &[])] {
        let problems = refused.unwrap_err().problems;
        assert!(matches!(
            &problems[..],
            [SnapshotProblem::AliasTaken { .. }]
        ));
    }
}

#[test]
fn d3_a_name_that_is_asked_for_with_the_ack_of_its_absence_is_answered_again() {
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    let again = |nonce: &str| DeltaDiscoveryRequest {
        type_url: CDS.as_str().to_owned(),
        response_nonce: nonce.to_owned(),
        resource_names_subscribe: vec!["od".to_owned()],
        ..Default::default()
    };
    for lone in [false, true] {
        let view = clusters(&[]);
        let start = || match lone {
            true => Peer::only(Delta, CDS, &view),
            false => Peer::with_view(Delta, &view),
        };
        let mut peer = start();
        peer.subscribe(CDS, &["od"]);
        let first = peer.one();
        peer.send(again(&first.nonce.to_string()));
        assert_eq!(brief(&peer.one()), "cds -od", "in one request");
        let mut peer = start();
        peer.subscribe(CDS, &["od"]);
        let first = peer.one();
        peer.send(again(""));
        assert!(peer.drain().is_empty());
        peer.ack(&first);
        assert_eq!(brief(&peer.one()), "cds -od", "before the ACK");
    }
}
