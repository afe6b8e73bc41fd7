//! Every limit at the door, exceeded.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use futures::stream::{self, StreamExt as _};
use tidegate_xds::identity::{AccessLimits, Incident, Policy, Rule};
use tidegate_xds::limits::{
    ADS_STREAMS_PER_IDENTITY_MAX, CONNECTIONS_PER_IDENTITY_MAX, NAMES_MAX, NODE_BYTES_MAX,
    NODE_FIELD_BYTES_MAX, REJECTION_TEXT_BYTES_MAX, REQUEST_BYTES_MAX,
    TYPE_STREAMS_PER_IDENTITY_MAX,
};
use tonic::Code;

use crate::common::{cluster, delta_ack, error, node, snapshot};
use crate::world::{Healthy, PATIENCE, World, closed, open, policy, wish};

#[tokio::test]
async fn connections_of_one_identity_are_bounded_and_given_back() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let pair = world.ca.sidecar("e1");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_PER_IDENTITY_MAX {
        let mut stream = open(world.channel(&pair).await.unwrap()).await.unwrap();
        // It is counted when the server answers, whatever it answers.
        stream.send(wish("e1")).await;
        let _ = tokio::time::timeout(PATIENCE, stream.responses.message())
            .await
            .unwrap();
        held.push(stream);
    }
    if let Ok(mut stream) = world.tls(Some(&pair)).await {
        assert_eq!(closed(&mut stream).await, b"");
    }
    world.await_count(Incident::ConnectionRefused, 1).await;
    healthy.is_served(&world).await;
    drop(held);
    let again = async {
        loop {
            let Ok(channel) = world.channel(&pair).await else {
                continue;
            };
            let Ok(mut stream) = open(channel).await else {
                continue;
            };
            stream.send(wish("e1")).await;
            if stream.responses.message().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place again");
}

#[tokio::test]
async fn connections_are_bounded_all_identities_together_and_a_shared_one_has_a_bound_of_its_own() {
    let all = AccessLimits {
        connections: 1,
        ..AccessLimits::default()
    };
    let shared = AccessLimits {
        connections_per_shared_identity: 1,
        ..AccessLimits::default()
    };
    let fleet = "spiffe://mesh/fleet/shop";
    for (limits, id) in [(all, "spiffe://mesh/fleet/bank"), (shared, fleet)] {
        let rule = Rule::new("spiffe://mesh/fleet/{node.cluster}").unwrap();
        let world = World::start_with(Policy::new([rule]), limits, |_| {}).await;
        let mut request = wish("e1");
        request.node = request.node.map(|node| Node {
            cluster: "shop".to_owned(),
            ..node
        });
        let channel = world.channel(&world.ca.issue(&[fleet])).await.unwrap();
        let mut stream = open(channel).await.unwrap();
        stream.send(request).await;
        stream.taken().await;
        if let Ok(mut second) = world.tls(Some(&world.ca.issue(&[id]))).await {
            assert_eq!(closed(&mut second).await, b"");
        }
        world.await_count(Incident::ConnectionRefused, 1).await;
        world.publish(snapshot([cluster("a", 2)]));
        stream.taken().await;
    }
}

#[tokio::test]
async fn streams_of_one_type_have_a_bound_of_their_own_that_leaves_room_for_every_type() {
    let world = World::start().await;
    let channel = world.channel(&world.ca.sidecar("e1")).await.unwrap();
    let open_clusters = || async {
        let mut client = ClusterDiscoveryServiceClient::new(channel.clone());
        let requests = stream::iter([wish("e1")]).chain(stream::pending());
        client.delta_clusters(requests).await.unwrap().into_inner()
    };
    let mut held = Vec::new();
    for _ in 0..TYPE_STREAMS_PER_IDENTITY_MAX {
        let mut responses = open_clusters().await;
        responses.message().await.unwrap().unwrap();
        held.push(responses);
    }
    let end = open_clusters().await.message().await.unwrap_err();
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().contains("per-type"), "{}", end.message());
    // An aggregated stream still finds its place.
    let mut aggregated = open(channel.clone()).await.unwrap();
    aggregated.send(wish("e1")).await;
    aggregated.taken().await;
}

