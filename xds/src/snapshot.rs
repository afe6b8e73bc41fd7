//! An immutable, closed set of resources: what one client, or many, should have.
//!
//! A snapshot can be built only if every reference leads somewhere, because Envoy accepts a route
//! to a cluster that doesn't exist and answers its requests with 503 (envoy facts §3). Its id is a
//! hash of its content, equal on every replica and after every restart.

mod builder;
mod of_type;
mod problem;
mod whole;
mod with;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

pub use builder::SnapshotBuilder;
pub(crate) use of_type::{Change, OfType, Referrers};
pub use problem::{SnapshotError, SnapshotProblem};
pub(crate) use whole::Whole;

use crate::error_detail::ErrorDetail;
use crate::notes::{self, Notes};
use crate::resource::{Resource, TypeUrl};

/// An immutable, referentially closed set of resources.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    types: Types,
    notes: Arc<Notes>,
    id: Arc<str>,
}

/// The resources of each type.
pub(crate) type Types = BTreeMap<TypeUrl, Arc<OfType>>;

// === impl Snapshot ===

impl Snapshot {
    /// An empty builder.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::new()
    }

    pub(crate) fn of(types: Types, mut notes: Notes) -> Self {
        for of_type in notes.values_mut() {
            of_type.aliases.clear();
        }
        for (type_url, aliases) in notes::aliases(&types).0 {
            notes.entry(type_url).or_default().aliases = aliases;
        }
        notes.retain(|_, notes| !notes.is_empty());
        Self::assembled(types, Arc::new(notes))
    }

    /// With notes that fit.
    fn assembled(types: Types, notes: Arc<Notes>) -> Self {
        let mut whole = Xxh64::new(0);
        for (type_url, of_type) in &types {
            whole.update(type_url.as_str().as_bytes());
            whole.update(&[0]);
            whole.update(&of_type.digest().to_le_bytes());
        }
        for (type_url, notes) in &*notes {
            whole.update(type_url.as_str().as_bytes());
            whole.update(&[1]);
            whole.update(&notes.digest().to_le_bytes());
        }
        let id = Arc::from(format!("{:016x}", whole.digest()));
        Self { types, notes, id }
    }

    /// 16 hex digits over type, name, version and time to live of every resource, in order, and over
    /// what is said of the types.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// A resource.
    pub fn get(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Resource>> {
        self.types.get(type_url)?.get(name)
    }

    /// All resources of a type, by name.
    pub fn iter(&self, type_url: &TypeUrl) -> impl Iterator<Item = &Arc<Resource>> {
        self.types
            .get(type_url)
            .into_iter()
            .flat_map(|of_type| of_type.iter())
    }

    /// The types of which there are resources, in sending order.
    pub fn type_urls(&self) -> impl Iterator<Item = &TypeUrl> {
        self.types.keys()
    }

    /// How many resources of a type there are.
    pub fn len(&self, type_url: &TypeUrl) -> usize {
        self.types.get(type_url).map_or(0, |of_type| of_type.len())
    }

    /// Whether there is no resource at all.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The snapshot with only those resources of one type that `granted` names; `None` if that is
    /// all of them. It keeps its id. All others are answered with `error` (xRFC TP3).
    pub(crate) fn with_only(
        &self,
        type_url: &TypeUrl,
        granted: impl Fn(&str) -> bool,
        error: ErrorDetail,
    ) -> Option<Self> {
        if self.iter(type_url).all(|resource| granted(resource.name())) {
            return None;
        }
        let mut rest = self.clone();
        let notes = Arc::make_mut(&mut rest.notes);
        let of_type = notes.entry(type_url.clone()).or_default();
        of_type.error_for_others = Some(Arc::new(error));
        // Not even the error tells of what isn't granted.
        of_type.errors.retain(|name, _| granted(name));
        if let Some(of_type) = rest.types.remove(type_url) {
            let kept = of_type.iter().filter(|resource| granted(resource.name()));
            let kept: Vec<_> = kept.cloned().collect();
            if !kept.is_empty() {
                rest.types
                    .insert(type_url.clone(), Arc::new(OfType::new(kept)));
            }
        }
        Some(rest)
    }

    /// All resources of a type, if there are any.
    pub(crate) fn of_type(&self, type_url: &TypeUrl) -> Option<&Arc<OfType>> {
        self.types.get(type_url)
    }

    /// What this one and another have of a type, if that is all in which they differ.
    pub(crate) fn differs_only_in<'a>(
        &'a self,
        type_url: &TypeUrl,
        other: &'a Self,
    ) -> Option<(&'a Arc<OfType>, &'a Arc<OfType>)> {
        let same = |of: &TypeUrl, mine: &OfType| {
            let theirs = other.of_type(of);
            of == type_url || theirs.is_some_and(|theirs| theirs.digest() == mine.digest())
        };
        let rest = self.types.len() == other.types.len()
            && self.types.iter().all(|(of, mine)| same(of, mine))
            && self.notes == other.notes;
        let (mine, theirs) = (self.of_type(type_url)?, other.of_type(type_url)?);
        (rest && mine.digest() != theirs.digest()).then_some((mine, theirs))
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self
            .types
            .iter()
            .map(|(type_url, of_type)| (type_url, of_type.len()));
        f.debug_struct("Snapshot")
            .field("id", &self.id)
            .field("counts", &counts.collect::<BTreeMap<_, _>>())
            .finish()
    }
}

