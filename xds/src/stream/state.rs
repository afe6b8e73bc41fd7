//! One type's logical stream: subscription, what the client has, the response in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Outcome;
use super::agenda::{self, Agenda};
use super::bulk::Claims;
use super::held::Held;
use super::holdings::Holdings;
use super::known::KnownVersions;
use super::owed::Owed;
use super::plan::{Plan, Waiting};
use super::sotw::{RejectedSet, RejectedSets};
use super::subscription::Subscription;
use crate::delivery::SentCounts;
use crate::error_detail::ErrorDetail;
use crate::limits::{REJECTED_VERSIONS_MAX, REJECTION_TEXT_BYTES_MAX};
use crate::resource::{Name, NameList, Resource, Stamp};
use crate::snapshot::{Snapshot, Whole};

/// One type's logical stream. Types don't wait for each other (xDS protocol rule C4), except
/// where `order` says so.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) subscription: Subscription,
    pub(super) held: Holdings,
    /// What is left to do for it.
    pub(super) agenda: Agenda,
    pub(super) in_flight: Option<Box<InFlight>>,
    /// The last nonce that was sent; 0 before.
    pub(super) last_nonce: u64,
    /// Names to be answered even if nothing changed (rules D3, D6, S4, S9).
    pub(super) owed: Owed,
    /// An answer is due even if it is empty: the client's start waits for it (rule S11).
    pub(super) answer_due: bool,
    /// Rejected together with others; each goes out once more, alone.
    pub(super) isolate: BTreeSet<Name>,
    /// Contents that the client rejected alone.
    pub(super) rejected: BTreeMap<Name, Rejected>,
    /// State of the world, whole sets: what the client rejected.
    pub(super) rejected_sets: RejectedSets,
    /// The wanted set is one of those.
    pub(super) set_refused: bool,
    /// State of the world, whole sets: the client took one on this stream, or came back with one that is
    /// known, so that what it doesn't have is known, too.
    pub(super) set_known: bool,
    /// State of the world, whole sets: how many suspects the next set tries.
    pub(super) trial: usize,
    /// A rejection whose culprit isn't known (yet).
    pub(super) nack: Option<Box<Nack>>,
    /// The latest rejection, until somebody is told.
    pub(super) refusal: Option<Box<Refusal>>,
    /// Resources whose time to live is to be renewed.
    pub(super) renew: BTreeSet<Name>,
    /// State of the world: `version_info` of the first request, from an earlier stream.
    pub(super) claimed_set: Option<String>,
    pub(super) counts: SentCounts,
    /// What the client said since the session last asked, for all to learn: taken, or refused
    /// alone.
    pub(super) verdicts: Vec<(Arc<Resource>, bool)>,
    /// The same for many at once: taken.
    pub(super) taken: Option<Arc<Whole>>,
    /// What the client says it has from an earlier stream, until there is a view.
    pub(super) claims: Option<Box<Claims>>,
    /// `version` of the last response with news, and for routes the names in it.
    pub(super) last_news: Option<(Arc<str>, Arc<NameList>)>,
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
    /// What the client has otherwise since it was last asked whether that is complete.
    pub(super) unchecked: BTreeSet<Name>,
    /// The client dropped names since then.
    pub(super) narrowed: bool,
    /// As of the last look: nothing to send, nothing held back, nothing rejected.
    pub(super) level: bool,
    /// As of the last look: a gate holds something back, or waits to.
    pub(super) waits: bool,
    /// When the first gate opens by itself.
    pub(super) deadline: Option<Instant>,
    /// Errors that the client was told in the place of resources (xRFC TP3).
    pub(super) told: BTreeMap<Name, Arc<ErrorDetail>>,
    /// The client asked for virtual hosts without naming one, and waits for an answer.
    pub(super) namespaces_due: bool,
    /// The client dropped a name that stood for others.
    pub(super) strays: bool,
    /// The client may have refused a removal since the content changed.
    removals_refused: bool,
}

