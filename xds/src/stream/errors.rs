//! Errors in the place of resources (xRFC TP3): who is told, when, and who keeps what it has.
//!
//! TP3 has clients advertise nothing: who doesn't know the field passes over it. Envoy (1.40 and
//! before) does not read it, and is told of absence as ever: over delta by `removed_resources`, over
//! state of the world by nothing. All others get both over delta, so that none of them waits.
//!
//! Deliberately not here: errors for those who ask for everything by `*` (TP3 has none).

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;

use super::Variant;
use super::order::is_fetched;
use super::plan::Planner;
use super::session::ENVOY;
use super::state::TypeState;
use crate::error_detail::ErrorDetail;
use crate::resource::{Name, TypeUrl};
use crate::snapshot::Snapshot;

/// Whether the client may read errors.
pub(super) fn are_read_by(node: &Node) -> bool {
    node.user_agent_name != ENVOY
}

/// Whether whoever has the resource keeps it: it can't be had, but only for a moment.
pub(super) fn keeps(view: &Snapshot, type_url: &TypeUrl, name: &str) -> bool {
    view.get(type_url, name).is_none()
        && view
            .error(type_url, name)
            .is_some_and(|error| error.is_transient())
}

/// What the client has to be told now: each error once (rule G10), and again if it asks again.
pub(super) fn due(
    planner: &Planner<'_>,
    type_url: &TypeUrl,
    state: &TypeState,
) -> Vec<(Name, Arc<ErrorDetail>)> {
    let view = planner.gates.view;
    let Some(notes) = view.notes().get(type_url).filter(|_| planner.reads_errors) else {
        return Vec::new();
    };
    // What a whole set lacks is deleted, so that what is kept is in it and has no error.
    let whole_sets = planner.variant == Variant::Sotw && type_url.is_full_state();
    let new = |(name, error): &(&Name, &Arc<ErrorDetail>)| {
        let told = state.told.get(*name) == Some(*error) && !state.owed.contains(name);
        // What has to be taken away first goes in its order (rule O3).
        let taken_away = planner.variant == Variant::Delta && !error.is_transient();
        let goes = state.held.contains(name) && (whole_sets || taken_away);
        !told && !goes && planner.wanted(type_url, state, name).is_none()
    };
    let named = notes.errors.iter();
    let named = named.filter(|(name, _)| state.subscription.asks_for(name));
    let others = notes.error_for_others.as_ref().into_iter();
    let others = others.flat_map(|error| {
        let names = state.subscription.names.iter();
        let bare = names.filter(|name| !notes.errors.contains_key(*name));
        bare.map(move |name| (name, error))
    });
    let due = named.chain(others).filter(new);
    due.map(|(name, error)| (name.clone(), error.clone()))
        .collect()
}

// === impl TypeState ===

impl TypeState {
    /// Takes note of what the client is told.
    pub(super) fn tell(&mut self, errors: &[(Name, Arc<ErrorDetail>)]) {
        for (name, error) in errors {
            self.owed.remove(name);
            self.agenda.touch(name);
            self.told.insert(name.clone(), error.clone());
            if let Some(held) = self.held.get_mut(name) {
                // The error lasts until the resource comes again, changed or not.
                held.unsure = true;
            }
        }
    }

    /// There is a new view. An error that isn't there any more would be news again; what a view
    /// says of a type may be about any of its names.
    pub(super) fn heed_notes(
        &mut self,
        before: Option<&Snapshot>,
        view: &Snapshot,
        type_url: &TypeUrl,
    ) {
        let notes = view.notes().get(type_url);
        if before.is_some_and(|before| before.notes().get(type_url) != notes) {
            self.dirty = true;
            self.agenda.touch_all();
        }
        if is_fetched(type_url) {
            // Whether it may go depends on what other resources of the view lead to.
            let names = self.held.names();
            let names: Vec<Name> = names
                .filter(|it| view.get(type_url, it).is_none())
                .cloned()
                .collect();
            self.dirty |= !names.is_empty();
            names.iter().for_each(|name| self.agenda.touch(name));
        }
        self.told
            .retain(|name, error| view.error(type_url, name) == Some(error));
        self.expand_owed(view, type_url);
    }
}
