//! The gRPC service, and the hub that knows all streams.
//!
//! Thin: one task per stream drives its [`Session`](crate::stream::Session). The embedder decides,
//! through [`Assign`], which view each client gets, and is the only one who renews.
//!
//! Deliberately not here: who may do what. That is in [`identity`](crate::identity), which is asked
//! before anything else.

mod admission;
mod alarm;
mod client;
mod csds;
mod delivered;
mod grpc;
mod inbound;
mod lane;
mod outbound;
mod patience;
mod per_type;
mod precedence;
mod refusal;
mod registration;
mod registry;
mod scan;
mod task;
#[cfg(test)]
mod tests;
mod unfinished;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;

pub use client::{Client, ClientKind, ClientStatus};
pub use csds::ClientStatusService;
pub use delivered::{Delivered, DeliveryChange, NotApplied};

use crate::delivery::ResourceStatus;
use crate::identity::{Access, AccessLimits};
use crate::limits::{
    BLOCKED_MAX, COLD_STARTS_PER_CORE, CORES_PER_REJECTION, FIRST_REQUEST_TIMEOUT, FRAME_BYTES_MAX,
    HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LOCAL_RESETS_MAX,
    PENDING_RESETS_MAX, REQUEST_TIMEOUT, STREAMS_MAX, STREAMS_PER_CONNECTION_MAX,
    UNFINISHED_BYTES_MAX,
};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;
use crate::stream::SessionSettings;
use crate::wire::Framer;
use grpc::Methods;
use lane::Lane;
use precedence::Precedence;
use registry::Registry;
use unfinished::Unfinished;

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
    /// Bytes of requests that didn't arrive whole yet, or that wait to be read, of all streams
    /// together; half of it for those above [`LARGE_REQUEST_BYTES`](crate::limits::LARGE_REQUEST_BYTES).
    /// What would be more is refused with `RESOURCE_EXHAUSTED`.
    pub unfinished_bytes_max: usize,
    /// How long a new stream may take to begin with the request that names its node.
    pub first_request_timeout: Duration,
    /// How long a request may take from its first byte to its last, before its stream is closed
    /// with `DEADLINE_EXCEEDED`.
    pub request_timeout: Duration,
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
#[derive(Debug, Clone)]
pub struct Ads {
    hub: Arc<Hub>,
}

/// What all streams share.
pub(crate) struct Hub {
    assign: Box<dyn Assign>,
    settings: Settings,
    registry: Registry,
    changes: watch::Sender<u64>,
    /// Made for the first who wants to know: asking it whether anybody does takes a lock.
    deliveries: OnceLock<broadcast::Sender<DeliveryChange>>,
    signals: watch::Sender<Signals>,
    /// Permits to work on streams that just came, so that however many of them wait, the next
    /// push to the others has few before it.
    cold_starts: Semaphore,
    /// Permits to work on streams whose clients reject what they get, for the same reason.
    rejections: Semaphore,
    /// Who has such a permit lets a push go first all the same.
    precedence: Mutex<Precedence>,
    /// For requests that take long to read and to answer.
    lane: Lane,
    unfinished: Arc<Unfinished>,
    framer: Framer,
}

/// What all streams are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Signals {
    /// Counts the rounds of renewals.
    renewals: u64,
    closing: bool,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            identifier: "tidegate".to_owned(),
            session: SessionSettings::default(),
            streams_max: STREAMS_MAX,
            unfinished_bytes_max: UNFINISHED_BYTES_MAX,
            first_request_timeout: FIRST_REQUEST_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            blocked_max: BLOCKED_MAX,
            access: Access::open(AccessLimits::default()),
        }
    }
}

// === impl Server ===

impl Server {
    /// A server that asks `assign` for every stream's view.
    pub fn new(assign: impl Assign, settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let hub = Hub {
            assign: Box::new(assign),
            framer: Framer::new(&settings.identifier),
            unfinished: Unfinished::new(settings.unfinished_bytes_max),
            settings,
            registry: Registry::default(),
            changes: watch::Sender::new(0),
            deliveries: OnceLock::new(),
            signals: watch::Sender::new(Signals::default()),
            cold_starts: Semaphore::new(COLD_STARTS_PER_CORE * cores),
            rejections: Semaphore::new((cores / CORES_PER_REJECTION).max(1)),
            precedence: Mutex::default(),
            lane: Lane::new(cores),
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
            .signals
            .send_modify(|signals| signals.renewals = signals.renewals.wrapping_add(1));
    }

    /// Ends all streams with `UNAVAILABLE`, those that come later too: xDS streams have no end of
    /// their own, so a graceful shutdown would wait for them for ever.
    pub fn close(&self) {
        self.hub
            .signals
            .send_modify(|signals| signals.closing = true);
    }

    /// Rises on every connect, disconnect, ACK and NACK, and when a client catches up with its
    /// view.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.hub.changes.subscribe()
    }

    /// The aggregated service alone, to be mounted on a router. Use [`transport`] for one with the
    /// right limits.
    pub fn ads(&self) -> Ads {
        Ads {
            hub: self.hub.clone(),
        }
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
    fn precedence(&self) -> MutexGuard<'_, Precedence> {
        self.precedence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one of few places, and there for the end of a push.
    async fn turn<'a>(&self, places: &'a Semaphore) -> Option<SemaphorePermit<'a>> {
        // They are never closed.
        let place = places.acquire().await.ok();
        if self.precedence().wait(Instant::now()).is_some() {
            Box::pin(self.push_over()).await;
        }
        place
    }

    async fn push_over(&self) {
        loop {
            let wait = self.precedence().wait(Instant::now());
            let Some(wait) = wait else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// Who listens from later on sees later changes only, so that none is missed if nobody does.
    fn bump(&self) {
        if self.changes.receiver_count() > 0 {
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
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

impl Ads {
    const METHODS: Methods = Methods {
        of: "AggregatedResources",
        only: None,
        sotw: true,
    };
}

impl NamedService for Ads {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<Request<Body>> for Ads {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(grpc::answer(&self.hub, &Self::METHODS, request)))
    }
}
