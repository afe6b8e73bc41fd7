//! What sidecars report, whatever the source.

use std::collections::BTreeMap;

use crate::time::Time;

/// More requests than any sidecar has in an interval: what a count that fell reads as.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// One sidecar's numbers for one interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SidecarReport {
    /// The sidecar's node id.
    pub sidecar: String,
    /// When it arrived.
    pub at: Time,
    /// When the sidecar took the numbers, where the source says so.
    pub taken: Option<Taken>,
    /// Numbers that could not be understood; the source left their samples out.
    pub unreadable: u64,
    /// By cluster name, `service/version`.
    pub upstreams: BTreeMap<String, UpstreamCounts>,
}

/// When a report was taken, on two clocks that need not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// On the sidecar's clock, milliseconds since 1970.
    pub at_ms: u64,
    /// When it arrived, on the receiver's clock, milliseconds since 1970.
    pub received_ms: u64,
}

/// One sidecar's numbers for one cluster and interval. Counters are deltas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamCounts {
    /// Requests issued to the cluster's hosts.
    pub requests: u64,
    /// Requests completed. May exceed `requests`: a refused connection completes a request that
    /// was never issued (envoy facts §6).
    pub completed: u64,
    /// Responses 2xx, 3xx, 4xx, 5xx.
    pub responses: [u64; 4],
    /// Requests that timed out; they are among the 5xx, and not in `latency`.
    pub timeouts: u64,
    /// gRPC failures; HTTP knows them as 200.
    pub grpc_failures: u64,
    /// Connections that failed.
    pub connect_failures: u64,
    /// Requests in flight at the end; `None` when the source does not tell.
    pub active: Option<u64>,
    /// Requests by latency, one bucket per edge of
    /// [`LATENCY_EDGES_MS`](crate::mesh::LATENCY_EDGES_MS) (up to and including the edge) and
    /// one above the last; `None` when there is no histogram in the report.
    pub latency: Option<[u64; 10]>,
}

// === impl UpstreamCounts ===

impl UpstreamCounts {
    /// So many attempts failed without any answer and were tried again, of which the source counted
    /// the retry alone. They end as those that were not retried: as if Envoy had answered in the
    /// upstream's stead. A retry hides them from the client, not from the judge.
    pub fn fail_unanswered(&mut self, attempts: u64) {
        self.completed = self.completed.saturating_add(attempts);
        let [_, _, _, failed] = &mut self.responses;
        *failed = failed.saturating_add(attempts);
    }

    /// A count fell and was read as a difference, or something else is not a number of requests.
    pub(crate) fn implausible(&self) -> bool {
        let single = [
            self.requests,
            self.completed,
            self.timeouts,
            self.grpc_failures,
            self.connect_failures,
            self.active.unwrap_or(0),
        ];
        let latency = self.latency.unwrap_or_default();
        single
            .iter()
            .chain(&self.responses)
            .chain(&latency)
            .any(|count| *count > COUNT_MAX)
    }
}
