//! What a client has of one type: the view's resources, except for what is told apart.
//!
//! ```text
//!  base: the current view's resources of the type, shared by all streams
//!    ∩ scope: all, or a shared list of names
//!      ± apart: what this client has differently, or hasn't
//! ```
//!
//! Behaves as a map from names to [`Held`], and costs a settled stream nothing. The base is always
//! the current view's, so that no stream keeps an old view alive. The map is here; what is said of all
//! entries at once is in `alike`, and what becomes of them with another view or subscription in `base`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agenda::MERGED_SHARE;
use super::held::Held;
use crate::resource::{Name, Resource};
use crate::snapshot::OfType;
use alike::Alike;
pub(super) use base::Scope;

mod alike;
mod base;
#[cfg(test)]
mod tests;

/// Changes that are kept without looking for repetitions.
const CHANGED_MIN: usize = 64;

/// What a client has of one type.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    base: Option<Arc<OfType>>,
    scope: Scope,
    /// How it has all that isn't told apart.
    alike: Alike,
    /// What the client has differently; `None`: it hasn't what base and scope say.
    apart: BTreeMap<Name, Option<Box<Held>>>,
    /// Of those, what may have a time to live running.
    timed: BTreeSet<Name>,
    /// Of those, what may be claimed and not confirmed.
    claimed: BTreeSet<Name>,
    /// Whose entry may have changed since the last [`take_changed`](Self::take_changed); some more
    /// than once.
    changed: Vec<Name>,
    /// How many of those may be before they are looked through for repetitions.
    changed_full: usize,
    /// Whether anything changed since the last [`settle`](Self::settle).
    unsettled: bool,
}

// === impl Holdings ===

impl Holdings {
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, Held>> {
        match self.apart.get(name) {
            Some(apart) => apart.as_deref().map(Cow::Borrowed),
            None => self.of_base(name).map(Cow::Owned),
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        match self.apart.get(name) {
            Some(apart) => apart.is_some(),
            None => self.lies_in_base(name),
        }
    }

    /// The entry, to be changed.
    pub(super) fn get_mut(&mut self, name: &Name) -> Option<&mut Held> {
        if !self.contains(name) {
            return None;
        }
        Some(self.entry(name))
    }

    /// The entry, to be changed; a new one if there is none.
    pub(super) fn entry(&mut self, name: &Name) -> &mut Held {
        self.note(name);
        let (base, scope, alike) = (&self.base, &self.scope, self.alike);
        let apart = self.apart.entry(name.clone()).or_insert_with(|| {
            let resource = base.as_ref()?.get(name).filter(|_| scope.covers(name))?;
            Some(Box::new(alike.held(resource)))
        });
        apart.get_or_insert_default()
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.note(name);
        if self.lies_in_base(name) {
            self.apart.insert(name.clone(), None);
        } else {
            self.apart.remove(name);
        }
    }

    /// Changes the entries that there are of some resources, which are in order as a rule.
    pub(super) fn change_each(
        &mut self,
        items: &[Arc<Resource>],
        mut change: impl FnMut(&Arc<Resource>, &mut Held),
    ) {
        self.limit_changed();
        let mut others: Vec<&Arc<Resource>> = Vec::new();
        if items.len() < self.apart.len() / MERGED_SHARE {
            others.extend(items);
        } else {
            let mut entries = self.apart.iter_mut().peekable();
            for item in items {
                let name = item.name();
                let before = |entry: &Name| !Arc::ptr_eq(entry, name) && entry < name;
                while entries.next_if(|(entry, _)| before(entry)).is_some() {}
                match entries.next_if(|(entry, _)| *entry == name) {
                    Some((entry, Some(held))) => {
                        self.changed.push(entry.clone());
                        self.unsettled = true;
                        change(item, held);
                    }
                    Some((_, None)) => {}
                    None => others.push(item),
                }
            }
        }
        for item in others {
            if let Some(held) = self.get_mut(item.name()) {
                change(item, held);
            }
        }
    }

    /// Takes out what isn't to be kept. Looks at every entry.
    pub(super) fn retain(&mut self, keep: impl Fn(&Name) -> bool) {
        let gone: Vec<Name> = self.names().filter(|name| !keep(name)).cloned().collect();
        for name in &gone {
            self.remove(name);
        }
    }

    /// The names of all entries, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        let base = self.base.iter().flat_map(|base| base.iter());
        let whole = base
            .map(|resource| resource.name())
            .filter(|name| self.scope.covers(name) && !self.apart.contains_key(*name));
        whole.chain(self.apart().map(|(name, _)| name))
    }

