//! What the brain refuses or fails to do, in sentences for operators.

use tidegate_engine::rollout::Refusal;

use super::views::ViewError;
use crate::journal::JournalError;
use crate::source::SourceError;

/// Why the brain refused or failed to do something.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The mesh gives no valid views.
    #[error("the mesh is refused, the one in force stays: {0}")]
    Views(#[from] ViewError),
    /// The mesh could not be read.
    #[error("the mesh on disk is refused, the one in force stays: {0}")]
    Source(#[from] SourceError),
    /// The event could not be made durable, so nothing was done.
    #[error("the journal cannot be written, so no step is taken: {0}")]
    Journal(#[from] JournalError),
    /// An abort could not be made durable; lowering an exposure does not wait for that.
    #[error(
        "the canary is taken back (unless it is being committed), but that cannot be recorded: \
         {0}; this program records the abort as soon as it can, if it is not restarted before"
    )]
    Unrecorded(JournalError),
    /// The journal cannot be read: what was served last is served, nothing is decided.
    #[error("frozen, nothing is decided: {0}")]
    Frozen(String),
    /// The control plane is stopping.
    #[error("the control plane is stopping")]
    Stopping,
}

// === impl CommandError ===

impl CommandError {
    /// The bare reason, for where it is clear that a mesh was refused.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Refused(Refusal::Guard(violation)) => violation.to_string(),
            Self::Views(error) => error.to_string(),
            Self::Source(error) => error.to_string(),
            other => other.to_string(),
        }
    }
}

/// Why the brain could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A record of the journal does not follow from those before it.
    #[error(
        "record {revision} of the journal is refused by this program ({refusal}); \
         it was written by another version or changed by hand; \
         start with the program that wrote it, or with an empty --data directory"
    )]
    Replay {
        /// Which record.
        revision: u64,
        /// Why.
        refusal: Refusal,
    },
    /// There is neither a valid mesh on disk nor one in the journal.
    #[error("{0}")]
    NoMesh(CommandError),
    /// Something failed that must not fail at start.
    #[error(transparent)]
    Command(CommandError),
    /// The thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