/// A response that was neither acknowledged nor rejected yet (rule X1: at most one a type).
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) items: Arc<[Arc<Resource>]>,
    pub(super) removed: Vec<Name>,
    /// The items, if they were sent [all at once](super::bulk).
    pub(super) whole: Option<Arc<Whole>>,
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

/// A response that was rejected.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was in it; of a whole set, what was news in it.
    pub(super) names: Vec<Name>,
    pub(super) text: Arc<str>,
    pub(super) at: Instant,
}

/// A rejection of several resources.
#[derive(Debug)]
pub(super) struct Nack {
    pub(super) names: Vec<Name>,
    pub(super) text: Arc<str>,
    pub(super) at: Instant,
    /// Nobody looks for the culprit; it ends when the client takes a set.
    pub(super) lasting: bool,
}

// === impl TypeState ===

impl TypeState {
    /// Everything subscribed is acknowledged, as far as this type goes.
    pub(super) fn is_settled(&self) -> bool {
        let quiet = self
            .in_flight
            .as_ref()
            .is_none_or(|in_flight| in_flight.renewal);
        self.level && !self.dirty && quiet && self.held.timed().all(|(_, held)| !held.expired)
    }

    /// Whether something changed since there was nothing to send, or something is to be renewed.
    pub(super) fn has_to_look(&self) -> bool {
        self.dirty || !self.renew.is_empty()
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

    /// A name is to be answered even if nothing changed.
    pub(super) fn owe(&mut self, name: Name) {
        self.agenda.touch(&name);
        self.owed.insert(name);
    }

    /// A name was rejected together with others.
    pub(super) fn suspect(&mut self, name: &Name) {
        self.agenda.touch(name);
        self.isolate.insert(name.clone());
    }

    /// The same for many names.
    fn suspect_each(&mut self, names: Vec<Name>) {
        self.agenda.touch_each(&names);
        agenda::add_each(&mut self.isolate, names.into_iter());
    }

    /// A name was tried alone.
    pub(super) fn clear(&mut self, name: &Name) {
        if self.isolate.remove(name) {
            self.agenda.touch(name);
        }
    }

    /// The client dropped the name: a later subscription starts afresh (rules D7, S5).
    pub(super) fn forget(&mut self, name: &Name) {
        self.agenda.touch(name);
        self.held.remove(name);
        self.owed.remove(name);
        self.isolate.remove(name);
        self.renew.remove(name);
        self.told.remove(name);
    }

    /// Forgets what the subscription no longer covers.
    pub(super) fn forget_uncovered(&mut self) {
        let subscription = &self.subscription;
        self.agenda.touch_all();
        self.held.retain(|name| subscription.covers(name));
        self.owed.retain(|name| subscription.covers(name));
        self.isolate.retain(|name| subscription.covers(name));
        self.renew.retain(|name| subscription.covers(name));
    }

    /// Confirms claims of versions that the view has.
    pub(super) fn confirm_claims(
        &mut self,
        view: &Snapshot,
        type_url: &crate::TypeUrl,
        known: &KnownVersions,
    ) {
        let verdicts = &mut self.verdicts;
        self.held.each_claimed(|name, held| {
            if let Some(resource) = view.get(type_url, name)
                && held.confirm_claim(resource, known)
                && type_url.is_spoilt_by_one()
            {
                verdicts.push((resource.clone(), true));
            }
        });
    }

    /// Takes note of an ACK or a NACK of the response in flight. A NACK is told by its error
    /// detail and by nothing else (rule C11); any other nonce changes nothing.
    pub(super) fn conclude(&mut self, nonce: &str, error: Option<&str>, now: Instant) -> Outcome {
        let is_it = |in_flight: &mut Box<InFlight>| is_nonce(in_flight.nonce, nonce);
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
                self.acknowledge(*in_flight);
                Outcome::Acknowledged
            }
            Some(text) => {
                let text = truncated(text);
                self.refusal = Some(Box::new(in_flight.refusal(&text, now)));
                self.reject(*in_flight, &text, now);
                Outcome::Rejected
            }
        }
    }

    fn acknowledge(&mut self, in_flight: InFlight) {
        if self.acknowledge_whole(&in_flight) {
            self.close_nack();
            return;
        }
        self.held.divide();
        let whole = in_flight.set.is_some();
        if whole {
            // What a whole set lacks is deleted (rule S1).
            let names: BTreeSet<&Name> = in_flight.items.iter().map(|item| item.name()).collect();
            self.held.retain(|name| names.contains(name));
            self.set_known = true;
        }
        for item in in_flight.items.iter().cloned() {
            self.clear(item.name());
            if item.type_url().is_spoilt_by_one() {
                self.verdicts.push((item.clone(), true));
            }
            if whole
                && self
                    .held
                    .get(item.name())
                    .is_some_and(|held| held.is_plainly(&item))
            {
                // Most of a whole set is no news.
                continue;
            }
            // Without an entry the client unsubscribed in the meantime.
            if let Some(held) = self.held.get_mut(item.name()) {
                held.acknowledged(item, in_flight.nonce);
            }
        }
        for name in in_flight.removed {
            self.held.remove(&name);
        }
        if whole {
            self.trial = self.trial.max(1).saturating_mul(2);
            if !in_flight.cure && self.nack.as_ref().is_some_and(|nack| nack.lasting) {
                self.nack = None;
            }
        }
        self.close_nack();
    }

    fn reject(&mut self, in_flight: InFlight, text: &Arc<str>, now: Instant) {
        self.held.divide();
        if in_flight.renewal {
            // The client doesn't have what was to be renewed.
            for item in in_flight.items.iter() {
                if let Some(held) = self.held.get_mut(item.name()) {
                    held.pending = None;
                    held.expired = true;
                }
            }
            return;
        }
        let whole = in_flight.set.is_some();
        for name in &in_flight.removed {
            if let Some(held) = self.held.get_mut(name) {
                held.removal_refused = true;
                self.removals_refused = true;
            }
        }
        if whole || !in_flight.removed.is_empty() {
            self.removals_failed();
        }
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
            for item in in_flight.items.iter() {
                if let Some(held) = self.held.get_mut(item.name()) {
                    held.pending = None;
                }
            }
            return;
        }
        // It may mean an earlier set, that was given up: this one gets another chance, whole.
        let ambiguous = whole && !self.overdue.is_empty();
        if let Some((hash, news)) = &in_flight.set {
            self.rejected_sets.text = Some(text.clone());
            self.overdue.clear();
            names.clone_from(news);
            if !ambiguous {
                self.rejected_sets.insert(*hash, RejectedSet::Answered);
                self.trial = names.len() / 2;
            }
        }
        // What is no news in a whole set is no culprit, and a cure holds none by its making.
        let is_news = |held: &Held, item: &Resource| !whole || !held.is_exactly(item);
        let mut suspects = in_flight.items.len();
        for item in in_flight.items.iter().filter(|_| whole) {
            let held = self.held.get(item.name());
            suspects -= usize::from(held.is_some_and(|held| !is_news(&held, item)));
        }
        let certain = !(ambiguous || whole && in_flight.cure);
        let alone = suspects == 1 && names.len() == 1 && certain;
        let lasting = whole && (suspects == 0 || in_flight.cure);
        let culprit = in_flight.items.iter().filter(|_| alone).find(|item| {
            let held = self.held.get(item.name());
            held.is_none_or(|held| is_news(&held, item))
        });
        if let Some(item) = culprit {
            // Even if the client unsubscribed in the meantime: it may come back.
            self.clear(item.name());
            self.refuse(item, text, now);
        }
        let mut suspected: Vec<Name> = Vec::new();
        self.held.change_each(&in_flight.items, |item, held| {
            if !is_news(held, item) {
                held.pending = None;
                return;
            }
            held.rejected(item, alone);
            if !alone && !lasting && !ambiguous {
                suspected.push(item.name().clone());
            }
        });
        self.suspect_each(suspected);
        if !alone {
            names.extend(in_flight.removed);
            self.nack = Some(Box::new(Nack {
                names,
                text: text.clone(),
                at: now,
                lasting,
            }));
        }
        self.close_nack();
    }

    /// What the removal of was in flight may be gone or not.
    pub(super) fn removals_failed(&mut self) {
        let removing = self.held.apart().filter(|(_, held)| held.removing);
        let removing: Vec<Name> = removing.map(|(name, _)| name.clone()).collect();
        for name in &removing {
            if let Some(held) = self.held.get_mut(name) {
                held.removal_failed();
            }
        }
    }

    /// A whole set is sent: what it lacks is deleted by it (rule S1).
    pub(super) fn lack_all_but(&mut self, set: &[Arc<Resource>]) {
        let names: BTreeSet<&Name> = set.iter().map(|item| item.name()).collect();
        let lacks = self.held.names().filter(|name| !names.contains(*name));
        let mut changed: Vec<Name> = lacks.cloned().collect();
        let back = self.held.apart().filter(|(_, held)| held.removing);
        changed.extend(back.map(|(name, _)| name.clone()));
        for name in &changed {
            if let Some(held) = self.held.get_mut(name) {
                held.removing = !names.contains(name);
            }
        }
    }

    /// The client refuses this, alone.
    pub(super) fn refuse(&mut self, item: &Arc<Resource>, text: &Arc<str>, now: Instant) {
        self.agenda.touch(item.name());
        Rejected::note(&mut self.rejected, item, text, now);
        self.verdicts.push((item.clone(), false));
    }

    /// There was nothing to send now.
    pub(super) fn looked_at(&mut self, plan: &Plan) {
        self.dirty = false;
        self.level = plan.is_level(&self.agenda) && !self.set_refused;
        self.waits = !plan.held_back.is_empty();
        self.deadline = plan.deadline;
        // Suspects that aren't wanted any more need no trial.
        let agenda = &self.agenda;
        self.isolate.retain(|name| {
            agenda.suspects.contains(name)
                || plan.passed.contains_key(name)
                || plan.held_back.contains(&Waiting::Update(name.clone()))
        });
        self.close_nack();
    }

    /// Content of the type changed: removals that the client rejected are tried again.
    pub(super) fn content_changed(&mut self) {
        self.dirty = true;
        self.cures = 0;
        // Of a client that doesn't answer, or that rejects everything, all is told apart: it is
        // looked through for a reason only, and not with every view.
        if std::mem::take(&mut self.removals_refused) {
            let refused = self.held.apart().filter(|(_, held)| held.removal_refused);
            let refused: Vec<Name> = refused.map(|(name, _)| name.clone()).collect();
            for name in &refused {
                if let Some(held) = self.held.get_mut(name) {
                    held.removal_refused = false;
                }
            }
        }
        self.close_nack();
    }

    /// A rejection of several is over when each of them was tried alone.
    fn close_nack(&mut self) {
        let Some(nack) = self.nack.as_ref().filter(|nack| !nack.lasting) else {
            return;
        };
        let open = |name: &Name| {
            let removal_refused = || self.held.get(name).is_some_and(|held| held.removal_refused);
            self.isolate.contains(name) || removal_refused()
        };
        // They are tried in their order, so that the last one is open as a rule.
        if !nack.names.iter().rev().any(open) {
            self.nack = None;
        }
    }
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn refusal(&self, text: &Arc<str>, at: Instant) -> Refusal {
        let names = match &self.set {
            Some((_, news)) => news.clone(),
            None => {
                let items = self.items.iter().map(|item| item.name());
                items.chain(&self.removed).cloned().collect()
            }
        };
        let text = text.clone();
        Refusal { names, text, at }
    }
}

/// Whether a nonce on the wire is this one.
pub(super) fn is_nonce(nonce: u64, text: &str) -> bool {
    let canonical = text == "0" || !text.starts_with(['+', '0']);
    canonical && text.parse() == Ok(nonce)
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
