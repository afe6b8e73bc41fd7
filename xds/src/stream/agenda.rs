//! What a type still has to do, name by name, so that a look costs what changed and not what there
//! is.
//!
//! Every name of which the view, the subscription, the client's holding or its words changed is
//! put into a class again; all others stay where they were. What depends on other types (a gate)
//! is asked at each look.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use super::proven::Proven;
use crate::resource::{Name, Resource};

/// The names of a type that need attention, by what they need. Allocates only while there are some.
#[derive(Debug, Default)]
pub(super) struct Agenda(Option<Box<Entries>>);

/// What an [`Agenda`] holds.
#[derive(Debug)]
pub(super) struct Entries {
    /// Every name is to be looked at again.
    everything: bool,
    /// These are.
    touched: BTreeSet<Name>,
    /// To be sent, and nothing to wait for.
    pub(super) together: BTreeSet<Name>,
    /// To be sent, but no client took them yet: one by one.
    pub(super) doubtful: BTreeMap<Name, u64>,
    /// The same by what they are called among what is proven.
    keys: BTreeMap<u64, Name>,
    /// How much of what was proven is known.
    heard: u64,
    /// To be sent after everything else, for they were rejected in company.
    pub(super) suspects: BTreeSet<Name>,
    /// To be sent when a gate lets them; with the cluster that was in the way at the last look.
    pub(super) gated: BTreeMap<Name, Option<Name>>,
    /// To be taken away when a gate lets them.
    pub(super) leaving: BTreeSet<Name>,
    /// Refused by the client, to come or to go.
    pub(super) refused: BTreeSet<Name>,
    /// Asked for, not existing, and not held: to be told as removed (rule D3b).
    pub(super) absent: BTreeSet<Name>,
}

/// What a name needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Nothing,
    Together,
    Doubtful(u64),
    Suspect,
    Gated,
    Leaving,
    Refused,
    Absent,
}

/// From how many to one on a set and names that are added to it are merged, and not looked for one by
/// one: a look takes as many comparisons.
pub(super) const MERGED_SHARE: usize = 8;

/// Of an agenda without any.
static NONE: Entries = Entries::new();

// === impl Agenda ===

impl Agenda {
    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(|entries| entries.is_empty())
    }

    /// Gives back what isn't needed.
    pub(super) fn tidy(&mut self) {
        if self.is_idle() {
            self.0 = None;
        }
    }
}

impl Deref for Agenda {
    type Target = Entries;

