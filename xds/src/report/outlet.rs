//! What all intakes share: whom a stream speaks for, where what it said goes, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::identity::{Access, AccessLimits, Peer, StreamKind, StreamPass};

use super::protobuf::{Fields, Malformed, single};
use super::{FIRST_MESSAGE_DEADLINE, MAX_NAME_BYTES, Report};

/// What the intake did since it was made. Totals that only grow; share one between both services, or give each
/// its own.
#[derive(Debug, Default)]
pub struct IntakeCounters {
    pub(super) reports: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
    refused: AtomicU64,
}

/// Where what was read goes.
#[derive(Debug)]
pub(super) struct Outlet<T> {
    queue: mpsc::Sender<T>,
    pub(super) counters: Arc<IntakeCounters>,
    pub(super) access: Arc<Access>,
}

/// Whom a stream's first message said it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reporter {
    pub(super) node_id: String,
    pub(super) cluster: String,
    /// It sends no load report when it has nothing to say, twice in a row: gRPC's C core.
    pub(super) silent_when_idle: bool,
}

/// How gRPC's C core begins its `user_agent_name`, in all its languages.
const GRPC_C_CORE: &str = "gRPC C-core";

/// Where the node is in a message.
pub(super) type NodeOf = fn(&[u8]) -> Result<Option<&[u8]>, Malformed>;

// === impl IntakeCounters ===

impl IntakeCounters {
    /// Reports decoded, the dropped ones included, and those that an idle gRPC client left out.
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

/// A metrics message and one of access logs have an identifier as their field 1, and in it the node as field 1.
fn node_of_identified(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    match single(message, 1)? {
        Some(identifier) => single(identifier, 1),
        None => Ok(None),
    }
}

/// A load report has the node as its field 1.
pub(super) fn node_of_load(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    single(message, 1)
}

pub(super) fn malformed(malformed: Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

// === impl Outlet ===

impl Outlet<Report> {
    pub(super) fn report(&self, report: Report) -> Result<(), Status> {
        self.counters.reports.fetch_add(1, Ordering::Relaxed);
        self.counters
            .faults
            .fetch_add(report.faults, Ordering::Relaxed);
        self.hand_over(report)
    }
}

impl<T> Outlet<T> {
    pub(super) fn new(queue: mpsc::Sender<T>, counters: Arc<IntakeCounters>) -> Self {
        Self {
            queue,
            counters,
            access: Access::open(AccessLimits::default()),
        }
    }

    pub(super) fn open(&self, peer: Option<&Peer>) -> Result<StreamPass, Status> {
        Ok(self.access.open_stream(peer, StreamKind::Reports)?)
    }

    /// Reads a stream whose messages have an identifier until it ends; `take` gets every message.
    pub(super) async fn each_identified(
        &self,
        mut inbound: Streaming<Bytes>,
        peer: Option<&Peer>,
        take: impl Fn(&Reporter, &[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let _pass = self.open(peer)?;
        let first = self.first(&mut inbound, peer, node_of_identified).await?;
        let Some((reporter, message)) = first else {
            return Ok(());
        };
        take(&reporter, &message)?;
        // A message that is kept would keep the stream's buffer from being used again.
        drop(message);
        while let Some(message) = self
            .next(&mut inbound, &reporter, node_of_identified)
            .await?
        {
            take(&reporter, &message)?;
        }
        Ok(())
    }

    /// The first message, and whom it names, if its peer may speak for that node.
    pub(super) async fn first(
        &self,
        inbound: &mut Streaming<Bytes>,
        peer: Option<&Peer>,
        node_of: NodeOf,
    ) -> Result<Option<(Reporter, Bytes)>, Status> {
        let message = tokio::time::timeout(FIRST_MESSAGE_DEADLINE, self.message(inbound))
            .await
            .unwrap_or_else(|_| {
                let seconds = FIRST_MESSAGE_DEADLINE.as_secs();
                Err(Status::deadline_exceeded(format!(
                    "no first message within {seconds} s"
                )))
            })?;
        let Some(message) = message else {
            return Ok(None);
        };
        let node = node_of(&message).map_err(malformed)?;
        let node = node.map(Node::decode).transpose();
        let node = node.map_err(|_| malformed(Malformed))?;
        let reporter = Reporter::named_by(node.as_ref())?;
        if let Some(node) = &node {
            self.access.check(peer, node)?;
        }
        Ok(Some((reporter, message)))
    }

    /// The next message of the same reporter.
    pub(super) async fn next(
        &self,
        inbound: &mut Streaming<Bytes>,
        reporter: &Reporter,
        node_of: NodeOf,
    ) -> Result<Option<Bytes>, Status> {
        let message = self.message(inbound).await?;
        if let Some(message) = &message
            && let Some(node) = node_of(message).map_err(malformed)?
        {
            reporter.must_be(node)?;
        }
        Ok(message)
    }

    /// The next message, or an error as soon as nobody wants reports any more.
    async fn message(&self, inbound: &mut Streaming<Bytes>) -> Result<Option<Bytes>, Status> {
        tokio::select! {
            message = inbound.message() => message,
            () = self.queue.closed() => Err(closed()),
        }
    }

    pub(super) fn hand_over(&self, news: T) -> Result<(), Status> {
        match self.queue.try_send(news) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }

    /// Counts what the client did wrong; that it left, or that we did, is not among it.
    pub(super) fn count_refusal(&self, status: &Status) {
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
            silent_when_idle: node.user_agent_name.starts_with(GRPC_C_CORE),
        })
    }

    /// Later messages may repeat the node (Envoy's load reports do, all 61 KB of it), but not change it
    /// (invariant X11).
    fn must_be(&self, node: &[u8]) -> Result<(), Status> {
        let (mut id, mut cluster) = ("", "");
        for field in Fields::of(node) {
            match field.map_err(malformed)? {
                (1, text) => id = text.text().map_err(malformed)?,
                (2, text) => cluster = text.text().map_err(malformed)?,
                _ => {}
            }
        }
        if id == self.node_id && cluster == self.cluster {
            return Ok(());
        }
        Err(Status::invalid_argument(format!(
            "the node of a stream can't change: it was {}",
            self.node_id
        )))
    }
}

// === impl Outlet ===

// A derive would ask for `T: Clone`.
impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            counters: Arc::clone(&self.counters),
            access: Arc::clone(&self.access),
        }
    }
}
