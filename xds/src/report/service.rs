//! The two gRPC services that take reports in.
//!
//! Memory is bounded by construction: a stream's loop reads one message, decodes it, hands it over without
//! waiting, and reads the next; nothing is queued per stream, and a client that reads no answer is answered
//! once. Behind the bounded queue that the embedder gave, reports are dropped and counted.
//!
//! Streams end with PERMISSION_DENIED when their peer may not speak for the node they name, with
//! INVALID_ARGUMENT when the node is missing or changes, with DEADLINE_EXCEEDED when the first
//! message does not come, and with UNAVAILABLE when the embedder drops its end of the queue: clients then come
//! back by themselves, with backoff.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::{
    LoadReportingService, LoadReportingServiceServer,
};
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::identity::{Access, AccessLimits, Peer, StreamKind, StreamPass};

use super::{
    FIRST_MESSAGE_DEADLINE, MAX_LOAD_MESSAGE_BYTES, MAX_METRICS_MESSAGE_BYTES, MAX_NAME_BYTES,
    Report, load, metrics,
};

/// What the intake did since it was made. Totals that only grow; share one between both services, or give each
/// its own.
#[derive(Debug, Default)]
pub struct IntakeCounters {
    reports: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
    refused: AtomicU64,
}

/// Envoy's `MetricsService`.
#[derive(Debug, Clone)]
pub struct MetricsIntake {
    outlet: Outlet,
}

/// The load reporting service (LRS).
#[derive(Debug, Clone)]
pub struct LoadIntake {
    outlet: Outlet,
    interval: Duration,
}

/// Where reports go.
#[derive(Debug, Clone)]
struct Outlet {
    queue: mpsc::Sender<Report>,
    counters: Arc<IntakeCounters>,
    access: Arc<Access>,
}

/// Whom a stream's first message said it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reporter {
    node_id: String,
    cluster: String,
}

// === impl IntakeCounters ===

impl IntakeCounters {
    /// Reports decoded, the dropped ones included.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    /// Reports dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Numbers that could not be understood ([`Report::faults`] summed up, dropped reports included).
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Streams that were ended for what the client sent, or did not send.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

// === impl MetricsIntake ===

impl MetricsIntake {
    /// Hands reports to `queue`, and counts in `counters`.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Report>, counters: Arc<IntakeCounters>) -> Self {
        Self {
            outlet: Outlet::new(queue, counters),
        }
    }

