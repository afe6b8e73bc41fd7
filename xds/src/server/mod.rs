//! The gRPC service, and the hub that knows all streams.
//!
//! Thin: one task per stream drives its [`Session`](crate::stream::Session). The embedder decides,
//! through [`Assign`], which view each client gets, and is the only one who renews.
//!
//! Deliberately not here: who may do what. That is in [`identity`](crate::identity), which is asked
//! before anything else.

mod client;
mod csds;
mod delivered;
mod per_type;
mod registry;
mod task;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

pub use client::{Client, ClientKind, ClientStatus};
pub use csds::ClientStatusService;
pub use delivered::{Delivered, DeliveryChange, NotApplied};

use crate::delivery::ResourceStatus;
use crate::identity::{Access, AccessLimits, Peer};
use crate::limits::{
    BLOCKED_MAX, CHANGES_KEPT, FIRST_REQUEST_TIMEOUT, FRAME_BYTES_MAX, HEADER_LIST_BYTES_MAX,
    KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LOCAL_RESETS_MAX, PENDING_RESETS_MAX, REQUEST_BYTES_MAX,
    RESPONSES_QUEUED_MAX, STREAMS_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;
use crate::stream::{SessionSettings, Variant};
use crate::wire;
use registry::Registry;

/// Decides which view each client gets.
pub trait Assign: Send + Sync + 'static {
    /// Called once per stream, when its first request named its node. The stream follows the
    /// receiver: nothing is answered while it holds `None`, the latest view wins, and a dropped
    /// sender leaves the client with what it has.
    ///
    /// # Errors
    /// To close the stream with `PERMISSION_DENIED`.
    fn assign(&self, client: &Client) -> Result<watch::Receiver<Option<Arc<Snapshot>>>, Refused>;
}

/// Why a client gets no view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// A sentence, shown to the client.
    pub reason: String,
}

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `control_plane.identifier` of every response: which replica sent it.
    pub identifier: String,
    /// How each stream behaves.
    pub session: SessionSettings,
    /// Streams that are served at the same time; more are refused with `RESOURCE_EXHAUSTED`.
    pub streams_max: usize,
    /// How long a new stream may take to name its node.
    pub first_request_timeout: Duration,
    /// How long a client may leave a response unread before its stream is closed.
    pub blocked_max: Duration,
    /// Who is let in; to be shared with the secure listener and the intakes of reports.
    pub access: Arc<Access>,
}

/// Serves views, and knows who has what. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Server {
    hub: Arc<Hub>,
}

/// The aggregated discovery service, both variants. Made by [`Server::ads`].
#[derive(Debug)]
pub struct Ads {
    hub: Arc<Hub>,
}

/// What all streams share.
pub(crate) struct Hub {
    assign: Box<dyn Assign>,
    settings: Settings,
    registry: Registry,
    changes: watch::Sender<u64>,
    deliveries: broadcast::Sender<DeliveryChange>,
    renewals: watch::Sender<u64>,
    closing: watch::Sender<bool>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            identifier: "tidegate".to_owned(),
            session: SessionSettings::default(),
            streams_max: STREAMS_MAX,
            first_request_timeout: FIRST_REQUEST_TIMEOUT,
            blocked_max: BLOCKED_MAX,
            access: Access::open(AccessLimits::default()),
        }
    }
}

// === impl Server ===

impl Server {
    /// A server that asks `assign` for every stream's view.
    pub fn new(assign: impl Assign, settings: Settings) -> Self {
        let hub = Hub {
            assign: Box::new(assign),
            settings,
            registry: Registry::default(),
            changes: watch::Sender::new(0),
            deliveries: broadcast::Sender::new(CHANGES_KEPT),
            renewals: watch::Sender::new(0),
            closing: watch::Sender::new(false),
        };
        Self { hub: Arc::new(hub) }
    }

