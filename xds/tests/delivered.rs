//! Changes of what clients have, and proof that a view is in force, over a real connection.

#[cfg(test)]
mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::*;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tidegate_xds::report::version_gauge;
use tidegate_xds::server::{Delivered, DeliveryChange};
use tidegate_xds::{ResourceStatus, TypeUrl};

fn subscribe(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("e1"),
        type_url: type_url.as_str().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn gauges(list: &[(&str, &str)]) -> BTreeMap<String, u64> {
    let gauge = |(name, version): &(&str, &str)| ((*name).to_owned(), version_gauge(version));
    list.iter().map(gauge).collect()
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut changes = running.server.watch_delivery();
    let mut stream = running.delta().await;
    stream.send(subscribe(&TypeUrl::CLUSTER, &[])).await;
    let response = stream.next().await;
    stream.send(delta_ack(&response)).await;
    let view = running
        .until("e1", |status| status.acknowledged.is_some())
        .await
        .acknowledged
        .unwrap();
    running.publish(snapshot([cluster("a", 2)]));
    let response = stream.next().await;
    let refusal = DeltaDiscoveryRequest {
        error_detail: error("no"),
        ..delta_ack(&response)
    };
    stream.send(refusal).await;
    running
        .until("e1", |status| !status.rejections.is_empty())
        .await;
    drop(stream);
    running.until("e1", |status| !status.connected).await;
    let mut seen = Vec::new();
    while let Ok(DeliveryChange { node_id, what }) = changes.try_recv() {
        assert_eq!(&*node_id, "e1");
        seen.push(what);
    }
    let [connected, acknowledged, caught_up, rejected, disconnected] = &*seen else {
        panic!("{seen:?}");
    };
    assert_eq!(connected, &Delivered::Connected);
    assert_eq!(acknowledged, &Delivered::Acknowledged);
    assert_eq!(caught_up, &Delivered::CaughtUp(view));
    assert!(matches!(rejected, Delivered::Rejected(it) if &*it.text == "no"));
    assert_eq!(disconnected, &Delivered::Disconnected);
}

#[tokio::test]
async fn a_view_is_in_force_when_the_gauges_of_all_that_was_sent_show_it() {
    let running = start(snapshot([cluster("a", 1), route("rt", "a")])).await;
    let mut stream = running.delta().await;
    let routes = TypeUrl::ROUTE_CONFIGURATION;
    for (type_url, names) in [(TypeUrl::CLUSTER, vec![]), (routes, vec!["rt"])] {
        stream.send(subscribe(&type_url, &names)).await;
        let response = stream.next().await;
        stream.send(delta_ack(&response)).await;
    }
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    let view = status.acknowledged.clone().unwrap();
    assert_eq!(status.applied, None, "an acknowledgement is no proof");
    let server = &running.server;
    let soon = || Instant::now() + Duration::from_millis(50);
    let lacking = server.wait_applied(&view, &["e1", "e2"], soon()).await;
    let lacking = lacking.unwrap_err().to_string();
    assert!(lacking.contains("e1 (acknowledged, but"), "{lacking}");
    assert!(lacking.contains("e2 (not connected)"), "{lacking}");

    let clusters = gauges(&[("cluster_manager.cds.version", &view)]);
    server.note_versions("e1", &clusters);
    assert_eq!(server.client("e1").unwrap().applied, None, "routes lack");
    let old = gauges(&[("http.in.rds.rt.version", "0123456789abcdef")]);
    server.note_versions("e1", &old);
    assert_eq!(server.client("e1").unwrap().applied, None);

    let mut changes = server.watch_delivery();
    let waiting = server.clone();
    let (id, patience) = (view.clone(), Instant::now() + Duration::from_secs(10));
    let waiting = tokio::spawn(async move { waiting.wait_applied(&id, &["e1"], patience).await });
    let new = gauges(&[("http.in.rds.rt.version", &view)]);
    server.note_versions("e1", &new);
    server.note_versions("e1", &new);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(server.client("e1").unwrap().applied, Some(view.clone()));
    assert_eq!(
        changes.recv().await.unwrap().what,
        Delivered::Applied(view.clone())
    );
    assert!(changes.try_recv().is_err(), "told once");

    // A new view isn't in force by the old one's gauges.
    let next = running.publish(snapshot([cluster("a", 2), route("rt", "a")]));
    let response = stream.next().await;
    stream.send(delta_ack(&response)).await;
    running
        .until("e1", |status| {
            status.acknowledged.as_deref() == Some(&*next)
        })
        .await;
    assert_eq!(server.client("e1").unwrap().applied, None);
    server.note_versions("e1", &gauges(&[("cluster_manager.cds.version", &next)]));
    let applied = server.client("e1").unwrap().applied;
    assert_eq!(applied.as_deref(), Some(&*next), "the route is as it was");
}

#[tokio::test]
async fn gauges_of_an_earlier_stream_prove_nothing() {
    let running = start(snapshot([cluster("a", 1)])).await;
    for _ in 0..2 {
        let mut stream = running.delta().await;
        stream.send(subscribe(&TypeUrl::CLUSTER, &[])).await;
        let response = stream.next().await;
        stream.send(delta_ack(&response)).await;
        let status = running
            .until("e1", |status| {
                status.connected && status.acknowledged.is_some()
            })
            .await;
        assert_eq!(status.applied, None);
        let view = status.acknowledged.unwrap();
        let shown = gauges(&[("cluster_manager.cds.version", &view)]);
        running.server.note_versions("e1", &shown);
        assert_eq!(running.server.client("e1").unwrap().applied, Some(view));
        drop(stream);
        running.until("e1", |status| !status.connected).await;
        running.server.note_versions("e1", &shown);
    }
}

/// gRPC has a stream for each target; all of them have the node id of their process.
#[tokio::test]
async fn all_targets_of_a_grpc_process_count() {
    let running = start(snapshot([
        cluster("a", 1),
        route("rt-1", "a"),
        route("rt-2", "a"),
    ]))
    .await;
    let rds = TypeUrl::ROUTE_CONFIGURATION;
    let request = |name: &str| DiscoveryRequest {
        node: node("g1").map(|node| Node {
            user_agent_name: "gRPC C-core linux".to_owned(),
            ..node
        }),
        type_url: rds.as_str().to_owned(),
        resource_names: vec![name.to_owned()],
        ..Default::default()
    };
    let mut held = Vec::new();
    for name in ["rt-1", "rt-2"] {
        let mut stream = running.sotw().await;
        stream.send(request(name)).await;
        let response = stream.next().await;
        held.push((stream, name, response));
    }
    for (stream, name, response) in &held {
        let stands = || running.server.resource("g1", &rds, name);
        assert_eq!(stands(), Some(ResourceStatus::Sent), "{name}");
        assert_eq!(running.server.client("g1").unwrap().acknowledged, None);
        let ack = DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..request(name)
        };
        stream.send(ack).await;
        let taken = || stands() == Some(ResourceStatus::Acknowledged);
        running.until("g1", |_| taken()).await;
    }
    let status = running
        .until("g1", |status| status.acknowledged.is_some())
        .await;
    assert_eq!((status.streams, status.sent[&rds].resources), (2, 2));
}
