//! An immutable, closed set of resources: what one client, or many, should have.
//!
//! A snapshot can be built only if every reference leads somewhere, because Envoy accepts a route
//! to a cluster that doesn't exist and answers its requests with 503 (envoy facts §3). Its id is a
//! hash of its content, equal on every replica and after every restart.

mod of_type;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

pub(crate) use of_type::{Change, OfType, Referrers};
pub(crate) use whole::Whole;

use crate::error_detail::ErrorDetail;
use crate::limits::{NAME_BYTES_MAX, VERSION_BYTES_MAX};
use crate::notes::{self, Notes};
use crate::resource::{Name, Resource, TypeUrl, xdstp};

/// An immutable, referentially closed set of resources.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    types: BTreeMap<TypeUrl, Arc<OfType>>,
    notes: Arc<Notes>,
    id: Arc<str>,
}

/// Collects resources for a [`Snapshot`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    /// As they came: the maps are made once, of what is in order as a rule.
    resources: BTreeMap<TypeUrl, Vec<Arc<Resource>>>,
    elsewhere: BTreeSet<(TypeUrl, Name)>,
    notes: Notes,
    problems: Vec<SnapshotProblem>,
}

/// Resources by type and name.
type ByName = BTreeMap<TypeUrl, BTreeMap<Name, Arc<Resource>>>;

/// Everything that is wrong with a set of resources, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot is refused: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SnapshotError {
    /// What is wrong, in the order of types and names; duplicates first.
    pub problems: Vec<SnapshotProblem>,
}

/// One thing that is wrong with a set of resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotProblem {
    /// The name was given twice.
    #[error("{type_url} `{name}` was inserted twice; keep one")]
    Duplicate {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
    },
    /// A reference leads nowhere.
    #[error(
        "{from_type} `{from}` refers to {to_type} `{to}`, which is not in the snapshot; \
         insert it, or declare that the client has it from its bootstrap"
    )]
    Dangling {
        /// The type of the resource that refers.
        from_type: TypeUrl,
        /// The resource that refers.
        from: String,
        /// The type of the resource that is missing.
        to_type: TypeUrl,
        /// The resource that is missing.
        to: String,
    },
    /// A name can't have a resource and an error (xRFC TP3).
    #[error("{type_url} `{name}` has a resource and an error in its place; keep one")]
    ErrorAndResource {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
    },
    /// An error stands in the place of one name; `*` has none (xRFC TP3).
    #[error("no error can stand in the place of {type_url} `{name:.60}`; it isn't a name")]
    BadErrorName {
        /// The type.
        type_url: TypeUrl,
        /// What was given for a name.
        name: String,
    },
    /// Two resources would go by one name (rule D14).
    #[error("two resources go by {type_url} `{alias}`; drop it from one of them")]
    AliasTaken {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        alias: String,
    },
    /// A version must say something, and is shown and compared.
    #[error(
        "{type_url} can't have the version `{version:.60}`; a version has 1 to {VERSION_BYTES_MAX} bytes"
    )]
    BadVersion {
        /// The type.
        type_url: TypeUrl,
        /// The version.
        version: String,
    },
}

// === impl SnapshotBuilder ===

