//! What the benchmark tells the fleet's process, and what it answers: JSON, one a line.

use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Incremental.
    Delta,
    /// State of the world.
    Sotw,
}

/// What clients ask for besides clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asks {
    /// Nothing.
    ClustersOnly,
    /// Each cluster's assignment, by name.
    Assignments,
    /// These, and then all listeners.
    Listeners,
}

/// How a client misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Subscribes to everything, and then reads nothing.
    NeverRead,
    /// Rejects every response.
    Reject,
    /// Sends requests of 10 MiB.
    Huge,
    /// Comes and goes.
    Churn,
}

/// Something for the fleet to do. Every command is answered by one [`Answer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Command {
    /// Opens streams, which stay and come back when they break, and answers once all of them hold
    /// everything.
    Open {
        /// How many.
        streams: u32,
        /// The number of the first, from which its node id is made.
        first: u32,
        /// What they ask for.
        asks: Asks,
        /// After which the answer is given anyway.
        patience_s: u32,
    },
    /// From now on, notes when each stream gets this generation of an assignment.
    Expect {
        /// The assignment.
        index: u32,
        /// Its generation.
        generation: u32,
    },
    /// Answers once that many streams have what is expected.
    Arrivals {
        /// How many.
        streams: usize,
        /// After which the answer is given anyway.
        patience_s: u32,
    },
    /// Answers at once.
    Totals,
    /// Closes all streams and forgets all counts.
    Close,
    /// Opens streams and closes each once it holds everything.
    Churn {
        /// How many in all.
        cycles: u32,
        /// How many at a time.
        at_once: u32,
        /// Of how many node ids.
        ids: u32,
    },
    /// One client that rejects every response with the same words.
    Reject {
        /// Its protocol.
        variant: Variant,
        /// For how long.
        seconds: u32,
    },
    /// Streams that misbehave until they are closed.
    Abuse {
        /// How.
        manner: Manner,
        /// How many.
        streams: u32,
    },
}

/// What the fleet has counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Whether what was waited for came in time.
    pub reached: bool,
    /// The counts.
    pub tally: Tally,
}

// === impl Answer ===

impl Answer {
    pub(super) fn of(tally: &Tally, reached: bool) -> Self {
        Self {
            reached,
            tally: tally.clone(),
        }
    }
}
