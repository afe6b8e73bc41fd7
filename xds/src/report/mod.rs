//! The intake of reports: what sidecars say about the requests they carried.
//!
//! ```text
//! Envoy ── MetricsService, one message a second ──► MetricsIntake ─► metrics::Reader ─┐
//!                                                                                     ├─► bounded queue ─► embedder
//! gRPC client ── load reports, one a second ──────► LoadIntake ────► load::decode ────┘
//!
//! Envoy ── access logs ───────────────────────────► AccessLogIntake ► access_log::decode ─► its own queue
//! ```
//!
//! The decoders are pure, and read only what somebody [asked](Asked) for, in place. A [`metrics::Reader`] remembers
//! what families mean, for all its streams; otherwise the services hold no state but the stream's node. They queue
//! nothing per stream, and when the embedder does not keep up they drop reports and count them: numbers that are
//! late are worth less than the next ones.
//!
//! Deliberately not here: what a cluster name stands for (a version, an arm), windows, silence, tests. A report
//! says what was counted in an interval, nothing else. Whether the peer may speak for the node it names is for
//! the embedder as well.
//!
//! # What Envoy 1.40 sends (measured, `MetricsServiceConfig` with deltas, labels and `HISTOGRAM`)
//!
//! Every stat is a `MetricFamily` of its own with one `Metric`. With `emit_tags_as_labels` the tag's value
//! leaves the name and becomes a label; a `/` in a cluster name arrives as it is (a `:` would arrive as `_`):
//!
//! | stat | family name | labels |
//! |---|---|---|
//! | `cluster.checkout/v1.upstream_rq_total` | `cluster.upstream_rq_total` | `envoy.cluster_name=checkout/v1` |
//! | `cluster.checkout/v1.upstream_rq_5xx` | `cluster.upstream_rq_xx` | the same, `envoy.response_code_class=5` |
//! | `cluster.checkout/v1.retry.upstream_rq_5xx` | `cluster.retry.upstream_rq_xx` | the same two |
//! | `cluster.greeter/v1.grpc.14` | `cluster.grpc.14` | `envoy.cluster_name=greeter/v1` |
//! | `cluster.greeter/v1.grpc.g.S.M.14` (per method) | `cluster.grpc.M.14`: the service `g.S` is cut at the wrong dot, so only the last segment is read | the same, `envoy.grpc_bridge_service=g`, `envoy.grpc_bridge_method=S` |
//! | `cluster.checkout/v1.version` (only if its endpoints come over xDS) | `cluster.version` | `envoy.cluster_name` |
//! | `http.in.rds.checkout.version` | `http.rds.version` | `envoy.http_conn_manager_prefix=in`, `envoy.rds_route_config=checkout` |
//! | `cluster_manager.cds.version`, `listener_manager.lds.version`, `runtime.version` | unchanged | none |
//! | `server.memory_allocated`, `server.uptime` | unchanged | none |
//!
//! Without labels the dotted name comes whole, and is understood as well. Cluster names must not contain dots:
//! Envoy's tag extraction takes the first dot for the end of the name.
//!
//! Counters come as differences, also as 0, from a stat's first use on; before it the stat is absent. Counts are
//! attempts: 10 good requests, one 500 that was retried once and failed again are `upstream_rq_total` 12,
//! `upstream_rq_completed` 11, `upstream_rq_5xx` 1, and `retry.upstream_rq_completed` 1,
//! `retry.upstream_rq_5xx` 1; without the two under `retry` a healthy retry would look like a lost request.
//! The node (61 KB) is in the stream's first message only.
//!
//! A version gauge is absent until the first response of its type is applied. A bare heartbeat (a resource with a
//! TTL and no body) leaves it as it is, whatever version the heartbeat's response names. When the TTL of the
//! runtime layer runs out, `runtime.version` becomes [`version_gauge`]`("")`: this is the only news of the expiry,
//! xDS itself does not report it.
//!
//! # What gRPC's C core 1.85 sends (measured, load reports)
//!
//! A stream for each target, at most one report a second on it, with issued, succeeded, failed, in flight and
//! dropped per cluster and locality, never per host. Every status but OK is a failure, NOT_FOUND too. It reports
//! once that nothing happened, and then nothing until something does: the intake says it for the client, at the
//! interval, while its stream is open.
//!
//! # Limits
//! [`MAX_METRICS_MESSAGE_BYTES`], [`MAX_LOAD_MESSAGE_BYTES`], [`MAX_ACCESS_LOG_MESSAGE_BYTES`],
//! [`MAX_FAILED_PER_MESSAGE`], [`MAX_NAME_BYTES`], [`MAX_ENTRIES`],
//! [`MAX_BUCKETS`], [`MAX_COUNT`], [`FIRST_MESSAGE_DEADLINE`].

pub mod access_log;
mod asked;
pub mod load;
pub mod metrics;
mod outlet;
mod protobuf;
mod raw;
mod sample;
mod service;

use std::time::Duration;