    /// Takes reports only from whom `access` lets in, and only about the node it may speak for.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<Access>) -> Self {
        self.outlet.access = access;
        self
    }

    /// The service for a tonic server, with its decode limit set.
    #[must_use]
    pub fn into_server(self) -> MetricsServiceServer<Self> {
        MetricsServiceServer::new(self).max_decoding_message_size(MAX_METRICS_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl MetricsService for MetricsIntake {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut inbound = request.into_inner();
        let ended = self.outlet.take_metrics(&mut inbound, peer.as_ref()).await;
        ended
            .map(|()| Response::new(StreamMetricsResponse {}))
            .inspect_err(|status| self.outlet.count_refusal(status))
    }
}

// === impl LoadIntake ===

impl LoadIntake {
    /// Asks clients for a report every `interval`, hands the reports to `queue`, and counts in `counters`.
    #[must_use]
    pub fn new(
        queue: mpsc::Sender<Report>,
        counters: Arc<IntakeCounters>,
        interval: Duration,
    ) -> Self {
        Self {
            outlet: Outlet::new(queue, counters),
            interval,
        }
    }

    /// Takes reports only from whom `access` lets in, and only about the node it may speak for.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<Access>) -> Self {
        self.outlet.access = access;
        self
    }

    /// The service for a tonic server, with its decode limit set.
    #[must_use]
    pub fn into_server(self) -> LoadReportingServiceServer<Self> {
        LoadReportingServiceServer::new(self).max_decoding_message_size(MAX_LOAD_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl LoadReportingService for LoadIntake {
    type StreamLoadStatsStream = BoxStream<'static, Result<LoadStatsResponse, Status>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let pass = self
            .outlet
            .open(peer.as_ref())
            .inspect_err(|status| self.outlet.count_refusal(status))?;
        let mut inbound = request.into_inner();
        let reporter = self
            .outlet
            .first_load(&mut inbound, peer.as_ref())
            .await
            .inspect_err(|status| self.outlet.count_refusal(status))?;
        let Some(reporter) = reporter else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let outlet = self.outlet.clone();
        let answer = load::subscription(self.interval);
        // The reports are read by whoever polls for the next answer, which never comes: no task, no queue.
        let rest = stream::once(async move {
            let _pass = pass;
            let ended = outlet.take_loads(&mut inbound, &reporter).await;
            ended
                .inspect_err(|status| outlet.count_refusal(status))
                .err()
                .map(Err)
        });
        let answers = stream::once(async move { Some(Ok(answer)) }).chain(rest);
        Ok(Response::new(
            answers.filter_map(std::future::ready).boxed(),
        ))
    }
}

// === impl Outlet ===

impl Outlet {
    fn new(queue: mpsc::Sender<Report>, counters: Arc<IntakeCounters>) -> Self {
        Self {
            queue,
            counters,
            access: Access::open(AccessLimits::default()),
        }
    }

    fn open(&self, peer: Option<&Peer>) -> Result<StreamPass, Status> {
        Ok(self.access.open_stream(peer, StreamKind::Reports)?)
    }

    async fn take_metrics(
        &self,
        inbound: &mut Streaming<StreamMetricsMessage>,
        peer: Option<&Peer>,
    ) -> Result<(), Status> {
        let _pass = self.open(peer)?;
        let Some(mut message) = self.first(inbound).await? else {
            return Ok(());
        };
        let reporter = self.reporter(
            message
                .identifier
                .as_ref()
                .and_then(|identifier| identifier.node.as_ref()),
            peer,
        )?;
        loop {
            let received_at = Instant::now();
            self.hand_over(metrics::decode(
                &reporter.node_id,
                &reporter.cluster,
                &message.envoy_metrics,
                received_at,
            ))?;
            let Some(next) = self.next(inbound).await? else {
                return Ok(());
            };
            reporter.must_be(
                next.identifier
                    .as_ref()
                    .and_then(|identifier| identifier.node.as_ref()),
            )?;
            message = next;
        }
    }

    async fn first_load(
        &self,
        inbound: &mut Streaming<LoadStatsRequest>,
        peer: Option<&Peer>,
    ) -> Result<Option<Reporter>, Status> {
        let Some(message) = self.first(inbound).await? else {
            return Ok(None);
        };
        let reporter = self.reporter(message.node.as_ref(), peer)?;
        // A client says hello before it has anything to report.
        if !message.cluster_stats.is_empty() {
            self.hand_over(load::decode(
                &reporter.node_id,
                &reporter.cluster,
                &message.cluster_stats,
                Instant::now(),
            ))?;
        }
        Ok(Some(reporter))
    }

    async fn take_loads(
        &self,
        inbound: &mut Streaming<LoadStatsRequest>,
        reporter: &Reporter,
    ) -> Result<(), Status> {
        while let Some(message) = self.next(inbound).await? {
            reporter.must_be(message.node.as_ref())?;
            self.hand_over(load::decode(
                &reporter.node_id,
                &reporter.cluster,
                &message.cluster_stats,
                Instant::now(),
            ))?;
        }
        Ok(())
    }

    /// Whom a stream's first message names, if its peer may speak for that node.
    fn reporter(&self, node: Option<&Node>, peer: Option<&Peer>) -> Result<Reporter, Status> {
        let reporter = Reporter::named_by(node)?;
        if let Some(node) = node {
            self.access.check(peer, node)?;
        }
        Ok(reporter)
    }

    async fn first<T>(&self, inbound: &mut Streaming<T>) -> Result<Option<T>, Status> {
        tokio::time::timeout(FIRST_MESSAGE_DEADLINE, self.next(inbound))
            .await
            .unwrap_or_else(|_| {
                let seconds = FIRST_MESSAGE_DEADLINE.as_secs();
                Err(Status::deadline_exceeded(format!(
                    "no first message within {seconds} s"
                )))
            })
    }

    /// The next message, or an error as soon as nobody wants reports any more.
    async fn next<T>(&self, inbound: &mut Streaming<T>) -> Result<Option<T>, Status> {
        tokio::select! {
            message = inbound.message() => message,
            () = self.queue.closed() => Err(closed()),
        }
    }

    fn hand_over(&self, report: Report) -> Result<(), Status> {
        self.counters.reports.fetch_add(1, Ordering::Relaxed);
        self.counters
            .faults
            .fetch_add(report.faults, Ordering::Relaxed);
        match self.queue.try_send(report) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(report)) => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(node = %report.node_id, "dropped a report: the queue is full");
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }

    /// Counts what the client did wrong; that it left, or that we did, is not among it.
    fn count_refusal(&self, status: &Status) {
        use tonic::Code::{
            DeadlineExceeded, InvalidArgument, OutOfRange, PermissionDenied, ResourceExhausted,
            Unauthenticated,
        };
        if matches!(
            status.code(),
            InvalidArgument
                | DeadlineExceeded
                | OutOfRange
                | PermissionDenied
                | ResourceExhausted
                | Unauthenticated
        ) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(reason = status.message(), "refused a stream of reports");
        }
    }
}

fn closed() -> Status {
    Status::unavailable("the intake of reports is closed, come back later")
}

// === impl Reporter ===

impl Reporter {
    fn named_by(node: Option<&Node>) -> Result<Self, Status> {
        let Some(node) = node else {
            return Err(Status::invalid_argument(
                "the first message of a stream of reports must say its node, and this one has none",
            ));
        };
        if node.id.is_empty() {
            return Err(Status::invalid_argument(
                "node.id is empty, set it in the client's bootstrap",
            ));
        }
        if node.id.len() > MAX_NAME_BYTES || node.cluster.len() > MAX_NAME_BYTES {
            return Err(Status::invalid_argument(format!(
                "node.id and node.cluster may have at most {MAX_NAME_BYTES} bytes each"
            )));
        }
        Ok(Self {
            node_id: node.id.clone(),
            cluster: node.cluster.clone(),
        })
    }

    /// Later messages may repeat the node (Envoy's load reports do), but not change it (invariant X11).
    fn must_be(&self, node: Option<&Node>) -> Result<(), Status> {
        match node {
            Some(node) if node.id != self.node_id || node.cluster != self.cluster => {
                Err(Status::invalid_argument(format!(
                    "the node of a stream can't change: it was {}",
                    self.node_id
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