    /// What isn't simply the view's: every entry that is more than acknowledged is among it.
    pub(super) fn apart(&self) -> impl Iterator<Item = (&Name, Cow<'_, Held>)> {
        let in_flight = self.alike.in_flight.then(|| self.alike()).into_iter();
        self.told_apart()
            .map(|(name, held)| (name, Cow::Borrowed(held)))
            .chain(in_flight.flatten())
    }

    fn told_apart(&self) -> impl Iterator<Item = (&Name, &Held)> {
        self.apart
            .iter()
            .filter_map(|(name, held)| Some((name, held.as_deref()?)))
    }

    /// Whether there is no entry at all.
    pub(super) fn is_blank(&self) -> bool {
        self.apart.is_empty() && matches!(self.scope, Scope::None)
    }

    /// The names of what is told apart, also of what the client hasn't, in order.
    pub(super) fn names_apart(&self) -> impl Iterator<Item = &Name> {
        self.apart.keys()
    }

    /// The client named a version on connecting.
    pub(super) fn claim(&mut self, name: &Name, version: &str) {
        if !self.contains(name) {
            *self.entry(name) = Held::claimed(version);
            self.claimed.insert(name.clone());
        }
    }

    /// The client may have something by this name from an earlier stream, and doesn't tell what.
    pub(super) fn claim_untold(&mut self, name: &Name) {
        if !self.contains(name) {
            *self.entry(name) = Held::untold();
        }
    }

    /// Calls with every entry that is claimed and not confirmed.
    pub(super) fn each_claimed(&mut self, mut confirm: impl FnMut(&Name, &mut Held)) {
        for name in std::mem::take(&mut self.claimed) {
            let Some(held) = self.get_mut(&name).filter(|held| held.is_foreign()) else {
                continue;
            };
            confirm(&name, held);
            if held.is_foreign() {
                self.claimed.insert(name);
            }
        }
    }

    /// A time to live of the entry begins to run.
    pub(super) fn note_timed(&mut self, name: &Name) {
        self.timed.insert(name.clone());
    }

    /// What has a time to live running, or had.
    pub(super) fn timed(&self) -> impl Iterator<Item = (&Name, &Held)> {
        let held = |name| Some((name, self.apart.get(name)?.as_deref()?));
        self.timed.iter().filter_map(held)
    }

    pub(super) fn each_timed(&mut self, mut expire: impl FnMut(&Name, &mut Held)) {
        for name in &self.timed {
            if let Some(Some(held)) = self.apart.get_mut(name) {
                expire(name, held);
            }
        }
    }

    /// The names whose entries may have changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<Name> {
        let mut changed = std::mem::take(&mut self.changed);
        // Nearly always a name is the same allocation each time.
        changed.sort_unstable_by_key(|name| Arc::as_ptr(name).cast::<u8>());
        changed.dedup_by(|a, b| Arc::ptr_eq(a, b));
        changed
    }

    fn note(&mut self, name: &Name) {
        self.limit_changed();
        self.changed.push(name.clone());
        self.unsettled = true;
    }

    fn limit_changed(&mut self) {
        if self.changed.len() >= self.changed_full.max(CHANGED_MIN) {
            self.changed.sort_unstable();
            self.changed.dedup();
            self.changed_full = 2 * self.changed.len();
        }
    }

    fn is_alike(&self, name: &str) -> bool {
        !self.apart.contains_key(name) && self.lies_in_base(name)
    }

    fn of_base(&self, name: &str) -> Option<Held> {
        let base = self.base.as_ref().filter(|_| self.scope.covers(name))?;
        Some(self.alike.held(base.get(name)?))
    }

    fn lies_in_base(&self, name: &str) -> bool {
        let base = self.base.as_ref();
        self.scope.covers(name) && base.is_some_and(|base| base.get(name).is_some())
    }
}
