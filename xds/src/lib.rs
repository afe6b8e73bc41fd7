//! An xDS server library: gives any xDS client the view it should have, and tells what it really
//! has.

pub mod limits;
mod resource;
mod snapshot;

pub use resource::{Name, References, Resource, ResourceError, TypeUrl, Version};
pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError, SnapshotProblem};

#[cfg(test)]
mod testing;
