//! From one `StreamMetricsMessage` to a [`Report`]. Pure.
//!
//! What is read is in [`super::STATS_NEEDED`], everything else is skipped by name before anything is looked at:
//! an Envoy without an inclusion list sends fifty times as much. The difference between "not asked for"
//! (skipped), "not there" (zero, or `None` for a gauge and a histogram) and "there but unreadable" (a fault,
//! and the upstream's sample withheld) is the point of this module.
//!
//! It relies on `report_counters_as_deltas`: cumulative counters can't be told from differences in one message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use envoy_types::pb::io::prometheus::client::{Histogram, LabelPair, Metric, MetricFamily};
use xxhash_rust::xxh64::xxh64;

use super::{
    Latency, MAX_BUCKETS, MAX_COUNT, MAX_ENTRIES, MAX_NAME_BYTES, Report, Source, UpstreamSample,
};

const CLUSTER_LABEL: &str = "envoy.cluster_name";
const RESPONSE_CLASS_LABEL: &str = "envoy.response_code_class";
const HTTP_PREFIX_LABEL: &str = "envoy.http_conn_manager_prefix";
const ROUTE_CONFIG_LABEL: &str = "envoy.rds_route_config";

/// The value that a version gauge has while a response with this `system_version_info` (delta) or
/// `version_info` (state of the world) is applied: its xxh64, rounded by the trip through a double. A sidecar
/// that applied it reports exactly this number (envoy facts §5a), so compare for equality; two versions collide
/// with a probability of 2^-53.
#[must_use]
pub fn version_gauge(version_info: &str) -> u64 {
    gauge_bits(xxh64(version_info.as_bytes(), 0) as f64)
}

/// Reads one message's families. `node_id` and `cluster` are those of the stream's first message.
#[must_use]
pub fn decode(
    node_id: &str,
    cluster: &str,
    families: &[MetricFamily],
    received_at: Instant,
) -> Report {
    let mut decoder = Decoder::default();
    for family in families {
        decoder.family(family);
    }
    Report {
        node_id: node_id.to_owned(),
        cluster: cluster.to_owned(),
        source: Source::Metrics,
        received_at,
        upstreams: decoder
            .upstreams
            .into_iter()
            .filter_map(|(name, reading)| reading.whole.then_some((name, reading.sample)))
            .collect(),
        versions: decoder.versions,
        faults: decoder.faults,
    }
}

#[derive(Default)]
struct Decoder {
    upstreams: BTreeMap<String, Reading>,
    versions: BTreeMap<String, u64>,
    faults: u64,
}

/// A sample in the making.
struct Reading {
    sample: UpstreamSample,
    /// Whether every number of it could be read so far.
    whole: bool,
}

/// What a stat of an upstream measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Requests,
    Completed,
    /// 0 for 2xx … 3 for 5xx.
    Response(usize),
    Timeout,
    Retry,
    ConnectFailure,
    GrpcFailure,
    Active,
    Latency,
}

