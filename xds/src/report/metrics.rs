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

mod family;
mod lexicon;
mod number;
mod readings;
mod stat;

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use xxhash_rust::xxh64::xxh64;

use super::asked::Asked;
use super::protobuf::{Fields, Malformed};
use super::{MAX_NAME_BYTES, Report, Source, UpstreamSample};
use family::Plain;
use lexicon::{Lexicon, Meaning};
use number::{Metric, Unreadable};
use readings::{Place, Process, Readings, Versions};
pub(super) use stat::blames_the_server;
use stat::{Labels, Measure, ProcessGauge, Stat};

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
    let lexicon = Lexicon::default();
    let mut decoder = Decoder::new(&lexicon, asked);
    decoder.message(message)?;
    Ok(decoder.report(node_id, cluster, received_at))
}

/// Reads the messages of many sidecars, each as [`decode`] does, and remembers what their families mean: most
/// send the same ones all the time. Bounded, whatever they send.
#[derive(Debug, Default)]
pub struct Reader {
    lexicon: RwLock<Lexicon>,
}

// === impl Reader ===

impl Reader {
    /// Reads one message, as its bytes came. `node_id` and `cluster` are those of the stream's first message.
    ///
    /// # Errors
    /// If the bytes are no metrics message, as far as they are looked at.
    pub fn read(
        &self,
        node_id: &str,
        cluster: &str,
        message: &[u8],
        asked: &Asked,
        received_at: Instant,
    ) -> Result<Report, Malformed> {
        let (report, unknown) = {
            let lexicon = self.lexicon.read();
            let lexicon = lexicon.unwrap_or_else(PoisonError::into_inner);
            let mut decoder = Decoder::new(&lexicon, asked);
            decoder.message(message)?;
            let unknown = std::mem::take(&mut decoder.unknown);
            (decoder.report(node_id, cluster, received_at), unknown)
        };
        if !unknown.is_empty() {
            let lexicon = self.lexicon.write();
            let mut lexicon = lexicon.unwrap_or_else(PoisonError::into_inner);
            lexicon.learn(&unknown, received_at);
        }
        Ok(report)
    }
}

struct Decoder<'l, 'm> {
    lexicon: &'l Lexicon,
    readings: Readings<'l>,
    versions: Versions<'l>,
    process: Process,
    faults: u64,
    /// Families that the lexicon does not have.
    unknown: Vec<&'m [u8]>,
}

/// The most families of a message that are learned.
const LEARNED_PER_MESSAGE_MAX: usize = 8_192;

// === impl Decoder ===

impl<'l, 'm: 'l> Decoder<'l, 'm> {
    fn new(lexicon: &'l Lexicon, asked: &'l Asked) -> Self {
        Self {
            lexicon,
            readings: Readings::new(lexicon, asked),
            versions: Versions::default(),
            process: Process::default(),
            faults: 0,
            unknown: Vec::new(),
        }
    }

    fn message(&mut self, message: &'m [u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            if let (2, family) = field? {
                self.family(family.bytes()?)?;
            }
        }
        Ok(())
    }

    fn report(self, node_id: &str, cluster: &str, received_at: Instant) -> Report {
        let (versions, beyond) = self.versions.finish();
        Report {
            node_id: node_id.to_owned(),
            cluster: cluster.to_owned(),
            source: Source::Metrics,
            received_at,
            upstreams: self.readings.finish(),
            versions,
            server: self.process.finish(),
            faults: self.faults.saturating_add(beyond),
        }
    }

    fn family(&mut self, family: &'m [u8]) -> Result<(), Malformed> {
        let lexicon = self.lexicon;
        let known = Plain::of(family).and_then(|plain| Some((plain, lexicon.meaning(&plain)?)));
        let Some((plain, meaning)) = known else {
            if self.unknown.len() < LEARNED_PER_MESSAGE_MAX {
                self.unknown.push(family);
            }
            return self.unknown_family(family);
        };
        let metric = || plain.metric().map(|metric| Metric::read(metric.numbers));
        match meaning {
            Meaning::Nothing => {}
            Meaning::Garbled => self.fault(),
            Meaning::Version(name) => {
                let metric = metric().ok_or(Malformed)??;
                self.version(Cow::Borrowed(name), &metric);
            }
            Meaning::Server(gauge) => {
                let metric = metric().ok_or(Malformed)??;
                self.server(*gauge, &metric);
            }
            Meaning::Upstream(number, measure) => {
                let place = Place::Number(*number);
                if self.readings.covers(place) {
                    let metric = metric().ok_or(Malformed)??;
                    self.upstream(place, *measure, &metric);
                }
            }
        }
        Ok(())
    }

    fn unknown_family(&mut self, family: &'m [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(family);
        let mut name = "";
        for field in fields.by_ref() {
            if let (1, text) = field? {
                name = text.text()?;
                break;
            }
        }
        if !stat::may_be_asked_for(name) {
            return Ok(());
        }
        for field in fields {
            let (4, metric) = field? else { continue };
            let mut metric = metric.fields()?;
            let labels = Labels::read(&mut metric)?;
            match stat::classify(name, &labels) {
                Stat::NotAskedFor => {}
                Stat::Garbled => self.fault(),
                Stat::Version(name) => self.version(name, &Metric::read(metric)?),
                Stat::Server(gauge) => self.server(gauge, &Metric::read(metric)?),
                Stat::Upstream(cluster, measure) => {
                    let place = self.readings.place(cluster);
                    if self.readings.covers(place) {
                        self.upstream(place, measure, &Metric::read(metric)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn version(&mut self, name: Cow<'l, str>, metric: &Metric<'_>) {
        match metric.version() {
            Ok(version) if name.len() <= MAX_NAME_BYTES => self.versions.note(name, version),
            _ => self.fault(),
        }
    }

    fn server(&mut self, gauge: ProcessGauge, metric: &Metric<'_>) {
        if self.process.take(gauge, metric.gauge()).is_err() {
            self.fault();
        }
    }

    fn upstream(&mut self, place: Place<'l>, measure: Measure, metric: &Metric<'_>) {
        if measure == Measure::Latency && metric.is_summary_only() {
            return;
        }
        let Some(reading) = self.readings.at(place) else {
            self.fault();
            return;
        };
        if reading.sample.take(measure, metric).is_err() {
            reading.torn = true;
            self.fault();
        }
    }

    fn fault(&mut self) {
        self.faults = self.faults.saturating_add(1);
    }
}

// === impl UpstreamSample ===

impl UpstreamSample {
    /// Adds one metric.
    fn take(&mut self, measure: Measure, metric: &Metric<'_>) -> Result<(), Unreadable> {
        let counter = match measure {
            Measure::Requests => &mut self.requests,
            Measure::Completed => &mut self.completed,
            Measure::RetriedAnswer => {
                let retried = metric.delta()?;
                self.retried_answers = self.retried_answers.saturating_add(retried);
                &mut self.completed
            }
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
