//! A metrics message as an Envoy 1.40 sends it, with counters as differences and tags as labels:
//! every stat a family of its own with one metric (see `tidegate_xds::report`).

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::io::prometheus::client::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prost::Message as _;

use crate::bench::wire;

use super::messages;

/// Which stats a sidecar sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stats {
    /// Those of `STATS_NEEDED`, as Tidegate's own bootstraps ask for.
    Needed,
    /// All of Envoy's: what a sidecar sends that has no inclusion list.
    All,
}

/// Edges of a latency histogram, milliseconds: Envoy's default ones.
const EDGES_MS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Edges with the recommended bootstrap.
const EDGES_NEEDED_MS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

/// Counters of a cluster that [`Stats::Needed`] has, besides those by class: as Envoy leaves out what
/// never was used, those of a cluster with traffic and a retry. With the gauges and the histogram they
/// make 0.89 KB a cluster; measured of a real one were 0.74.
const NEEDED: [&str; 3] = [
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_retry",
];

/// Counters and gauges of a cluster that only [`Stats::All`] has.
const OTHERS: [&str; 51] = [
    "assignment_stale",
    "assignment_timeout_received",
    "bind_errors",
    "internal.upstream_rq_completed",
    "external.upstream_rq_completed",
    "lb_healthy_panic",
    "lb_local_cluster_not_ok",
    "lb_recalculate_zone_structures",
    "lb_subsets_created",
    "lb_subsets_fallback",
    "lb_subsets_removed",
    "lb_subsets_selected",
    "lb_zone_cluster_too_small",
    "lb_zone_no_capacity_left",
    "lb_zone_number_differs",
    "lb_zone_routing_all_directly",
    "lb_zone_routing_cross_zone",
    "lb_zone_routing_sampled",
    "max_host_weight",
    "membership_change",
    "membership_degraded",
    "membership_excluded",
    "membership_healthy",
    "membership_total",
    "original_dst_host_invalid",
    "retry_or_shadow_abandoned",
    "update_attempt",
    "update_empty",
    "update_failure",
    "update_no_rebuild",
    "update_success",
    "upstream_cx_active",
    "upstream_cx_close_notify",
    "upstream_cx_destroy",
    "upstream_cx_http1_total",
    "upstream_cx_http2_total",
    "upstream_cx_idle_timeout",
    "upstream_cx_max_requests",
    "upstream_cx_none_healthy",
    "upstream_cx_overflow",
    "upstream_cx_rx_bytes_buffered",
    "upstream_cx_rx_bytes_total",
    "upstream_cx_total",
    "upstream_cx_tx_bytes_total",
    "upstream_cx_connect_fail",
    "upstream_rq_cancelled",
    "upstream_rq_per_try_timeout",
    "upstream_rq_pending_total",
    "upstream_rq_rx_reset",
    "upstream_rq_timeout",
    "upstream_rq_tx_reset",
];

/// A sidecar's messages, in their frames, and what is in them.
#[derive(Debug, Clone)]
pub struct Payload {
    families: Vec<MetricFamily>,
}

// === impl Payload ===

impl Payload {
    /// The stats of a sidecar with this many upstream clusters.
    #[must_use]
    pub fn of(stats: Stats, clusters: u32) -> Self {
        let mut families = Vec::new();
        for number in 0..clusters {
            of_cluster(&mut families, stats, &messages::cluster(number));
        }
        families.push(gauge("cluster_manager.cds.version", &[], 1.2e18));
        families.push(gauge("listener_manager.lds.version", &[], 1.3e18));
        families.push(gauge("runtime.version", &[], 1.4e18));
        let route = [
            ("envoy.http_conn_manager_prefix", "in"),
            ("envoy.rds_route_config", "routes"),
        ];
        families.push(gauge("http.rds.version", &route, 1.5e18));
        families.push(gauge("server.memory_allocated", &[], 5_242_880.0));
        families.push(gauge("server.uptime", &[], 3_600.0));
        Self { families }
    }

    /// How many families, all with one metric.
    #[must_use]
    pub fn families(&self) -> usize {
        self.families.len()
    }

    /// The first message of a stream, which names its node, with that many extensions.
    #[must_use]
    pub fn first(&self, node_id: &str, extensions: u32) -> Bytes {
        let node = wire::node(node_id, extensions);
        self.framed(Node::decode(node).ok())
    }

    /// A message after the first.
    #[must_use]
    pub fn later(&self) -> Bytes {
        self.framed(None)
    }

    fn framed(&self, node: Option<Node>) -> Bytes {
        let message = StreamMetricsMessage {
            identifier: node.map(|node| Identifier { node: Some(node) }),
            envoy_metrics: self.families.clone(),
        };
        wire::framed(&message.encode_to_vec())
    }
}

