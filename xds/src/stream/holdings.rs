//! What a client has of one type: the view's resources, except for what is told apart.
//!
//! ```text
//!  base: the current view's resources of the type, shared by all streams
//!    ∩ scope: all, or a shared list of names
//!      ± apart: what this client has differently, or hasn't
//! ```
//!
//! Behaves as a map from names to [`Held`], and costs a settled stream nothing. The base is always
//! the current view's, so that no stream keeps an old view alive.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::held::Held;
use crate::resource::Name;
use crate::snapshot::OfType;

/// What a client has of one type.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    base: Option<Arc<OfType>>,
    scope: Scope,
    /// [`Held::acked_by`] of all that isn't told apart. Their [`Held::sent_by`] is 0.
    acked_by: u64,
    /// What the client has differently; `None`: it hasn't what base and scope say.
    apart: BTreeMap<Name, Option<Box<Held>>>,
    /// Of those, what may have a time to live running.
    timed: BTreeSet<Name>,
    /// Of those, what may be claimed and not confirmed.
    claimed: BTreeSet<Name>,
    /// Whose entry may have changed since the last [`take_changed`](Self::take_changed).
    changed: BTreeSet<Name>,
    /// Whether anything changed since the last [`settle`](Self::settle).
    unsettled: bool,
}

/// Of which names the client has what the base has.
#[derive(Debug, Clone, Default)]
pub(super) enum Scope {
    #[default]
    None,
    All,
    Names(Arc<[Name]>),
}

// === impl Scope ===

impl Scope {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names
                .binary_search_by(|listed| (**listed).cmp(name))
                .is_ok(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) | (Self::All, Self::All) => true,
            (Self::Names(a), Self::Names(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
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
            None => self.is_of_base(name),
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
        let base = match self.apart.get(name) {
            Some(_) => None,
            None => self.of_base(name).map(Box::new),
        };
        self.note(name);
        let apart = self.apart.entry(name.clone()).or_insert(base);
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
    pub(super) fn apart(&self) -> impl Iterator<Item = (&Name, &Held)> {
        self.apart
            .iter()
            .filter_map(|(name, held)| Some((name, held.as_deref()?)))
    }

    /// The view's resources, if the entry of this name is simply the view's.
    pub(super) fn base(&self) -> Option<&Arc<OfType>> {
        self.base.as_ref()
    }

    /// Whether the entry is simply the view's.
    pub(super) fn is_of_base(&self, name: &str) -> bool {
        !self.apart.contains_key(name) && self.lies_in_base(name)
    }

    /// The client named a version on connecting.
    pub(super) fn claim(&mut self, name: &Name, version: &str) {
        if !self.contains(name) {
            *self.entry(name) = Held::claimed(version);
            self.claimed.insert(name.clone());
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
    pub(super) fn take_changed(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    /// There is a new view, which differs in these names: what the client has stays what it was.
    pub(super) fn rebase(&mut self, base: Option<Arc<OfType>>, difference: &[Name]) {
        for name in difference {
            let is_new = base.as_ref().is_some_and(|base| base.get(name).is_some());
            if let Some(apart) = self.apart.get(name) {
                // What it hasn't needs no word if the view hasn't it either.
                if apart.is_none() && !is_new {
                    self.apart.remove(name);
                }
            } else if self.scope.covers(name) {
                let held = self.of_base(name).map(Box::new);
                if held.is_some() || is_new {
                    self.apart.insert(name.clone(), held);
                    self.unsettled = true;
                }
            }
        }
        self.base = base;
    }

    /// The client has exactly the view's resources. Only if it has nothing yet.
    pub(super) fn adopt_base(&mut self) {
        self.scope = Scope::All;
        self.apart.clear();
        let names = self.base.iter().flat_map(|base| base.iter());
        self.changed
            .extend(names.map(|resource| resource.name().clone()));
    }

    /// Stops telling apart what is just as the view has it, except for what `stays`. The scope is
    /// what the client is subscribed to by now.
    ///
    /// All entries that aren't told apart count as acknowledged by `nonce` and sent by none. The
    /// caller must see to it that no comparison of the two changes by that.
    pub(super) fn settle(
        &mut self,
        scope: Scope,
        nonce: u64,
        stays: impl Fn(&Name, &Held) -> bool,
    ) {
        if !std::mem::take(&mut self.unsettled) && self.scope.is(&scope) {
            return;
        }
        self.widen(scope);
        let (base, scope) = (&self.base, &self.scope);
        let of_base = |name: &Name| base.as_ref()?.get(name).filter(|_| scope.covers(name));
        self.apart.retain(|name, held| match (held, of_base(name)) {
            (Some(held), Some(wanted)) => !held.is_plainly(wanted) || stays(name, held),
            (None, of_base) => of_base.is_some(),
            (Some(_), None) => true,
        });
        let apart = &self.apart;
        self.timed.retain(|name| apart.contains_key(name));
        self.acked_by = nonce;
    }

    /// Tells an entry apart, as it is.
    pub(super) fn tell_apart(&mut self, name: &Name) {
        if let Some(held) = self
            .of_base(name)
            .filter(|_| !self.apart.contains_key(name))
        {
            self.apart.insert(name.clone(), Some(Box::new(held)));
        }
    }

    /// Changes the scope, and nothing of what the client has.
    fn widen(&mut self, scope: Scope) {
        if self.scope.is(&scope) {
            return;
        }
        let Some(base) = &self.base else {
            self.scope = scope;
            return;
        };
        for resource in base.iter() {
            let name = resource.name();
            let (before, after) = (self.scope.covers(name), scope.covers(name));
            if before != after && !self.apart.contains_key(name) {
                let held = before.then(|| Box::new(Held::settled(resource.clone(), self.acked_by)));
                self.apart.insert(name.clone(), held);
            }
        }
        self.scope = scope;
    }

    fn note(&mut self, name: &Name) {
        self.changed.insert(name.clone());
        self.unsettled = true;
    }

    fn lies_in_base(&self, name: &str) -> bool {
        let base = self.base.as_ref();
        base.is_some_and(|base| base.get(name).is_some()) && self.scope.covers(name)
    }

    fn of_base(&self, name: &str) -> Option<Held> {
        let resource = self.base.as_ref()?.get(name)?;
        self.scope
            .covers(name)
            .then(|| Held::settled(resource.clone(), self.acked_by))
    }
}
