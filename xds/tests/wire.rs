//! The main paths over a real connection, and what is the server's alone. The rules of the protocol
//! are in `protocol`.

#[cfg(test)]
mod common;

use std::time::Duration;

use common::*;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, Resource as PbResource,
};
use prost::{Message as _, Name as _};
use tidegate_xds::{ClientKind, ResourceStatus, Settings, TypeUrl, Version};
use tonic::Code;

const CDS: TypeUrl = TypeUrl::CLUSTER;
const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
const RTDS: TypeUrl = TypeUrl::RUNTIME;

fn delta(type_url: TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("e1"),
        type_url: type_url.as_str().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn sotw(type_url: TypeUrl, names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node("e1"),
        type_url: type_url.as_str().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        version_info: version.to_owned(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn delta_subscribe_ack_change_and_remove() {
    let running = start(snapshot([cluster("a", 1), cluster("b", 1)])).await;
    let mut stream = running.delta().await;
    stream.send(delta(CDS, &[])).await;
    let response = stream.next().await;
    let names: Vec<&str> = response.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let any = response.resources[0].resource.clone().unwrap();
    assert_eq!(any.type_url, CDS.as_str());
    assert_eq!(
        Version::of(&any.value).to_string(),
        response.resources[0].version
    );
    assert_eq!(
        response.control_plane.as_ref().unwrap().identifier,
        "tidegate"
    );
    stream.send(delta_ack(&response)).await;
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    assert_eq!(
        status.acknowledged.as_deref(),
        Some(response.system_version_info.as_str())
    );
    assert_eq!(status.client.kind, ClientKind::Envoy);

    let id = running.publish(snapshot([cluster("a", 2)]));
    let changed = stream.next().await;
    assert_eq!(
        (changed.resources.len(), changed.resources[0].name.as_str()),
        (1, "a")
    );
    assert_eq!(changed.system_version_info, id);
    let behind = running
        .until("e1", |status| status.behind_since.is_some())
        .await;
    assert_eq!(behind.wanted.as_deref(), Some(id.as_str()));
    stream.send(delta_ack(&changed)).await;
    let removed = stream.next().await;
    assert_eq!(removed.removed_resources, ["b"]);
    stream.send(delta_ack(&removed)).await;
    running
        .until("e1", |status| {
            status.acknowledged.as_deref() == Some(id.as_str())
        })
        .await;
    drop(stream);
    let gone = running.until("e1", |status| !status.connected).await;
    assert_eq!(gone.acknowledged.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn delta_reconnect_sends_no_unchanged_wildcard_resource() {
    let (a, b) = (cluster("a", 1), cluster("b", 1));
    let running = start(snapshot([a.clone(), b.clone()])).await;
    let mut stream = running.delta().await;
    let held = |resource: &tidegate_xds::Resource| {
        (resource.name().to_string(), resource.version().to_string())
    };
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [held(&a), held(&b)].into(),
        ..delta(CDS, &[])
    };
    stream.send(request).await;
    let response = stream.next().await;
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    stream.send(delta_ack(&response)).await;
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    assert_eq!(status.sent[&CDS].resources, 0);
}

#[tokio::test]
async fn delta_nack_is_shown_isolated_and_not_repeated() {
    let running = start(snapshot([cluster("bad", 1), cluster("good", 1)])).await;
    let mut stream = running.delta().await;
    stream.send(delta(CDS, &[])).await;
    let both = stream.next().await;
    let nack = DeltaDiscoveryRequest {
        error_detail: error("bad is bad"),
        ..delta_ack(&both)
    };
    stream.send(nack).await;
    let alone = stream.next().await;
    assert_eq!(
        (alone.resources.len(), alone.resources[0].name.as_str()),
        (1, "bad")
    );
    let nack = DeltaDiscoveryRequest {
        error_detail: error("still bad"),
        ..delta_ack(&alone)
    };
    stream.send(nack).await;
    let good = stream.next().await;
    assert_eq!(
        (good.resources.len(), good.resources[0].name.as_str()),
        (1, "good")
    );
    stream.send(delta_ack(&good)).await;
    let good_is_held =
        |_: &_| running.server.resource("e1", &CDS, "good") == Some(ResourceStatus::Acknowledged);
    let status = running.until("e1", good_is_held).await;
    assert_eq!(status.rejections.len(), 1);
    assert_eq!(&*status.rejections[0].names[0], "bad");
    assert_eq!(&*status.rejections[0].text, "still bad");
    assert_eq!(status.acknowledged, None);
    // What comes next is the corrected cluster, and not the same bytes again.
    running.publish(snapshot([cluster("bad", 2), cluster("good", 1)]));
    let fixed = stream.next().await;
    assert_eq!(
        fixed.resources[0].version,
        cluster("bad", 2).version().to_string()
    );
}

#[tokio::test]
async fn delta_heartbeats_renew_without_a_body_and_only_when_told_to() {
    let ttl = Duration::from_secs(60);
    let running = start(snapshot([runtime("shift", ttl)])).await;
    let mut stream = running.delta().await;
    stream.send(delta(RTDS, &["shift"])).await;
    let response = stream.next().await;
    let sent = &response.resources[0];
    assert!(sent.resource.is_some());
    assert_eq!(sent.ttl.as_ref().unwrap().seconds, 60);
    stream.send(delta_ack(&response)).await;
    running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    running.server.renew();
    let beat = stream.next().await;
    let renewed = &beat.resources[0];
    assert_eq!(renewed.resource, None);
    assert_eq!(
        (&renewed.name, &renewed.version, &renewed.ttl),
        (&sent.name, &sent.version, &sent.ttl)
    );
    stream.send(delta_ack(&beat)).await;
    let status = running
        .until("e1", |status| status.sent[&RTDS].renewals == 1)
        .await;
    assert_eq!(status.sent[&RTDS].resources, 1);
}

#[tokio::test]
async fn delta_a_route_waits_for_its_cluster_and_a_removal_for_the_route() {
    let running = start(snapshot([cluster("a", 1), route("rt", "a")])).await;
    let mut stream = running.delta().await;
    stream.send(delta(CDS, &[])).await;
    let clusters = stream.next().await;
    stream.send(delta_ack(&clusters)).await;
    stream.send(delta(RDS, &["rt"])).await;
    let routes = stream.next().await;
    stream.send(delta_ack(&routes)).await;
    running
        .until("e1", |status| {
            status.acknowledged.is_some() && status.subscribed.len() == 2
        })
        .await;
    let id = running.publish(snapshot([cluster("c", 1), route("rt", "c")]));
    let mut order = Vec::new();
    for _ in 0..3 {
        let response = stream.next().await;
        let kind = TypeUrl::new(&response.type_url).to_string();
        order.push((
            kind,
            response.resources.len(),
            response.removed_resources.len(),
        ));
        stream.send(delta_ack(&response)).await;
    }
    let step = |kind: &str, sent, removed| (kind.to_owned(), sent, removed);
    assert_eq!(
        order,
        [step("cds", 1, 0), step("rds", 1, 0), step("cds", 0, 1)]
    );
    let status = running
        .until("e1", |s| s.acknowledged.as_deref() == Some(id.as_str()))
        .await;
    assert_eq!(status.gates_forced, 0);
}

#[tokio::test]
async fn sotw_subscribe_ack_switch_and_reconnect() {
    let running = start(snapshot([cluster("a", 1), route("rt", "a")])).await;
    let mut stream = running.sotw().await;
    stream.send(sotw(CDS, &[], "", "")).await;
    let clusters = stream.next().await;
    assert_eq!(clusters.resources[0].value, *cluster("a", 1).body());
    stream
        .send(sotw(CDS, &[], &clusters.version_info, &clusters.nonce))
        .await;
    stream.send(sotw(RDS, &["rt"], "", "")).await;
    let routes = stream.next().await;
    stream
        .send(sotw(RDS, &["rt"], &routes.version_info, &routes.nonce))
        .await;
    running
        .until("e1", |status| {
            status.acknowledged.is_some() && status.subscribed.len() == 2
        })
        .await;
    let id = running.publish(snapshot([cluster("c", 1), route("rt", "c")]));
    let union = stream.next().await;
    assert_eq!(
        (union.type_url.as_str(), union.resources.len()),
        (CDS.as_str(), 2)
    );
    stream
        .send(sotw(CDS, &[], &union.version_info, &union.nonce))
        .await;
    let routes = stream.next().await;
    assert_eq!(routes.type_url, RDS.as_str());
    stream
        .send(sotw(RDS, &["rt"], &routes.version_info, &routes.nonce))
        .await;
    let last = stream.next().await;
    assert_eq!(
        (last.type_url.as_str(), last.resources.len()),
        (CDS.as_str(), 1)
    );
    stream
        .send(sotw(CDS, &[], &last.version_info, &last.nonce))
        .await;
    running
        .until("e1", |status| {
            status.acknowledged.as_deref() == Some(id.as_str())
        })
        .await;

    // A new stream with the same set gets no clusters, but the routes that it names.
    let mut again = running.sotw().await;
    again.send(sotw(CDS, &[], &last.version_info, "")).await;
    again
        .send(sotw(RDS, &["rt"], &routes.version_info, ""))
        .await;
    assert_eq!(again.next().await.type_url, RDS.as_str());
    let status = running.until("e1", |status| status.streams == 2).await;
    assert_eq!(status.sent[&CDS].responses, 0);
    drop(stream);
    let status = running.until("e1", |status| status.streams == 1).await;
    assert!(status.connected);
}

#[tokio::test]
async fn sotw_nack_is_shown_and_the_same_set_is_not_repeated() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut stream = running.sotw().await;
    stream.send(sotw(CDS, &[], "", "")).await;
    let first = stream.next().await;
    let nack = sotw(CDS, &[], "", &first.nonce);
    stream
        .send(DiscoveryRequest {
            error_detail: error("no"),
            ..nack
        })
        .await;
    let status = running
        .until("e1", |status| !status.rejections.is_empty())
        .await;
    assert_eq!(&*status.rejections[0].text, "no");
    running.publish(snapshot([cluster("a", 2)]));
    let second = stream.next().await;
    assert_eq!(second.resources[0].value, *cluster("a", 2).body());
    stream
        .send(sotw(CDS, &[], &second.version_info, &second.nonce))
        .await;
    let status = running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    assert!(status.rejections.is_empty());
    assert_eq!(status.sent[&CDS].responses, 2);
}

#[tokio::test]
async fn sotw_what_expires_is_wrapped_and_renewed_whole() {
    let running = start(snapshot([runtime("shift", Duration::from_secs(60))])).await;
    let mut stream = running.sotw().await;
    stream.send(sotw(RTDS, &["shift"], "", "")).await;
    let response = stream.next().await;
    stream
        .send(sotw(
            RTDS,
            &["shift"],
            &response.version_info,
            &response.nonce,
        ))
        .await;
    running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    running.server.renew();
    let beat = stream.next().await;
    for response in [response, beat] {
        let any = &response.resources[0];
        assert_eq!(any.type_url, PbResource::type_url());
        let wrapped = PbResource::decode(any.value.as_slice()).unwrap();
        assert_eq!(wrapped.ttl.unwrap().seconds, 60);
        assert_eq!(wrapped.resource.unwrap().type_url, RTDS.as_str());
    }
}

#[tokio::test]
async fn a_stream_without_a_node_or_without_a_type_is_refused_with_a_sentence() {
    let running = start(snapshot([])).await;
    let mut stream = running.delta().await;
    stream
        .send(DeltaDiscoveryRequest {
            node: None,
            ..delta(CDS, &[])
        })
        .await;
    let error = stream.error().await;
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("`node`"), "{}", error.message());
    let mut stream = running.sotw().await;
    stream
        .send(DiscoveryRequest {
            type_url: String::new(),
            ..sotw(CDS, &[], "", "")
        })
        .await;
    assert_eq!(stream.error().await.code(), Code::InvalidArgument);
    assert!(running.server.clients().is_empty());
}

#[tokio::test]
async fn a_refused_client_gets_permission_denied_with_the_reason() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut stream = running.delta().await;
    stream
        .send(DeltaDiscoveryRequest {
            node: node("stranger"),
            ..delta(CDS, &[])
        })
        .await;
    let error = stream.error().await;
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(error.message(), "`stranger` is in no fleet");
}

#[tokio::test]
async fn an_assigner_that_goes_away_takes_nothing_back() {
    let running = start(snapshot([cluster("a", 1)])).await;
    let mut stream = running.delta().await;
    stream.send(delta(CDS, &[])).await;
    let response = stream.next().await;
    stream.send(delta_ack(&response)).await;
    running
        .until("e1", |status| status.acknowledged.is_some())
        .await;
    let Running { server, views, .. } = running;
    drop(views);
    stream.send(delta(CDS, &["a"])).await;
    assert_eq!(stream.next().await.resources[0].name, "a");
    assert!(server.client("e1").unwrap().connected);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_harms_no_other() {
    let settings = Settings {
        blocked_max: Duration::from_millis(200),
        ..Settings::default()
    };
    let types: Vec<String> = (0..8).map(|i| format!("acme/{i}")).collect();
    let blobs = types.iter().map(|type_url| blob(type_url, 1024 * 1024));
    let running = start_with(snapshot(blobs.chain([cluster("a", 1)])), settings).await;
    let stuck = running.delta().await;
    for type_url in &types {
        let request = delta(TypeUrl::new(type_url), &["blob"]);
        stuck
            .send(DeltaDiscoveryRequest {
                node: node("stuck"),
                ..request
            })
            .await;
    }
    let mut healthy = running.delta().await;
    healthy.send(delta(CDS, &[])).await;
    assert_eq!(healthy.next().await.resources.len(), 1);
    running.until("stuck", |status| !status.connected).await;
    assert!(running.server.client("e1").unwrap().connected);
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_closed() {
    let settings = Settings {
        first_request_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let running = start_with(snapshot([]), settings).await;
    let mut stream = running.delta().await;
    assert_eq!(stream.error().await.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_closing_server_ends_its_streams_and_those_that_come_later() {
    let server = start(snapshot([cluster("c1", 1)])).await;
    let mut stream = server.delta().await;
    stream.send(delta(TypeUrl::CLUSTER, &[])).await;
    stream.next().await;
    server.server.close();
    assert_eq!(stream.error().await.code(), Code::Unavailable);
    let mut late = server.delta().await;
    late.send(delta(TypeUrl::CLUSTER, &[])).await;
    assert_eq!(late.error().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn streams_beyond_the_maximum_are_refused() {
    let settings = Settings {
        streams_max: 1,
        ..Settings::default()
    };
    let running = start_with(snapshot([cluster("a", 1)]), settings).await;
    let mut first = running.delta().await;
    first.send(delta(CDS, &[])).await;
    first.next().await;
    let mut second = running.delta().await;
    second.send(delta(CDS, &[])).await;
    assert_eq!(second.error().await.code(), Code::ResourceExhausted);
}
