//! From one `StreamMetricsMessage` to a [`Report`]. Pure.
//!
//! What is read is in [`super::STATS_NEEDED`], everything else is skipped by name before anything is looked at:
//! an Envoy without an inclusion list sends fifty times as much. Of what has such a name, only upstreams that
//! somebody [`Asked`] for are read. The message is read in place, so that bytes which nobody asked for aren't even
//! checked. The difference between "not asked for" (skipped), "not there" (zero, or `None` for a gauge and a
//! histogram) and "there but unreadable" (a fault, and the upstream's sample withheld) is the point of this
//! module.
//!
//! It relies on `report_counters_as_deltas`: cumulative counters can't be told from differences in one message.

mod number;
mod stat;

use std::collections::BTreeMap;
use std::time::Instant;

use xxhash_rust::xxh64::xxh64;

use super::asked::Asked;
use super::protobuf::{Fields, Malformed, Value};
use super::{MAX_ENTRIES, MAX_NAME_BYTES, Report, Source, UpstreamSample};
use number::{Metric, Unreadable};
pub(super) use stat::blames_the_server;
use stat::{Measure, Stat};

/// The value that a version gauge has while a response with this `system_version_info` (delta) or
/// `version_info` (state of the world) is applied: its xxh64, rounded by the trip through a double. A sidecar
/// that applied it reports exactly this number (envoy facts §5a), so compare for equality; two versions collide
/// with a probability of 2^-53.
#[must_use]
pub fn version_gauge(version_info: &str) -> u64 {
    number::gauge_bits(xxh64(version_info.as_bytes(), 0) as f64)
}

/// Reads one message, as its bytes came. `node_id` and `cluster` are those of the stream's first message.
///
/// # Errors
/// If the bytes are no metrics message, as far as they are looked at.
pub fn decode(
    node_id: &str,
    cluster: &str,
    message: &[u8],
    asked: &Asked,
    received_at: Instant,
) -> Result<Report, Malformed> {
    let mut decoder = Decoder {
        asked,
        upstreams: BTreeMap::new(),
        versions: BTreeMap::new(),
        faults: 0,
    };
    for field in Fields::of(message) {
        if let (2, family) = field? {
            decoder.family(family)?;
        }
    }
    Ok(Report {
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
    })
}

struct Decoder<'a> {
    asked: &'a Asked,
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

// === impl Decoder ===

impl Decoder<'_> {
    fn family(&mut self, family: Value<'_>) -> Result<(), Malformed> {
        let fields = family.fields()?;
        let mut name = "";
        for field in fields {
            if let (1, text) = field? {
                name = text.text()?;
                break;
            }
        }
        if !stat::may_be_asked_for(name) {
            return Ok(());
        }
        for field in fields {
            if let (4, metric) = field? {
                let metric = Metric::read(metric.fields()?)?;
                match stat::classify(name, &metric.labels) {
                    Stat::NotAskedFor => {}
                    Stat::Garbled => self.fault(),
                    Stat::Version(name) => self.version(&name, &metric),
                    Stat::Upstream(cluster, measure) if self.asked.covers(cluster) => {
                        self.upstream(cluster, measure, &metric);
                    }
                    Stat::Upstream(..) => {}
                }
            }
        }
        Ok(())
    }

    fn version(&mut self, name: &str, metric: &Metric<'_>) {
        let full = self.versions.len() >= MAX_ENTRIES && !self.versions.contains_key(name);
        match metric.version() {
            Ok(version) if !full && name.len() <= MAX_NAME_BYTES => {
                self.versions.insert(name.to_owned(), version);
            }
            _ => self.fault(),
        }
    }

    fn upstream(&mut self, cluster: &str, measure: Measure, metric: &Metric<'_>) {
        if measure == Measure::Latency && metric.is_summary_only() {
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
    fn take(&mut self, measure: Measure, metric: &Metric<'_>) -> Result<(), Unreadable> {
        let counter = match measure {
            Measure::Requests => &mut self.requests,
            Measure::Completed => &mut self.completed,
            Measure::Response(class) => self.responses.get_mut(class).ok_or(Unreadable)?,
            Measure::Timeout => &mut self.timeouts,
            Measure::Retry => &mut self.retries,
            Measure::ConnectFailure => &mut self.connect_failures,
            Measure::GrpcFailure => &mut self.grpc_failures,
            Measure::Active => return set_once(&mut self.active, metric.gauge()?),
            Measure::Latency => return set_once(&mut self.latency, metric.histogram()?),
        };
        *counter = counter.saturating_add(metric.delta()?);
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

#[cfg(test)]
mod tests;
