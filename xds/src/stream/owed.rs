//! Names to be answered even if nothing changed.
//!
//! A client's first request of a type names hundreds at once, in a list that it shares with others
//! (`names`): owing all of that costs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::settle::tidy_set;
use crate::resource::{Name, NameList};

/// A set of names.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// A shared list, in order and distinct; then there are no others.
    all: Option<Arc<NameList>>,
    some: BTreeSet<Name>,
}

// === impl Owed ===

impl Owed {
    /// All names of a list, which must be in order and distinct.
    pub(super) fn all(names: Arc<NameList>) -> Self {
        Self {
            all: Some(names).filter(|names| !names.is_empty()),
            some: BTreeSet::new(),
        }
    }

    /// The shared list, if these are its names.
    pub(super) fn list(&self) -> Option<&Arc<NameList>> {
        self.all.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.some.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        let all = self.all.as_ref();
        all.is_some_and(|names| names.has(name)) || self.some.contains(name)
    }

    pub(super) fn insert(&mut self, name: Name) {
        if !self.contains(&name) {
            self.own().insert(name);
        }
    }

    pub(super) fn remove(&mut self, name: &Name) -> bool {
        self.contains(name) && self.own().remove(name)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.own().retain(keep);
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        let all = self.all.iter().flat_map(|names| names.iter());
        all.chain(&self.some)
    }

    /// Gives back what isn't needed.
    pub(super) fn tidy(&mut self) {
        tidy_set(&mut self.some);
    }

    fn own(&mut self) -> &mut BTreeSet<Name> {
        if let Some(all) = self.all.take() {
            self.some = all.iter().cloned().collect();
        }
        &mut self.some
    }
}
