//! Names that stand for several resources (xRFC TP1) or for one of another name (rule D14): what is
//! owed by them, and what is forgotten with them.

use super::state::TypeState;
use crate::resource::{Resource, TypeUrl, xdstp};
use crate::snapshot::Snapshot;

// === impl TypeState ===

impl TypeState {
    /// Who asks for a collection is owed each of its members (rule D3). The name of a collection
    /// without members stays owed: it is answered as removed (xRFC TP1).
    pub(super) fn expand_collections(&mut self, view: &Snapshot, type_url: &TypeUrl) {
        if !self.subscription.has_collections {
            return;
        }
        let collections = self.owed.iter().filter(|name| xdstp::is_collection(name));
        let collections: Vec<_> = collections.cloned().collect();
        for collection in collections {
            let members = view.members(type_url, &collection);
            let members: Vec<_> = members.map(|member| member.name().clone()).collect();
            if !members.is_empty() {
                self.owed.remove(&collection);
                self.owed.extend(members);
            }
        }
    }

    /// Forgets what the client isn't told of any more because it dropped a collection or an alias:
    /// a later subscription starts afresh (rules D7, S5). Under a wildcard nothing is forgotten: what
    /// that doesn't cover has to be taken away (rule D6).
    pub(super) fn forget_unasked(&mut self, view: &Snapshot, type_url: &TypeUrl) {
        if self.subscription.wildcard {
            return;
        }
        let asked = |name: &str| match view.get(type_url, name) {
            Some(resource) => self.subscription.covers_resource(resource),
            None => *type_url == TypeUrl::VIRTUAL_HOST || self.subscription.covers(name),
        };
        let names = self.held.keys().chain(&self.owed).chain(self.told.keys());
        let unasked: Vec<_> = names.filter(|name| !asked(name)).cloned().collect();
        for name in unasked {
            self.forget(&name);
        }
    }

    /// Whether an answer is due for a resource, by any of its names.
    pub(super) fn owes(&self, resource: &Resource) -> bool {
        self.owed.contains(resource.name())
            || resource.aliases().iter().any(|it| self.owed.contains(it))
    }

    /// The answer goes out. Whether it was due.
    pub(super) fn pay(&mut self, resource: &Resource) -> bool {
        let due = self.owed.remove(resource.name());
        let aliases = resource.aliases().iter();
        aliases.fold(due, |due, alias| self.owed.remove(alias) || due)
    }
}