#[tokio::test]
async fn streams_of_one_identity_are_bounded_and_given_back() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let channel = world.channel(&world.ca.sidecar("e1")).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..ADS_STREAMS_PER_IDENTITY_MAX {
        let mut stream = open(channel.clone()).await.unwrap();
        stream.send(wish("e1")).await;
        stream.taken().await;
        held.push(stream);
    }
    let end = open(channel.clone()).await.unwrap().end().await;
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().contains("sidecar/e1"), "{}", end.message());
    assert_eq!(world.count(Incident::StreamRefused), 1);
    healthy.is_served(&world).await;
    drop(held);
    let again = async {
        loop {
            let mut stream = open(channel.clone()).await.unwrap();
            stream.send(wish("e1")).await;
            if stream.responses.message().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place again");
}

#[tokio::test]
async fn new_streams_wait_for_their_turn_or_are_sent_away_and_open_ones_go_first() {
    let limits = AccessLimits {
        new_streams_per_second: 1,
        new_streams_burst: 2,
        patience: Duration::from_millis(1_500),
        ..AccessLimits::default()
    };
    let world = World::start_with(policy(), limits, |_| {}).await;
    let mut healthy = Healthy::connect(&world).await;
    let mut second = world.sidecar("e2").await;
    second.taken().await;
    let mut third = world.sidecar("e3").await;
    let mut fourth = world.sidecar("e4").await;
    let end = fourth.end().await;
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().contains("try again"), "{}", end.message());
    healthy.is_served(&world).await;
    third.taken().await;
    assert_eq!(world.count(Incident::StreamDelayed), 1);
    assert_eq!(world.count(Incident::StreamShed), 1);
}

#[tokio::test]
async fn a_node_that_is_too_large_or_changes_is_refused() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let text = Value {
        kind: Some(Kind::StringValue("x".repeat(NODE_BYTES_MAX))),
    };
    let large = Node {
        metadata: Some(Struct {
            fields: HashMap::from([("note".to_owned(), text)]),
        }),
        ..node("e1").unwrap()
    };
    let long = Node {
        cluster: "x".repeat(NODE_FIELD_BYTES_MAX + 1),
        ..node("e1").unwrap()
    };
    for (count, node, code, words) in [
        (1, large, Code::ResourceExhausted, "262144"),
        (2, long, Code::InvalidArgument, "node.cluster"),
    ] {
        let pair = world.ca.sidecar("e1");
        let mut stream = open(world.channel(&pair).await.unwrap()).await.unwrap();
        let mut request = wish("e1");
        request.node = Some(node);
        stream.send(request).await;
        let end = stream.end().await;
        assert_eq!(end.code(), code);
        assert!(end.message().contains(words), "{}", end.message());
        assert_eq!(world.count(Incident::NodeTooLarge), count);
    }
    let mut stream = world.sidecar("e5").await;
    stream.taken().await;
    stream.send(wish("e6")).await;
    let end = stream.end().await;
    assert_eq!(end.code(), Code::InvalidArgument);
    assert!(end.message().contains("can't change"), "{}", end.message());
    assert_eq!(world.count(Incident::NodeChanged), 1);
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn requests_that_are_too_large_end_their_stream_and_no_other() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
    let mut too_many = wish("many");
    too_many.resource_names_subscribe = names(1_000_000);
    let mut beyond = wish("beyond");
    beyond.resource_names_subscribe = names(NAMES_MAX + 1);
    let mut held = wish("held");
    held.initial_resource_versions = names(NAMES_MAX + 1)
        .into_iter()
        .map(|name| (name, "1".to_owned()))
        .collect();
    let mut long = wish("long");
    long.resource_names_subscribe = vec!["x".repeat(10 * 1024 * 1024)];
    let mut large = wish("large");
    large.resource_names_subscribe = vec!["x".repeat(REQUEST_BYTES_MAX)];
    for (id, request, code) in [
        ("many", too_many, Code::ResourceExhausted),
        ("beyond", beyond, Code::ResourceExhausted),
        ("held", held, Code::ResourceExhausted),
        ("long", long, Code::InvalidArgument),
        ("large", large, Code::OutOfRange),
    ] {
        let channel = world.channel(&world.ca.sidecar(id)).await.unwrap();
        let mut stream = open(channel).await.unwrap();
        stream.send(request).await;
        let end = stream.end().await;
        assert_eq!(end.code(), code, "{id}: {end:?}");
        assert!(!end.message().is_empty());
        healthy.is_served(&world).await;
    }
    assert_eq!(world.count(Incident::RequestRefused), 5);
}

#[tokio::test]
async fn of_a_long_rejection_only_the_beginning_is_kept() {
    let world = World::start().await;
    let mut stream = world.sidecar("e1").await;
    let response = stream.responses.message().await.unwrap().unwrap();
    let mut nack = delta_ack(&response);
    nack.error_detail = error(&"é".repeat(1024 * 1024));
    let mut changes = world.server.changed();
    stream.send(nack).await;
    let kept = async {
        loop {
            let status = world.server.client("e1");
            if let Some(rejection) = status.and_then(|status| status.rejections.into_iter().next())
            {
                return rejection.text;
            }
            changes.changed().await.unwrap();
        }
    };
    let text = tokio::time::timeout(PATIENCE, kept).await.unwrap();
    assert!(text.len() <= REJECTION_TEXT_BYTES_MAX && text.len() > 4_000);
    world.publish(snapshot([cluster("a", 2)]));
    stream.taken().await;
}
