//! What a state-of-the-world client has from an earlier stream.
//!
//! It says no more on coming back than the version of the whole set that it took last (xDS protocol
//! rule S8). Its last stream here knows what was in that set, and what it was sent since, of which
//! it may run a part although it rejected it (envoy facts §3). So a session leaves both behind for
//! the client's next one, which believes the version only if it is of one of those sets: then a bad
//! resource goes on at its last acknowledged content, what is gone meanwhile goes after what led to
//! it, and what may be applied in part is sent again.
//!
//! Kept for each client by itself: a version is no secret, and naming another client's gives nobody
//! that client's resources.
//!
//! Deliberately not here: sets of other replicas, and of before a restart. A client that comes back
//! with one is known only if the view is that set; else see [`Planner::whole_set`].
//!
//! [`Planner::whole_set`]: super::plan::Planner::whole_set

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::holdings::Holdings;
use super::state::{InFlight, TypeState};
use super::{Session, Variant, sotw};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::{OfType, Snapshot, digest};

/// What a client may have of each type of which it is sent whole sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Earlier(BTreeMap<TypeUrl, Box<Sets>>);

/// The same of one type.
#[derive(Debug, Clone)]
pub(super) struct Sets {
    /// The set that it acknowledged last, and what it may run beside.
    taken: Option<Holdings>,
    /// Sent after that and not answered, oldest first: it may have taken one of them, and the
    /// stream ended before it said so.
    unanswered: Vec<Set>,
}

type Set = Arc<[Arc<Resource>]>;

// === impl Session ===

impl Session {
    /// What the client's next stream should know of its whole sets.
    pub(crate) fn earlier(&self) -> Earlier {
        if self.variant == Variant::Delta {
            return Earlier::default();
        }
        let whole_sets = self.types.iter().filter(|(of, _)| of.is_full_state());
        let sets = whole_sets.filter_map(|(of, state)| Some((of.clone(), Sets::of(state)?)));
        let mut earlier = Earlier(sets.collect());
        // It ended before the client asked for these, or before there was a view.
        for (type_url, sets) in &self.earlier.0 {
            let state = self.types.get(type_url);
            if state.is_none_or(|state| !state.asked || state.claimed_set.is_some()) {
                earlier.0.insert(type_url.clone(), sets.clone());
            }
        }
        earlier
    }

    /// Tells what the client's last stream left behind. Before the first view, as that decides what
    /// becomes of it.
    pub(crate) fn remember(&mut self, earlier: Earlier) {
        if self.variant == Variant::Sotw {
            self.earlier = earlier;
        }
    }
}

// === impl Earlier ===

impl Earlier {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The types of which the client may have anything but a set that it took whole.
    #[cfg(test)]
    pub(super) fn doubtful(&self) -> impl Iterator<Item = TypeUrl> {
        let doubtful = |sets: &Sets| {
            let in_doubt = sets.taken.as_ref().is_some_and(Holdings::is_in_doubt);
            in_doubt || !sets.unanswered.is_empty()
        };
        let sets = self.0.iter().filter(move |(_, sets)| doubtful(sets));
        sets.map(|(type_url, _)| type_url.clone())
    }

    /// What the client has of a type, if it took the set of this version last.
    pub(super) fn recall(&mut self, type_url: &TypeUrl, version: &str) -> Option<Holdings> {
        self.0.remove(type_url)?.recall(version)
    }
}

// === impl Sets ===

impl Sets {
    fn of(state: &TypeState) -> Option<Box<Self>> {
        let sets = state.overdue.iter().chain(state.in_flight.as_deref());
        let sets = sets.filter(|sent| sent.set.is_some());
        let unanswered: Vec<Set> = sets.map(|sent: &InFlight| sent.items.clone()).collect();
        let taken = state.set_known.then(|| state.held.clone());
        // Whether a time to live has lapsed meanwhile isn't known.
        let timed = state.held.timed().next().is_some();
        let worth = !timed && (taken.is_some() || !unanswered.is_empty());
        worth.then(|| Box::new(Self { taken, unanswered }))
    }

    /// What the client has, if it took the set of this version last. Of equal sets it is taken for
    /// the earliest, after which most may have happened.
    fn recall(mut self, version: &str) -> Option<Holdings> {
        let is_it = |set: u64| sotw::version(set) == version;
        let mut held = match self.taken.take() {
            Some(taken) if is_it(taken_digest(&taken)) => taken,
            _ => {
                let mut sent = self.unanswered.iter();
                let place = sent.position(|set| is_it(digest(set.iter())))?;
                let set = self.unanswered.drain(..=place).next_back()?;
                let mut held = Holdings::default();
                for item in set.iter() {
                    held.entry(item.name()).acknowledged(item.clone(), 0);
                }
                held
            }
        };
        for set in &self.unanswered {
            may_have_come(&mut held, set);
        }
        held.begin_stream();
        Some(held)
    }
}

/// The hash of what was acknowledged.
fn taken_digest(held: &Holdings) -> u64 {
    let names: BTreeSet<&Name> = held.names().collect();
    let acked = names.into_iter().filter_map(|name| held.get(name));
    let acked: Vec<Arc<Resource>> = acked.filter_map(|held| held.acked.clone()).collect();
    digest(acked.iter())
}

/// The client may have rejected this set, and run a part of it.
fn may_have_come(held: &mut Holdings, set: &[Arc<Resource>]) {
    for item in set {
        let entry = held.entry(item.name());
        if !entry.is_exactly(item) {
            entry.rejected(item, false);
        }
    }
    let names: BTreeSet<&Name> = set.iter().map(|item| item.name()).collect();
    let lacks = held.names().filter(|name| !names.contains(name));
    let lacks: Vec<Name> = lacks.cloned().collect();
    for name in &lacks {
        held.entry(name).unsure = true;
    }
}

/// What a client that came back has of a type is known: it took this set last.
pub(super) fn adopt(
    type_url: &TypeUrl,
    state: &mut TypeState,
    mut held: Holdings,
    view: &Snapshot,
) {
    let base = view.of_type(type_url);
    let difference = OfType::difference(held.base(), base);
    held.rebase(base.cloned(), &difference);
    held.retain(|name| state.subscription.covers(name));
    state.held = held;
    state.set_known = true;
    // A pure wildcard's client has what it asked for (rule S8).
    state.answer_due &= !state.subscription.is_pure_wildcard();
    state.agenda.touch_all();
    state.dirty = true;
}
