//! What one message said so far: samples and versions in the making.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::asked::Asked;
use super::super::{MAX_ENTRIES, MAX_NAME_BYTES, ServerGauges, UpstreamSample};
use super::lexicon::Lexicon;
use super::number::Unreadable;
use super::stat::ProcessGauge;

/// The samples of one message.
pub(super) struct Readings<'a> {
    lexicon: &'a Lexicon,
    asked: &'a Asked,
    list: Vec<(&'a str, Reading)>,
    /// By the cluster's number.
    numbered: Vec<Numbered>,
    /// By the cluster's name, of those without a number: where in the list.
    named: BTreeMap<&'a str, usize>,
}

/// A sample in the making.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) sample: UpstreamSample,
    /// A number of it could not be read.
    pub(super) torn: bool,
}

/// The cluster that a number is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Number(u32),
    Name(&'a str),
}

/// What is known of a cluster with a number.
#[derive(Debug, Clone, Copy)]
enum Numbered {
    Unseen,
    NotAskedFor,
    AskedFor,
    /// Where in the list.
    At(u32),
}

/// What the process says of itself, in the making.
#[derive(Default)]
pub(super) struct Process {
    gauges: ServerGauges,
    /// One of them could not be read.
    torn: bool,
}

/// Version gauges, as they came.
#[derive(Default)]
pub(super) struct Versions<'a>(Vec<(Cow<'a, str>, u64)>);

// === impl Readings ===

impl<'a> Readings<'a> {
    pub(super) fn new(lexicon: &'a Lexicon, asked: &'a Asked) -> Self {
        Self {
            lexicon,
            asked,
            list: Vec::new(),
            numbered: vec![Numbered::Unseen; lexicon.clusters()],
            named: BTreeMap::new(),
        }
    }

    /// Where a cluster is, by its name.
    pub(super) fn place(&self, cluster: &'a str) -> Place<'a> {
        let number = self.lexicon.number(cluster);
        number.map_or(Place::Name(cluster), Place::Number)
    }

    /// Whether a cluster is asked for.
    pub(super) fn covers(&mut self, place: Place<'a>) -> bool {
        let number = match place {
            Place::Name(cluster) => return self.asked.covers(cluster),
            Place::Number(number) => number,
        };
        let name = self.lexicon.cluster(number);
        let Some((slot, name)) = slot(&mut self.numbered, number).zip(name) else {
            return false;
        };
        if matches!(slot, Numbered::Unseen) {
            *slot = if self.asked.covers(name) {
                Numbered::AskedFor
            } else {
                Numbered::NotAskedFor
            };
        }
        !matches!(slot, Numbered::NotAskedFor)
    }

    /// The reading of a cluster, a new one if there is room for it.
    pub(super) fn at(&mut self, place: Place<'a>) -> Option<&mut Reading> {
        let found = match place {
            Place::Name(cluster) => self.named.get(cluster).copied(),
            Place::Number(number) => match slot(&mut self.numbered, number)? {
                Numbered::At(at) => usize::try_from(*at).ok(),
                _ => None,
            },
        };
        let at = match found {
            Some(at) => at,
            None => self.added(place)?,
        };
        self.list.get_mut(at).map(|(_, reading)| reading)
    }

    fn added(&mut self, place: Place<'a>) -> Option<usize> {
        let name = match place {
            Place::Name(cluster) => cluster,
            Place::Number(number) => self.lexicon.cluster(number)?,
        };
        let at = self.list.len();
        if at >= MAX_ENTRIES || name.is_empty() || name.len() > MAX_NAME_BYTES {
            return None;
        }
        match place {
            Place::Name(cluster) => drop(self.named.insert(cluster, at)),
            Place::Number(number) => {
                *slot(&mut self.numbered, number)? = Numbered::At(u32::try_from(at).ok()?);
            }
        }
        self.list.push((name, Reading::default()));
        Some(at)
    }

    /// The samples of which every number could be read.
    pub(super) fn finish(mut self) -> BTreeMap<String, UpstreamSample> {
        self.list.retain(|(_, reading)| !reading.torn);
        // In order they go into the map as they are.
        self.list.sort_unstable_by_key(|(name, _)| *name);
        let list = self.list.into_iter();
        list.map(|(name, reading)| (name.to_owned(), reading.sample))
            .collect()
    }
}

fn slot(numbered: &mut [Numbered], number: u32) -> Option<&mut Numbered> {
    numbered.get_mut(usize::try_from(number).ok()?)
}

// === impl Process ===

impl Process {
    /// Takes a gauge in. Two values of one in one message contradict each other.
    pub(super) fn take(
        &mut self,
        gauge: ProcessGauge,
        value: Result<u64, Unreadable>,
    ) -> Result<(), Unreadable> {
        let slot = match gauge {
            ProcessGauge::Memory => &mut self.gauges.memory_bytes,
            ProcessGauge::Uptime => &mut self.gauges.uptime_s,
        };
        let taken = value.map(|value| slot.replace(value).is_none());
        if taken == Ok(true) {
            return Ok(());
        }
        self.torn = true;
        Err(Unreadable)
    }

    /// All of them, if every one could be read.
    pub(super) fn finish(self) -> ServerGauges {
        if self.torn {
            return ServerGauges::default();
        }
        self.gauges
    }
}

// === impl Versions ===

impl<'a> Versions<'a> {
    pub(super) fn note(&mut self, name: Cow<'a, str>, version: u64) {
        self.0.push((name, version));
    }

    /// The last of each name, and how many were beyond [`MAX_ENTRIES`].
    pub(super) fn finish(self) -> (BTreeMap<String, u64>, u64) {
        let list = self.0.into_iter();
        let list = list.map(|(name, version)| (name.into_owned(), version));
        if list.len() <= MAX_ENTRIES {
            return (list.collect(), 0);
        }
        let (mut versions, mut beyond) = (BTreeMap::new(), 0);
        for (name, version) in list {
            if versions.len() < MAX_ENTRIES || versions.contains_key(&name) {
                versions.insert(name, version);
            } else {
                beyond += 1;
            }
        }
        (versions, beyond)
    }
}
