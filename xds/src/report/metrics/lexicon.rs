//! What families mean, learned once: thousands of sidecars name the same few hundred every second.
//!
//! A family is known by its bytes up to its numbers, compared whole: hashes only find the place. What is
//! here holds for every sidecar and whatever is asked for, and it is never needed: a family that is not known
//! is understood from its text, with the same result.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh64::xxh64;

use super::super::MAX_NAME_BYTES;
use super::super::protobuf::Fields;
use super::family::Plain;
use super::stat::{self, Labels, Measure, ProcessGauge, Stat};

/// The most that is remembered, in bytes: eight families of each of 20,000 clusters, and some of old ones.
const LEARNED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The longest labels that are remembered, in bytes: those of two names, and of what Envoy calls them.
const LABEL_BYTES_MAX: usize = 2 * MAX_NAME_BYTES;

/// What an entry of a map takes besides its text, in bytes, about.
const ENTRY_BYTES: usize = 96;

/// What is full is forgotten when it is this old: clusters come and go, and a sidecar may make names up.
const FULL_FOR: Duration = Duration::from_secs(60 * 60);

/// Families that have been seen.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    names: ByHash<Name>,
    metrics: ByHash<Metric>,
    /// By number.
    clusters: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
    begun: Option<Instant>,
}

/// What one metric is, as [`stat::classify`] told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A number of the cluster with this number.
    Upstream(u32, Measure),
    Version(Box<str>),
    Server(ProcessGauge),
    Garbled,
    Nothing,
}

#[derive(Debug)]
struct Name {
    text: Box<[u8]>,
    /// Metrics of it may be asked for.
    matters: bool,
}

#[derive(Debug)]
struct Metric {
    /// Of its name, which is in `names`.
    name: u64,
    labels: Box<[u8]>,
    meaning: Meaning,
}

type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

// === impl Lexicon ===

impl Lexicon {
    /// What a family means; `None` if it isn't known.
    pub(super) fn meaning(&self, family: &Plain<'_>) -> Option<&Meaning> {
        let hash = xxh64(family.name, 0);
        let name = self.names.get(&hash)?;
        if *name.text != *family.name {
            return None;
        }
        if !name.matters {
            return Some(&Meaning::Nothing);
        }
        let labels = family.metric()?.labels;
        let metric = self.metrics.get(&xxh64(labels, hash))?;
        (metric.name == hash && *metric.labels == *labels).then_some(&metric.meaning)
    }

    /// The name of a cluster.
    pub(super) fn cluster(&self, number: u32) -> Option<&Arc<str>> {
        self.clusters.get(usize::try_from(number).ok()?)
    }

    /// The number of a cluster.
    pub(super) fn number(&self, cluster: &str) -> Option<u32> {
        self.numbers.get(cluster).copied()
    }

    /// How many clusters have a number.
    pub(super) fn clusters(&self) -> usize {
        self.clusters.len()
    }

    /// Remembers families, if there is room.
    pub(super) fn learn(&mut self, families: &[&[u8]], now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        if self.is_full() {
            if now.saturating_duration_since(begun) < FULL_FOR {
                return;
            }
            *self = Self {
                begun: Some(now),
                ..Self::default()
            };
        }
        for family in families {
            if self.is_full() {
                return;
            }
            // What makes no sense is told, not remembered.
            let _ = self.learn_one(family);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= LEARNED_BYTES_MAX
    }

    fn learn_one(&mut self, family: &[u8]) -> Option<()> {
        let family = Plain::of(family)?;
        let name = std::str::from_utf8(family.name).ok()?;
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let hash = xxh64(family.name, 0);
        let matters = stat::may_be_asked_for(name);
        if !self.names.contains_key(&hash) {
            self.bytes += name.len() + ENTRY_BYTES;
            let text = Box::from(family.name);
            self.names.insert(hash, Name { text, matters });
        }
        if !matters {
            return Some(());
        }
        let labels = family.metric()?.labels;
        if labels.len() > LABEL_BYTES_MAX {
            return None;
        }
        let meaning = match stat::classify(name, &Labels::read(&mut Fields::of(labels)).ok()?) {
            // What is wrong with the name is found anew each time.
            Stat::Upstream("", _) => return None,
            Stat::Upstream(cluster, _) if cluster.len() > MAX_NAME_BYTES => return None,
            Stat::Upstream(cluster, measure) => {
                Meaning::Upstream(self.number_of(cluster)?, measure)
            }
            Stat::Version(name) => Meaning::Version(name.into()),
            Stat::Server(gauge) => Meaning::Server(gauge),
            Stat::Garbled => Meaning::Garbled,
            Stat::NotAskedFor => Meaning::Nothing,
        };
        let metric = Metric {
            name: hash,
            labels: Box::from(labels),
            meaning,
        };
        self.bytes += labels.len() + ENTRY_BYTES;
        self.metrics.entry(xxh64(labels, hash)).or_insert(metric);
        Some(())
    }

    fn number_of(&mut self, cluster: &str) -> Option<u32> {
        if let Some(number) = self.number(cluster) {
            return Some(number);
        }
        let number = u32::try_from(self.clusters.len()).ok()?;
        let name: Arc<str> = Arc::from(cluster);
        self.bytes += name.len() + ENTRY_BYTES;
        self.clusters.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        Some(number)
    }
}

// === impl Hashed ===

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh64(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
