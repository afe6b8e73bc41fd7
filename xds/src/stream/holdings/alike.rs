//! What is said of all entries at once: sent, acknowledged, and by which response.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Holdings, Scope};
use crate::resource::{Name, Resource};
use crate::stream::held::Held;

/// How a client has everything that isn't told apart, in the terms of [`Held`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Alike {
    /// Acknowledged. If not, it is in flight.
    pub(super) acked: bool,
    pub(super) in_flight: bool,
    pub(super) acked_by: u64,
    pub(super) sent_by: u64,
}

// === impl Alike ===

impl Alike {
    pub(super) fn held(self, resource: &Arc<Resource>) -> Held {
        Held {
            acked: Some(resource).filter(|_| self.acked).cloned(),
            acked_by: self.acked_by,
            sent_by: self.sent_by,
            pending: Some(resource).filter(|_| self.in_flight).cloned(),
            ..Held::default()
        }
    }
}

// === impl Holdings ===

impl Holdings {
    pub(super) fn alike(&self) -> impl Iterator<Item = (&Name, Cow<'_, Held>)> {
        let base = self.base.iter().flat_map(|base| base.iter());
        let alike = |name: &Name| !self.apart.contains_key(name) && self.scope.covers(name);
        base.filter(move |resource| alike(resource.name()))
            .map(|resource| (resource.name(), Cow::Owned(self.alike.held(resource))))
    }

    /// Those that are acknowledged and not told apart, if a gate could ask when they were sent.
    pub(in crate::stream) fn fresh(&self) -> impl Iterator<Item = (&Name, Cow<'_, Held>)> {
        let fresh = self.alike.sent_by > 0 && !self.alike.in_flight;
        fresh.then(|| self.alike()).into_iter().flatten()
    }

    /// Whether all entries are acknowledged, and none by an earlier response than the nonce's.
    pub(in crate::stream) fn all_came_since(&self, nonce: u64) -> bool {
        let alike = self.alike;
        let none = matches!(self.scope, Scope::None);
        self.apart.is_empty() && (none || alike.acked && alike.acked_by >= nonce)
    }

    /// [`Held::sent_by`] of what isn't told apart.
    pub(in crate::stream) fn sent_by(&self) -> u64 {
        self.alike.sent_by
    }

    /// Whether the client has exactly the view's resources of a scope, and nothing is in flight.
    pub(in crate::stream) fn is_exactly(&self, scope: &Scope) -> bool {
        self.apart.is_empty() && self.alike.acked && !self.alike.in_flight && self.scope.is(scope)
    }

    /// Whether the client has the view's resources of a scope but for what is told apart, and
    /// nothing of the rest is in flight.
    pub(in crate::stream) fn is_mostly(&self, scope: &Scope) -> bool {
        self.alike.acked && !self.alike.in_flight && self.scope.is(scope)
    }

    /// Whether nothing is told apart, and nothing in flight.
    pub(in crate::stream) fn is_all_alike(&self) -> bool {
        self.apart.is_empty() && self.alike.acked && !self.alike.in_flight && !self.unsettled
    }

    /// What the base has otherwise than the one before was acknowledged, and everything is
    /// [alike](Self::is_all_alike) again.
    pub(in crate::stream) fn came_all(&mut self, nonce: u64) {
        self.alike.acked_by = nonce;
        self.alike.sent_by = 0;
    }

    /// The view's resources of a scope are sent, all at once. Only if the client has none, or
    /// [mostly](Self::is_mostly) these.
    pub(in crate::stream) fn send_all(
        &mut self,
        scope: Scope,
        items: &[Arc<Resource>],
        nonce: u64,
    ) {
        for item in self.items_apart(items) {
            let held = self.entry(item.name());
            held.pending = Some(item);
            held.sent_by = nonce;
        }
        self.scope = scope;
        self.alike.in_flight = true;
        self.alike.sent_by = nonce;
        self.unsettled = true;
    }

    /// What was sent all at once is acknowledged. Whether it was still told of as one.
    pub(in crate::stream) fn acknowledge_all(
        &mut self,
        items: &[Arc<Resource>],
        nonce: u64,
    ) -> bool {
        let same = self.alike.in_flight && self.alike.sent_by == nonce;
        if same {
            for item in self.items_apart(items) {
                // Without an entry the client unsubscribed in the meantime.
                if let Some(held) = self.get_mut(&item.name().clone()) {
                    held.acknowledged(item, nonce);
                }
            }
            self.alike.acked = true;
            self.alike.acked_by = nonce;
            self.alike.in_flight = false;
            self.unsettled = true;
        }
        same
    }

    /// Those of some resources, which are in order, that are told apart.
    fn items_apart(&self, items: &[Arc<Resource>]) -> Vec<Arc<Resource>> {
        let place = |name: &Name| items.binary_search_by(|item| item.name().cmp(name)).ok();
        let apart = self.apart.keys().filter_map(place);
        apart
            .filter_map(|place| items.get(place).cloned())
            .collect()
    }

    /// The client has exactly the view's resources of a scope, from an earlier stream. Only if it
    /// has none.
    pub(in crate::stream) fn adopt(&mut self, scope: Scope) {
        self.scope = scope;
        self.alike = Alike {
            acked: true,
            ..Alike::default()
        };
        self.unsettled = true;
    }

    /// The client has exactly the view's resources. Only if it has nothing yet.
    pub(in crate::stream) fn adopt_base(&mut self) {
        self.adopt(Scope::All);
        self.apart.clear();
        let names = self.base.iter().flat_map(|base| base.iter());
        self.changed
            .extend(names.map(|resource| resource.name().clone()));
    }

    /// Tells apart what was sent all at once and isn't acknowledged.
    pub(in crate::stream) fn divide(&mut self) {
        if !self.alike.in_flight {
            return;
        }
        let alike = self.alike();
        let mut alike: BTreeMap<_, _> = alike
            .map(|(name, held)| (name.clone(), Some(Box::new(held.into_owned()))))
            .collect();
        self.changed.extend(alike.keys().cloned());
        self.apart.append(&mut alike);
        self.scope = Scope::None;
        self.alike = Alike::default();
        self.unsettled = true;
    }
}