fn of_cluster(families: &mut Vec<MetricFamily>, stats: Stats, name: &str) {
    let cluster = ("envoy.cluster_name", name);
    let mut counters: Vec<&str> = NEEDED.to_vec();
    if stats == Stats::All {
        counters.extend(OTHERS);
    }
    for stat in counters {
        families.push(counter(&format!("cluster.{stat}"), &[cluster], 17.0));
    }
    let classes: &[&str] = match stats {
        Stats::Needed => &["2", "5"],
        Stats::All => &["2", "3", "4", "5"],
    };
    for class in classes {
        let labels = [cluster, ("envoy.response_code_class", class)];
        families.push(counter("cluster.upstream_rq_xx", &labels, 4.0));
    }
    for code in ["200", "404", "503"].iter().filter(|_| stats == Stats::All) {
        let labels = [cluster, ("envoy.response_code", code)];
        families.push(counter("cluster.upstream_rq", &labels, 4.0));
    }
    families.push(gauge("cluster.upstream_rq_active", &[cluster], 2.0));
    families.push(gauge("cluster.version", &[cluster], 1.1e18));
    let edges: &[f64] = match stats {
        Stats::Needed => &EDGES_NEEDED_MS,
        Stats::All => &EDGES_MS,
    };
    let labels = [cluster];
    families.push(histogram("cluster.upstream_rq_time", &labels, edges));
    if stats == Stats::All {
        families.push(histogram("cluster.upstream_cx_connect_ms", &labels, edges));
        families.push(histogram("cluster.upstream_cx_length_ms", &labels, edges));
    }
}

fn family(name: &str, kind: MetricType, labels: &[(&str, &str)], metric: Metric) -> MetricFamily {
    let label = |(name, value): &(&str, &str)| LabelPair {
        name: Some((*name).to_owned()),
        value: Some((*value).to_owned()),
    };
    MetricFamily {
        name: Some(name.to_owned()),
        r#type: Some(kind.into()),
        metric: vec![Metric {
            label: labels.iter().map(label).collect(),
            timestamp_ms: Some(1_790_000_000_000),
            ..metric
        }],
        ..MetricFamily::default()
    }
}

fn counter(name: &str, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    let counter = Counter {
        value: Some(value),
        ..Counter::default()
    };
    let metric = Metric {
        counter: Some(counter),
        ..Metric::default()
    };
    family(name, MetricType::Counter, labels, metric)
}

fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> MetricFamily {
    let metric = Metric {
        gauge: Some(Gauge { value: Some(value) }),
        ..Metric::default()
    };
    family(name, MetricType::Gauge, labels, metric)
}

fn histogram(name: &str, labels: &[(&str, &str)], edges: &[f64]) -> MetricFamily {
    let mut below = 0;
    let bucket = |edge: &f64| {
        below += u64::from(*edge < 100.0) * 2;
        Bucket {
            cumulative_count: Some(below),
            upper_bound: Some(*edge),
            ..Bucket::default()
        }
    };
    let bucket: Vec<Bucket> = edges.iter().map(bucket).collect();
    let histogram = Histogram {
        sample_count: Some(below),
        sample_sum: Some(321.0),
        bucket,
        ..Histogram::default()
    };
    let metric = Metric {
        histogram: Some(histogram),
        ..Metric::default()
    };
    family(name, MetricType::Histogram, labels, metric)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidegate_xds::report::{Asked, metrics};

    use super::*;

    #[test]
    fn the_intake_understands_all_of_it() {
        for stats in [Stats::Needed, Stats::All] {
            let payload = Payload::of(stats, 20);
            let message = StreamMetricsMessage {
                identifier: None,
                envoy_metrics: payload.families,
            };
            let (bytes, asked) = (message.encode_to_vec(), Asked::everything());
            let report = metrics::decode("node", "fleet", &bytes, &asked, Instant::now()).unwrap();
            assert_eq!(report.faults, 0);
            assert_eq!(report.upstreams.len(), 20);
            assert_eq!(report.versions.len(), 24, "of 20 clusters, and of 4 types");
            assert_eq!(report.server.uptime_s, Some(3_600));
        }
    }

    #[test]
    fn the_first_message_names_the_node() {
        let frame = Payload::of(Stats::Needed, 1).first("sidecar-7", 516);
        let message = StreamMetricsMessage::decode(&frame[5..]).unwrap();
        let node = message.identifier.unwrap().node.unwrap();
        assert_eq!((&*node.id, node.extensions.len()), ("sidecar-7", 516));
        let size = node.encoded_len();
        assert!(
            (50_000..70_000).contains(&size),
            "as large as Envoy's: {size}"
        );
    }
}
