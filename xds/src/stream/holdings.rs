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

use super::agenda::MERGED_SHARE;
use super::held::Held;
use super::settle::{tidy, tidy_set};
use super::subscription::Subscription;
use crate::resource::{Name, NameList, Resource};
use crate::snapshot::{Change, OfType};

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

/// How a client has everything that isn't told apart, in the terms of [`Held`].
#[derive(Debug, Clone, Copy, Default)]
struct Alike {
    /// Acknowledged. If not, it is in flight.
    acked: bool,
    in_flight: bool,
    acked_by: u64,
    sent_by: u64,
}

/// Of which names the client has what the base has.
#[derive(Debug, Clone, Default)]
pub(super) enum Scope {
    #[default]
    None,
    All,
    Names(Arc<NameList>),
}

// === impl Alike ===

impl Alike {
    fn held(self, resource: &Arc<Resource>) -> Held {
        Held {
            acked: Some(resource).filter(|_| self.acked).cloned(),
            acked_by: self.acked_by,
            sent_by: self.sent_by,
            pending: Some(resource).filter(|_| self.in_flight).cloned(),
            ..Held::default()
        }
    }
}

// === impl Scope ===

impl Scope {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.has(name),
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

    fn alike(&self) -> impl Iterator<Item = (&Name, Cow<'_, Held>)> {
        let base = self.base.iter().flat_map(|base| base.iter());
        let alike = |name: &Name| !self.apart.contains_key(name) && self.scope.covers(name);
        base.filter(move |resource| alike(resource.name()))
            .map(|resource| (resource.name(), Cow::Owned(self.alike.held(resource))))
    }

