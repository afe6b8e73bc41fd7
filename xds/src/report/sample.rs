//! What one sidecar reported about one interval: the words that the embedder reads.
//!
//! Everything is a *difference over the interval*, except the gauges ([`UpstreamSample::active`], the versions
//! and [`ServerGauges`]), which are the state at its end. A number that could not be understood is counted in
//! [`Report::faults`], and the whole sample that it belonged to is withheld: a sample with a hole in it would
//! look better than the upstream is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// The protocol that carried a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Envoy's `MetricsService` stream. It needs all workers to flush, so its silence is itself a signal
    /// (envoy facts §6).
    Metrics,
    /// The load reporting service. Envoy sends it from its main thread, so it says nothing of the workers'
    /// health; for proxyless gRPC clients it is the only source.
    Load,
}

/// One message of numbers from one sidecar.
///
/// It is usually one flush. An Envoy whose sink has a `batch_size` splits a flush over several messages, each
/// of which becomes a report of its own with a part of the upstreams, or a part of one upstream's numbers.
/// Differences may therefore be added up over reports without further thought; gauges must be kept from the
/// latest report that has them. A sample that is withheld for a fault is withheld only in its own report, so a
/// consumer of split flushes must distrust the whole flush when one of its reports has faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The `node.id` that the stream's first message claimed. A claim, not an identity.
    pub node_id: String,
    /// The `node.cluster` (fleet) that the stream's first message claimed; may be empty.
    pub cluster: String,
    /// How it came.
    pub source: Source,
    /// When the whole message had arrived.
    pub received_at: Instant,
    /// Per upstream cluster name, what happened in the interval. An Envoy reports every upstream that it ever
    /// used, with zeros when idle, the control plane's own cluster among them.
    pub upstreams: BTreeMap<String, UpstreamSample>,
    /// Version gauges by dotted stat name, e.g. `cluster_manager.cds.version`, `cluster.checkout/v1.version`,
    /// `http.ingress.rds.checkout.version`, `runtime.version`. Compare with [`super::version_gauge`].
    pub versions: BTreeMap<String, u64>,
    /// What it says of its own process. Load reports say nothing.
    pub server: ServerGauges,
    /// Numbers that were asked for and could not be understood (NaN, negative, absurd, of the wrong kind,
    /// contradictory), or that were beyond a limit. Each is counted once; none is taken as good.
    pub faults: u64,
}

/// What a sidecar says of its own process at the end of the interval; `None` when the report does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerGauges {
    /// Memory that it has allocated and not freed, in bytes (`server.memory_allocated`). Its resident set is
    /// larger: the allocator keeps some for later. During a hot restart it is the sum of both processes'.
    pub memory_bytes: Option<u64>,
    /// How long it has been running, in whole seconds (`server.uptime`). Envoy takes it from the time of day, so
    /// it also falls when that is set back, without a restart; and a hot restart goes on counting.
    pub uptime_s: Option<u64>,
}

/// What one sidecar saw of one upstream cluster in one interval. Requests are *attempts*: each retry is one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamSample {
    /// Attempts that got a connection (`upstream_rq_total`; load reports: issued). An attempt that was refused
    /// a connection is *not* among them, though it is among [`Self::completed`] and the 5xx: never divide by
    /// this (envoy facts §6).
    pub requests: u64,
    /// Attempts that were answered, by the upstream or by Envoy in its stead (`upstream_rq_completed` and
    /// `retry.upstream_rq_completed`; load reports: success + error).
    ///
    /// Envoy counts it when the response's *headers* arrive, while [`Self::active`] falls only at the end of
    /// the body. `lost = requests - completed - change of active` therefore goes below zero for an interval
    /// in which a long response began, and above it when that one ends: add the three up over time, and cut
    /// off at zero only the sum.
    pub completed: u64,
    /// Answers by class: 2xx, 3xx, 4xx, 5xx, those that were retried included. Load reports know two classes:
    /// success is put under 2xx (so 3xx and 4xx are there too), error under 5xx.
    pub responses: [u64; 4],
    /// Attempts that ran out of time, as a request or as a single try. They are among the 5xx, unless retried,
    /// and never in [`Self::latency`].
    pub timeouts: u64,
    /// Retries that were made.
    pub retries: u64,
    /// Retries of attempts that were answered (`retry.upstream_rq_completed`); among [`Self::completed`].
    pub retried_answers: u64,
    /// Connections that could not be opened, timeouts of connecting included.
    pub connect_failures: u64,
    /// gRPC calls that ended with UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or
    /// DATA_LOSS. HTTP sees those of the application as 2xx; those that Envoy made up (timeout, refused
    /// connection) are *also* among the 5xx, so the two must not be added: see
    /// [`UpstreamSample::failed_responses`]. Zero in load reports, which count them as errors.
    pub grpc_failures: u64,
    /// Requests that the client's own limits kept from any host (load reports only). An Envoy answers them
    /// with 503, which is among [`Self::responses`]; a gRPC client counts them nowhere else.
    pub dropped: u64,
    /// Attempts in flight at the end of the interval; `None` when the report does not say.
    pub active: Option<u64>,
    /// Durations of the attempts that ended in the interval; `None` when the report does not say. Attempts
    /// that timed out, were reset or whose client left are missing from it (envoy facts §6).
    pub latency: Option<Latency>,
    /// The same answers by the host that gave them. Empty unless a load report came by host
    /// ([`LoadIntake::by_host`](super::LoadIntake::by_host)), and that of a gRPC client never does.
    pub hosts: BTreeMap<SocketAddr, HostSample>,
}

/// What one sidecar saw of one host in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostSample {
    /// Attempts that were answered.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
}

/// A histogram of one interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latency {
    /// How many durations there are.
    pub count: u64,
    /// Upper edges in ms, strictly rising, each with how many durations were at most that long (cumulative).
    /// Durations beyond the last edge are only in `count`.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations in ms, as approximated by Envoy's buckets.
    pub sum_ms: f64,
}

// === impl UpstreamSample ===

impl UpstreamSample {
    /// Answers that are failures: the larger of 5xx and failed gRPC calls.
    ///
    /// Measured: a gRPC call that Envoy failed itself is in both, so the sum would count it twice. The larger
    /// of the two is exact for an upstream that speaks only HTTP or only gRPC, and too small by at most the
    /// smaller one for an upstream that speaks both.
    #[must_use]
    pub fn failed_responses(&self) -> u64 {
        let [_, _, _, server_errors] = self.responses;
        server_errors.max(self.grpc_failures)
    }

    /// Attempts that failed without any answer and were tried again: refused connections and streams, and
    /// tries that ran out of time. Measured: Envoy counts the retry, and neither an answer nor a failure.
    #[must_use]
    pub fn unanswered_retries(&self) -> u64 {
        self.retries.saturating_sub(self.retried_answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_both_5xx_and_grpc_counts_once() {
        let sample = UpstreamSample {
            responses: [9, 0, 0, 1],
            grpc_failures: 7,
            ..Default::default()
        };
        assert_eq!(sample.failed_responses(), 7);
        let sample = UpstreamSample {
            responses: [9, 0, 0, 4],
            ..Default::default()
        };
        assert_eq!(sample.failed_responses(), 4);
    }
}
