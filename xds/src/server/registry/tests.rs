use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::Snapshot;
use crate::server::ClientKind;
use crate::stream::{SessionSettings, Variant};
use crate::testing::{assignment, cluster, snapshot, static_cluster};

fn client(id: &str) -> Client {
    Client {
        identity: None,
        node_id: id.to_owned(),
        cluster: String::new(),
        region: String::new(),
        zone: String::new(),
        sub_zone: String::new(),
        kind: ClientKind::Other,
        version: String::new(),
        client_features: Vec::new(),
    }
}

fn connect(registry: &Registry, id: &str, now: Instant) -> Result<Arc<Stream>, Full> {
    connect_as(registry, client(id), None, now)
}

fn connect_as(
    registry: &Registry,
    client: Client,
    only: Option<TypeUrl>,
    now: Instant,
) -> Result<Arc<Stream>, Full> {
    let session = Session::new(Variant::Delta, SessionSettings::default());
    let variant = Variant::Delta;
    registry.connect(client, Serves { variant, only }, session, 3, now)
}

#[test]
fn an_old_stream_that_closes_late_does_not_mark_the_new_one_disconnected() {
    let (registry, now) = (Registry::default(), Instant::now());
    let old = connect(&registry, "a", now).unwrap();
    let later = now + Duration::from_secs(1);
    let new = connect(&registry, "a", later).unwrap();
    assert_eq!(registry.status("a").unwrap().streams, 2);
    registry.disconnect(&old, later);
    let status = registry.status("a").unwrap();
    assert!(status.connected);
    assert_eq!((status.since, status.streams), (later, 1));
    registry.disconnect(&new, later);
    assert!(!registry.status("a").unwrap().connected);
}

#[test]
fn an_old_stream_takes_over_when_the_newer_one_closes_first() {
    let (registry, now) = (Registry::default(), Instant::now());
    let _old = connect(&registry, "a", now).unwrap();
    let new = connect(&registry, "a", now + Duration::from_secs(1)).unwrap();
    registry.disconnect(&new, now + Duration::from_secs(2));
    let status = registry.status("a").unwrap();
    assert!(status.connected);
    assert_eq!(status.since, now);
}

/// An Envoy's stream over the state of the world, which comes with a version of its clusters.
fn envoy(registry: &Registry, version: &str, content: i64, now: Instant) -> Arc<Stream> {
    envoy_of(None, registry, version, content, now)
}

fn envoy_of(
    identity: Option<&str>,
    registry: &Registry,
    version: &str,
    content: i64,
    now: Instant,
) -> Arc<Stream> {
    let mut session = Session::new(Variant::Sotw, SessionSettings::default());
    let node = Node {
        id: "a".to_owned(),
        ..Node::default()
    };
    let request = DiscoveryRequest {
        node: Some(node),
        version_info: version.to_owned(),
        type_url: TypeUrl::CLUSTER.as_str().to_owned(),
        ..DiscoveryRequest::default()
    };
    session.handle_request(request, now).unwrap();
    let client = Client {
        identity: identity.map(|id| SpiffeId::new(id).unwrap()),
        kind: ClientKind::Envoy,
        ..client("a")
    };
    let serves = Serves {
        variant: Variant::Sotw,
        only: None,
    };
    let stream = registry.connect(client, serves, session, 3, now).unwrap();
    stream.session().set_view(clusters(content), now);
    stream
}

fn clusters(content: i64) -> Arc<Snapshot> {
    let new = static_cluster(&format!("c{content}"));
    snapshot([new, cluster("a", content), assignment("a", 1)])
}

/// Its answer to the next response, if there is one: the response's version.
fn answer(stream: &Stream, error: Option<&str>, now: Instant) -> Option<String> {
    let response = stream.session().poll_response(now)?;
    let request = DiscoveryRequest {
        version_info: response.version.to_string(),
        type_url: response.type_url.as_str().to_owned(),
        response_nonce: response.nonce.to_string(),
        error_detail: error.map(|message| Status {
            message: message.to_owned(),
            ..Status::default()
        }),
        ..DiscoveryRequest::default()
    };
    stream.session().handle_request(request, now).unwrap();
    Some(response.version.to_string())
}

/// Whether the session knows what its client came back with: then one of two that are new is
/// tried without the other.
fn is_known(stream: &Stream, now: Instant) -> bool {
    answer(stream, Some("a is bad"), now).unwrap();
    answer(stream, None, now).is_some()
}

#[test]
fn c12_whole_sets_are_remembered_until_the_client_comes_back_or_for_ten_minutes() {
    for (away, known) in [
        (Duration::ZERO, true),
        (EARLIER_SETS_KEPT - Duration::from_secs(1), true),
        (EARLIER_SETS_KEPT, false),
    ] {
        let (registry, now) = (Registry::default(), Instant::now());
        let first = envoy(&registry, "", 1, now);
        let version = answer(&first, None, now).unwrap();
        registry.disconnect(&first, now);
        let later = now + away;
        let other = connect(&registry, "b", later).unwrap();
        registry.disconnect(&other, later);
        let second = envoy(&registry, &version, 2, later);
        assert_eq!(is_known(&second, later), known, "{away:?}");
        assert!(registry.nodes().earlier.is_empty());
    }
}

