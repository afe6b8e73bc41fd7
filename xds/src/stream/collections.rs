//! Names that stand for several resources (xRFC TP1) or for one of another name (rule D14): what is
//! owed by them, and what is forgotten with them.

use std::sync::Arc;

use super::state::TypeState;
use crate::resource::{Name, Resource, TypeUrl, xdstp};
use crate::snapshot::Snapshot;

// === impl TypeState ===

impl TypeState {
    /// Who asks for a collection is owed each of its members, and who asks for an alias what goes by
    /// it (rule D3). The name of a collection without members stays owed: it is answered as removed
    /// (xRFC TP1).
    pub(super) fn expand_owed(&mut self, view: &Snapshot, type_url: &TypeUrl) {
        if !self.subscription.has_collections && *type_url != TypeUrl::VIRTUAL_HOST {
            return;
        }
        if std::mem::take(&mut self.namespaces_due) {
            self.owe_namespaces(view.iter(&TypeUrl::ROUTE_CONFIGURATION));
        }
        let names: Vec<Name> = self.owed.iter().cloned().collect();
        for name in names {
            self.agenda.touch(&name);
            if xdstp::is_collection(&name) {
                let members = view.members(type_url, &name);
                let members: Vec<Name> = members.map(|member| member.name().clone()).collect();
                if !members.is_empty() {
                    self.owed.remove(&name);
                }
                members.into_iter().for_each(|member| self.owe(member));
            } else if let Some(resource) = view.resolve(type_url, &name) {
                self.agenda.touch(resource.name());
            }
        }
    }

    /// An Envoy that gets a route configuration with VHDS asks for virtual hosts without naming any,
    /// and waits 15 s with its listener for an answer that lies in the configuration's namespace; on a
    /// stream that has virtual hosts already it doesn't even ask. So it is told that one is gone that
    /// nobody has.
    pub(super) fn owe_namespaces<'a>(&mut self, routes: impl Iterator<Item = &'a Arc<Resource>>) {
        for routes in routes.filter(|routes| routes.references().virtual_hosts) {
            self.owe(Name::from(format!("{}/*", routes.name())));
            self.dirty = true;
        }
    }

    /// Forgets what the client isn't told of any more because it dropped a collection or an alias:
    /// a later subscription starts afresh (rules D7, S5). Under a wildcard nothing is forgotten: what
    /// that doesn't cover has to be taken away (rule D6).
    pub(super) fn forget_unasked(&mut self, view: &Snapshot, type_url: &TypeUrl) {
        if !std::mem::take(&mut self.strays) || self.subscription.wildcard {
            return;
        }
        let asked = |name: &str| match view.get(type_url, name) {
            Some(resource) => self.subscription.covers_resource(resource),
            None => *type_url == TypeUrl::VIRTUAL_HOST || self.subscription.covers(name),
        };
        let names = self
            .held
            .names()
            .chain(self.owed.iter())
            .chain(self.told.keys());
        let unasked: Vec<Name> = names.filter(|name| !asked(name)).cloned().collect();
        for name in &unasked {
            self.forget(name);
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
        let mut paid = |alias: &Name| {
            self.agenda.touch(alias);
            self.owed.remove(alias)
        };
        let aliases = resource.aliases().iter();
        aliases.fold(due, |due, alias| paid(alias) || due)
    }
}