/// What a metric is to us.
#[derive(Debug, PartialEq, Eq)]
enum Stat<'a> {
    Upstream(&'a str, Measure),
    Version(Cow<'a, str>),
    /// One that is asked for, but whose labels make no sense.
    Garbled,
    NotAskedFor,
}

/// A number that was asked for and can't be used.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

// === impl Decoder ===

impl Decoder {
    fn family(&mut self, family: &MetricFamily) {
        let name = family.name();
        for metric in &family.metric {
            match classify(name, &metric.label) {
                Stat::NotAskedFor => {}
                Stat::Garbled => self.fault(),
                Stat::Version(name) => self.version(&name, metric),
                Stat::Upstream(cluster, measure) => self.upstream(cluster, measure, metric),
            }
        }
    }

    fn version(&mut self, name: &str, metric: &Metric) {
        let value = metric.gauge.as_ref().and_then(|gauge| gauge.value);
        match value {
            // 2^64 itself is what the largest hashes round to.
            Some(value) if value >= 0.0 && value <= u64::MAX as f64 => {
                let full = self.versions.len() >= MAX_ENTRIES && !self.versions.contains_key(name);
                if full || name.len() > MAX_NAME_BYTES {
                    self.fault();
                } else {
                    self.versions.insert(name.to_owned(), gauge_bits(value));
                }
            }
            _ => self.fault(),
        }
    }

    fn upstream(&mut self, cluster: &str, measure: Measure, metric: &Metric) {
        // Envoy repeats a summary of the same name beside the histogram in its default emit mode.
        if measure == Measure::Latency && metric.histogram.is_none() && metric.summary.is_some() {
            return;
        }
        let Some(reading) = reading_of(&mut self.upstreams, cluster) else {
            self.fault();
            return;
        };
        if reading.sample.take(measure, metric).is_err() {
            reading.whole = false;
            self.fault();
        }
    }

    fn fault(&mut self) {
        self.faults = self.faults.saturating_add(1);
    }
}

/// The reading of a cluster, a new one if there is room for it.
fn reading_of<'a>(
    upstreams: &'a mut BTreeMap<String, Reading>,
    cluster: &str,
) -> Option<&'a mut Reading> {
    if !upstreams.contains_key(cluster) {
        if upstreams.len() >= MAX_ENTRIES || cluster.is_empty() || cluster.len() > MAX_NAME_BYTES {
            return None;
        }
        upstreams.insert(
            cluster.to_owned(),
            Reading {
                sample: UpstreamSample::default(),
                whole: true,
            },
        );
    }
    upstreams.get_mut(cluster)
}

// === impl UpstreamSample ===

impl UpstreamSample {
    /// Adds one metric.
    fn take(&mut self, measure: Measure, metric: &Metric) -> Result<(), Unreadable> {
        let counter = match measure {
            Measure::Requests => &mut self.requests,
            Measure::Completed => &mut self.completed,
            Measure::Response(class) => self.responses.get_mut(class).ok_or(Unreadable)?,
            Measure::Timeout => &mut self.timeouts,
            Measure::Retry => &mut self.retries,
            Measure::ConnectFailure => &mut self.connect_failures,
            Measure::GrpcFailure => &mut self.grpc_failures,
            Measure::Active => return set_once(&mut self.active, gauge(metric)?),
            Measure::Latency => return set_once(&mut self.latency, histogram(metric)?),
        };
        *counter = counter.saturating_add(delta(metric)?);
        Ok(())
    }
}

/// Two values for the same gauge or histogram in one message contradict each other.
fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Unreadable> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unreadable),
    }
}

// === names ===

/// Tells what a metric is, by its name first: most are of no interest, and must cost nothing more.
fn classify<'a>(name: &'a str, labels: &'a [LabelPair]) -> Stat<'a> {
    if let Some(rest) = name.strip_prefix("cluster.") {
        return match label(labels, CLUSTER_LABEL) {
            Some(cluster) => upstream_stat(cluster, rest, labels, || {
                Cow::Owned(format!("cluster.{cluster}.{rest}"))
            }),
            None => match rest.split_once('.') {
                Some((cluster, rest)) => {
                    upstream_stat(cluster, rest, labels, || Cow::Borrowed(name))
                }
                None => Stat::NotAskedFor,
            },
        };
    }
    match name {
        "cluster_manager.cds.version" | "listener_manager.lds.version" | "runtime.version" => {
            Stat::Version(Cow::Borrowed(name))
        }
        "http.rds.version" => match (
            label(labels, HTTP_PREFIX_LABEL),
            label(labels, ROUTE_CONFIG_LABEL),
        ) {
            (Some(prefix), Some(route)) => {
                Stat::Version(Cow::Owned(format!("http.{prefix}.rds.{route}.version")))
            }
            _ => Stat::Garbled,
        },
        _ if name.starts_with("http.") && name.ends_with(".version") && name.contains(".rds.") => {
            Stat::Version(Cow::Borrowed(name))
        }
        _ => Stat::NotAskedFor,
    }
}

