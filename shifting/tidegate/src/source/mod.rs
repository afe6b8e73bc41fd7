//! Where meshes come from.

mod directory;
mod watch;

pub use directory::{MeshDirectory, SourceError};
pub use watch::{watch, watch_flat};
