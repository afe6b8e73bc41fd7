//! What a client asked for, of one type.

use std::sync::Arc;

use super::names::Names;
use crate::resource::{Name, Resource, xdstp};

/// What a client asked for, of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Everything of the type, by `*` or by the legacy form.
    pub(super) wildcard: bool,
    /// Names, known or not (xDS protocol rule C9), in normal form; also those of collections.
    pub(super) names: Names,
    /// Whether a request of this stream ever carried a name of this type: from then on an empty
    /// state-of-the-world list means nothing, not all (rule S6).
    pub(super) ever_named: bool,
    /// Whether there is a glob collection among the names.
    pub(super) has_collections: bool,
}

// === impl Subscription ===

impl Subscription {
    /// Adds a name in normal form.
    pub(super) fn insert(&mut self, name: Name) {
        self.has_collections |= xdstp::is_collection(&name);
        self.names.insert(name);
    }

    /// Takes names in normal form for all there are. Which are new, and whether any is gone.
    pub(super) fn restate<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> (Vec<Name>, bool) {
        let (new, gone) = self.names.restate(names);
        self.has_collections = self.names.iter().any(|name| xdstp::is_collection(name));
        (new, gone)
    }

    /// Whether something that goes by the name is asked for, as far as the name tells.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.asks_for(name)
    }

    /// Whether the resource is asked for. Who asks for everything doesn't get what is kept for those
    /// who ask for it; nor names of a scheme that it may not know (xRFC TP1: nobody has to opt in).
    pub(super) fn covers_resource(&self, resource: &Resource) -> bool {
        self.wildcard && !resource.is_on_demand()
            || self.asks_for(resource.name())
            || resource.aliases().iter().any(|alias| self.asks_for(alias))
    }

    /// Whether the name is asked for, itself or in a collection.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        let in_collection = || {
            let collection = xdstp::collection_of(name);
            collection.is_some_and(|collection| self.names.contains(&collection))
        };
        self.names.contains(name) || self.has_collections && in_collection()
    }

    /// Everything that a wildcard covers, and nothing else.
    pub(super) fn is_pure_wildcard(&self) -> bool {
        self.wildcard && self.names.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }
}

/// A name of a request, as it is remembered.
pub(super) fn name(text: &str) -> Name {
    Arc::from(&*xdstp::normal(text))
}
