//! The client status discovery service, over a real connection.

#[cfg(test)]
mod common;

use common::*;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher, StructMatcher};
use tidegate_xds::TypeUrl;
use tidegate_xds::server::{incoming, transport};
use tonic::Code;
use tonic::transport::Channel;

type Operator = ClientStatusDiscoveryServiceClient<Channel>;

#[cfg(test)]
async fn operator(running: &Running) -> Operator {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = transport().add_service(running.server.client_status());
    tokio::spawn(router.serve_with_incoming(incoming(listener)));
    Operator::connect(address).await.unwrap()
}

fn subscribe(id: &str, type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(id),
        type_url: type_url.as_str().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn by_id(pattern: MatchPattern) -> NodeMatcher {
    NodeMatcher {
        node_id: Some(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        }),
        node_metadatas: Vec::new(),
    }
}

fn ids(response: ClientStatusResponse) -> Vec<String> {
    let node = |config: ClientConfig| config.node.unwrap_or_default().id;
    response.config.into_iter().map(node).collect()
}

#[tokio::test]
async fn every_resource_is_told_with_its_status() {
    let view = snapshot([
        cluster("bad", 1),
        cluster("good", 1),
        route("held", "good"),
        route("other", "good"),
        runtime("shift", std::time::Duration::from_secs(60)),
    ]);
    let running = start_with(view, Default::default()).await;
    let mut stream = running.delta().await;
    stream.send(subscribe("e1", &TypeUrl::CLUSTER, &[])).await;
    let bad = stream.next().await;
    let refusal = DeltaDiscoveryRequest {
        error_detail: error("no, thanks"),
        ..delta_ack(&bad)
    };
    stream.send(refusal).await;
    let good = stream.next().await;
    let routes = TypeUrl::ROUTE_CONFIGURATION;
    stream.send(subscribe("e1", &routes, &["held"])).await;
    stream
        .send(subscribe("e1", &TypeUrl::RUNTIME, &["shift"]))
        .await;
    let shift = stream.next().await;
    assert_eq!(shift.type_url, TypeUrl::RUNTIME.as_str());
    let mut operator = operator(&running).await;
    let all = operator.fetch_client_status(ClientStatusRequest::default());
    let before = all.await.unwrap().into_inner();
    stream.send(delta_ack(&good)).await;
    assert_eq!(stream.next().await.type_url, routes.as_str());
    let all = operator.fetch_client_status(ClientStatusRequest::default());
    let after = all.await.unwrap().into_inner();

    let told = |response: &ClientStatusResponse| -> Vec<(String, ConfigStatus)> {
        let configs = response.config[0].generic_xds_configs.iter();
        let told = configs.map(|config| (config.name.clone(), config.config_status()));
        told.collect()
    };
    let named = |list: &[(&str, ConfigStatus)]| -> Vec<(String, ConfigStatus)> {
        let owned = list
            .iter()
            .map(|(name, status)| ((*name).to_owned(), *status));
        owned.collect()
    };
    use ConfigStatus::{Error, NotSent, Stale, Synced};
    assert_eq!(
        told(&before),
        named(&[
            ("bad", Error),
            ("good", Stale),
            ("held", NotSent),
            ("shift", Stale)
        ])
    );
    assert_eq!(
        told(&after),
        named(&[
            ("bad", Error),
            ("good", Synced),
            ("held", Stale),
            ("shift", Stale)
        ])
    );
    let bad = &after.config[0].generic_xds_configs[0];
    assert_eq!(bad.error_state.as_ref().unwrap().details, "no, thanks");
    assert!(bad.xds_config.is_none(), "no bodies");
}

#[tokio::test]
async fn matchers_are_alternatives_and_a_stream_answers_each_request() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut streams = Vec::new();
    for id in ["web-1", "web-2", "db-1"] {
        let stream = running.delta().await;
        stream.send(subscribe(id, &TypeUrl::CLUSTER, &[])).await;
        running.until(id, |status| status.connected).await;
        streams.push(stream);
    }
    let request = |node_matchers| ClientStatusRequest {
        node_matchers,
        ..Default::default()
    };
    let requests = vec![
        request(vec![
            by_id(MatchPattern::Exact("db-1".to_owned())),
            by_id(MatchPattern::Suffix("-2".to_owned())),
        ]),
        request(vec![by_id(MatchPattern::Prefix("web".to_owned()))]),
        request(Vec::new()),
    ];
    let mut operator = operator(&running).await;
    let answers = operator.stream_client_status(tokio_stream::iter(requests));
    let mut answers = answers.await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        seen.push(ids(answer));
    }
    assert_eq!(seen[0], ["db-1", "web-2"]);
    assert_eq!(seen[1], ["web-1", "web-2"]);
    assert_eq!(seen[2], ["db-1", "web-1", "web-2"]);
}

#[tokio::test]
async fn a_matcher_that_cannot_be_honoured_is_refused() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut operator = operator(&running).await;
    let by_metadata = NodeMatcher {
        node_metadatas: vec![StructMatcher::default()],
        ..Default::default()
    };
    let by_regex = by_id(MatchPattern::SafeRegex(Default::default()));
    for (matcher, word) in [(by_metadata, "metadata"), (by_regex, "exact")] {
        let request = ClientStatusRequest {
            node_matchers: vec![matcher],
            ..Default::default()
        };
        let refused = operator.fetch_client_status(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(word), "{refused:?}");
    }
}
