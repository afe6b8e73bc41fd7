//! A set of names of which most is shared with other streams.
//!
//! Five thousand sidecars that name the same thousand assignments name them once: what a stream
//! has subscribed to settles in an immutable list that all streams with equal lists share, and
//! only the latest changes are a stream's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use xxhash_rust::xxh64::Xxh64;

use super::settle::tidy_set;
use crate::limits::NAMES_ASIDE_SHARE;
use crate::resource::{Name, NameList};

/// Lists of names that streams share. What no stream uses any more is given back when lists have
/// doubled.
#[derive(Debug, Default)]
pub struct NameLists {
    known: Mutex<Known>,
}

/// The lists, by the hash of their content.
#[derive(Debug, Default)]
struct Known {
    lists: BTreeMap<u64, Weak<NameList>>,
    /// How many are looked through for what nobody uses.
    full: usize,
}

/// A set of names.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// In order.
    list: Arc<NameList>,
    /// Not in the list.
    added: BTreeSet<Name>,
    /// In the list, but not in the set.
    removed: BTreeSet<Name>,
}

// === impl NameLists ===

impl NameLists {
    /// The shared list with these names, which must be in order and distinct.
    pub(super) fn share(&self, names: Vec<Name>) -> Arc<NameList> {
        let texts = names.iter().map(|name| &**name);
        match self.find(texts) {
            Ok(shared) => shared,
            Err(hash) => self.keep(hash, NameList::of(names)),
        }
    }

    /// The same for names as a client sent them: only the first one's are copied.
    pub(super) fn share_texts<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Arc<NameList> {
        match self.find(names.clone()) {
            Ok(shared) => shared,
            Err(hash) => self.keep(hash, names.map(Name::from).collect()),
        }
    }

    /// The shared list with these names, or the hash that it would be found by.
    fn find<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<Arc<NameList>, u64> {
        let mut hash = Xxh64::new(0);
        let mut any = false;
        for name in names.clone() {
            hash.update(name.as_bytes());
            hash.update(&[0]);
            any = true;
        }
        if !any {
            return Ok(Arc::default());
        }
        let hash = hash.digest();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = known.lists.get(&hash).and_then(Weak::upgrade);
        // Compared without the lock.
        drop(known);
        let equal = |shared: &Arc<NameList>| shared.iter().map(|name| &**name).eq(names);
        shared.filter(equal).ok_or(hash)
    }

    fn keep(&self, hash: u64, list: NameList) -> Arc<NameList> {
        let list = Arc::new(list);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have kept it in the meantime.
        let shared = known.lists.get(&hash).and_then(Weak::upgrade);
        if let Some(shared) = shared.filter(|shared| ***shared == **list) {
            return shared;
        }
        if known.lists.len() >= known.full {
            known.lists.retain(|_, list| list.strong_count() > 0);
            known.full = 2 * known.lists.len() + 1;
        }
        known.lists.insert(hash, Arc::downgrade(&list));
        list
    }
}

// === impl Names ===

impl Names {
    /// All names of a shared list.
    pub(super) fn listed(list: Arc<NameList>) -> Self {
        Self {
            list,
            ..Self::default()
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.added.contains(name) || (self.is_listed(name) && !self.removed.contains(name))
    }

    pub(super) fn len(&self) -> usize {
        self.list.len() + self.added.len() - self.removed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a name. Whether it is new.
    pub(super) fn insert(&mut self, name: Name) -> bool {
        if self.is_listed(&name) {
            self.removed.remove(&name)
        } else {
            self.added.insert(name)
        }
    }

    /// Takes a name out.
    pub(super) fn take(&mut self, name: &str) -> Option<Name> {
        if let Some(name) = self.added.take(name) {
            return Some(name);
        }
        let name = self.list.find(name)?.clone();
        self.removed.insert(name.clone()).then_some(name)
    }

    /// Makes it exactly these. Which are new, and whether any is gone.
    pub(super) fn restate<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> (Vec<Name>, bool) {
        let wanted: BTreeSet<&str> = names.collect();
        let gone: Vec<Name> = self
            .iter()
            .filter(|name| !wanted.contains(&***name))
            .cloned()
            .collect();
        for name in &gone {
            self.take(name);
        }
        let new = wanted.into_iter().filter(|name| !self.contains(name));
        let new: Vec<Name> = new.map(Name::from).collect();
        for name in &new {
            self.insert(name.clone());
        }
        (new, !gone.is_empty())
    }

    /// All of them; in the order of names if they are [settled](Self::settled).
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        let listed = self
            .list
            .iter()
            .filter(|name| !self.removed.contains(*name));
        listed.chain(&self.added)
    }

    /// The list, if it is all there is.
    pub(super) fn settled(&self) -> Option<&Arc<NameList>> {
        (self.added.is_empty() && self.removed.is_empty()).then_some(&self.list)
    }

    /// The shared list, whatever was changed since.
    pub(super) fn list(&self) -> &Arc<NameList> {
        &self.list
    }

    /// Whether these are exactly the names of the set, each once or more often, in any order.
    pub(super) fn are<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        if let Some(list) = self.settled() {
            let listed = list.iter().map(|name| &**name);
            return names.iter().copied().eq(listed);
        }
        names.len() == self.len() && names.iter().all(|name| self.contains(name))
    }