    fn deref(&self) -> &Entries {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Agenda {
    fn deref_mut(&mut self) -> &mut Entries {
        self.0.get_or_insert_with(|| Box::new(Entries::new()))
    }
}

// === impl Entries ===

impl Entries {
    const fn new() -> Self {
        Self {
            everything: false,
            touched: BTreeSet::new(),
            together: BTreeSet::new(),
            doubtful: BTreeMap::new(),
            keys: BTreeMap::new(),
            heard: 0,
            suspects: BTreeSet::new(),
            gated: BTreeMap::new(),
            leaving: BTreeSet::new(),
            refused: BTreeSet::new(),
            absent: BTreeSet::new(),
        }
    }

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        !self.everything && self.touched.is_empty() && self.is_blank()
    }

    /// Whether no name is in any class.
    fn is_blank(&self) -> bool {
        let sets = [
            &self.together,
            &self.suspects,
            &self.leaving,
            &self.refused,
            &self.absent,
        ];
        sets.iter().all(|set| set.is_empty()) && self.doubtful.is_empty() && self.gated.is_empty()
    }

    /// Something about a name changed.
    pub(super) fn touch(&mut self, name: &Name) {
        if !self.everything {
            self.touched.insert(name.clone());
        }
    }

    /// The same for many.
    pub(super) fn touch_each(&mut self, names: &[Name]) {
        if !self.everything {
            add_each(&mut self.touched, names.iter().cloned());
        }
    }

    /// Something about all names changed.
    pub(super) fn touch_all(&mut self) {
        self.everything = true;
        self.touched.clear();
    }

    /// The names that are to be classed again; `None` for all. Then nothing is left of the old
    /// classes.
    pub(super) fn take_touched(&mut self) -> Option<BTreeSet<Name>> {
        if std::mem::take(&mut self.everything) {
            let heard = self.heard;
            *self = Self {
                heard,
                ..Self::new()
            };
            return None;
        }
        Some(std::mem::take(&mut self.touched))
    }

    /// What is to be classed again; `None` for all.
    #[cfg(test)]
    pub(super) fn touched(&self) -> Option<Vec<&str>> {
        let names = self.touched.iter().map(|name| &**name);
        (!self.everything).then(|| names.collect())
    }

    /// Puts names where they belong by now.
    pub(super) fn put_each(&mut self, classed: Vec<(&Name, Class)>) {
        // Nothing is looked for where nothing is, as after a first answer.
        if !self.is_blank() {
            classed
                .iter()
                .for_each(|(name, class)| self.take(name, *class));
        }
        let of = |wanted: Class| {
            let names = classed.iter().filter(move |(_, class)| *class == wanted);
            names.map(|(name, _)| (*name).clone())
        };
        add_each(&mut self.together, of(Class::Together));
        add_each(&mut self.suspects, of(Class::Suspect));
        add_each(&mut self.leaving, of(Class::Leaving));
        add_each(&mut self.refused, of(Class::Refused));
        add_each(&mut self.absent, of(Class::Absent));
        for (name, class) in classed {
            if matches!(class, Class::Gated | Class::Doubtful(_)) {
                self.put_new(name, class);
            }
        }
    }

    /// Takes a name from where it was, for another class.
    fn take(&mut self, name: &Name, class: Class) {
        self.together.remove(name);
        if let Some(key) = self.doubtful.remove(name) {
            self.keys.remove(&key);
        }
        self.suspects.remove(name);
        self.leaving.remove(name);
        self.refused.remove(name);
        self.absent.remove(name);
        if class != Class::Gated {
            self.gated.remove(name);
        }
    }

    /// The same for a name that is in no other class.
    pub(super) fn put_new(&mut self, name: &Name, class: Class) {
        let set = match class {
            Class::Nothing => return,
            Class::Gated => {
                self.gated.entry(name.clone()).or_default();
                return;
            }
            Class::Doubtful(key) => {
                self.keys.insert(key, name.clone());
                self.doubtful.insert(name.clone(), key);
                return;
            }
            Class::Together => &mut self.together,
            Class::Suspect => &mut self.suspects,
            Class::Leaving => &mut self.leaving,
            Class::Refused => &mut self.refused,
            Class::Absent => &mut self.absent,
        };
        set.insert(name.clone());
    }

    /// Begins to listen to what other clients take, before it is asked what is in doubt.
    pub(super) fn listen(&mut self, proven: &Proven) {
        if self.doubtful.is_empty() {
            self.heard = proven.heard();
        }
    }

    /// Learns what other clients took meanwhile: that may travel together.
    pub(super) fn hear(&mut self, proven: &Proven) {
        if self.doubtful.is_empty() {
            return;
        }
        let news = proven.since(&mut self.heard).unwrap_or_else(|| {
            let known = |key: &u64| proven.contains_key(*key);
            self.keys.keys().copied().filter(known).collect()
        });
        for key in news {
            if let Some(name) = self.keys.remove(&key) {
                self.doubtful.remove(&name);
                self.together.insert(name);
            }
        }
    }

    /// What was to travel together isn't proven any more.
    pub(super) fn doubt(&mut self, resource: &Resource) {
        if let Some(name) = self.together.take(resource.name()) {
            self.put_new(&name, Class::Doubtful(Proven::key(resource)));
        }
    }

    /// Whether there is anything that may be sent without asking a gate.
    pub(super) fn has_updates(&self) -> bool {
        !self.together.is_empty() || !self.doubtful.is_empty() || !self.suspects.is_empty()
    }
}

/// Adds names, which are in order as a rule, to a set.
pub(super) fn add_each(set: &mut BTreeSet<Name>, names: impl Iterator<Item = Name>) {
    let names: Vec<Name> = names.collect();
    if names.len() < set.len() / MERGED_SHARE {
        set.extend(names);
    } else if !names.is_empty() {
        set.append(&mut names.into_iter().collect());
    }
}
