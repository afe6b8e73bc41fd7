//! What is special about the incremental protocol: edits of the subscription, versions that a
//! reconnecting client claims, and how a difference becomes responses.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::Outcome;
use super::held::Held;
use super::plan::Plan;
use super::proven::Proven;
use super::state::TypeState;
use super::subscription;
use crate::limits::RESPONSE_BYTES_TARGET;
use crate::resource::{Resource, TypeUrl, xdstp};

/// Applies a request. `first` is the first of its type on the stream.
pub(super) fn handle(
    type_url: &TypeUrl,
    state: &mut TypeState,
    request: &DeltaDiscoveryRequest,
    first: bool,
    now: Instant,
) -> Outcome {
    let error = request
        .error_detail
        .as_ref()
        .map(|status| status.message.as_str());
    // The edits count whatever the nonce is (rule D4).
    let outcome = state.conclude(&request.response_nonce, error, now);
    let (subscribe, unsubscribe) = (
        &request.resource_names_subscribe,
        &request.resource_names_unsubscribe,
    );
    for name in unsubscribe {
        self::unsubscribe(state, &xdstp::normal(name));
    }
    if first && subscribe.is_empty() && type_url.is_full_state() {
        // The legacy wildcard; it lasts until `*` is unsubscribed (rule D2).
        state.subscription.wildcard = true;
        // Unless this answers what was sent unasked.
        state.answer_due |= outcome == Outcome::Stale;
    }
    for name in subscribe {
        if name == "*" {
            state.subscription.wildcard = true;
            state.answer_due = true;
        } else {
            let name = subscription::name(name);
            // To be answered even if the client seems to have it (rule D3).
            state.owed.insert(name.clone());
            state.subscription.insert(name);
        }
    }
    if first {
        for (name, version) in &request.initial_resource_versions {
            let name = subscription::name(name);
            // A virtual host is asked for by an alias and held by its name.
            if *type_url == TypeUrl::VIRTUAL_HOST || state.subscription.covers(&name) {
                let held = state.held.entry(name);
                held.or_insert_with(|| Held::claimed(version));
            }
        }
    }
    if !subscribe.is_empty() || !unsubscribe.is_empty() {
        state.dirty = true;
    }
    outcome
}

fn unsubscribe(state: &mut TypeState, name: &str) {
    if name == "*" {
        state.subscription.wildcard = false;
        state.forget_uncovered();
    } else if let Some(name) = state.subscription.names.take(name) {
        if state.subscription.wildcard {
            // The wildcard still covers it, and the client must be told what it has (rule D6).
            state.owed.insert(name);
        } else {
            state.forget(&name);
        }
    }
}

/// The resources of the next response: what some client took already together, up to the size
/// limit (rule C17) and to what the type allows; then what nobody took, one by one (invariant
/// S22); at last what was rejected with others, one by one. Without `proven` all counts as taken.
pub(super) fn batch(
    type_url: &TypeUrl,
    state: &TypeState,
    plan: &Plan,
    proven: Option<&Proven>,
) -> Vec<Arc<Resource>> {
    let updates = plan.updates.iter();
    let suspects = updates
        .clone()
        .filter(|resource| state.isolate.contains(resource.name()));
    let others = updates
        .clone()
        .filter(|resource| !state.isolate.contains(resource.name()));
    let taken = |resource: &&Arc<Resource>| proven.is_none_or(|proven| proven.contains(resource));
    let mut batch: Vec<Arc<Resource>> = Vec::new();
    let mut bytes = 0;
    for resource in others
        .clone()
        .filter(taken)
        .take(type_url.per_response_max())
    {
        bytes += resource.body().len() + resource.name().len();
        if !batch.is_empty() && bytes > RESPONSE_BYTES_TARGET {
            break;
        }
        batch.push(resource.clone());
    }
    if batch.is_empty() {
        batch.extend(others.chain(suspects).take(1).cloned());
    }
    batch
}