/// The hash of a list of resources, by their names, versions and times to live.
pub(crate) fn digest<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> u64 {
    let mut hash = Xxh64::new(0);
    for resource in resources {
        let (version, ttl) = resource.stamp();
        hash.update(resource.name().as_bytes());
        hash.update(&[0]);
        hash.update(&version.to_bits().to_le_bytes());
        if resource.is_kept_from_wildcards() {
            hash.update(&[1]);
        }
        hash.update(&ttl.map_or(0, |ttl| ttl.as_nanos()).to_le_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing;

    #[test]
    fn the_id_depends_on_content_and_not_on_order() {
        let build = |order: &[&str]| {
            let mut builder = Snapshot::builder();
            for name in order {
                builder
                    .insert(testing::cluster(name, 1))
                    .insert(testing::assignment(name, 1));
            }
            builder.build().unwrap()
        };
        assert_eq!(build(&["a", "b"]).id(), build(&["b", "a"]).id());
        assert_ne!(build(&["a", "b"]).id(), build(&["a"]).id());
        assert_eq!(build(&["a"]).id().len(), 16);
    }

    #[test]
    fn the_id_changes_with_a_time_to_live() {
        let build = |resource: Resource| {
            let mut builder = Snapshot::builder();
            builder.insert(resource);
            builder.build().unwrap()
        };
        let bare = build(testing::runtime("shift", 5));
        let timed = build(
            testing::runtime("shift", 5)
                .with_ttl(Duration::from_secs(6))
                .unwrap(),
        );
        assert_ne!(bare.id(), timed.id());
    }

    #[test]
    fn duplicates_and_dangling_references_are_all_reported_at_once() {
        let mut builder = Snapshot::builder();
        builder
            .insert(testing::cluster("a", 1))
            .insert(testing::cluster("a", 2))
            .insert(testing::listener("l", "rt"))
            .insert(testing::route("other", "nope"));
        let error = builder.build().unwrap_err();
        assert_eq!(error.problems.len(), 4);
        let text = error.to_string();
        for part in [
            "cds `a` was inserted twice",
            "eds `a`",
            "rds `rt`",
            "cds `nope`",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_cluster_of_the_bootstrap_can_be_referred_to() {
        let mut builder = Snapshot::builder();
        builder
            .insert(testing::route("rt", "local"))
            .assume(TypeUrl::CLUSTER, "local");
        assert_eq!(
            builder.build().unwrap().len(&TypeUrl::ROUTE_CONFIGURATION),
            1
        );
    }
}
