//! Why a scenario could not be run to its end.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;

/// What the demo needs from outside may fail in its own ways.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a scenario could not be run to its end. A scenario that ran and ended otherwise than it
/// should is no error, but an [`Outcome`](super::Outcome) that says what differed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No Envoy.
    #[error("{0}")]
    Envoy(#[source] BoxError),
    /// No bootstrap for a sidecar.
    #[error("cannot write the bootstrap of {sidecar}: {source}")]
    Bootstrap {
        /// Its node id.
        sidecar: String,
        /// Why.
        source: BoxError,
    },
    /// A file, a socket, a process.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The live view or the measurements can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// A child ended that should have gone on.
    #[error(
        "{name} ended early ({status}); its last words{}:\n{tail}",
        kept(.log.as_ref())
    )]
    Exited {
        /// Which process.
        name: String,
        /// How it ended.
        status: String,
        /// Its log, if it is kept (`--keep`).
        log: Option<PathBuf>,
        /// The log's end.
        tail: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s ({last}){tail}")]
    Overdue {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
        /// What was seen last.
        last: String,
        /// The ends of the children's logs.
        tail: String,
    },
    /// The control plane refused what the demo asked for.
    #[error("the demo's control plane: {0}")]
    ControlPlane(#[from] ClientError),
    /// The control plane forgot the rollout.
    #[error("the control plane knows no rollout of `{service}` any more")]
    Forgotten {
        /// The service.
        service: String,
    },
    /// Somebody stopped the demo.
    #[error("interrupted by {signal}; everything is cleaned up")]
    Interrupted {
        /// The signal's name.
        signal: &'static str,
        /// Its number.
        number: u8,
    },
}

// === impl DemoError ===

impl DemoError {
    /// For `map_err`: what was tried when the system said no.
    pub(super) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    /// The process' exit code: 128 plus the signal when interrupted, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { number, .. } => 128 + number,
            _ => 1,
        }
    }
}

fn kept(log: Option<&PathBuf>) -> String {
    log.map_or_else(
        || " (--keep keeps all of them)".to_owned(),
        |log| format!(" ({})", log.display()),
    )
}