/// `rest` is the stat's name behind the cluster's.
fn upstream_stat<'a>(
    cluster: &'a str,
    rest: &str,
    labels: &[LabelPair],
    full_name: impl FnOnce() -> Cow<'a, str>,
) -> Stat<'a> {
    let (retried, plain) = match rest.strip_prefix("retry.") {
        Some(plain) => (true, plain),
        None => (false, rest),
    };
    let measure = match plain {
        "upstream_rq_completed" => Measure::Completed,
        "upstream_rq_2xx" => Measure::Response(0),
        "upstream_rq_3xx" => Measure::Response(1),
        "upstream_rq_4xx" => Measure::Response(2),
        "upstream_rq_5xx" => Measure::Response(3),
        "upstream_rq_xx" => match label(labels, RESPONSE_CLASS_LABEL) {
            Some("2") => Measure::Response(0),
            Some("3") => Measure::Response(1),
            Some("4") => Measure::Response(2),
            Some("5") => Measure::Response(3),
            Some("1") => return Stat::NotAskedFor,
            _ => return Stat::Garbled,
        },
        _ if retried => return Stat::NotAskedFor,
        "upstream_rq_total" => Measure::Requests,
        "upstream_rq_timeout" | "upstream_rq_per_try_timeout" => Measure::Timeout,
        "upstream_rq_retry" => Measure::Retry,
        "upstream_cx_connect_fail" => Measure::ConnectFailure,
        "upstream_rq_active" => Measure::Active,
        "upstream_rq_time" => Measure::Latency,
        "version" => return Stat::Version(full_name()),
        _ if is_grpc_failure(plain) => Measure::GrpcFailure,
        _ => return Stat::NotAskedFor,
    };
    Stat::Upstream(cluster, measure)
}

/// Whether this is `grpc.<status>` or, per method, `grpc.….<status>`, of a status that blames the server: the
/// ones that load reports count as errors (xDS protocol §2.7).
fn is_grpc_failure(stat: &str) -> bool {
    let Some(rest) = stat.strip_prefix("grpc.") else {
        return false;
    };
    let status = rest.rsplit('.').next().unwrap_or(rest);
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
    matches!(status, "2" | "4" | "12" | "13" | "14" | "15")
}

fn label<'a>(labels: &'a [LabelPair], name: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|label| label.name() == name)
        .map(|label| label.value())
}

// === numbers ===

fn delta(metric: &Metric) -> Result<u64, Unreadable> {
    count(metric.counter.as_ref().and_then(|counter| counter.value))
}

fn gauge(metric: &Metric) -> Result<u64, Unreadable> {
    count(metric.gauge.as_ref().and_then(|gauge| gauge.value))
}

/// A whole number from 0 to [`MAX_COUNT`]; this keeps out NaN, infinities and what is missing as well.
fn count(value: Option<f64>) -> Result<u64, Unreadable> {
    match value {
        Some(value) if value >= 0.0 && value <= MAX_COUNT as f64 && value.fract() == 0.0 => {
            Ok(value as u64)
        }
        _ => Err(Unreadable),
    }
}

/// A gauge's double as an integer; 2^64 becomes `u64::MAX`.
fn gauge_bits(value: f64) -> u64 {
    value as u64
}

/// A histogram whose edges rise, whose cumulative counts don't fall and end at no more than the whole count.
fn histogram(metric: &Metric) -> Result<Latency, Unreadable> {
    let Some(Histogram {
        sample_count: Some(count),
        sample_sum: Some(sum_ms),
        bucket,
        ..
    }) = &metric.histogram
    else {
        return Err(Unreadable);
    };
    if *count > MAX_COUNT || !sum_ms.is_finite() || *sum_ms < 0.0 || bucket.len() > MAX_BUCKETS {
        return Err(Unreadable);
    }
    let mut buckets = Vec::with_capacity(bucket.len());
    let (mut last_edge, mut last_count) = (f64::NEG_INFINITY, 0);
    for bucket in bucket {
        let (Some(edge), Some(cumulative)) = (bucket.upper_bound, bucket.cumulative_count) else {
            return Err(Unreadable);
        };
        // The comparison is false for NaN. The last edge may be infinite.
        let rises = edge > last_edge && edge >= 0.0;
        if !rises || cumulative < last_count || cumulative > *count {
            return Err(Unreadable);
        }
        buckets.push((edge, cumulative));
        (last_edge, last_count) = (edge, cumulative);
    }
    Ok(Latency {
        count: *count,
        buckets,
        sum_ms: *sum_ms,
    })
}

#[cfg(test)]
mod tests;