    /// Those that are acknowledged and not told apart, if a gate could ask when they were sent.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (&Name, Cow<'_, Held>)> {
        let fresh = self.alike.sent_by > 0 && !self.alike.in_flight;
        fresh.then(|| self.alike()).into_iter().flatten()
    }

    /// Whether all entries are acknowledged, and none by an earlier response than the nonce's.
    pub(super) fn all_came_since(&self, nonce: u64) -> bool {
        let alike = self.alike;
        let none = matches!(self.scope, Scope::None);
        self.apart.is_empty() && (none || alike.acked && alike.acked_by >= nonce)
    }

    /// [`Held::sent_by`] of what isn't told apart.
    pub(super) fn sent_by(&self) -> u64 {
        self.alike.sent_by
    }

    /// Whether there is no entry at all.
    pub(super) fn is_blank(&self) -> bool {
        self.apart.is_empty() && matches!(self.scope, Scope::None)
    }

    /// Whether the client has exactly the view's resources of a scope, and nothing is in flight.
    pub(super) fn is_exactly(&self, scope: &Scope) -> bool {
        self.apart.is_empty() && self.alike.acked && !self.alike.in_flight && self.scope.is(scope)
    }

    /// Whether the client has the view's resources of a scope but for what is told apart, and
    /// nothing of the rest is in flight.
    pub(super) fn is_mostly(&self, scope: &Scope) -> bool {
        self.alike.acked && !self.alike.in_flight && self.scope.is(scope)
    }

    /// Whether nothing is told apart, and nothing in flight.
    pub(super) fn is_all_alike(&self) -> bool {
        self.apart.is_empty() && self.alike.acked && !self.alike.in_flight && !self.unsettled
    }

    /// What the base has otherwise than the one before was acknowledged, and everything is
    /// [alike](Self::is_all_alike) again.
    pub(super) fn came_all(&mut self, nonce: u64) {
        self.alike.acked_by = nonce;
        self.alike.sent_by = 0;
    }

    /// The names of what is told apart, also of what the client hasn't, in order.
    pub(super) fn names_apart(&self) -> impl Iterator<Item = &Name> {
        self.apart.keys()
    }

    /// The view's resources of a scope are sent, all at once. Only if the client has none, or
    /// [mostly](Self::is_mostly) these.
    pub(super) fn send_all(&mut self, scope: Scope, items: &[Arc<Resource>], nonce: u64) {
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
    pub(super) fn acknowledge_all(&mut self, items: &[Arc<Resource>], nonce: u64) -> bool {
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
    pub(super) fn adopt(&mut self, scope: Scope) {
        self.scope = scope;
        self.alike = Alike {
            acked: true,
            ..Alike::default()
        };
        self.unsettled = true;
    }

    /// Tells apart what was sent all at once and isn't acknowledged.
    pub(super) fn divide(&mut self) {
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

    /// The view's resources, if the entry of this name is simply the view's.
    pub(super) fn base(&self) -> Option<&Arc<OfType>> {
        self.base.as_ref()
    }

    /// Whether the entry is simply the view's.
    pub(super) fn is_of_base(&self, name: &str) -> bool {
        !self.alike.in_flight && self.is_alike(name)
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

    /// There is a new view, which differs from the base in this: what the client has stays what it
    /// was.
    pub(super) fn rebase(&mut self, base: Option<Arc<OfType>>, difference: &[Change]) {
        for Change { name, old, new } in difference {
            if let Some(apart) = self.apart.get(name) {
                // What it hasn't needs no word if the view hasn't it either.
                if apart.is_none() && new.is_none() {
                    self.apart.remove(name);
                }
            } else if self.scope.covers(name) {
                let held = old.as_ref().map(|old| Box::new(self.alike.held(old)));
                self.apart.insert(name.clone(), held);
                self.unsettled = true;
            }
        }
        self.base = base;
    }

    /// The stream that this was of is over: nothing is in flight, and what was may have come.
    pub(super) fn begin_stream(&mut self) {
        self.divide();
        let apart: Vec<Name> = self.told_apart().map(|(name, _)| name.clone()).collect();
        for name in &apart {
            self.entry(name).begin_stream();
        }
        self.came_all(0);
    }

    /// Whether the client may have anything but what it acknowledged, or not have that.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.alike.in_flight || self.told_apart().any(|(_, held)| held.unsure)
    }

    /// The client has exactly the view's resources. Only if it has nothing yet.
    pub(super) fn adopt_base(&mut self) {
        self.adopt(Scope::All);
        self.apart.clear();
        let names = self.base.iter().flat_map(|base| base.iter());
        self.changed
            .extend(names.map(|resource| resource.name().clone()));
    }

    /// Whether [`settle`](Self::settle) with the scope of this subscription would change nothing.
    pub(super) fn rests(&self, subscription: &Subscription) -> bool {
        let same = match &self.scope {
            Scope::None => false,
            Scope::All => subscription.wildcard,
            Scope::Names(names) => {
                !subscription.wildcard && Arc::ptr_eq(names, subscription.names.list())
            }
        };
        same && !self.unsettled && !self.alike.in_flight
    }

    /// Stops telling apart what is just as the view has it, except for what `stays`. The scope is
    /// what the client is subscribed to by now.
    ///
    /// All entries that weren't told apart count as acknowledged by `nonce` and sent by none. The
    /// caller must see to it that no comparison of the two changes by that.
    pub(super) fn settle(
        &mut self,
        scope: Scope,
        nonce: u64,
        stays: impl Fn(&Name, &Held) -> bool,
    ) {
        self.divide();
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
        self.alike = Alike {
            acked: true,
            acked_by: nonce,
            ..Alike::default()
        };
        tidy(&mut self.apart);
        tidy_set(&mut self.timed);
        tidy_set(&mut self.claimed);
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
                let held = before.then(|| Box::new(self.alike.held(resource)));
                self.apart.insert(name.clone(), held);
            }
        }
        self.scope = scope;
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

    fn lies_in_base(&self, name: &str) -> bool {
        let base = self.base.as_ref();
        self.scope.covers(name) && base.is_some_and(|base| base.get(name).is_some())
    }

    fn is_alike(&self, name: &str) -> bool {
        !self.apart.contains_key(name) && self.lies_in_base(name)
    }

    fn of_base(&self, name: &str) -> Option<Held> {
        let base = self.base.as_ref().filter(|_| self.scope.covers(name))?;
        Some(self.alike.held(base.get(name)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TypeUrl;
    use crate::testing::{assignment, snapshot};

    const CONTENTS: u8 = 3;

    fn name(index: u8) -> Name {
        Name::from(format!("n{index}"))
    }

    /// `contents[n]` is what resource `n` has; 0 for none.
    fn base(contents: &[u8]) -> Option<Arc<OfType>> {
        let resources = contents
            .iter()
            .enumerate()
            .filter(|(_, content)| **content > 0);
        let resource =
            |(index, content): (usize, &u8)| assignment(&format!("n{index}"), u32::from(*content));
        let view = snapshot(resources.map(resource));
        view.of_type(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT).cloned()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Rebase(Vec<u8>),
        Acknowledge(u8, u8),
        Reject(u8, u8),
        Remove(u8),
        Retain(u8),
        Settle(Option<BTreeSet<u8>>),
        TellApart(u8),
        Adopt,
        SendAll,
        AcknowledgeAll,
        Divide,
    }

    fn step() -> impl Strategy<Value = Step> {
        let names = || proptest::collection::btree_set(0_u8..6, 0..6);
        prop_oneof![
            3 => proptest::collection::vec(0..CONTENTS, 6).prop_map(Step::Rebase),
            4 => (0_u8..6, 1..CONTENTS).prop_map(|(n, content)| Step::Acknowledge(n, content)),
            1 => (0_u8..6, 1..CONTENTS).prop_map(|(n, content)| Step::Reject(n, content)),
            2 => (0_u8..6).prop_map(Step::Remove),
            1 => (0_u8..6).prop_map(Step::Retain),
            3 => proptest::option::of(names()).prop_map(Step::Settle),
            1 => (0_u8..6).prop_map(Step::TellApart),
            1 => Just(Step::Adopt),
            4 => Just(Step::SendAll),
            2 => Just(Step::AcknowledgeAll),
            1 => Just(Step::Divide),
        ]
    }

    fn content(index: u8, content: u8) -> Arc<Resource> {
        Arc::new(assignment(&name(index), u32::from(content)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn holdings_are_a_map(steps in proptest::collection::vec(step(), 0..60)) {
            let mut holdings = Holdings::default();
            // Content, and whether it is unsure.
            let mut model: BTreeMap<Name, (Option<Arc<Resource>>, bool)> = BTreeMap::new();
            let mut sent: Option<(Vec<Arc<Resource>>, u64)> = None;
            for (nonce, step) in (1..).zip(steps) {
                match step {
                    Step::Rebase(contents) => {
                        let new = base(&contents);
                        let difference = OfType::difference(holdings.base(), new.as_ref());
                        holdings.rebase(new, &difference);
                    }
                    Step::Acknowledge(n, which) => {
                        holdings.entry(&name(n)).acknowledged(content(n, which), nonce);
                        model.insert(name(n), (Some(content(n, which)), false));
                    }
                    Step::Reject(n, which) => {
                        if let Some(held) = holdings.get_mut(&name(n)) {
                            held.rejected(&content(n, which), true);
                        }
                        if let Some((_, unsure)) = model.get_mut(&name(n)) {
                            *unsure = true;
                        }
                    }
                    Step::Remove(n) => {
                        holdings.remove(&name(n));
                        model.remove(&name(n));
                    }
                    Step::Retain(n) => {
                        holdings.retain(|other| **other >= *name(n));
                        model.retain(|other, _| **other >= *name(n));
                    }
                    Step::Settle(None) => holdings.settle(Scope::All, nonce, |_, _| false),
                    Step::Settle(Some(names)) => {
                        let names = names.into_iter().map(name).collect();
                        let scope = Scope::Names(Arc::new(names));
                        holdings.settle(scope, nonce, |_, _| false);
                    }
                    Step::TellApart(n) => holdings.tell_apart(&name(n)),
                    Step::SendAll if holdings.is_blank() => {
                        let base = holdings.base().into_iter();
                        let items: Vec<_> = base.flat_map(|base| base.iter()).cloned().collect();
                        holdings.send_all(Scope::All, &items, nonce);
                        model.extend(items.iter().map(|it| (it.name().clone(), (None, false))));
                        sent = Some((items, nonce));
                    }
                    Step::SendAll => {}
                    Step::AcknowledgeAll => {
                        if let Some((items, nonce)) = sent.take()
                            && holdings.acknowledge_all(&items, nonce)
                        {
                            for item in items {
                                let held = model.get_mut(item.name());
                                if let Some(held) = held {
                                    *held = (Some(item), false);
                                }
                            }
                        }
                    }
                    Step::Divide => holdings.divide(),
                    Step::Adopt => {
                        if model.is_empty() {
                            holdings.adopt_base();
                            for resource in holdings.base.iter().flat_map(|base| base.iter()) {
                                model.insert(resource.name().clone(), (Some(resource.clone()), false));
                            }
                        }
                    }
                }
                let names: BTreeSet<&Name> = holdings.names().collect();
                prop_assert_eq!(names, model.keys().collect::<BTreeSet<_>>());
                for n in 0..6 {
                    let held = holdings.get(&name(n));
                    prop_assert_eq!(held.is_some(), holdings.contains(&name(n)));
                    let held = held.map(|held| (held.acked.clone(), held.unsure));
                    prop_assert_eq!(held.as_ref(), model.get(&name(n)));
                }
            }
        }

        #[test]
        fn what_settles_costs_nothing(contents in proptest::collection::vec(0..CONTENTS, 6)) {
            let mut holdings = Holdings::default();
            holdings.rebase(base(&contents), &[]);
            for (n, which) in (0..).zip(&contents) {
                if *which > 0 {
                    holdings.entry(&name(n)).acknowledged(content(n, *which), 1);
                }
            }
            holdings.settle(Scope::All, 1, |_, _| false);
            prop_assert!(holdings.apart.is_empty());
            prop_assert_eq!(holdings.names().count(), contents.iter().filter(|which| **which > 0).count());
        }
    }
}
