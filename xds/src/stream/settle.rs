//! A stream at rest lets go of what it need not know for itself.

use std::collections::{BTreeMap, BTreeSet};

use super::held::Held;
use super::holdings::Scope;
use super::order::endpoints_came_since;
use super::{Session, Types};
use crate::resource::{Name, TypeUrl};

/// What may not be forgotten, for a gate hangs on when it was sent or acknowledged.
#[derive(Debug, Default)]
struct Pins {
    clusters: BTreeSet<Name>,
    assignments: BTreeSet<Name>,
}

// === impl Session ===

impl Session {
    /// Lets go of what every stream has that holds this view, once nothing is under way.
    ///
    /// What a gate looks at beside contents is whether endpoints were acknowledged after their
    /// cluster was sent (rule O2). What isn't told apart counts as sent by 0 and acknowledged by
    /// the last nonce. So a cluster whose endpoints came since stays open to its routes, and one
    /// that is sent again later has a greater nonce than all of them and waits for its endpoints
    /// again. Where endpoints didn't come since, both are told apart as before.
    pub(super) fn settle(&mut self) {
        let busy = |state: &super::state::TypeState| state.in_flight.is_some() || state.dirty;
        if self.types.values().any(|state| busy(state)) {
            return;
        }
        #[cfg(test)]
        let before = super::oracle::State::of(&self.types, self.view.as_deref());
        for state in self.types.values_mut() {
            state.subscription.names.settle(&self.settings.names);
        }
        let pins = Pins::of(
            &self.types,
            self.reconnected.is_some() && self.only.is_none(),
        );
        let nonce = self.last_nonce;
        for (type_url, state) in &mut self.types {
            let pinned = if *type_url == TypeUrl::CLUSTER {
                Some(&pins.clusters)
            } else if *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
                Some(&pins.assignments)
            } else {
                None
            };
            for name in pinned.into_iter().flatten() {
                state.held.tell_apart(name);
            }
            if !state.held.rests(&state.subscription) {
                let scope = match state.subscription.wildcard {
                    true => Scope::All,
                    false => Scope::Names(state.subscription.names.list().clone()),
                };
                // A late answer to what was given up is about one sending.
                let overdue: Vec<u64> = state.overdue.iter().map(|late| late.nonce).collect();
                let stays = |name: &Name, held: &Held| {
                    pinned.is_some_and(|pinned| pinned.contains(name))
                        || overdue.contains(&held.sent_by)
                };
                state.held.settle(scope, nonce, stays);
            }
            state.agenda.tidy();
            state.owed.tidy();
            let sets = [
                &mut state.isolate,
                &mut state.renew,
                &mut state.suspects,
                &mut state.unchecked,
            ];
            sets.into_iter().for_each(tidy_set);
        }
        tidy(&mut self.clocks);
        #[cfg(test)]
        assert_eq!(
            before,
            super::oracle::State::of(&self.types, self.view.as_deref())
        );
    }
}

/// Gives back what an empty map keeps allocated.
pub(super) fn tidy<K, V>(map: &mut BTreeMap<K, V>) {
    if map.is_empty() {
        *map = BTreeMap::new();
    }
}

/// Gives back what an empty set keeps allocated.
pub(super) fn tidy_set<T>(set: &mut BTreeSet<T>) {
    if set.is_empty() {
        *set = BTreeSet::new();
    }
}

// === impl Pins ===

impl Pins {
    /// `claims`: endpoints that the client has from an earlier stream may yet be told of.
    fn of(types: &Types, claims: bool) -> Self {
        let mut pins = Self::default();
        let Some(clusters) = types.get(&TypeUrl::CLUSTER) else {
            return pins;
        };
        let endpoints = types.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT);
        // Most often all endpoints came after all clusters.
        let sent_by = clusters.held.sent_by();
        let all_came = match endpoints {
            Some(endpoints) => endpoints.held.all_came_since(sent_by),
            None => !claims,
        };
        let fresh = (!all_came).then(|| clusters.held.fresh());
        let fresh = fresh.into_iter().flatten();
        for (name, held) in clusters.held.apart().chain(fresh) {
            let leads_to = held.contents();
            for assignment in leads_to.filter_map(|of| of.references().assignment.as_ref()) {
                let came = match endpoints {
                    Some(endpoints) => {
                        let have = endpoints.held.get(assignment);
                        have.is_none_or(|have| endpoints_came_since(&have, held.sent_by))
                    }
                    None => !claims,
                };
                if !came {
                    pins.clusters.insert(name.clone());
                    pins.assignments.insert(assignment.clone());
                }
            }
        }
        pins
    }
}
