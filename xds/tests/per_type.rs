//! The services of one type each, over a real connection.

#[cfg(test)]
mod common;

use common::*;
use envoy_types::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use prost::Message;
use tidegate_xds::limits::STREAMS_OF_ONE_TYPE_MAX;
use tidegate_xds::{Resource, ResourceStatus, TypeUrl};
use tonic::Code;

/// Every service: its name, and how its methods end.
const SERVICES: [(&str, &str, TypeUrl); 9] = [
    (
        "cluster.v3.ClusterDiscoveryService",
        "Clusters",
        TypeUrl::CLUSTER,
    ),
    (
        "endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    ),
    (
        "listener.v3.ListenerDiscoveryService",
        "Listeners",
        TypeUrl::LISTENER,
    ),
    (
        "route.v3.RouteDiscoveryService",
        "Routes",
        TypeUrl::ROUTE_CONFIGURATION,
    ),
    (
        "route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
        TypeUrl::SCOPED_ROUTE_CONFIGURATION,
    ),
    (
        "route.v3.VirtualHostDiscoveryService",
        "VirtualHosts",
        TypeUrl::VIRTUAL_HOST,
    ),
    (
        "secret.v3.SecretDiscoveryService",
        "Secrets",
        TypeUrl::SECRET,
    ),
    (
        "runtime.v3.RuntimeDiscoveryService",
        "Runtime",
        TypeUrl::RUNTIME,
    ),
    (
        "extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        TypeUrl::EXTENSION_CONFIG,
    ),
];

/// One resource of each type; an empty message is one where the bytes carry no name.
#[cfg(test)]
fn everything() -> tidegate_xds::Snapshot {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use envoy_types::pb::envoy::config::listener::v3::Listener;
    use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
    use envoy_types::pb::envoy::service::runtime::v3::Runtime;
    let name = "x".to_owned();
    snapshot(SERVICES.map(|(_, _, type_url)| {
        let body = if type_url == TypeUrl::CLUSTER {
            let name = name.clone();
            Cluster {
                name,
                ..Default::default()
            }
            .encode_to_vec()
        } else if type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
            let cluster_name = name.clone();
            ClusterLoadAssignment {
                cluster_name,
                ..Default::default()
            }
            .encode_to_vec()
        } else if type_url == TypeUrl::LISTENER {
            let name = name.clone();
            Listener {
                name,
                ..Default::default()
            }
            .encode_to_vec()
        } else if type_url == TypeUrl::ROUTE_CONFIGURATION {
            let name = name.clone();
            RouteConfiguration {
                name,
                ..Default::default()
            }
            .encode_to_vec()
        } else if type_url == TypeUrl::RUNTIME {
            let name = name.clone();
            Runtime { name, layer: None }.encode_to_vec()
        } else if type_url == TypeUrl::VIRTUAL_HOST {
            let name = name.clone();
            VirtualHost {
                name,
                ..Default::default()
            }
            .encode_to_vec()
        } else {
            Vec::new()
        };
        Resource::new(type_url, "x", body.into()).unwrap()
    }))
}

#[tokio::test]
async fn c2_every_type_has_a_service_over_delta_that_needs_no_type_url() {
    let running = start(everything()).await;
    for (service, method, type_url) in SERVICES {
        let path = format!("/envoy.service.{service}/Delta{method}");
        let mut stream = running
            .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(&path)
            .await;
        let request = DeltaDiscoveryRequest {
            node: node(method),
            resource_names_subscribe: vec!["x".to_owned()],
            ..Default::default()
        };
        stream.send(request).await;
        let response = stream.next().await;
        assert_eq!(response.type_url, type_url.as_str());
        assert_eq!(response.resources[0].name, "x");
        stream.send(delta_ack(&response)).await;
        let settled = running.until(method, |status| status.acknowledged.is_some());
        assert_eq!(settled.await.subscribed, [type_url]);
    }
}

#[tokio::test]
async fn c2_every_type_but_virtual_hosts_has_a_service_over_state_of_the_world() {
    let running = start(everything()).await;
    for (service, method, type_url) in SERVICES {
        let path = format!("/envoy.service.{service}/Stream{method}");
        if type_url == TypeUrl::VIRTUAL_HOST {
            continue;
        }
        let mut stream = running
            .call::<DiscoveryRequest, DiscoveryResponse>(&path)
            .await;
        let request = DiscoveryRequest {
            node: node(method),
            resource_names: vec!["x".to_owned()],
            ..Default::default()
        };
        stream.send(request).await;
        let response = stream.next().await;
        assert_eq!(response.type_url, type_url.as_str());
        assert_eq!(response.resources.len(), 1);
    }
}

