//! One type's logical stream: subscription, what the client has, the response in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Outcome;
use super::held::Held;
use super::plan::{Plan, Waiting};
use super::subscription::Subscription;
use crate::delivery::SentCounts;
use crate::limits::{REJECTED_VERSIONS_MAX, REJECTION_TEXT_BYTES_MAX};
use crate::resource::{Name, Resource, Stamp};
use crate::snapshot::Snapshot;

/// One type's logical stream. Types don't wait for each other (xDS protocol rule C4), except
/// where `order` says so.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) subscription: Subscription,
    pub(super) held: BTreeMap<Name, Held>,
    pub(super) in_flight: Option<InFlight>,
    /// The last nonce that was sent; 0 before.
    pub(super) last_nonce: u64,
    /// Names to be answered even if nothing changed (rules D3, D6, S4, S9).
    pub(super) owed: BTreeSet<Name>,
    /// An answer is due even if it is empty: the client's start waits for it (rule S11).
    pub(super) answer_due: bool,
    /// Rejected together with others; each goes out once more, alone.
    pub(super) isolate: BTreeSet<Name>,
    /// Contents that the client rejected alone.
    pub(super) rejected: BTreeMap<Name, Rejected>,
    /// State of the world, whole sets: hashes of what the client rejected.
    pub(super) rejected_sets: VecDeque<u64>,
    /// The wanted set is one of those.
    pub(super) set_refused: bool,
    /// A rejection whose culprit isn't known (yet).
    pub(super) nack: Option<Nack>,
    /// Resources whose time to live is to be renewed.
    pub(super) renew: BTreeSet<Name>,
    /// State of the world: `version_info` of the first request, from an earlier stream.
    pub(super) claimed_set: Option<String>,
    pub(super) counts: SentCounts,
    /// What the client said since the session last asked, for all to learn: taken, or refused
    /// alone.
    pub(super) verdicts: Vec<(Arc<Resource>, bool)>,
    /// `version` of the last response with news, and the names in it.
    pub(super) last_news: Option<(Arc<str>, Vec<Name>)>,
    /// The client asked for the type on this stream; otherwise it was sent unasked.
    pub(super) asked: bool,
    /// Responses that were given up, oldest first.
    pub(super) overdue: Vec<InFlight>,
    /// Since when an answer is overdue.
    pub(super) suspect_since: Option<Instant>,
    /// Cures since the content changed.
    pub(super) cures: u32,
    /// A cure is to be sent.
    pub(super) cure_due: bool,
    /// What was in unanswered responses: not to be in the cure.
    pub(super) suspects: BTreeSet<Name>,
    /// Something changed since `plan` last looked.
    pub(super) dirty: bool,
    /// As of the last look: nothing to send, nothing held back, nothing rejected.
    pub(super) level: bool,
    /// As of the last look: a gate holds something back, or waits to.
    pub(super) waits: bool,
    /// When the first gate opens by itself.
    pub(super) deadline: Option<Instant>,
}

/// A response that was neither acknowledged nor rejected yet (rule X1: at most one a type).
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) items: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Name>,
    pub(super) sent_at: Instant,
    /// It only renews; nothing is news in it.
    pub(super) renewal: bool,
    /// State of the world, whole sets: the set's hash, and the names that are news to the client.
    pub(super) set: Option<(u64, Vec<Name>)>,
    /// It holds what the client took last, and not what it should have.
    pub(super) cure: bool,
}

/// What a client rejected of one resource.
#[derive(Debug)]
pub(super) struct Rejected {
    stamps: VecDeque<Stamp>,
    pub(super) text: Arc<str>,
    pub(super) at: Instant,
}

/// A rejection of several resources.
#[derive(Debug)]
pub(super) struct Nack {
    pub(super) names: Vec<Name>,
    pub(super) text: Arc<str>,
    pub(super) at: Instant,
}

// === impl TypeState ===

impl TypeState {
    /// Everything subscribed is acknowledged, as far as this type goes.
    pub(super) fn is_settled(&self) -> bool {
        let quiet = self
            .in_flight
            .as_ref()
            .is_none_or(|in_flight| in_flight.renewal);
        self.level && !self.dirty && quiet && self.held.values().all(|held| !held.expired)
    }

