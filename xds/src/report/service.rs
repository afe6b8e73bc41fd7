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
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::identity::{Access, Peer};

use super::access_log::{self, FailedRequest};
use super::asked::Asked;
use super::outlet::{IntakeCounters, Outlet, Reporter, malformed, node_of_load};
use super::raw::{Answers, Intake, IntakeServer};
use super::{
    MAX_ACCESS_LOG_MESSAGE_BYTES, MAX_LOAD_MESSAGE_BYTES, MAX_METRICS_MESSAGE_BYTES, Report, load,
    metrics,
};

/// Envoy's `MetricsService`.
#[derive(Debug, Clone)]
pub struct MetricsIntake {
    outlet: Outlet<Report>,
    reader: Arc<metrics::Reader>,
    asked: watch::Receiver<Asked>,
}

/// The load reporting service (LRS).
#[derive(Debug, Clone)]
pub struct LoadIntake {
    outlet: Outlet<Report>,
    asked: watch::Receiver<Asked>,
    interval: Duration,
    by_host: bool,
}

/// Envoy's `AccessLogService`. Optional: it costs a sidecar and the network one entry for every request, unless its
/// access log has a filter. Only requests that failed are read.
#[derive(Debug, Clone)]
pub struct AccessLogIntake {
    outlet: Outlet<FailedRequest>,
}

// === impl MetricsIntake ===

impl MetricsIntake {
    /// Hands reports of all upstreams to `queue`, and counts in `counters`.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Report>, counters: Arc<IntakeCounters>) -> Self {
        Self {
            outlet: Outlet::new(queue, counters),
            reader: Arc::default(),
            asked: everything(),
        }
    }

    /// Takes reports only from whom `access` lets in, and only about the node it may speak for.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<Access>) -> Self {
        self.outlet.access = access;
        self
    }

    /// Reads only what is asked for at the time of a message.
    #[must_use]
    pub fn asked(mut self, asked: watch::Receiver<Asked>) -> Self {
        self.asked = asked;
        self
    }

    /// The service for a tonic server, with its decode limit set.
    #[must_use]
    pub fn into_server(self) -> IntakeServer<Self> {
        IntakeServer::new(self)
    }

    async fn read(&self, inbound: Streaming<Bytes>, peer: Option<&Peer>) -> Result<(), Status> {
        let take = |reporter: &Reporter, message: &[u8]| {
            let report = {
                let asked = self.asked.borrow();
                let (node_id, cluster) = (&reporter.node_id, &reporter.cluster);
                let now = Instant::now();
                self.reader.read(node_id, cluster, message, &asked, now)
            };
            self.outlet.report(report.map_err(malformed)?)
        };
        self.outlet.each_identified(inbound, peer, take).await
    }
}

impl Intake for MetricsIntake {
    const SERVICE: &'static str = "envoy.service.metrics.v3.MetricsService";
    const METHOD: &'static str = "StreamMetrics";
    const MESSAGE_BYTES_MAX: usize = MAX_METRICS_MESSAGE_BYTES;

    async fn take(self, request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let ended = self.read(request.into_inner(), peer.as_ref()).await;
        ended
            .map(|()| one_empty_answer())
            .inspect_err(|status| self.outlet.count_refusal(status))
    }
}

// === impl LoadIntake ===

impl LoadIntake {
    /// Asks clients for a report every `interval`, hands the reports of all upstreams to `queue`, and counts in
    /// `counters`.
    #[must_use]
    pub fn new(
        queue: mpsc::Sender<Report>,
        counters: Arc<IntakeCounters>,
        interval: Duration,
    ) -> Self {
        Self {
            outlet: Outlet::new(queue, counters),
            asked: everything(),
            interval,
            by_host: false,
        }
    }

    /// Asks for each host's numbers, too ([`UpstreamSample::hosts`](super::UpstreamSample::hosts)). Envoys answer
    /// with about 60 bytes a host and report; gRPC clients don't know them.
    #[must_use]
    pub fn by_host(mut self) -> Self {
        self.by_host = true;
        self
    }

