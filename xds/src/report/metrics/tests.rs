use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::io::prometheus::client::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, Summary,
};
use prost::Message as _;

use super::super::{Latency, MAX_BUCKETS, MAX_ENTRIES, ServerGauges};
use super::number::gauge_bits;
use super::stat::{CLUSTER_LABEL, HTTP_PREFIX_LABEL, RESPONSE_CLASS_LABEL};
use super::*;
use std::collections::BTreeMap;
use std::time::Duration;

mod agreement;
mod bounds;
mod faults;
mod recorded;
mod rules;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fixtures/reports/envoy-1.40-",
            $name,
            ".bin"
        ))
    };
}
const FIRST: &[u8] = fixture!("metrics-first");
const LABELS: &[u8] = fixture!("metrics-labels");
const AFTER: &[u8] = fixture!("metrics-labels-after");
const DOTTED: &[u8] = fixture!("metrics-dotted");

fn read_recorded(bytes: &[u8]) -> Report {
    let asked = Asked::everything();
    decode("sidecar-1", "svc-a", bytes, &asked, Instant::now()).unwrap()
}

fn read(families: &[MetricFamily]) -> Report {
    read_about(families, &Asked::everything())
}

fn read_about(families: &[MetricFamily], asked: &Asked) -> Report {
    let message = StreamMetricsMessage {
        identifier: None,
        envoy_metrics: families.to_vec(),
    };
    let bytes = message.encode_to_vec();
    decode("n", "c", &bytes, asked, Instant::now()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs
        .iter()
        .map(|(name, value)| LabelPair {
            name: Some((*name).into()),
            value: Some((*value).into()),
        })
        .collect()
}

fn family(name: &str, pairs: &[(&str, &str)], mut metric: Metric) -> MetricFamily {
    metric.label = labels(pairs);
    MetricFamily {
        name: Some(name.into()),
        metric: vec![metric],
        ..Default::default()
    }
}

fn counted(value: f64) -> Metric {
    Metric {
        counter: Some(Counter {
            value: Some(value),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn gauged(value: f64) -> Metric {
    Metric {
        gauge: Some(Gauge { value: Some(value) }),
        ..Default::default()
    }
}

fn timed(count: u64, sum_ms: f64, buckets: &[(f64, u64)]) -> Metric {
    let bucket = buckets
        .iter()
        .map(|(edge, cumulative)| Bucket {
            upper_bound: Some(*edge),
            cumulative_count: Some(*cumulative),
            ..Default::default()
        })
        .collect();
    Metric {
        histogram: Some(Histogram {
            sample_count: Some(count),
            sample_sum: Some(sum_ms),
            bucket,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn of_cluster(stat: &str, metric: Metric) -> MetricFamily {
    family(
        &format!("cluster.{stat}"),
        &[(CLUSTER_LABEL, "a/1")],
        metric,
    )
}

fn class(class: &str, value: f64) -> MetricFamily {
    let pairs = [(CLUSTER_LABEL, "a/1"), (RESPONSE_CLASS_LABEL, class)];
    family("cluster.upstream_rq_xx", &pairs, counted(value))
}
