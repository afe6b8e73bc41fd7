//! Who is at the other end, and what it may claim.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use tidegate_xds::identity::{Access, AccessLimits, Incident, Policy, Rule};
use tidegate_xds::{Resource, TypeUrl};
use tonic::Code;

use crate::common::{node, snapshot};
use crate::world::{Healthy, PATIENCE, PATTERN, World, closed, open, wish};

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

#[tokio::test]
async fn the_proven_identity_reaches_whoever_assigns_views() {
    let world = World::start().await;
    let mut stream = world.sidecar("e1").await;
    assert_eq!(stream.taken().await.resources[0].name, "a");
    let asked = world.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].node_id, "e1");
    let identity = asked[0].identity.as_ref().unwrap();
    assert_eq!(identity.as_str(), "spiffe://mesh/ns/shop/sidecar/e1");
    let status = world.server.client("e1").unwrap();
    assert_eq!(status.client.identity.as_ref(), Some(identity));
}

#[tokio::test]
async fn a_claim_beyond_the_identity_is_denied_naming_both_before_any_view_is_asked_for() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let channel = world.channel(&world.ca.sidecar("mallory")).await.unwrap();
    let mut stream = open(channel).await.unwrap();
    stream.send(wish("e1")).await;
    let end = stream.end().await;
    assert_eq!(end.code(), Code::PermissionDenied);
    for words in [
        "sidecar/mallory",
        "claims node.id `e1`",
        "only node.id `mallory`",
    ] {
        assert!(end.message().contains(words), "{}", end.message());
    }
    assert_eq!(world.asked.lock().unwrap().len(), 1, "only the healthy one");
    assert_eq!(world.count(Incident::ClaimDenied), 1);
    assert!(world.server.client("e1").is_none());
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn a_fleet_is_bound_as_well_where_the_pattern_names_it() {
    let rule = Rule::new("spiffe://mesh/{node.cluster}/{node.id}").unwrap();
    let world = World::start_with(Policy::new([rule]), AccessLimits::default(), |_| {}).await;
    let pair = world.ca.issue(&["spiffe://mesh/shop/e1"]);
    for (cluster, allowed) in [("shop", true), ("bank", false)] {
        let mut stream = open(world.channel(&pair).await.unwrap()).await.unwrap();
        let mut request = wish("e1");
        request.node = Some(Node {
            cluster: cluster.to_owned(),
            ..node("e1").unwrap()
        });
        stream.send(request).await;
        if allowed {
            stream.taken().await;
        } else {
            assert_eq!(stream.end().await.code(), Code::PermissionDenied);
        }
    }
}

#[tokio::test]
async fn a_certificate_without_exactly_one_spiffe_id_is_refused() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let me = "spiffe://mesh/ns/shop/sidecar/e1";
    let cases: [&[&str]; 4] = [
        &[],
        &[me, "spiffe://mesh/x"],
        &[me, me],
        &["https://mesh/e1"],
    ];
    for (count, uris) in (1..).zip(cases) {
        let pair = world.ca.issue(uris);
        // In TLS 1.3 the client learns of it only when it reads.
        if let Ok(mut stream) = world.tls(Some(&pair)).await {
            assert_eq!(closed(&mut stream).await, b"", "{uris:?}");
        }
        world.await_count(Incident::IdentityUnusable, count).await;
    }
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn reports_are_taken_only_about_the_node_that_the_peer_may_speak_for() {
    let mut world = World::start().await;
    let channel = world.channel(&world.ca.sidecar("e1")).await.unwrap();
    for (claimed, allowed) in [("e1", true), ("e2", false)] {
        let message = StreamMetricsMessage {
            identifier: Some(Identifier {
                node: node(claimed),
            }),
            ..Default::default()
        };
        let sent = tokio_stream::iter([message]);
        let mut client = MetricsServiceClient::new(channel.clone());
        let code = client
            .stream_metrics(sent)
            .await
            .err()
            .map(|status| status.code());
        assert_eq!(code, (!allowed).then_some(Code::PermissionDenied));

        let hello = LoadStatsRequest {
            node: node(claimed),
            ..Default::default()
        };
        let sent = tokio_stream::iter([hello]);
        let mut client = LoadReportingServiceClient::new(channel.clone());
        let code = client
            .stream_load_stats(sent)
            .await
            .err()
            .map(|status| status.code());
        assert_eq!(code, (!allowed).then_some(Code::PermissionDenied));
    }
    assert_eq!(world.count(Incident::ClaimDenied), 2);
    let report = tokio::time::timeout(PATIENCE, world.reports.recv()).await;
    assert_eq!(report.unwrap().unwrap().node_id, "e1");
    assert!(world.reports.try_recv().is_err(), "nothing about e2");
}

#[tokio::test]
async fn secrets_go_only_to_whom_they_were_granted() {
    let rules = [
        Rule::new("spiffe://mesh/ns/shop/sidecar/{node.id}")
            .unwrap()
            .grant_secret("shop-*"),
        Rule::new("spiffe://mesh/ns/bank/sidecar/{node.id}").unwrap(),
    ];
    let world = World::start_with(Policy::new(rules), AccessLimits::default(), |_| {}).await;
    let secret = |name: &str| {
        let body = bytes_of(&format!("key of {name}"));
        Resource::new(TypeUrl::new(SECRET), name, body.into()).unwrap()
    };
    world.publish(snapshot(["shop-tls", "bank-tls"].map(secret)));
    for (namespace, granted) in [("shop", Some("shop-tls")), ("bank", None)] {
        let pair = world
            .ca
            .issue(&[&format!("spiffe://mesh/ns/{namespace}/sidecar/e1")]);
        let mut stream = open(world.channel(&pair).await.unwrap()).await.unwrap();
        let mut request = wish("e1");
        request.type_url = SECRET.to_owned();
        request.resource_names_subscribe = vec!["shop-tls".to_owned(), "bank-tls".to_owned()];
        stream.send(request).await;
        let (mut names, mut answered) = (Vec::new(), 0);
        while answered < 2 {
            let response = stream.taken().await;
            answered += response.resources.len() + response.removed_resources.len();
            let with_body = response.resources.into_iter();
            names.extend(
                with_body
                    .filter(|resource| resource.resource.is_some())
                    .map(|resource| resource.name),
            );
        }
        assert_eq!(names, granted.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(world.count(Incident::SecretsWithheld), 2);
}

#[tokio::test]
async fn a_policy_refuses_who_comes_without_an_identity() {
    let access = Access::by(
        Policy::new([Rule::new(PATTERN).unwrap()]),
        AccessLimits::default(),
    );
    let settings = tidegate_xds::Settings {
        access: Arc::clone(&access),
        ..Default::default()
    };
    let plain = crate::common::start_with(snapshot([]), settings).await;
    // Before it said anything.
    let mut stream = plain.delta().await;
    assert_eq!(stream.error().await.code(), Code::Unauthenticated);
    assert_eq!(access.incidents()[&Incident::IdentityMissing], 1);
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}