#[tokio::test]
async fn c2_another_type_on_a_service_of_one_type_is_an_invalid_argument() {
    let running = start(everything()).await;
    for (service, method, type_url) in SERVICES {
        let path = format!("/envoy.service.{service}/Delta{method}");
        let mut stream = running
            .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(&path)
            .await;
        let request = DeltaDiscoveryRequest {
            node: node("e1"),
            type_url: "type.googleapis.com/acme.Thing".to_owned(),
            ..Default::default()
        };
        stream.send(request).await;
        let status = stream.error().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        let sentence = format!("serves {type_url} only");
        assert!(status.message().contains(&sentence), "{status:?}");
    }
}

#[tokio::test]
async fn streams_of_one_type_each_tell_one_client_s_status_together() {
    let running = start(snapshot([cluster("a", 1), route("rt", "a")])).await;
    let cds = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";
    let rds = "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes";
    let mut clusters = running
        .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(cds)
        .await;
    let mut routes = running
        .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(rds)
        .await;
    let request = |names: &[&str]| DeltaDiscoveryRequest {
        node: node("e1"),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    clusters.send(request(&[])).await;
    let response = clusters.next().await;
    clusters.send(delta_ack(&response)).await;
    routes.send(request(&["rt"])).await;
    let response = routes.next().await;
    let status = running
        .until("e1", |status| status.subscribed.len() == 2)
        .await;
    assert_eq!((status.streams, status.acknowledged), (2, None));
    routes.send(delta_ack(&response)).await;
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    assert_eq!(status.acknowledged, status.wanted);
    for (type_url, name) in [
        (TypeUrl::CLUSTER, "a"),
        (TypeUrl::ROUTE_CONFIGURATION, "rt"),
    ] {
        let stands = running.server.resource("e1", &type_url, name);
        assert_eq!(stands, Some(ResourceStatus::Acknowledged));
    }
}

const RDS: &str = "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes";

fn routes(node_id: &str, name: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(node_id),
        resource_names_subscribe: vec![name.to_owned()],
        ..Default::default()
    }
}

/// An Envoy that doesn't aggregate opens one for each cluster's endpoints and listener's routes.
#[tokio::test]
async fn streams_of_one_type_for_different_names_all_count_until_one_is_asked_for_again() {
    let names = ["rt-1", "rt-2"];
    let view = names.map(|name| route(name, "a"));
    let running = start(snapshot(view.into_iter().chain([cluster("a", 1)]))).await;
    let mut held = Vec::new();
    for name in names {
        let mut stream = running
            .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(RDS)
            .await;
        stream.send(routes("e1", name)).await;
        let response = stream.next().await;
        stream.send(delta_ack(&response)).await;
        held.push(stream);
        running
            .until("e1", |status| status.acknowledged.is_some())
            .await;
    }
    let status = running.until("e1", |status| status.streams == 2).await;
    assert_eq!(status.acknowledged, status.wanted);
    let rds = &TypeUrl::ROUTE_CONFIGURATION;
    assert_eq!(status.sent[rds].resources, 2);
    for name in names {
        let stands = running.server.resource("e1", rds, name);
        assert_eq!(stands, Some(ResourceStatus::Acknowledged), "{name}");
    }
    // The first one's connection broke, and nobody noticed yet.
    let mut again = running
        .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(RDS)
        .await;
    again.send(routes("e1", "rt-1")).await;
    let response = again.next().await;
    let stands = |name| running.server.resource("e1", rds, name);
    assert_eq!(stands("rt-1"), Some(ResourceStatus::Sent));
    assert_eq!(stands("rt-2"), Some(ResourceStatus::Acknowledged));
    let status = running.until("e1", |status| status.streams == 3).await;
    assert_eq!(status.acknowledged, None);
    again.send(delta_ack(&response)).await;
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    assert_eq!(status.sent[rds].resources, 2);
}

#[tokio::test]
async fn streams_of_one_type_are_bounded_too() {
    let running = start(snapshot([cluster("a", 1), route("rt", "a")])).await;
    let mut held = Vec::new();
    for number in 0..STREAMS_OF_ONE_TYPE_MAX {
        let mut stream = running
            .call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(RDS)
            .await;
        stream.send(routes("e1", &format!("rt-{number}"))).await;
        // None of them exists, which is an answer.
        stream.next().await;
        held.push(stream);
    }
    let open = |id: &'static str| {
        let stream = running.call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(RDS);
        async move {
            let stream = stream.await;
            stream.send(routes(id, "rt")).await;
            stream
        }
    };
    let refused = open("e1").await.error().await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("aggregate"), "{refused:?}");
    open("e2").await.next().await;
}

#[tokio::test]
async fn the_rest_variant_is_refused_with_a_sentence() {
    let running = start(everything()).await;
    let mut client = ClusterDiscoveryServiceClient::new(running.channel().await);
    let status = client.fetch_clusters(DiscoveryRequest::default()).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("streams only"));
}
