//! Why resources make no view.

use super::Types;
use crate::limits::VERSION_BYTES_MAX;
use crate::notes::{self, Notes};
use crate::resource::{Name, Resource, TypeUrl};

/// Everything that is wrong with a set of resources, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot is refused: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SnapshotError {
    /// What is wrong, kind by kind in the order of [`SnapshotProblem`]s, each in that of types and
    /// names; what a builder was given and can't be, in the order in which it was.
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
    /// An error stands in the place of one name; `*` has none (xRFC TP3).
    #[error("no error can stand in the place of {type_url} `{name:.60}`; it isn't a name")]
    BadErrorName {
        /// The type.
        type_url: TypeUrl,
        /// What was given for a name.
        name: String,
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
    /// What changes must not go by the version of what was: gauges would prove it before it is in
    /// force.
    #[error(
        "{type_url} has the version `{version:.60}` of your own, which its new resources can't keep; \
         build the snapshot anew, with another version"
    )]
    VersionKept {
        /// The type.
        type_url: TypeUrl,
        /// The version.
        version: String,
    },
    /// A name can't have a resource and an error (xRFC TP3).
    #[error("{type_url} `{name}` has a resource and an error in its place; keep one")]
    ErrorAndResource {
        /// The type.
        type_url: TypeUrl,
        /// The name.
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
}

/// The resources in whose place an error stands.
pub(super) fn beside_errors(types: &Types, notes: &Notes) -> impl Iterator<Item = SnapshotProblem> {
    notes.iter().flat_map(|(type_url, notes)| {
        let of_type = types.get(type_url).into_iter();
        let taken = of_type.flat_map(|of_type| notes.errors.keys().filter(|it| of_type.has(it)));
        taken.map(|name| SnapshotProblem::ErrorAndResource {
            type_url: type_url.clone(),
            name: name.to_string(),
        })
    })
}

/// What goes by a name that another one has.
pub(super) fn taken_aliases(types: &Types) -> impl Iterator<Item = SnapshotProblem> {
    let (aliases, mut twice) = notes::aliases(types);
    for (type_url, aliases) in aliases {
        let of_type = types.get(&type_url);
        let taken = |alias: &Name| of_type.is_some_and(|of_type| of_type.has(alias));
        let taken = aliases.into_keys().filter(taken);
        twice.extend(taken.map(|alias| (type_url.clone(), alias)));
    }
    twice.into_iter().map(|(type_url, alias)| {
        let alias = alias.to_string();
        SnapshotProblem::AliasTaken { type_url, alias }
    })
}

/// What a resource refers to and none of the types has, unless it is `sound` all the same.
pub(super) fn dangling(
    resource: &Resource,
    types: &Types,
    sound: impl Fn(&(TypeUrl, &Name)) -> bool,
) -> impl Iterator<Item = SnapshotProblem> {
    let nowhere = move |to: &(TypeUrl, &Name)| {
        let of_type = types.get(&to.0);
        !of_type.is_some_and(|of_type| of_type.has(to.1)) && !sound(to)
    };
    let problem = |(to_type, to): (TypeUrl, &Name)| SnapshotProblem::Dangling {
        from_type: resource.type_url().clone(),
        from: resource.name().to_string(),
        to_type,
        to: to.to_string(),
    };
    led_to(resource).filter(nowhere).map(problem)
}

/// What a resource refers to.
fn led_to(resource: &Resource) -> impl Iterator<Item = (TypeUrl, &Name)> {
    let references = resource.references();
    let clusters = references.clusters.iter();
    let routes = references.routes.iter();
    let assignment = references.assignment.iter();
    let clusters = clusters.map(|name| (TypeUrl::CLUSTER, name));
    let routes = routes.map(|name| (TypeUrl::ROUTE_CONFIGURATION, name));
    let assignment = assignment.map(|name| (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name));
    clusters.chain(routes).chain(assignment)
}
