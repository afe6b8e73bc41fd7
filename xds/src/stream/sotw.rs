//! What is special about the state-of-the-world protocol: the list of names is whole each time,
//! clusters and listeners go as whole sets, and a stale nonce voids a request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::Outcome;
use super::earlier::{self, Earlier};
use super::state::{TypeState, is_nonce};
use crate::limits::REJECTED_SETS_MAX;
use crate::resource::{Name, TypeUrl, xdstp};
use crate::snapshot::{Snapshot, digest};

/// The whole sets that a client rejected. Bounded: the oldest is forgotten.
#[derive(Debug, Default)]
pub(super) struct RejectedSets {
    by_hash: BTreeMap<u64, RejectedSet>,
    order: VecDeque<u64>,
    /// The client's words about the last one.
    pub(super) text: Option<Arc<str>>,
}

/// How a whole set was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectedSet {
    /// By the client's words.
    Answered,
    /// By its silence; the words came too late, if they came, and may be about another set.
    Unanswered,
}

// === impl RejectedSets ===

impl RejectedSets {
    /// The first word about a set counts.
    pub(super) fn insert(&mut self, hash: u64, how: RejectedSet) {
        if self.by_hash.contains_key(&hash) {
            return;
        }
        if self.order.len() >= REJECTED_SETS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
        self.by_hash.insert(hash, how);
        self.order.push_back(hash);
    }

    /// The client took it after all.
    pub(super) fn remove(&mut self, hash: u64) {
        self.by_hash.remove(&hash);
        self.order.retain(|other| *other != hash);
    }

    pub(super) fn get(&self, hash: u64) -> Option<RejectedSet> {
        self.by_hash.get(&hash).copied()
    }
}

/// Applies a request. `first` is the first of its type on the stream.
pub(super) fn handle(
    type_url: &TypeUrl,
    state: &mut TypeState,
    request: &DiscoveryRequest,
    first: bool,
    now: Instant,
) -> Outcome {
    let error = request
        .error_detail
        .as_ref()
        .map(|status| status.message.as_str());
    let nonce = request.response_nonce.as_str();
    let outcome = state.conclude(nonce, error, now);
    let repeats_last = state.in_flight.is_none() && is_nonce(state.last_nonce, nonce);
    if outcome == Outcome::Stale && !nonce.is_empty() && !repeats_last && !first {
        // An answer to what is in flight is still to come, and repeats the names (rule S7).
        return outcome;
    }
    let added = subscribe(type_url, state, &request.resource_names);
    if added && type_url.is_full_state() {
        // What a set lacks doesn't exist; the client waits to hear it.
        state.answer_due = true;
    }
    if nonce.is_empty() && !first && !added && state.in_flight.is_none() {
        // A fresh statement of the same names: the client wants to hear them again.
        let names: Vec<Name> = state.subscription.names.iter().cloned().collect();
        names.into_iter().for_each(|name| state.owe(name));
        state.answer_due |= type_url.is_full_state();
        state.dirty = true;
    }
    if first && !request.version_info.is_empty() {
        if *type_url == TypeUrl::ROUTE_CONFIGURATION {
            // Until it takes them on this stream, they may lead to any cluster (rule O3).
            let names: Vec<Name> = state.subscription.names.iter().cloned().collect();
            names.iter().for_each(|name| state.held.claim_untold(name));
        }
        state.claimed_set = Some(request.version_info.clone());
    }
    outcome
}

/// Takes over the whole list of names (rules S3, S6). Whether it has something new.
fn subscribe(type_url: &TypeUrl, state: &mut TypeState, names: &[String]) -> bool {
    let legacy = type_url.is_full_state() && names.is_empty() && !state.subscription.ever_named;
    let wildcard = legacy || names.iter().any(|name| name == "*");
    let widened = wildcard && !state.subscription.wildcard;
    let named = names.iter().filter(|name| *name != "*");
    let named: Vec<_> = named.map(|name| xdstp::normal(name)).collect();
    let named = named.iter().map(|name| &**name);
    state.subscription.ever_named |= !names.is_empty();
    if wildcard == state.subscription.wildcard && state.subscription.names.are(named.clone()) {
        // Every ACK repeats them.
        return false;
    }
    let (new, dropped) = state.subscription.restate(named);
    state.narrowed |= dropped || !wildcard && state.subscription.wildcard;
    state.subscription.wildcard = wildcard;
    state.dirty = true;
    state.forget_uncovered();
    let added = widened || !new.is_empty();
    // Newly named is sent even if nothing changed (rule S4).
    new.into_iter().for_each(|name| state.owe(name));
    added
}

/// Takes note of what the client came back with, once there is a view. If that is the very set that it
/// would get, the first answer is skipped: only for a pure wildcard, as what is named may be warming,
/// and must be answered (rule S8); and only if it can't run parts of what it rejected later.
pub(super) fn hear_claimed_set(
    type_url: &TypeUrl,
    state: &mut TypeState,
    view: &Snapshot,
    earlier: &mut Earlier,
) {
    let Some(claimed) = state.claimed_set.take() else {
        return;
    };
    let recalled = earlier.recall(type_url, &claimed);
    if !type_url.is_full_state() || view.own_version(type_url).is_some() {
        // A string of the embedder's says nothing of the set that came with it.
        return;
    }
    let pure = state.subscription.is_pure_wildcard();
    let equal = pure && claimed == version(whole_digest(type_url, view));
    let doubtful = recalled.as_ref().is_some_and(|held| held.is_in_doubt());
    if equal && !doubtful {
        state.held.adopt_base();
        state.set_known = true;
        for resource in view.iter(type_url) {
            if resource.is_on_demand() {
                state.held.remove(resource.name());
            } else {
                state.verdicts.push((resource.clone(), true));
            }
        }
        state.answer_due = false;
    } else if let Some(held) = recalled.filter(|_| state.held.is_blank()) {
        earlier::adopt(type_url, state, held, view);
    }
}

/// The hash of everything of the type that a wildcard covers.
fn whole_digest(type_url: &TypeUrl, view: &Snapshot) -> u64 {
    let of_type = view.of_type(type_url);
    of_type.map_or_else(|| digest([].into_iter()), |of_type| of_type.listed_digest())
}

/// The hash of everything of the type that the client is subscribed to.
pub(super) fn subscribed_digest(type_url: &TypeUrl, state: &TypeState, view: &Snapshot) -> u64 {
    let subscription = &state.subscription;
    let plain = !subscription.has_collections && !view.has_aliases(type_url);
    match (view.of_type(type_url), subscription.names.settled()) {
        (Some(of_type), _) if subscription.is_pure_wildcard() => of_type.listed_digest(),
        (Some(of_type), Some(names)) if plain && !subscription.wildcard => of_type.digest_of(names),
        _ => digest(
            view.iter(type_url)
                .filter(|resource| subscription.covers_resource(resource)),
        ),
    }
}

/// `version_info` for a hash.
pub(super) fn version(hash: u64) -> String {
    format!("{hash:016x}")
}
