//! What is special about the incremental protocol: edits of the subscription, versions that a
//! reconnecting client claims, and how a difference becomes responses.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::names::Names;
use super::owed::Owed;
use super::plan::Plan;
use super::proven::Proven;
use super::state::TypeState;
use super::subscription;
use super::{NameLists, Outcome};
use crate::limits::RESPONSE_BYTES_TARGET;
use crate::resource::{Name, Resource, TypeUrl, xdstp};
use crate::snapshot::Snapshot;

/// Applies a request. `first` is the first of its type on the stream.
pub(super) fn handle(
    type_url: &TypeUrl,
    state: &mut TypeState,
    request: &DeltaDiscoveryRequest,
    first: bool,
    lists: &NameLists,
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
        let name = xdstp::normal(name);
        state.strays |= *type_url == TypeUrl::VIRTUAL_HOST || xdstp::is_collection(&name);
        self::unsubscribe(state, &name);
    }
    if first && subscribe.is_empty() && type_url.is_full_state() {
        // The legacy wildcard; it lasts until `*` is unsubscribed (rule D2).
        state.subscription.wildcard = true;
        state.agenda.touch_all();
        // Unless this answers what was sent unasked.
        state.answer_due |= outcome == Outcome::Stale;
    }
    state.namespaces_due |= first && subscribe.is_empty() && *type_url == TypeUrl::VIRTUAL_HOST;
    let at_once = first && subscribe_all(state, subscribe, lists);
    for name in subscribe.iter().filter(|_| !at_once) {
        if name == "*" {
            state.subscription.wildcard = true;
            state.agenda.touch_all();
            state.answer_due = true;
        } else {
            let name = subscription::name(name);
            // To be answered even if the client seems to have it (rule D3).
            state.owe(name.clone());
            state.subscription.insert(name);
        }
    }
    if !subscribe.is_empty() || !unsubscribe.is_empty() {
        state.dirty = true;
        state.narrowed |= !unsubscribe.is_empty();
    }
    outcome
}

/// Subscribes to the names of a first request in one go, if they are nothing but names.
fn subscribe_all(state: &mut TypeState, names: &[String], lists: &NameLists) -> bool {
    let special = |name: &String| name == "*" || name.starts_with(xdstp::SCHEME);
    let fresh = state.subscription.names.is_empty() && state.owed.is_empty();
    if !fresh || names.is_empty() || names.iter().any(special) {
        return false;
    }
    let texts = names.iter().map(String::as_str);
    let list = if names.is_sorted_by(|one, two| one < two) {
        lists.share_texts(texts)
    } else {
        let mut names: Vec<&str> = texts.collect();
        names.sort_unstable();
        names.dedup();
        lists.share_texts(names.iter().copied())
    };
    // To be answered even if the client seems to have them (rule D3).
    state.owed = Owed::all(list.clone());
    state.subscription.names = Names::listed(list);
    state.agenda.touch_all();
    true
}

fn unsubscribe(state: &mut TypeState, name: &str) {
    if name == "*" {
        state.subscription.wildcard = false;
        state.forget_uncovered();
    } else if let Some(name) = state.subscription.names.take(name) {
        if state.subscription.wildcard {
            // The wildcard still covers it, and the client must be told what it has (rule D6).
            state.owe(name);
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
    state: &mut TypeState,
    view: &Snapshot,
    plan: &Plan,
    proven: Option<&Proven>,
) -> Vec<Arc<Resource>> {
    let (agenda, isolate) = (&mut state.agenda, &state.isolate);
    let taken = |resource: &Resource| proven.is_none_or(|proven| proven.contains(resource));
    let held = &state.held;
    // What can't be had for a moment is sent as it was.
    let kept = |name: &Name| held.get(name).and_then(|held| held.acked.clone());
    let get = |name: &Name| view.get(type_url, name).cloned().or_else(|| kept(name));
    let passed = plan.passed.keys();
    let (suspects, passed): (Vec<&Name>, Vec<&Name>) =
        passed.partition(|name| isolate.contains(*name));
    let mut batch: Vec<Arc<Resource>> = Vec::new();
    let mut doubtful: Vec<Arc<Resource>> = Vec::new();
    let mut bytes = 0;
    for resource in merged(agenda.together.iter(), passed.into_iter()).filter_map(get) {
        if !taken(&resource) {
            doubtful.push(resource);
            continue;
        }
        bytes += resource.body().len() + resource.name().len();
        let full = batch.len() >= type_url.per_response_max();
        if full || !batch.is_empty() && bytes > RESPONSE_BYTES_TARGET {
            break;
        }
        batch.push(resource);
    }
    for resource in &doubtful {
        agenda.doubt(resource);
    }
    if batch.is_empty() {
        // Of those at a gate none is on the agenda.
        let others = agenda.doubtful.keys().next().into_iter();
        let first = doubtful.first().map(|resource| resource.name());
        let one = others
            .chain(first)
            .min()
            .or_else(|| agenda.suspects.first().into_iter().chain(suspects).min());
        batch.extend(one.and_then(get));
    }
    batch
}

/// Two ordered lists of names as one.
fn merged<'a>(
    a: impl Iterator<Item = &'a Name>,
    b: impl Iterator<Item = &'a Name>,
) -> impl Iterator<Item = &'a Name> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x <= y => a.next(),
        (Some(_), None) => a.next(),
        _ => b.next(),
    })
}