pub use access_log::FailedRequest;
pub use asked::Asked;
pub use metrics::version_gauge;
pub use outlet::IntakeCounters;
pub use protobuf::Malformed;
pub use raw::IntakeServer;
pub use sample::{HostSample, Latency, Report, ServerGauges, Source, UpstreamSample};
pub use service::{AccessLogIntake, LoadIntake, MetricsIntake};

/// The stats that a sidecar must include for [`metrics::decode`] to see all it can understand, as RE2 regexes
/// that match a whole dotted stat name: put each into `stats_matcher.inclusion_list` as a `safe_regex`.
///
/// `[^.]+` is a cluster's name and keeps out the copies of the same stats under `external.`, `internal.` and
/// `zone.` (two thirds of the bytes). Histogram edges are the bootstrap's business
/// (`histogram_bucket_settings`); what is needed there is an edge at each latency objective.
pub const STATS_NEEDED: &[&str] = &[
    r"cluster\.[^.]+\.upstream_rq_([2345]xx|total|completed|active|timeout|per_try_timeout|retry|time)",
    r"cluster\.[^.]+\.retry\.upstream_rq_([2345]xx|completed)",
    r"cluster\.[^.]+\.upstream_cx_connect_fail",
    r"cluster\.[^.]+\.grpc\.(.+\.)?(2|4|12|13|14|15)",
    r"cluster\.[^.]+\.version",
    r"cluster_manager\.cds\.version",
    r"listener_manager\.lds\.version",
    r"http\.[^.]+\.rds\..+\.version",
    r"runtime\.version",
    r"server\.(memory_allocated|uptime)",
];

/// The largest metrics message that is read, in bytes. The stats above are 0.7 KB a cluster, all of Envoy's
/// about 4 KB, and the first message has a node of 61 KB; larger fleets set the sink's `batch_size`.
pub const MAX_METRICS_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// The largest load report that is read, in bytes: about 150 a cluster and a node of 61 KB.
pub const MAX_LOAD_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The largest batch of access logs that is read, in bytes. Envoy's own buffer is 16 KiB unless it is told otherwise.
pub const MAX_ACCESS_LOG_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The most failed requests that are read of one batch. In an outage every request fails, and a few tell the story.
pub const MAX_FAILED_PER_MESSAGE: usize = 200;

/// The longest node id, fleet, cluster or stat name that is kept, in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// The most upstreams, and the most version gauges, that one report holds. What is beyond is a fault.
pub const MAX_ENTRIES: usize = 20_000;

/// The most buckets of a histogram. Envoy's default has 19 edges.
pub const MAX_BUCKETS: usize = 256;

/// The largest count that is believed: 10^12 requests in one interval is more than any sidecar carries in its
/// life, and less than what a negative number turns into when it is read as an unsigned one.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// How long a new stream may take to send its first message.
pub const FIRST_MESSAGE_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn included(name: &str) -> bool {
        // `safe_regex` matches the whole value.
        STATS_NEEDED.iter().any(|pattern| {
            Regex::new(&format!("^(?:{pattern})$"))
                .unwrap()
                .is_match(name)
        })
    }

    #[test]
    fn the_inclusion_list_covers_what_the_decoder_reads() {
        for name in [
            "cluster.checkout/v1.upstream_rq_total",
            "cluster.checkout/v1.upstream_rq_completed",
            "cluster.checkout/v1.upstream_rq_2xx",
            "cluster.checkout/v1.upstream_rq_5xx",
            "cluster.checkout/v1.retry.upstream_rq_5xx",
            "cluster.checkout/v1.retry.upstream_rq_completed",
            "cluster.checkout/v1.upstream_rq_active",
            "cluster.checkout/v1.upstream_rq_timeout",
            "cluster.checkout/v1.upstream_rq_per_try_timeout",
            "cluster.checkout/v1.upstream_rq_retry",
            "cluster.checkout/v1.upstream_rq_time",
            "cluster.checkout/v1.upstream_cx_connect_fail",
            "cluster.greeter/v1.grpc.14",
            "cluster.greeter/v1.grpc.pkg.Service.Method.14",
            "cluster.checkout/v1.version",
            "cluster_manager.cds.version",
            "listener_manager.lds.version",
            "http.in.rds.checkout.version",
            "http.in.rds.with.dots.version",
            "runtime.version",
            "server.memory_allocated",
            "server.uptime",
        ] {
            assert!(included(name), "{name}");
        }
    }

    #[test]
    fn the_inclusion_list_keeps_out_copies_and_what_nobody_reads() {
        for name in [
            "cluster.checkout/v1.external.upstream_rq_5xx",
            "cluster.checkout/v1.zone.z1.z1.upstream_rq_time",
            "cluster.checkout/v1.grpc.0",
            "cluster.checkout/v1.grpc.5",
            "cluster.checkout/v1.grpc.upstream_rq_time",
            "cluster.checkout/v1.retry.upstream_rq_500",
            "cluster.checkout/v1.upstream_rq_404",
            "cluster.checkout/v1.upstream_rq_timeout_more",
            "server.version",
            "server.memory_heap_size",
        ] {
            assert!(!included(name), "{name}");
        }
    }
}
