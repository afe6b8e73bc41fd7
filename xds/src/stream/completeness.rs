//! Whether a client asked for everything that what it has leads to: a listener without its routes
//! serves nothing, whatever was acknowledged.
//!
//! What is known stays known: after a change only what changed is asked again, and while something
//! isn't asked for, only that.

use std::sync::Arc;

use super::holdings::Scope;
use super::state::TypeState;
use super::{Session, Types};
use crate::resource::{Name, Resource, TypeUrl};
use crate::snapshot::Snapshot;

/// What is known.
#[derive(Debug, Default)]
pub(super) enum Completeness {
    #[default]
    Unknown,
    /// It asked for everything, as of the last time.
    Complete,
    /// It didn't ask for something.
    Lacks(Box<Missing>),
}

/// What isn't asked for.
#[derive(Debug)]
pub(super) struct Missing {
    holder_type: TypeUrl,
    holder: Name,
    type_url: TypeUrl,
    name: Name,
}

// === impl Completeness ===

impl Completeness {
    /// More may be missing by now.
    pub(super) fn reset(&mut self) {
        if matches!(self, Self::Complete) {
            *self = Self::Unknown;
        }
    }
}

// === impl Session ===

impl Session {
    /// Whether the client asked for everything that what it has leads to.
    pub(super) fn is_complete(&mut self, view: &Snapshot) -> bool {
        if self.only.is_some() {
            // What it leads to is on other streams.
            return true;
        }
        if self.has_only_begun(view) {
            return false;
        }
        for state in self.types.values_mut() {
            if std::mem::take(&mut state.narrowed) {
                self.completeness.reset();
            }
        }
        let types = &self.types;
        let missing = match &self.completeness {
            Completeness::Lacks(missing) if missing.stands(types, view) => return false,
            Completeness::Complete => types.iter().find_map(|(type_url, state)| {
                let mut names = state.unchecked.iter();
                names.find_map(|name| missing_of(types, view, type_url, name))
            }),
            _ => types.iter().find_map(|(type_url, state)| {
                if asks_for_all(types, state) {
                    return None;
                }
                let mut names = leads(type_url)
                    .then(|| state.held.names())
                    .into_iter()
                    .flatten();
                names.find_map(|name| missing_of(types, view, type_url, name))
            }),
        };
        for state in self.types.values_mut() {
            state.unchecked = Default::default();
        }
        let complete = missing.is_none();
        self.completeness = missing.map_or(Completeness::Complete, |missing| {
            Completeness::Lacks(Box::new(missing))
        });
        complete
    }
}

impl Session {
    /// Whether the client asked for the runtime layer alone, of a view with more in it: Envoy
    /// settles that first.
    fn has_only_begun(&self, view: &Snapshot) -> bool {
        let mut types = self.types.iter();
        let begun = types.any(|(type_url, state)| {
            *type_url != TypeUrl::RUNTIME && !state.subscription.is_empty()
        });
        !begun
            && view
                .type_urls()
                .any(|type_url| *type_url != TypeUrl::RUNTIME)
    }
}

/// Whether resources of the type lead to others that have to be asked for by name.
pub(super) fn leads(type_url: &TypeUrl) -> bool {
    *type_url == TypeUrl::CLUSTER || *type_url == TypeUrl::LISTENER
}

/// The types of what is led to.
pub(super) const LED_TO: [TypeUrl; 2] = [
    TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    TypeUrl::ROUTE_CONFIGURATION,
];

/// Whether it is plain that everything is asked for that resources of a type lead to: the client
/// has exactly the view's, and what they lead to is on its lists.
fn asks_for_all(types: &Types, state: &TypeState) -> bool {
    let Some(base) = state.held.base() else {
        return false;
    };
    state.held.is_exactly(&Scope::All)
        && base
            .referrers()
            .led_to()
            .into_iter()
            .all(|(type_url, led_to)| {
                let mut led_to = led_to.peekable();
                let asked = || types.get(&type_url)?.subscription.names.settled();
                let nothing = led_to.peek().is_none();
                nothing || asked().is_some_and(|list| holds_all(list, led_to))
            })
}

/// Whether the names are among those of a list; both are in order.
fn holds_all<'a>(list: &[Name], names: impl Iterator<Item = &'a Name>) -> bool {
    let mut list = list.iter();
    names
        .into_iter()
        .all(|name| list.any(|listed| listed == name))
}

fn missing_of(
    types: &Types,
    view: &Snapshot,
    holder_type: &TypeUrl,
    holder: &Name,
) -> Option<Missing> {
    let held = types.get(holder_type)?.held.get(holder)?;
    let (type_url, name) = led_to(held.acked.as_ref()?)
        .find(|(type_url, name)| !is_asked(types, view, type_url, name))?;
    Some(Missing {
        holder_type: holder_type.clone(),
        holder: holder.clone(),
        type_url,
        name: name.clone(),
    })
}

fn led_to(resource: &Resource) -> impl Iterator<Item = (TypeUrl, &Name)> {
    let references = resource.references();
    let routes = references.routes.iter();
    let routes = routes.map(|name| (TypeUrl::ROUTE_CONFIGURATION, name));
    let assignment = references.assignment.iter();
    routes.chain(assignment.map(|name| (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name)))
}

fn is_asked(types: &Types, view: &Snapshot, type_url: &TypeUrl, name: &str) -> bool {
    let state = types.get(type_url);
    let covers = |resource: &Arc<Resource>| {
        state.is_some_and(|state| state.subscription.covers_resource(resource))
    };
    view.get(type_url, name).is_none_or(covers)
}

// === impl Missing ===

impl Missing {
    fn stands(&self, types: &Types, view: &Snapshot) -> bool {
        let held = types
            .get(&self.holder_type)
            .and_then(|state| state.held.get(&self.holder));
        let leads = held
            .and_then(|held| held.acked.clone())
            .is_some_and(|acked| {
                led_to(&acked)
                    .any(|(type_url, name)| type_url == self.type_url && *name == self.name)
            });
        leads && !is_asked(types, view, &self.type_url, &self.name)
    }
}