impl SnapshotBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource; pass an [`Arc`] to share one between snapshots. A duplicate is reported by
    /// [`build`](Self::build).
    pub fn insert(&mut self, resource: impl Into<Arc<Resource>>) -> &mut Self {
        let resource = resource.into();
        match self.resources.get_mut(resource.type_url()) {
            Some(of_type) => of_type.push(resource),
            None => {
                let type_url = resource.type_url().clone();
                self.resources.insert(type_url, vec![resource]);
            }
        }
        self
    }

    /// Declares that clients have this resource from elsewhere, as a rule from their bootstrap,
    /// so that references to it are sound.
    pub fn assume(&mut self, type_url: TypeUrl, name: &str) -> &mut Self {
        self.elsewhere.insert((type_url, Arc::from(name)));
        self
    }

    /// Puts an error in the place of a resource (xRFC TP3). Clients that ask for the name, or for a
    /// collection that it is in, are told once; Envoys, which don't read errors, are told over delta
    /// that it doesn't exist. With a [passing](ErrorDetail::is_transient) error, who has the
    /// resource keeps it.
    pub fn error(&mut self, type_url: TypeUrl, name: &str, error: ErrorDetail) -> &mut Self {
        if name.is_empty() || name == "*" || name.len() > NAME_BYTES_MAX {
            let name = name.to_owned();
            self.problems
                .push(SnapshotProblem::BadErrorName { type_url, name });
            return self;
        }
        let errors = &mut self.notes.entry(type_url).or_default().errors;
        errors.insert(Arc::from(&*xdstp::normal(name)), Arc::new(error));
        self
    }

    /// Puts an error in the place of every name of a type that is not in the snapshot. A gRPC client
    /// whose bootstrap names the server feature `resource_timer_is_transient_error` relies on
    /// `NOT_FOUND` being told so (gRFC A88).
    pub fn error_for_others(&mut self, type_url: TypeUrl, error: ErrorDetail) -> &mut Self {
        let notes = self.notes.entry(type_url).or_default();
        notes.error_for_others = Some(Arc::new(error));
        self
    }

    /// Gives all of a type a version of the embedder's own, as go-control-plane's snapshots have:
    /// it is `version_info` of state-of-the-world responses that hold all that the client should
    /// have of the type, and `system_version_info` of incremental ones.
    ///
    /// Nothing is decided by it: what changed is found by the resources, and a client that comes
    /// back over state of the world is answered even if it names the very version.
    pub fn version(&mut self, type_url: TypeUrl, version: &str) -> &mut Self {
        if version.is_empty() || version.len() > VERSION_BYTES_MAX {
            let version = version.to_owned();
            self.problems
                .push(SnapshotProblem::BadVersion { type_url, version });
            return self;
        }
        self.notes.entry(type_url).or_default().version = Some(Arc::from(version));
        self
    }

    /// The snapshot, or everything that is wrong.
    ///
    /// # Errors
    /// If a name was inserted twice or a reference (route or virtual host to cluster, listener to
    /// route or cluster, cluster to assignment) leads nowhere; if an error, an alias or a version
    /// can't be what it is.
    pub fn build(self) -> Result<Snapshot, SnapshotError> {
        let (resources, mut problems) = by_name(self.resources);
        problems.extend(self.problems);
        let exists = |type_url: &TypeUrl, name: &Name| {
            let of_type = resources.get(type_url);
            of_type.is_some_and(|of_type| of_type.contains_key(name))
        };
        for (type_url, notes) in &self.notes {
            let taken = |name: &&Name| exists(type_url, name);
            for name in notes.errors.keys().filter(taken) {
                problems.push(SnapshotProblem::ErrorAndResource {
                    type_url: type_url.clone(),
                    name: name.to_string(),
                });
            }
        }
        let all = resources.values().flat_map(BTreeMap::values);
        let (aliases, mut twice) = notes::aliases(all.clone());
        for (type_url, aliases) in &aliases {
            let names = aliases
                .keys()
                .map(|alias| (type_url.clone(), alias.clone()));
            twice.extend(names.filter(|(type_url, alias)| exists(type_url, alias)));
        }
        problems.extend(twice.into_iter().map(|(type_url, alias)| {
            let alias = alias.to_string();
            SnapshotProblem::AliasTaken { type_url, alias }
        }));
        for resource in all {
            let references = resource.references();
            let clusters = references
                .clusters
                .iter()
                .map(|name| (TypeUrl::CLUSTER, name));
            let routes = references
                .routes
                .iter()
                .map(|name| (TypeUrl::ROUTE_CONFIGURATION, name));
            let assignment = references
                .assignment
                .iter()
                .map(|name| (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name));
            for (to_type, to) in clusters.chain(routes).chain(assignment) {
                let elsewhere = || self.elsewhere.contains(&(to_type.clone(), to.clone()));
                if !exists(&to_type, to) && !elsewhere() {
                    problems.push(SnapshotProblem::Dangling {
                        from_type: resource.type_url().clone(),
                        from: resource.name().to_string(),
                        to_type,
                        to: to.to_string(),
                    });
                }
            }
        }
        if problems.is_empty() {
            Ok(Snapshot::of(resources, self.notes))
        } else {
            Err(SnapshotError { problems })
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// An empty builder.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::new()
    }

    pub(crate) fn of(resources: ByName, mut notes: Notes) -> Self {
        let all = resources.values().flat_map(BTreeMap::values);
        for (type_url, aliases) in notes::aliases(all).0 {
            notes.entry(type_url).or_default().aliases = aliases;
        }
        notes.retain(|_, notes| !notes.is_empty());
        let mut whole = Xxh64::new(0);
        let mut types = BTreeMap::new();
        for (type_url, by_name) in resources {
            let of_type = OfType::new(by_name);
            whole.update(type_url.as_str().as_bytes());
            whole.update(&[0]);
            whole.update(&of_type.digest().to_le_bytes());
            types.insert(type_url, Arc::new(of_type));
        }
        for (type_url, notes) in &notes {
            whole.update(type_url.as_str().as_bytes());
            whole.update(&[1]);
            whole.update(&notes.digest().to_le_bytes());
        }
        let id = Arc::from(format!("{:016x}", whole.digest()));
        let notes = Arc::new(notes);
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
            let kept: BTreeMap<_, _> = kept
                .map(|resource| (resource.name().clone(), resource.clone()))
                .collect();
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

/// Resources by type and name, and which names came twice.
fn by_name(resources: BTreeMap<TypeUrl, Vec<Arc<Resource>>>) -> (ByName, Vec<SnapshotProblem>) {
    let mut duplicates = Vec::new();
    let of_type = |(type_url, mut resources): (TypeUrl, Vec<Arc<Resource>>)| {
        resources.sort_by(|one, other| one.name().cmp(other.name()));
        resources.dedup_by(|later, first| {
            let twice = later.name() == first.name();
            if twice {
                duplicates.push(SnapshotProblem::Duplicate {
                    type_url: type_url.clone(),
                    name: later.name().to_string(),
                });
            }
            twice
        });
        let named = resources.into_iter();
        let named = named.map(|resource| (resource.name().clone(), resource));
        (type_url, named.collect())
    };
    let resources = resources.into_iter().map(of_type).collect();
    (resources, duplicates)
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
