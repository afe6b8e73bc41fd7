//! Clients that stopped talking about a type without saying so (design M12).
//!
//! Envoy holds back everything about clusters, its NACKs too, for as long as one of them warms,
//! and doesn't ask for clusters on its next stream either (envoy facts §7, §12). So silence is a
//! fault with a deadline: it is told after [`SUSPECT_AFTER`], and for clusters it is cured after
//! [`CURE_AFTER`] by a response that nobody asked for: what the client took last, without what it
//! never took. Then what was in that response is tried again, one by one.
//!
//! Deliberately not here: cures for other types. What was measured to get stuck is clusters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::earlier::Earlier;
use super::order::{Gate, Gates};
use super::sotw::RejectedSet;
use super::state::{InFlight, Nack, TypeState, is_nonce};
use super::{Outcome, Session, Variant};
use crate::delivery::{Suspicion, SuspicionKind};
use crate::limits::{CURE_AFTER, CURE_AGAIN_AFTER, CURES_MAX, OVERDUE_MAX, SUSPECT_AFTER};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::{Snapshot, digest};

/// What the client's previous stream leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// Types that it had asked for.
    pub(crate) types: Vec<TypeUrl>,
    /// Clusters that it was sent and never answered.
    pub(crate) unanswered: Vec<Name>,
}

/// What is expected of a client that was here before.
#[derive(Debug)]
pub(super) struct Expected {
    legacy: Legacy,
    until: Instant,
}

/// A response that cures.
#[derive(Debug, Default)]
pub(super) struct Cure {
    pub(super) items: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Name>,
    pub(super) set: Option<u64>,
}

// === impl Session ===

impl Session {
    /// Tells what the client asked for on its previous stream: it should again.
    pub(crate) fn expect(&mut self, legacy: Legacy, now: Instant) {
        self.wake();
        self.expected = Some(Expected {
            legacy,
            until: now + SUSPECT_AFTER,
        });
    }

    /// What the next stream of this client should know.
    pub(crate) fn legacy(&self) -> Legacy {
        let types = self.types.iter();
        let types = types.filter(|(_, state)| !state.subscription.is_empty());
        let mut unanswered: Vec<Name> = Vec::new();
        if let Some(clusters) = self.types.get(&TypeUrl::CLUSTER) {
            let apart = clusters.held.apart();
            let never = apart.filter(|(_, held)| held.acked.is_none());
            unanswered.extend(never.map(|(name, _)| name.clone()));
            unanswered.extend(clusters.suspects.iter().cloned());
        }
        let mut types: Vec<TypeUrl> = types.map(|(type_url, _)| type_url.clone()).collect();
        if let Some(expected) = &self.expected {
            // It ended before it was clear whether the client would ask.
            let open = |type_url: &&TypeUrl| !self.types.get(type_url).is_some_and(|it| it.asked);
            types.extend(expected.legacy.types.iter().filter(open).cloned());
            if !self.types.contains_key(&TypeUrl::CLUSTER) {
                unanswered.extend(expected.legacy.unanswered.iter().cloned());
            }
        }
        Legacy { types, unanswered }
    }

    /// What is suspicious about the client, the oldest suspicion first.
    pub(super) fn suspicion(&self) -> Option<Suspicion> {
        let unanswered = self.types.iter().filter_map(|(type_url, state)| {
            Some((
                state.suspect_since?,
                SuspicionKind::Unanswered(type_url.clone()),
            ))
        });
        let not_asked = self
            .not_asked
            .iter()
            .map(|(type_url, since)| (*since, SuspicionKind::NotAsked(type_url.clone())));
        let (since, kind) = unanswered
            .chain(not_asked)
            .min_by_key(|(since, _)| *since)?;
        Some(Suspicion::new(kind, since))
    }