    /// Takes reports only from whom `access` lets in, and only about the node it may speak for.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<Access>) -> Self {
        self.outlet.access = access;
        self
    }

    /// Reads only what is asked for at the time of a message.
    #[must_use]
    pub fn asked(mut self, asked: watch::Receiver<Asked>) -> Self {
        self.asked = asked;
        self
    }

    /// The service for a tonic server, with its decode limit set.
    #[must_use]
    pub fn into_server(self) -> IntakeServer<Self> {
        IntakeServer::new(self)
    }

    fn report(&self, reporter: &Reporter, message: &[u8]) -> Result<(), Status> {
        let report = {
            let asked = self.asked.borrow();
            let (node_id, cluster) = (&reporter.node_id, &reporter.cluster);
            load::decode(node_id, cluster, message, &asked, Instant::now())
        };
        self.outlet.report(report.map_err(malformed)?)
    }

    async fn read(
        &self,
        inbound: &mut Streaming<Bytes>,
        reporter: &Reporter,
    ) -> Result<(), Status> {
        // Of a client that says no second time that nothing happened, silence says it, while its stream is open.
        let mut idle = false;
        loop {
            let next = self.outlet.next(inbound, reporter, node_of_load);
            let message = if idle {
                match tokio::time::timeout(self.interval, next).await {
                    Ok(message) => message?,
                    Err(_) => {
                        let (node_id, cluster) = (&reporter.node_id, &reporter.cluster);
                        let nothing = load::nothing(node_id, cluster, Instant::now());
                        self.outlet.report(nothing)?;
                        continue;
                    }
                }
            } else {
                next.await?
            };
            let Some(message) = message else {
                return Ok(());
            };
            self.report(reporter, &message)?;
            idle = reporter.silent_when_idle && load::is_idle(&message).map_err(malformed)?;
        }
    }
}

impl Intake for LoadIntake {
    const SERVICE: &'static str = "envoy.service.load_stats.v3.LoadReportingService";
    const METHOD: &'static str = "StreamLoadStats";
    const MESSAGE_BYTES_MAX: usize = MAX_LOAD_MESSAGE_BYTES;

    async fn take(self, request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut inbound = request.into_inner();
        let begin = async {
            let pass = self.outlet.open(peer.as_ref())?;
            let first = self.outlet.first(&mut inbound, peer.as_ref(), node_of_load);
            let Some((reporter, message)) = first.await? else {
                return Ok(None);
            };
            if !load::is_greeting(&message).map_err(malformed)? {
                self.report(&reporter, &message)?;
            }
            Ok(Some((pass, reporter)))
        };
        let begun = begin
            .await
            .inspect_err(|status| self.outlet.count_refusal(status))?;
        let Some((pass, reporter)) = begun else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let answer = Bytes::from(load::subscription(self.interval, self.by_host).encode_to_vec());
        // The reports are read by whoever polls for the next answer, which never comes: no task, no queue.
        let rest = stream::once(async move {
            let _pass = pass;
            let ended = self.read(&mut inbound, &reporter).await;
            ended
                .inspect_err(|status| self.outlet.count_refusal(status))
                .err()
                .map(Err)
        });
        let answers = stream::once(async move { Some(Ok(answer)) }).chain(rest);
        Ok(Response::new(
            answers.filter_map(std::future::ready).boxed(),
        ))
    }
}

// === impl AccessLogIntake ===

impl AccessLogIntake {
    /// Hands failed requests to `queue`, and counts in `counters`: a message is a report, and an entry that is
    /// dropped counts as one dropped.
    #[must_use]
    pub fn new(queue: mpsc::Sender<FailedRequest>, counters: Arc<IntakeCounters>) -> Self {
        Self {
            outlet: Outlet::new(queue, counters),
        }
    }

    /// Takes logs only from whom `access` lets in, and only about the node it may speak for.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<Access>) -> Self {
        self.outlet.access = access;
        self
    }

    /// The service for a tonic server, with its decode limit set.
    #[must_use]
    pub fn into_server(self) -> IntakeServer<Self> {
        IntakeServer::new(self)
    }

    async fn read(&self, inbound: Streaming<Bytes>, peer: Option<&Peer>) -> Result<(), Status> {
        let outlet = &self.outlet;
        let take = |reporter: &Reporter, message: &[u8]| {
            let (node_id, cluster) = (&reporter.node_id, &reporter.cluster);
            let failed = access_log::decode(node_id, cluster, message, Instant::now());
            outlet.counters.reports.fetch_add(1, Ordering::Relaxed);
            let mut failed = failed.map_err(malformed)?.into_iter();
            failed.try_for_each(|request| outlet.hand_over(request))
        };
        outlet.each_identified(inbound, peer, take).await
    }
}

impl Intake for AccessLogIntake {
    const SERVICE: &'static str = "envoy.service.accesslog.v3.AccessLogService";
    const METHOD: &'static str = "StreamAccessLogs";
    const MESSAGE_BYTES_MAX: usize = MAX_ACCESS_LOG_MESSAGE_BYTES;

    async fn take(self, request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let ended = self.read(request.into_inner(), peer.as_ref()).await;
        ended
            .map(|()| one_empty_answer())
            .inspect_err(|status| self.outlet.count_refusal(status))
    }
}

/// What a service that only listens says at the end; both messages are without fields.
fn one_empty_answer() -> Response<Answers> {
    Response::new(stream::once(async { Ok(Bytes::new()) }).boxed())
}

fn everything() -> watch::Receiver<Asked> {
    watch::Sender::new(Asked::everything()).subscribe()
}

#[cfg(test)]
mod tests;