#[test]
fn x11_whole_sets_are_remembered_for_one_identity() {
    for (whose, known) in [("spiffe://mesh/a", true), ("spiffe://mesh/b", false)] {
        for closed in [true, false] {
            let (registry, now) = (Registry::default(), Instant::now());
            let first = envoy_of(Some("spiffe://mesh/a"), &registry, "", 1, now);
            let version = answer(&first, None, now).unwrap();
            if closed {
                registry.disconnect(&first, now);
            }
            let second = envoy_of(Some(whose), &registry, &version, 2, now);
            assert_eq!(is_known(&second, now), known, "{whose}, {closed}");
        }
    }
}

#[test]
fn c12_a_stream_that_closes_late_hides_nothing_that_a_newer_one_left() {
    let (registry, now) = (Registry::default(), Instant::now());
    let old = envoy(&registry, "", 1, now);
    let version = answer(&old, None, now).unwrap();
    let new = envoy(&registry, &version, 2, now);
    let version = answer(&new, None, now).unwrap();
    registry.disconnect(&new, now);
    registry.disconnect(&old, now);
    assert!(is_known(&envoy(&registry, &version, 3, now), now));
}

#[test]
fn connections_are_counted_across_absences() {
    let (registry, now) = (Registry::default(), Instant::now());
    let connections = || registry.status("a").unwrap().connections;
    let first = connect(&registry, "a", now).unwrap();
    assert_eq!(connections(), 1);
    registry.disconnect(&first, now);
    assert_eq!(connections(), 1, "it is remembered");
    let second = connect(&registry, "a", now).unwrap();
    assert_eq!(connections(), 2);
    // Its connection broke, and nobody has noticed on this side yet.
    let third = connect(&registry, "a", now).unwrap();
    assert_eq!(connections(), 3);
    registry.disconnect(&second, now);
    registry.disconnect(&third, now);
    assert_eq!(connections(), 3);
    // One that was forgotten begins anew.
    let later = now + GONE_CLIENT_KEPT;
    let other = connect(&registry, "b", later).unwrap();
    registry.disconnect(&other, later);
    let _back = connect(&registry, "a", later).unwrap();
    assert_eq!(connections(), 1);
}

#[test]
fn a_stream_that_is_refused_is_no_connection() {
    let (registry, now) = (Registry::default(), Instant::now());
    let streams: Vec<_> = (0..3).map(|_| connect(&registry, "a", now)).collect();
    assert!(streams.iter().all(Result::is_ok));
    assert_eq!(connect(&registry, "a", now).unwrap_err(), Full::Streams);
    assert_eq!(registry.status("a").unwrap().connections, 3);
}

#[test]
fn streams_for_something_else_are_no_new_connections() {
    let (registry, now) = (Registry::default(), Instant::now());
    let connections = |id: &str| registry.status(id).unwrap().connections;
    // Two targets of a gRPC client; then it comes back.
    let grpc = || Client {
        kind: ClientKind::Grpc,
        ..client("g")
    };
    let one = connect_as(&registry, grpc(), None, now).unwrap();
    let two = connect_as(&registry, grpc(), None, now).unwrap();
    assert_eq!(connections("g"), 1);
    registry.disconnect(&one, now);
    registry.disconnect(&two, now);
    let back = connect_as(&registry, grpc(), None, now).unwrap();
    assert_eq!(connections("g"), 2);
    registry.disconnect(&back, now);
    // An Envoy that doesn't aggregate: one stream for clusters, one for listeners.
    for only in [TypeUrl::CLUSTER, TypeUrl::LISTENER] {
        connect_as(&registry, client("e"), Some(only), now).unwrap();
        assert_eq!(connections("e"), 1);
    }
}

#[test]
fn who_left_is_bounded_in_number_and_who_came_back_is_not_forgotten() {
    let (registry, now) = (Registry::default(), Instant::now());
    let id = |number: usize| format!("node-{number}");
    let stays = connect(&registry, &id(0), now).unwrap();
    registry.disconnect(&stays, now);
    let _stays = connect(&registry, &id(0), now).unwrap();
    for number in 1..GONE_CLIENTS_MAX + 10 {
        let stream = connect(&registry, &id(number), now).unwrap();
        let later = now + Duration::from_millis(number as u64);
        registry.disconnect(&stream, later);
    }
    assert_eq!(registry.statuses().len(), GONE_CLIENTS_MAX + 1);
    assert!(registry.status(&id(0)).unwrap().connected);
    assert!(registry.status(&id(9)).is_none(), "the longest gone");
    assert!(!registry.status(&id(10)).unwrap().connected);
    let nodes = registry.nodes();
    assert_eq!(nodes.gone.len(), GONE_CLIENTS_MAX);
    assert_eq!(
        (nodes.by_id.len(), nodes.streams),
        (GONE_CLIENTS_MAX + 1, 1)
    );
}

#[test]
fn streams_are_bounded_and_the_gone_are_forgotten_in_time() {
    let (registry, now) = (Registry::default(), Instant::now());
    let streams: Vec<_> = ["a", "b", "c"]
        .map(|id| connect(&registry, id, now).unwrap())
        .into();
    assert_eq!(connect(&registry, "d", now).unwrap_err(), Full::Streams);
    for stream in &streams {
        registry.disconnect(stream, now);
    }
    assert_eq!(registry.statuses().len(), 3);
    let later = now + GONE_CLIENT_KEPT;
    let stream = connect(&registry, "d", later).unwrap();
    registry.disconnect(&stream, later);
    let known: Vec<String> = registry
        .statuses()
        .into_iter()
        .map(|status| status.client.node_id)
        .collect();
    assert_eq!(known, ["d"]);
}
