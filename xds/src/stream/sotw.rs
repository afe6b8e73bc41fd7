//! What is special about the state-of-the-world protocol: the list of names is whole each time,
//! clusters and listeners go as whole sets, and a stale nonce voids a request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::Outcome;
use super::held::Held;
use super::plan::Plan;
use super::state::TypeState;
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::{Snapshot, digest};

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
    let repeats_last = state.in_flight.is_none() && nonce == state.last_nonce.to_string();
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
        state.owed.extend(state.subscription.names.iter().cloned());
        state.answer_due |= type_url.is_full_state();
        state.dirty = true;
    }
    if first && !request.version_info.is_empty() {
        state.claimed_set = Some(request.version_info.clone());
    }
    outcome
}

/// Takes over the whole list of names (rules S3, S6). Whether it has something new.
fn subscribe(type_url: &TypeUrl, state: &mut TypeState, names: &[String]) -> bool {
    let legacy = type_url.is_full_state() && names.is_empty() && !state.subscription.ever_named;
    let wildcard = legacy || names.iter().any(|name| name == "*");
    let names: BTreeSet<Name> = names
        .iter()
        .filter(|name| *name != "*")
        .map(|name| super::subscription::name(name))
        .collect();
    let subscription = &mut state.subscription;
    let new: Vec<Name> = names.difference(&subscription.names).cloned().collect();
    let widened = wildcard && !subscription.wildcard;
    let changed = widened || wildcard != subscription.wildcard || names != subscription.names;
    subscription.ever_named |= !names.is_empty() || (wildcard && !legacy);
    subscription.wildcard = wildcard;
    subscription.replace(names);
    if changed {
        state.dirty = true;
        state.forget_uncovered();
    }
    let added = widened || !new.is_empty();
    // Newly named is sent even if nothing changed (rule S4).
    state.owed.extend(new);
    added
}

/// Skips the first answer if the client came back with the very set that it would get. Only for a
/// pure wildcard: what is named may be warming, and must be answered (rule S8).
pub(super) fn skip_equal_set(type_url: &TypeUrl, state: &mut TypeState, view: &Snapshot) {
    let Some(claimed) = state.claimed_set.take() else {
        return;
    };
    if view.own_version(type_url).is_some() {
        // A string of the embedder's says nothing of the set that came with it.
        return;
    }
    let pure = state.subscription.wildcard && state.subscription.names.is_empty();
    let all = subscribed_digest(type_url, state, view);
    if type_url.is_full_state() && pure && claimed == version(all) {
        let subscription = state.subscription.clone();
        let covered = |resource: &&Arc<Resource>| subscription.covers_resource(resource);
        for resource in view.iter(type_url).filter(covered) {
            let held = Held {
                acked: Some(resource.clone()),
                ..Held::default()
            };
            state.held.insert(resource.name().clone(), held);
            state.verdicts.push((resource.clone(), true));
        }
        state.answer_due = false;
    }
}

/// The hash of everything of the type that the client is subscribed to.
pub(super) fn subscribed_digest(type_url: &TypeUrl, state: &TypeState, view: &Snapshot) -> u64 {
    let subscription = &state.subscription;
    digest(
        view.iter(type_url)
            .filter(|resource| subscription.covers_resource(resource)),
    )
}

/// The whole set to send now, with its hash: with additions while there are any, else without what
/// may go. `None` if there is nothing to send, or the client refused this very set.
pub(super) fn next_set(state: &mut TypeState, plan: &mut Plan, removals: bool) -> Option<u64> {
    let news = !plan.updates.is_empty() || state.answer_due && !plan.has_more_to_come();
    let due = if removals {
        !plan.removals.is_empty()
    } else {
        news
    };
    if !due || plan.set_unknown {
        return None;
    }
    if removals {
        plan.removals.iter().for_each(|name| {
            plan.set.remove(name);
        });
    }
    let hash = digest(plan.set.values());
    let refused = state.rejected_sets.contains(&hash);
    state.set_refused |= refused;
    (!refused).then_some(hash)
}

/// `version_info` for a hash.
pub(super) fn version(hash: u64) -> String {
    format!("{hash:016x}")
}
