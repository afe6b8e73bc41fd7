//! What a view says of a type beside its resources: errors in the place of resources, other names
//! of resources, the version of the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

use crate::error_detail::ErrorDetail;
use crate::resource::{Name, Resource, TypeUrl, xdstp};
use crate::snapshot::{Snapshot, Types};

/// By type. Most views say nothing.
pub(crate) type Notes = BTreeMap<TypeUrl, OfType>;

/// From each alias to the resource that goes by it, by type.
pub(crate) type Aliases = BTreeMap<TypeUrl, BTreeMap<Name, Name>>;

/// What is said of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OfType {
    /// In the place of resources.
    pub(crate) errors: BTreeMap<Name, Arc<ErrorDetail>>,
    /// In the place of every other name that isn't there.
    pub(crate) error_for_others: Option<Arc<ErrorDetail>>,
    /// From each alias to the resource that goes by it.
    pub(crate) aliases: BTreeMap<Name, Name>,
    /// The version of all of the type, as the embedder counts.
    pub(crate) version: Option<Arc<str>>,
}

// === impl OfType ===

impl OfType {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Aliases need no hash of their own: the resources that they are of have them in theirs.
    pub(crate) fn digest(&self) -> u64 {
        let mut hash = Xxh64::new(0);
        let mut add = |text: &str| {
            hash.update(&text.len().to_le_bytes());
            hash.update(text.as_bytes());
        };
        add(self.version.as_deref().unwrap_or_default());
        let others = self.error_for_others.iter().map(|error| ("*", error));
        let errors = self.errors.iter().map(|(name, error)| (&**name, error));
        for (name, error) in errors.chain(others) {
            add(name);
            add(&i32::from(error.code()).to_string());
            add(error.message());
        }
        hash.digest()
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The error in the place of a resource that the view doesn't have.
    pub fn error(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<ErrorDetail>> {
        let notes = self.notes().get(type_url)?;
        let error = notes.errors.get(name);
        let error = error.or(notes.error_for_others.as_ref())?;
        self.resolve(type_url, name).is_none().then_some(error)
    }

    /// The errors that stand in the place of certain names of a type.
    pub fn errors(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Name, &Arc<ErrorDetail>)> {
        let notes = self.notes().get(type_url);
        notes.into_iter().flat_map(|notes| &notes.errors)
    }

    /// The version that the embedder gave to all of a type.
    pub fn own_version(&self, type_url: &TypeUrl) -> Option<&Arc<str>> {
        self.notes().get(type_url)?.version.as_ref()
    }

    /// The resource that goes by a name: its own, or an alias.
    pub(crate) fn resolve(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Resource>> {
        self.get(type_url, name).or_else(|| {
            let named = self.notes().get(type_url)?.aliases.get(name)?;
            self.get(type_url, named)
        })
    }

    /// Whether one of the view's own resources fetches a secret or an extension configuration. What is
    /// in use isn't taken away, even if the view doesn't have it (rule D3c).
    pub(crate) fn fetches(&self, type_url: &TypeUrl, name: &str) -> bool {
        let fetched = [TypeUrl::SECRET, TypeUrl::EXTENSION_CONFIG].contains(type_url);
        let by = |parent: TypeUrl| {
            let parents = self.of_type(&parent);
            parents.is_some_and(|parents| !parents.referrers().of(type_url, name).is_empty())
        };
        fetched && (by(TypeUrl::LISTENER) || by(TypeUrl::CLUSTER))
    }

    /// Whether a resource of the type goes by other names.
    pub(crate) fn has_aliases(&self, type_url: &TypeUrl) -> bool {
        let notes = self.notes().get(type_url);
        notes.is_some_and(|notes| !notes.aliases.is_empty())
    }

    /// The members of a glob collection.
    pub(crate) fn members<'a>(
        &'a self,
        type_url: &TypeUrl,
        collection: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        let within = move |resource: &&Arc<Resource>| {
            xdstp::collection_of(resource.name()).as_deref() == Some(collection)
        };
        self.iter(type_url).filter(within)
    }
}

/// The aliases of resources, by type; and those that two resources go by.
pub(crate) fn aliases(types: &Types) -> (Aliases, BTreeSet<(TypeUrl, Name)>) {
    let mut all = Aliases::new();
    let mut twice = BTreeSet::new();
    // Nothing else may have any ([`Resource::with_aliases`]).
    let resources = types.get(&TypeUrl::VIRTUAL_HOST).into_iter();
    let resources = resources.flat_map(|of_type| of_type.iter());
    for resource in resources.filter(|resource| !resource.aliases().is_empty()) {
        let of_type = all.entry(resource.type_url().clone()).or_default();
        for alias in resource.aliases().iter() {
            if alias == resource.name() {
                continue;
            }
            let other = of_type.insert(alias.clone(), resource.name().clone());
            if other.is_some() {
                twice.insert((resource.type_url().clone(), alias.clone()));
            }
        }
    }
    for (type_url, aliases) in &all {
        let named = |alias: &&Name| {
            types
                .get(type_url)
                .is_some_and(|of| of.get(alias).is_some())
        };
        let names = aliases.keys().filter(named);
        twice.extend(names.map(|alias| (type_url.clone(), alias.clone())));
    }
    (all, twice)
}