    /// Whether the client rejected exactly this content.
    pub(super) fn is_refused(&self, resource: &Resource) -> bool {
        let alone = self.rejected.get(resource.name());
        alone.is_some_and(|rejected| rejected.stamps.contains(&resource.stamp()))
    }

    /// Whether this content can't reach the client until something changes.
    pub(super) fn is_stuck(&self, resource: &Resource) -> bool {
        let in_set = || {
            let held = self.held.get(resource.name());
            self.set_refused && !held.is_some_and(|held| held.is_exactly(resource))
        };
        self.is_refused(resource) || in_set()
    }

    /// The client dropped the name: a later subscription starts afresh (rules D7, S5).
    pub(super) fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.owed.remove(name);
        self.isolate.remove(name);
        self.renew.remove(name);
    }

    /// Forgets what the subscription no longer covers.
    pub(super) fn forget_uncovered(&mut self) {
        let subscription = &self.subscription;
        self.held.retain(|name, _| subscription.covers(name));
        self.owed.retain(|name| subscription.covers(name));
        self.isolate.retain(|name| subscription.covers(name));
        self.renew.retain(|name| subscription.covers(name));
    }

    /// Confirms claims of versions that the view has.
    pub(super) fn confirm_claims(&mut self, view: &Snapshot, type_url: &crate::TypeUrl) {
        for (name, held) in self.held.iter_mut().filter(|(_, held)| held.is_foreign()) {
            if let Some(resource) = view.get(type_url, name)
                && held.confirm_claim(resource)
                && type_url.is_spoilt_by_one()
            {
                self.verdicts.push((resource.clone(), true));
            }
        }
    }

    /// Takes note of an ACK or a NACK of the response in flight. A NACK is told by its error
    /// detail and by nothing else (rule C11); any other nonce changes nothing.
    pub(super) fn conclude(&mut self, nonce: &str, error: Option<&str>, now: Instant) -> Outcome {
        let is_it = |in_flight: &mut InFlight| in_flight.nonce.to_string() == nonce;
        let Some(in_flight) = self.in_flight.take_if(is_it) else {
            let late = self.conclude_late(nonce, error.map(truncated).as_ref(), now);
            if late != Outcome::Stale && self.in_flight.is_none() {
                self.suspect_since = None;
            }
            return late;
        };
        self.dirty = true;
        self.suspect_since = None;
        match error {
            None => {
                self.acknowledge(in_flight);
                Outcome::Acknowledged
            }
            Some(text) => {
                self.reject(in_flight, &truncated(text), now);
                Outcome::Rejected
            }
        }
    }

    fn acknowledge(&mut self, in_flight: InFlight) {
        if in_flight.set.is_some() {
            // What a whole set lacks is deleted (rule S1).
            let names: BTreeSet<&Name> = in_flight.items.iter().map(|item| item.name()).collect();
            self.held.retain(|name, _| names.contains(name));
            if !in_flight.cure {
                self.nack = None;
            }
        }
        for item in in_flight.items {
            self.isolate.remove(item.name());
            if item.type_url().is_spoilt_by_one() {
                self.verdicts.push((item.clone(), true));
            }
            // Without an entry the client unsubscribed in the meantime.
            if let Some(held) = self.held.get_mut(item.name()) {
                held.acknowledged(item, in_flight.nonce);
            }
        }
        for name in in_flight.removed {
            self.held.remove(&name);
        }
        self.close_nack();
    }

    fn reject(&mut self, in_flight: InFlight, text: &Arc<str>, now: Instant) {
        if in_flight.renewal {
            // The client doesn't have what was to be renewed.
            for item in &in_flight.items {
                if let Some(held) = self.held.get_mut(item.name()) {
                    held.pending = None;
                    held.expired = true;
                }
            }
            return;
        }
        for name in &in_flight.removed {
            if let Some(held) = self.held.get_mut(name) {
                held.removal_refused = true;
            }
        }
        self.held.values_mut().for_each(Held::removal_failed);
        let mut names: Vec<Name> = in_flight
            .items
            .iter()
            .map(|item| item.name().clone())
            .collect();
        if let (true, Some(nack)) = (in_flight.cure && in_flight.set.is_some(), &mut self.nack) {
            // Envoy answers a burst of sets once, with the last nonce and the first error: what
            // it means is what was given up.
            nack.text = text.clone();
            self.overdue.clear();
            for item in &in_flight.items {
                if let Some(held) = self.held.get_mut(item.name()) {
                    held.pending = None;
                }
            }
            return;
        }
        if let Some((hash, news)) = &in_flight.set {
            // It may mean an earlier set, that was given up: this one gets another chance.
            if self.overdue.is_empty() {
                self.refuse_set(*hash);
            }
            self.overdue.clear();
            names.clone_from(news);
        }
        let alone = in_flight.set.is_none() && names.len() == 1;
        for item in &in_flight.items {
            if alone {
                // Even if the client unsubscribed in the meantime: it may come back.
                self.isolate.remove(item.name());
                self.refuse(item, text, now);
            }
            let Some(held) = self.held.get_mut(item.name()) else {
                continue;
            };
            if in_flight.set.is_some() && held.is_exactly(item) {
                held.pending = None;
                continue;
            }
            held.rejected(item, alone);
            if !alone && in_flight.set.is_none() {
                self.isolate.insert(item.name().clone());
            }
        }
        if !alone {
            names.extend(in_flight.removed);
            self.nack = Some(Nack {
                names,
                text: text.clone(),
                at: now,
            });
        }
        self.close_nack();
    }

    /// The client refuses a whole set.
    pub(super) fn refuse_set(&mut self, hash: u64) {
        if self.rejected_sets.contains(&hash) {
            return;
        }
        if self.rejected_sets.len() >= REJECTED_VERSIONS_MAX {
            self.rejected_sets.pop_front();
        }
        self.rejected_sets.push_back(hash);
    }

    /// The client refuses this, alone.
    pub(super) fn refuse(&mut self, item: &Arc<Resource>, text: &Arc<str>, now: Instant) {
        Rejected::note(&mut self.rejected, item, text, now);
        self.verdicts.push((item.clone(), false));
    }

    /// There was nothing to send now.
    pub(super) fn looked_at(&mut self, plan: &Plan) {
        self.dirty = false;
        self.level = plan.is_level() && !self.set_refused;
        self.waits = !plan.held_back.is_empty();
        self.deadline = plan.deadline;
        // Suspects that aren't wanted any more need no trial.
        self.isolate
            .retain(|name| plan.held_back.contains(&Waiting::Update(name.clone())));
        self.close_nack();
    }

    /// Content of the type changed: removals that the client rejected are tried again.
    pub(super) fn content_changed(&mut self) {
        self.dirty = true;
        self.cures = 0;
        self.held
            .values_mut()
            .for_each(|held| held.removal_refused = false);
        self.close_nack();
    }

    /// A rejection of several is over when each of them was tried alone.
    fn close_nack(&mut self) {
        let open = |nack: &Nack| nack.names.iter().any(|name| self.isolate.contains(name));
        let by_set = !self.rejected_sets.is_empty();
        if self
            .nack
            .as_ref()
            .is_some_and(|nack| !by_set && !open(nack))
        {
            let removal = |nack: &Nack| {
                nack.names
                    .iter()
                    .any(|name| self.held.get(name).is_some_and(|held| held.removal_refused))
            };
            if !self.nack.as_ref().is_some_and(removal) {
                self.nack = None;
            }
        }
    }
}

// === impl Rejected ===

impl Rejected {
    fn note(all: &mut BTreeMap<Name, Rejected>, resource: &Resource, text: &Arc<str>, at: Instant) {
        let new = || Rejected {
            stamps: VecDeque::new(),
            text: text.clone(),
            at,
        };
        let rejected = all.entry(resource.name().clone()).or_insert_with(new);
        rejected.text = text.clone();
        rejected.at = at;
        if rejected.stamps.len() >= REJECTED_VERSIONS_MAX {
            rejected.stamps.pop_front();
        }
        rejected.stamps.push_back(resource.stamp());
    }
}

fn truncated(text: &str) -> Arc<str> {
    let mut end = text.len().min(REJECTION_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(text.get(..end).unwrap_or_default())
}
