//! An xDS server library: gives any xDS client the view it should have, and tells what it really
//! has.
//!
//! ```text
//!  Resource ─► Snapshot ─► Session (one per stream, no I/O) ─► gRPC
//!                             │
//!                             └─► Delivery: wanted, acknowledged, rejected, held back
//! ```

#[cfg(feature = "config")]
pub mod config;
pub mod delivery;
mod error_detail;
mod guard;
pub mod identity;
pub mod limits;
mod notes;
pub mod report;
mod resource;
mod saved;
pub mod server;
mod snapshot;
pub mod stream;
mod wire;

pub use delivery::{Delivery, Rejection, ResourceStatus, SentCounts, Suspicion, SuspicionKind};
pub use error_detail::{BadErrorDetail, ErrorDetail};
pub use guard::{Guard, Loss, TooMuchLost};
pub use resource::{Name, References, Resource, ResourceError, TypeUrl, Version};
pub use saved::LoadError;
pub use server::{
    Assign, Client, ClientKind, ClientStatus, Refused, Server, Settings, incoming, transport,
};
pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError, SnapshotProblem};

#[cfg(test)]
mod testing;
