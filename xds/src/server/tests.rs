//! Streams without a connection: requests go in as bytes, and what would go out is read.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body::{Body as _, Frame};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::body::Body;

use super::grpc::answer;
use super::precedence::Precedence;
use super::{Ads, Assign, Client, Delivered, Refused, Server, Settings};
use crate::TypeUrl;
use crate::limits::{PUSH_PAUSE_MAX, REJECTED_AT_ONCE_MAX};
use crate::snapshot::Snapshot;
use crate::testing::{snapshot, static_cluster};

/// Longer than anything here may take, short enough to fail a hanging test.
const PATIENCE: Duration = Duration::from_secs(10);

type View = Option<Arc<Snapshot>>;

struct SameForAll(watch::Receiver<View>);

impl Assign for SameForAll {
    fn assign(&self, _: &Client) -> Result<watch::Receiver<View>, Refused> {
        Ok(self.0.clone())
    }
}

/// A body that comes as it is sent.
struct Incoming(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A stream of clusters.
struct Call {
    requests: mpsc::UnboundedSender<Bytes>,
    body: Body,
    read: BytesMut,
}

impl Call {
    fn open(server: &Server, node_id: &str) -> Self {
        Self::open_with(server, node_id, Vec::new())
    }

    /// The same, with clusters of these names.
    fn open_with(server: &Server, node_id: &str, names: Vec<String>) -> Self {
        let (requests, incoming) = mpsc::unbounded_channel();
        let mut request = Request::new(Body::new(Incoming(incoming)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "/service/DeltaAggregatedResources".parse().unwrap();
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(CONTENT_TYPE, grpc);
        let call = Self {
            requests,
            body: answer(&server.hub, &Ads::METHODS, request).into_body(),
            read: BytesMut::new(),
        };
        let node = Node {
            id: node_id.to_owned(),
            ..Node::default()
        };
        call.send(&DeltaDiscoveryRequest {
            node: Some(node),
            type_url: TypeUrl::CLUSTER.as_str().to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        });
        call
    }

    fn send(&self, request: &DeltaDiscoveryRequest) {
        let length = u32::try_from(request.encoded_len()).unwrap();
        let prefix = [[0].as_slice(), &length.to_be_bytes()].concat();
        let bytes = [prefix, request.encode_to_vec()].concat();
        self.requests.send(bytes.into()).unwrap();
    }

    fn acknowledge(&self, response: &DeltaDiscoveryResponse) {
        self.send(&DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn reject(&self, response: &DeltaDiscoveryResponse) {
        self.send(&DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: Some(envoy_types::pb::google::rpc::Status {
                message: "no".to_owned(),
                ..Default::default()
            }),
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<DeltaDiscoveryResponse> {
        loop {
            if let Some(prefix) = self.read.first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
                let end = 5 + length as usize;
                if self.read.len() >= end {
                    let message = self.read.split_to(end).freeze().slice(5..);
                    return Poll::Ready(DeltaDiscoveryResponse::decode(message).unwrap());
                }
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => {
                    let data = frame.unwrap().unwrap().into_data().unwrap();
                    self.read.extend_from_slice(&data);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let next = poll_fn(|context| self.poll_next(context));
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }
}

#[tokio::test]
async fn a_push_to_an_open_stream_does_not_wait_for_newcomers() {
    let (views, receiver) = watch::channel(Some(snapshot([static_cluster("a")])));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut delivered = server.watch_delivery();
    let mut open = Call::open(&server, "open");
    let response = open.next().await;
    open.acknowledge(&response);
    while !matches!(delivered.recv().await.unwrap().what, Delivered::CaughtUp(_)) {}
    assert_eq!(*server.hub.precedence(), Precedence::default(), "no push");
    // As many newcomers as may be worked on at the same time are being worked on.
    let cold_starts = &server.hub.cold_starts;
    let all = u32::try_from(cold_starts.available_permits()).unwrap();
    let busy = cold_starts.acquire_many(all).await.unwrap();
    let mut newcomer = Call::open(&server, "newcomer");
    views.send_replace(Some(snapshot([static_cluster("a"), static_cluster("b")])));
    let pushed = open.next().await;
    assert_eq!(pushed.resources[0].name, "b");
    assert_ne!(*server.hub.precedence(), Precedence::default(), "it is one");
    open.acknowledge(&pushed);
    while !matches!(delivered.recv().await.unwrap().what, Delivered::CaughtUp(_)) {}
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(newcomer.poll_next(&mut context).is_pending());
    drop(busy);
    assert!(!newcomer.next().await.resources.is_empty());
}

#[tokio::test]
async fn who_has_a_place_to_be_worked_on_waits_for_the_end_of_a_push() {
    let server = Server::new(SameForAll(watch::channel(None).1), Settings::default());
    let pushed = Instant::now();
    server.hub.precedence().push(pushed);
    let place = server.hub.turn(&server.hub.rejections).await;
    assert!(place.is_some() && pushed.elapsed() >= PUSH_PAUSE_MAX);
}

/// Streams that are served at the same time.
const MANY: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_push_reaches_each_of_a_thousand_streams() {
    let view = |content: usize| {
        let changing = format!("changing-{content}");
        snapshot([static_cluster("a"), static_cluster(&changing)])
    };
    let (views, receiver) = watch::channel(Some(view(0)));
    let mut settings = Settings::default();
    settings.session.one_doubt_per_response = false;
    let server = Server::new(SameForAll(receiver), settings);
    let (arrive, mut arrivals) = mpsc::unbounded_channel();
    for client in 0..MANY {
        let mut call = Call::open(&server, &format!("client-{client}"));
        let arrive = arrive.clone();
        tokio::spawn(async move {
            loop {
                let response = poll_fn(|context| call.poll_next(context)).await;
                call.acknowledge(&response);
                if arrive.send((client, response)).is_err() {
                    return;
                }
            }
        });
    }
    // What each of them has, as far as responses tell.
    let mut have = vec![BTreeSet::new(); MANY];
    for round in 0..12 {
        if round > 0 {
            // While some still work on this one, the next one comes.
            views.send_replace(Some(view(10 * round)));
            tokio::task::yield_now().await;
            views.send_replace(Some(view(round)));
        }
        let wanted = BTreeSet::from(["a".to_owned(), format!("changing-{round}")]);
        let mut missing = have.iter().filter(|has| **has != wanted).count();
        while missing > 0 {
            let arrival = tokio::time::timeout(PATIENCE, arrivals.recv()).await;
            let arrival = arrival.unwrap_or_else(|_| {
                let status = server.clients();
                let behind = status.iter().filter(|it| it.behind_since.is_some()).count();
                panic!("round {round}: {missing} streams wait, {behind} are behind");
            });
            let (client, response) = arrival.unwrap();
            let has = &mut have[client];
            let before = *has == wanted;
            has.extend(response.resources.into_iter().map(|it| it.name));
            response.removed_resources.iter().for_each(|name| {
                has.remove(name);
            });
            match (before, *has == wanted) {
                (false, true) => missing -= 1,
                (true, false) => missing += 1,
                _ => {}
            }
        }
    }
}

/// Has a client take what is published, so that all streams had their turn.
async fn push(views: &watch::Sender<View>, to: &mut Call, names: &[&str]) {
    let clusters = names.iter().map(|name| static_cluster(name));
    views.send_replace(Some(snapshot(clusters)));
    let pushed = to.next().await;
    to.acknowledge(&pushed);
}

/// Names enough for a large request, and one that exists.
fn large() -> Vec<String> {
    let names = (0..crate::limits::LARGE_REQUEST_BYTES / 400).map(|name| format!("{name:0400}"));
    names.chain(["a".to_owned()]).collect()
}

#[tokio::test]
async fn a_large_request_is_worked_on_beside_the_others_however_many_come() {
    let (views, receiver) = watch::channel(Some(snapshot([static_cluster("a")])));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut open = Call::open(&server, "open");
    let response = open.next().await;
    open.acknowledge(&response);
    let busy = server.hub.lane.fill().await;
    let mut first = Call::open_with(&server, "first", large());
    // One that was small at first.
    let mut later = Call::open_with(&server, "later", vec!["a".to_owned()]);
    let response = later.next().await;
    later.acknowledge(&response);
    later.send(&DeltaDiscoveryRequest {
        type_url: TypeUrl::CLUSTER.as_str().to_owned(),
        resource_names_subscribe: large(),
        ..DeltaDiscoveryRequest::default()
    });
    push(&views, &mut open, &["a", "b"]).await;
    push(&views, &mut open, &["a", "b", "c"]).await;
    let mut context = Context::from_waker(std::task::Waker::noop());
    for large in [&mut first, &mut later] {
        assert!(large.poll_next(&mut context).is_pending());
    }
    drop(busy);
    for large in [&mut first, &mut later] {
        let response = large.next().await;
        assert_eq!(response.resources[0].name, "a");
        large.acknowledge(&response);
        assert_eq!(
            large.next().await.removed_resources.len(),
            self::large().len() - 1
        );
    }
}

#[tokio::test]
async fn a_rejection_of_many_resources_is_worked_on_beside_the_others() {
    let names: Vec<String> = (0..=REJECTED_AT_ONCE_MAX)
        .map(|index| format!("c{index}"))
        .collect();
    let all = |names: &[String]| snapshot(names.iter().map(|name| static_cluster(name)));
    let (views, receiver) = watch::channel(Some(all(&names)));
    let mut settings = Settings::default();
    settings.session.one_doubt_per_response = false;
    let server = Server::new(SameForAll(receiver), settings);
    let mut few = Call::open_with(&server, "few", vec!["c1".to_owned(), "c2".to_owned()]);
    let response = few.next().await;
    let mut many = Call::open(&server, "many");
    let rejected = many.next().await;
    assert_eq!(rejected.resources.len(), names.len());
    let busy = server.hub.lane.fill().await;
    many.reject(&rejected);
    // Neither taken in nor answered; whoever rejects little is.
    few.reject(&response);
    assert_eq!(few.next().await.resources.len(), 1);
    let rejections = |id: &str| server.client(id).unwrap().rejections.len();
    assert_eq!(rejections("few"), 1);
    assert_eq!(rejections("many"), 0);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(many.poll_next(&mut context).is_pending());
    drop(busy);
    assert_eq!(many.next().await.resources.len(), 1, "one by one");
    assert_eq!(rejections("many"), 1);
    drop(views);
}

#[tokio::test]
async fn nothing_is_done_for_a_client_that_does_not_read() {
    let (views, receiver) = watch::channel(Some(snapshot([static_cluster("a")])));
    let first = receiver.borrow().as_ref().unwrap().id().to_string();
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut open = Call::open(&server, "open");
    let response = open.next().await;
    open.acknowledge(&response);
    let mut deaf = Call::open(&server, "deaf");
    while server.client("deaf").is_none_or(|it| it.sent.is_empty()) {
        tokio::task::yield_now().await;
    }
    push(&views, &mut open, &["a", "b"]).await;
    push(&views, &mut open, &["a", "b", "c"]).await;
    let wanted = |id: &str| server.client(id).unwrap().wanted.unwrap().to_string();
    assert_eq!(wanted("deaf"), first, "no view is looked at");
    assert_ne!(wanted("open"), first);
    // Once it reads, it gets what is newest.
    let response = deaf.next().await;
    assert_eq!(response.resources.len(), 1);
    deaf.acknowledge(&response);
    let names = deaf.next().await.resources;
    let names: Vec<&str> = names.iter().map(|resource| &*resource.name).collect();
    assert_eq!(names, ["b", "c"]);
}

#[tokio::test]
async fn a_client_without_room_for_what_was_taken_for_it_is_not_bothered_with_views() {
    let (views, receiver) = watch::channel(Some(snapshot([static_cluster("a")])));
    let first = receiver.borrow().as_ref().unwrap().id().to_string();
    let settings = Settings {
        blocked_max: Duration::from_millis(300),
        ..Settings::default()
    };
    let server = Server::new(SameForAll(receiver), settings);
    let mut open = Call::open(&server, "open");
    let response = open.next().await;
    open.acknowledge(&response);
    // The connection took the response from its place, and doesn't ask for more.
    let mut full = Call::open(&server, "full");
    let response = full.next().await;
    let wanted = |id: &str| server.client(id).unwrap().wanted.unwrap().to_string();
    push(&views, &mut open, &["a", "b"]).await;
    assert_eq!(wanted("full"), first, "no view is looked at");
    // As soon as there is room, the newest one is.
    push(&views, &mut open, &["a", "b", "c"]).await;
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(full.poll_next(&mut context).is_pending());
    while wanted("full") != wanted("open") {
        tokio::task::yield_now().await;
    }
    full.acknowledge(&response);
    let response = full.next().await;
    assert_eq!(response.resources.len(), 2);
    // Nor is an old one kept for ever.
    push(&views, &mut open, &["a", "b", "c", "d"]).await;
    let pushed = wanted("open");
    let arrives = async {
        while wanted("full") != pushed {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrives).await.unwrap();
    // And it is no fault of the client not to have had room for a view that it wasn't sent.
    assert!(server.client("full").unwrap().connected);
    // Nor is anything of an old one sent to who answers before there is room.
    push(&views, &mut open, &["a", "b", "c", "d", "e"]).await;
    full.acknowledge(&response);
    while wanted("full") != wanted("open") {
        tokio::task::yield_now().await;
    }
    let response = full.next().await;
    let names: Vec<&str> = response.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["d", "e"]);
}

#[tokio::test]
async fn a_push_does_not_wait_for_rejections_that_are_worked_on() {
    let (views, receiver) = watch::channel(Some(snapshot([static_cluster("a")])));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut open = Call::open(&server, "open");
    let response = open.next().await;
    open.acknowledge(&response);
    let mut rejects = Call::open(&server, "rejects");
    let response = rejects.next().await;
    let rejections = &server.hub.rejections;
    let all = u32::try_from(rejections.available_permits()).unwrap();
    let busy = rejections.acquire_many(all).await.unwrap();
    rejects.reject(&response);
    push(&views, &mut open, &["a", "b"]).await;
    push(&views, &mut open, &["a", "b", "c"]).await;
    let rejected = || server.client("rejects").unwrap().rejections.len();
    assert_eq!(rejected(), 0);
    drop(busy);
    // It has its turn, and gets what else there is.
    let others = rejects.next().await;
    let names: Vec<&str> = others.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(rejected(), 1);
}

#[tokio::test]
async fn who_is_held_back_gets_the_newest_view_with_its_next_turn() {
    use crate::limits::REJECTED_IN_A_ROW_MAX;
    let names: Vec<String> = (0..=REJECTED_IN_A_ROW_MAX)
        .map(|it| format!("c{it:02}"))
        .collect();
    let all = || names.iter().map(|name| static_cluster(name));
    let (views, receiver) = watch::channel(Some(snapshot(all())));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut rejects = Call::open(&server, "rejects");
    // What nobody took yet comes one by one.
    for _ in &names {
        let response = rejects.next().await;
        assert_eq!(response.resources.len(), 1);
        rejects.reject(&response);
    }
    let rejected = || server.client("rejects").unwrap().rejections.len();
    while rejected() < names.len() {
        tokio::task::yield_now().await;
    }
    views.send_replace(Some(snapshot(all().chain([static_cluster("e")]))));
    let response = rejects.next().await;
    let names: Vec<&str> = response.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["e"]);
    rejects.acknowledge(&response);
    // From then on it is held back no more.
    views.send_replace(Some(snapshot(all().chain([static_cluster("f")]))));
    assert_eq!(rejects.next().await.resources[0].name, "f");
}
