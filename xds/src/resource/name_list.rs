//! Names in order, shared by all who have the same.

use std::ops::Deref;

use super::Name;
use super::places::Places;

/// Distinct names in their order, immutable.
#[derive(Debug, Default)]
pub(crate) struct NameList {
    names: Box<[Name]>,
    places: Places,
}

// === impl NameList ===

impl NameList {
    /// Of names that are in order and distinct.
    pub(crate) fn of(names: impl Into<Box<[Name]>>) -> Self {
        let names = names.into();
        let places = Places::of(names.iter().map(|name| &**name));
        Self { names, places }
    }

    /// The name as it is in the list, if it is.
    pub(crate) fn find(&self, name: &str) -> Option<&Name> {
        let at = |place: usize| self.names.get(place).map(|name| &**name);
        let place = self.places.find(name, self.names.len(), at)?;
        self.names.get(place)
    }

    /// Whether a name is in the list.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

impl Deref for NameList {
    type Target = [Name];

    fn deref(&self) -> &[Name] {
        &self.names
    }
}

impl FromIterator<Name> for NameList {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self::of(names.into_iter().collect::<Box<[Name]>>())
    }
}