    /// Takes note of silence.
    pub(super) fn listen(&mut self, now: Instant) {
        if self.expected.as_ref().is_some_and(|it| it.until <= now)
            && let Some(expected) = self.expected.take()
        {
            if self.view.is_some() {
                // Who asks after what was sent unasked has that; the views of then are let go.
                self.earlier = Earlier::default();
            }
            self.miss(expected.legacy, now);
        }
        for (type_url, state) in &mut self.types {
            let Some(sent_at) = state.in_flight.as_ref().map(|it| it.sent_at) else {
                continue;
            };
            if now >= sent_at + SUSPECT_AFTER && state.suspect_since.is_none() {
                let kind = SuspicionKind::Unanswered(type_url.clone());
                self.last_suspicion = Some(Suspicion::new(kind, now));
                state.suspect_since = Some(now);
            }
            if *type_url == TypeUrl::CLUSTER && state.cure_at().is_some_and(|at| at <= now) {
                state.give_up_waiting(self.variant, now);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn given_up(&self) -> Vec<u64> {
        let overdue = self.types.values().flat_map(|state| &state.overdue);
        overdue.map(|in_flight| in_flight.nonce).collect()
    }

    /// The newest suspicion, cured or not.
    pub(crate) fn last_suspicion(&self) -> Option<&Suspicion> {
        self.last_suspicion.as_ref()
    }

    /// When to listen next.
    pub(super) fn next_listening(&self) -> Option<Instant> {
        let of_type = |type_url: &TypeUrl, state: &TypeState| {
            let sent_at = state.in_flight.as_ref()?.sent_at;
            let suspect = state
                .suspect_since
                .is_none()
                .then(|| sent_at + SUSPECT_AFTER);
            let cure = state.cure_at().filter(|_| *type_url == TypeUrl::CLUSTER);
            suspect.into_iter().chain(cure).min()
        };
        let expected = self.expected.as_ref().map(|expected| expected.until);
        let types = self.types.iter();
        let of_types = types.filter_map(|(type_url, state)| of_type(type_url, state));
        of_types.chain(expected).min()
    }

    /// The client came back and doesn't ask for what it had.
    fn miss(&mut self, legacy: Legacy, now: Instant) {
        for type_url in legacy.types {
            let asked = self.types.get(&type_url).is_some_and(|state| state.asked);
            if asked || !self.is_missed(&type_url) {
                continue;
            }
            let kind = SuspicionKind::NotAsked(type_url.clone());
            // Clusters come first, and are what somebody has to know of.
            if self.not_asked.is_empty() {
                self.last_suspicion = Some(Suspicion::new(kind, now));
            }
            self.not_asked.insert(type_url.clone(), now);
            if type_url == TypeUrl::CLUSTER {
                let base = self.view.as_ref().and_then(|view| view.of_type(&type_url));
                let state = self.types.entry(type_url).or_insert_with(|| {
                    let mut state = Box::<TypeState>::default();
                    state.held.rebase(base.cloned(), &[]);
                    state
                });
                state.subscription.wildcard = true;
                state.agenda.touch_all();
                state.answer_due = true;
                state.dirty = true;
                state.suspects.extend(legacy.unanswered.iter().cloned());
                if self.variant == Variant::Delta {
                    state.isolate.extend(legacy.unanswered.iter().cloned());
                }
                state.cure_due = true;
                self.reconnected.get_or_insert(now);
            }
        }
    }

    /// Whether a client that doesn't ask for a type lacks something. What is asked for by name is
    /// asked for because of something else, and that may be gone.
    fn is_missed(&self, type_url: &TypeUrl) -> bool {
        let exists = |view: &Arc<Snapshot>| view.len(type_url) > 0;
        *type_url == TypeUrl::CLUSTER || self.view.as_ref().is_some_and(exists)
    }

    /// A view without any resource of a type ends the suspicion that it should be asked for.
    pub(super) fn miss_less(&mut self) {
        let mut not_asked = std::mem::take(&mut self.not_asked);
        not_asked.retain(|type_url, _| self.is_missed(type_url));
        self.not_asked = not_asked;
    }

    /// Whether [`cure`](Self::cure) has something to look for.
    pub(super) fn is_cure_due(&self) -> bool {
        let clusters = self.types.get(&TypeUrl::CLUSTER);
        clusters.is_some_and(|clusters| clusters.cure_due)
    }

    /// The response that cures, if one is due.
    pub(super) fn cure(&mut self, view: &Snapshot) -> Option<Cure> {
        let clusters = self.types.get_mut(&TypeUrl::CLUSTER)?;
        if !std::mem::take(&mut clusters.cure_due) {
            return None;
        }
        let suspects = std::mem::take(&mut clusters.suspects);
        let clusters = self.types.get(&TypeUrl::CLUSTER)?;
        let gates = Gates::new(&self.types, view, None);
        let needed = |name: &str| gates.removal_gate(&TypeUrl::CLUSTER, name) != Gate::Open;
        let mut cure = Cure::default();
        let names: BTreeSet<&Name> = clusters.held.names().collect();
        for name in names {
            let Some(held) = clusters.held.get(name) else {
                continue;
            };
            // Not what was refused, alone or, if it can go without others, in company (rule X8).
            let refused = |acked: &Arc<Resource>| {
                let mut doubtful = held.doubtful.iter();
                clusters.is_refused(acked)
                    || self.variant == Variant::Delta
                        && doubtful.any(|other| other.stamp() == acked.stamp())
            };
            let good = held.acked.clone();
            cure.items.extend(good.filter(|acked| !refused(acked)));
        }
        match self.variant {
            Variant::Delta => {
                let never = |name: &&Name| {
                    let held = clusters.held.get(name);
                    held.is_none_or(|held| held.acked.is_none()) && !needed(name)
                };
                cure.removed = suspects.iter().filter(never).cloned().collect();
                (!cure.items.is_empty() || !cure.removed.is_empty()).then_some(cure)
            }
            Variant::Sotw => {
                // What a set lacks is deleted: what may be in use must not be missing.
                let missing = suspects
                    .iter()
                    .any(|name| !cure.items.iter().any(|item| item.name() == name) && needed(name));
                let hash = digest(cure.items.iter());
                cure.set = Some(hash);
                let sound = !cure.items.is_empty() && !missing;
                (sound && clusters.rejected_sets.get(hash).is_none()).then_some(cure)
            }
        }
    }
}

// === impl TypeState ===

impl TypeState {
    /// When an unanswered response has to be cured.
    fn cure_at(&self) -> Option<Instant> {
        let in_flight = self.in_flight.as_ref().filter(|_| self.cures < CURES_MAX)?;
        let wait = if self.cures == 0 {
            CURE_AFTER
        } else {
            CURE_AGAIN_AFTER
        };
        Some(in_flight.sent_at + wait)
    }

    /// No answer came: what was in flight is in doubt, and a cure is due.
    fn give_up_waiting(&mut self, variant: Variant, now: Instant) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        self.held.divide();
        self.cures += 1;
        self.cure_due = true;
        self.dirty = true;
        let text = no_answer(now.saturating_duration_since(in_flight.sent_at));
        let mut doubtful: Vec<Name> = Vec::new();
        for item in in_flight.items.iter() {
            let Some(held) = self.held.get_mut(item.name()) else {
                continue;
            };
            if held.pending.take().is_none() || held.acked.as_ref() == Some(item) {
                continue;
            }
            held.rejected(item, false);
            doubtful.push(item.name().clone());
            if variant == Variant::Delta {
                self.suspect(item.name());
            }
        }
        self.removals_failed();
        self.suspects.extend(doubtful.iter().cloned());
        if variant == Variant::Delta && self.cures == CURES_MAX {
            // It was tried alone and never answered: the others must not wait for it any longer.
            let alone = in_flight
                .items
                .iter()
                .filter(|_| in_flight.items.len() == 1);
            for item in alone.filter(|item| doubtful.contains(item.name())) {
                self.clear(item.name());
                self.refuse(item, &text, now);
            }
        }
        if let Some((hash, news)) = in_flight.set.as_ref().filter(|_| !doubtful.is_empty()) {
            self.rejected_sets.insert(*hash, RejectedSet::Unanswered);
            self.nack = Some(Box::new(Nack {
                names: news.clone(),
                text,
                at: now,
                lasting: true,
            }));
        }
        if self.overdue.len() >= OVERDUE_MAX {
            self.overdue.remove(0);
        }
        self.overdue.push(*in_flight);
    }

    /// The first request of a type may cross a cure that nobody asked for: what that takes away goes,
    /// whatever the client says that it has.
    pub(super) fn heed_cure(&mut self) {
        let Some(in_flight) = &self.in_flight else {
            return;
        };
        for name in &in_flight.removed {
            if let Some(held) = self.held.get_mut(name) {
                held.removing = true;
            }
        }
    }

    /// An answer to a response that was given up. It counts for what wasn't sent again since
    /// (rule D11).
    pub(super) fn conclude_late(
        &mut self,
        nonce: &str,
        error: Option<&Arc<str>>,
        now: Instant,
    ) -> Outcome {
        let place = self.overdue.iter().position(|it| is_nonce(it.nonce, nonce));
        let Some(in_flight) = place.map(|place| self.overdue.remove(place)) else {
            return Outcome::Stale;
        };
        self.dirty = true;
        match error {
            None => self.acknowledge_late(in_flight),
            Some(text) => {
                self.refusal = Some(Box::new(in_flight.refusal(text, now)));
                if let Some((hash, _)) = &in_flight.set {
                    self.rejected_sets.insert(*hash, RejectedSet::Unanswered);
                }
                let names = in_flight.items.iter().map(|item| item.name().clone());
                let names: Vec<Name> = match &in_flight.set {
                    Some((_, news)) => news.clone(),
                    None => names.collect(),
                };
                if let ([item], None) = (&*in_flight.items, &in_flight.set) {
                    self.clear(item.name());
                    self.refuse(item, text, now);
                } else {
                    let text = text.clone();
                    self.nack = Some(Box::new(Nack {
                        names,
                        text,
                        at: now,
                        lasting: in_flight.set.is_some(),
                    }));
                }
                return Outcome::Rejected;
            }
        }
        Outcome::Acknowledged
    }

    fn acknowledge_late(&mut self, in_flight: InFlight) {
        if let Some((hash, _)) = in_flight.set {
            // It was fine, only slow.
            self.rejected_sets.remove(hash);
            self.nack = None;
        }
        for item in in_flight.items.iter().cloned() {
            let Some(held) = self.held.get_mut(item.name()) else {
                continue;
            };
            if held.sent_by == in_flight.nonce && !held.removing && in_flight.set.is_none() {
                held.acknowledged(item.clone(), in_flight.nonce);
                self.clear(item.name());
                self.verdicts.push((item, true));
            }
        }
    }
}

fn no_answer(after: Duration) -> Arc<str> {
    Arc::from(format!(
        "no answer for {} s, neither yes nor no; taken back",
        after.as_secs()
    ))
}
