//! Makes a view of single resources, if they fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::problem::{SnapshotError, SnapshotProblem, beside_errors, dangling, taken_aliases};
use super::{OfType, Snapshot, Types};
use crate::error_detail::ErrorDetail;
use crate::limits::{NAME_BYTES_MAX, VERSION_BYTES_MAX};
use crate::notes::Notes;
use crate::resource::{Name, Resource, TypeUrl, xdstp};

/// Collects resources for a [`Snapshot`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    /// As they came; they are put in order once, and are so as a rule.
    resources: ByType,
    elsewhere: BTreeSet<(TypeUrl, Name)>,
    notes: Notes,
    problems: Vec<SnapshotProblem>,
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
        add(&mut self.resources, resource.into());
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
        let (resources, mut problems) = in_order(self.resources);
        problems.extend(self.problems);
        let of_type = |(type_url, resources)| (type_url, Arc::new(OfType::new(resources)));
        let types: Types = resources.into_iter().map(of_type).collect();
        problems.extend(beside_errors(&types, &self.notes));
        problems.extend(taken_aliases(&types));
        for resource in types.values().flat_map(|of_type| of_type.iter()) {
            let elsewhere = |to: &(TypeUrl, &Name)| {
                let to = (to.0.clone(), to.1.clone());
                self.elsewhere.contains(&to)
            };
            problems.extend(dangling(resource, &types, elsewhere));
        }
        if problems.is_empty() {
            Ok(Snapshot::of(types, self.notes))
        } else {
            Err(SnapshotError { problems })
        }
    }
}

/// Adds one behind those of its type.
pub(super) fn add(resources: &mut ByType, resource: Arc<Resource>) {
    match resources.get_mut(resource.type_url()) {
        Some(of_type) => of_type.push(resource),
        None => {
            let type_url = resource.type_url().clone();
            resources.insert(type_url, vec![resource]);
        }
    }
}

/// Resources by type.
pub(super) type ByType = BTreeMap<TypeUrl, Vec<Arc<Resource>>>;

/// The same, of each type in the order of names and each once, and which came twice.
pub(super) fn in_order(mut resources: ByType) -> (ByType, Vec<SnapshotProblem>) {
    let mut duplicates = Vec::new();
    for (type_url, of_type) in &mut resources {
        of_type.sort_by(|one, other| one.name().cmp(other.name()));
        of_type.dedup_by(|later, first| {
            let twice = later.name() == first.name();
            if twice {
                duplicates.push(SnapshotProblem::Duplicate {
                    type_url: type_url.clone(),
                    name: later.name().to_string(),
                });
            }
            twice
        });
    }
    (resources, duplicates)
}