    /// Everybody who is connected, and who was until not long ago, by node id.
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.hub.registry.statuses()
    }

    /// One client.
    pub fn client(&self, node_id: &str) -> Option<ClientStatus> {
        self.hub.registry.status(node_id)
    }

    /// Where one resource of a connected client's view stands. `None` if the client isn't
    /// connected or its view has no such resource.
    pub fn resource(
        &self,
        node_id: &str,
        type_url: &TypeUrl,
        name: &str,
    ) -> Option<ResourceStatus> {
        self.hub.registry.resource(node_id, type_url, name)
    }

    /// One round of heartbeats on all streams: renews every time to live. To be called, a few
    /// times per time to live, by the very code that decides whether what was raised may stay up;
    /// never by a timer of its own (design M4). Rounds that come faster than a stream sends merge.
    pub fn renew(&self) {
        self.hub
            .renewals
            .send_modify(|round| *round = round.wrapping_add(1));
    }

    /// Ends all streams with `UNAVAILABLE`, those that come later too: xDS streams have no end of
    /// their own, so a graceful shutdown would wait for them for ever.
    pub fn close(&self) {
        self.hub.closing.send_replace(true);
    }

    /// Rises on every connect, disconnect, ACK and NACK, and when a client catches up with its
    /// view.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.hub.changes.subscribe()
    }

    /// The aggregated service alone, to be mounted on a router. Use [`transport`] for one with the
    /// right limits.
    pub fn ads(&self) -> AggregatedDiscoveryServiceServer<Ads> {
        AggregatedDiscoveryServiceServer::new(Ads {
            hub: self.hub.clone(),
        })
        .max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// Serves on a listener until `shutdown` is ready. To serve reports on the same port, mount
    /// [`routes`](Self::routes) on [`transport`] instead, and pass it [`incoming`].
    ///
    /// # Errors
    /// If the connections can't be served at all.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let router = transport().add_routes(self.routes());
        router
            .serve_with_incoming_shutdown(incoming(listener), shutdown)
            .await
    }
}

/// A gRPC server with what xDS clients need: dead peers are found within 15 s (xDS protocol rule
/// C15), and clients may ping as they like, as Envoy must to find a hung control plane.
pub fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .http2_max_header_list_size(Some(HEADER_LIST_BYTES_MAX))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
}

/// A listener's connections, without Nagle's delay.
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

// === impl Hub ===

impl Hub {
    fn bump(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl Ads ===

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(open_sotw(&self.hub, None, request))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(open_delta(&self.hub, None, request))
    }
}

/// Starts the task of a state-of-the-world stream: of one type, or of all.
fn open_sotw(
    hub: &Arc<Hub>,
    only: Option<TypeUrl>,
    request: Request<Streaming<DiscoveryRequest>>,
) -> Response<ReceiverStream<Result<DiscoveryResponse, Status>>> {
    let (responses, stream) = mpsc::channel(RESPONSES_QUEUED_MAX);
    if !is_grpc(&request) {
        return refused(&responses, stream);
    }
    let peer = request.extensions().get::<Peer>().cloned();
    let (hub, inbound) = (hub.clone(), request.into_inner());
    let serves = task::Serves {
        variant: Variant::Sotw,
        only,
    };
    tokio::spawn(task::run(hub, serves, peer, inbound, responses, wire::sotw));
    Response::new(ReceiverStream::new(stream))
}

/// Starts the task of an incremental stream: of one type, or of all.
fn open_delta(
    hub: &Arc<Hub>,
    only: Option<TypeUrl>,
    request: Request<Streaming<DeltaDiscoveryRequest>>,
) -> Response<ReceiverStream<Result<DeltaDiscoveryResponse, Status>>> {
    let (responses, stream) = mpsc::channel(RESPONSES_QUEUED_MAX);
    if !is_grpc(&request) {
        return refused(&responses, stream);
    }
    let peer = request.extensions().get::<Peer>().cloned();
    let (hub, inbound) = (hub.clone(), request.into_inner());
    let serves = task::Serves {
        variant: Variant::Delta,
        only,
    };
    tokio::spawn(task::run(
        hub,
        serves,
        peer,
        inbound,
        responses,
        wire::delta,
    ));
    Response::new(ReceiverStream::new(stream))
}

/// The generated services take anything for gRPC.
fn is_grpc<Q>(request: &Request<Streaming<Q>>) -> bool {
    let content_type = request.metadata().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc"))
}

fn refused<R>(
    responses: &mpsc::Sender<Result<R, Status>>,
    stream: mpsc::Receiver<Result<R, Status>>,
) -> Response<ReceiverStream<Result<R, Status>>> {
    let status = Status::invalid_argument("the content type isn't `application/grpc`");
    // There is room: nothing was sent before.
    let _ = responses.try_send(Err(status));
    Response::new(ReceiverStream::new(stream))
}