    /// Makes a shared list of all, if enough has changed since the last one.
    pub(super) fn settle(&mut self, lists: &NameLists) {
        tidy_set(&mut self.added);
        tidy_set(&mut self.removed);
        let aside = self.added.len() + self.removed.len();
        if aside == 0 || aside * NAMES_ASIDE_SHARE < self.list.len() {
            return;
        }
        let mut all: Vec<Name> = self.iter().cloned().collect();
        all.sort_unstable();
        *self = Self::listed(lists.share(all));
    }

    fn is_listed(&self, name: &str) -> bool {
        self.list.has(name)
    }
}

impl FromIterator<Name> for Names {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self {
            added: names.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// Equal if they hold the same names.
impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|name| other.contains(name))
    }
}

impl Eq for Names {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_lists_are_shared_and_forgotten_with_their_last_user() {
        let lists = NameLists::default();
        let of = |range: std::ops::Range<u32>| {
            let mut names: Names = range.map(|n| Name::from(format!("n{n:03}"))).collect();
            names.settle(&lists);
            names
        };
        let (a, b, c) = (of(0..100), of(0..100), of(0..50));
        assert!(Arc::ptr_eq(a.settled().unwrap(), b.settled().unwrap()));
        assert!(!Arc::ptr_eq(a.settled().unwrap(), c.settled().unwrap()));
        drop((a, b, c));
        for n in 1..100 {
            assert_eq!(of(0..n).len(), n as usize);
        }
        assert!(lists.known.lock().unwrap().lists.len() <= 3);
    }

    #[test]
    fn a_few_changes_stay_aside_and_many_make_a_new_list() {
        let lists = NameLists::default();
        let name = |n: u32| Name::from(format!("n{n:04}"));
        let mut names: Names = (0..1000).map(name).collect();
        names.settle(&lists);
        let list = names.list().clone();
        for n in 1000..1000 + 15 {
            names.insert(name(n));
            names.settle(&lists);
            assert!(Arc::ptr_eq(&list, names.list()), "{n}");
        }
        names.insert(name(1015));
        names.settle(&lists);
        assert_eq!(names.settled().unwrap().len(), 1016);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_set_of_names_is_a_set(steps in proptest::collection::vec((0_u8..3, 0_u8..8), 0..60)) {
            let lists = NameLists::default();
            let mut names = Names::default();
            let mut model: BTreeSet<Name> = BTreeSet::new();
            for (what, n) in steps {
                let name = Name::from(format!("n{n}"));
                match what {
                    0 => prop_assert_eq!(names.insert(name.clone()), model.insert(name)),
                    1 => prop_assert_eq!(names.take(&name), model.take(&name)),
                    _ => names.settle(&lists),
                }
                prop_assert_eq!(names.len(), model.len());
                let all: BTreeSet<Name> = names.iter().cloned().collect();
                prop_assert_eq!(&all, &model);
                for n in 0..8 {
                    let name = format!("n{n}");
                    prop_assert_eq!(names.contains(&name), model.contains(&*name));
                }
                prop_assert!(names.are(model.iter().map(|name| &**name)));
                prop_assert!(!names.are(["other"].into_iter()));
            }
        }
    }
}
