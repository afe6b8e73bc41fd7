//! What the fleet counts.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Counts of all streams of a fleet. Times are nanoseconds since 1970, so that processes of one
/// machine can compare them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// When the last command that starts clients was taken.
    pub started_ns: u64,
    /// Streams that hold everything.
    pub complete: usize,
    /// When each of them did, since the last command.
    pub completed_ns: Vec<u64>,
    /// When each stream got what is expected.
    pub arrivals: Vec<u64>,
    /// Responses.
    pub responses: u64,
    /// Bytes of all responses' messages.
    pub bytes: u64,
    /// Clusters, assignments, listeners.
    pub resources: [u64; 3],
    /// Those that the stream held already, in the very version; by type.
    pub unchanged: [u64; 3],
    /// Names that were told to be removed.
    pub removed: u64,
    /// Streams that were opened, also again.
    pub opened: u64,
    /// Streams that broke.
    pub broken: u64,
    /// Contents that a rejecting client saw, each counted once.
    pub distinct: u64,
    /// Most responses that one content came in.
    pub repeated_max: u64,
    /// Misbehaving streams that are at it.
    pub abusing: usize,
    /// What a server did wrong: the first few, in words.
    pub faults: Vec<String>,
    /// How often it did.
    pub fault_count: u64,
    #[serde(skip)]
    expected: Option<(u32, u32)>,
}

/// Faults that are kept in words.
const FAULTS_KEPT: usize = 5;

// === impl Tally ===

impl Tally {
    pub(super) fn start(&mut self) {
        self.started_ns = now_ns();
        self.completed_ns.clear();
    }

    pub(super) fn expect(&mut self, index: u32, generation: u32) {
        self.expected = Some((index, generation));
        self.arrivals.clear();
    }

    pub(super) fn is_expected(&self, index: u32, generation: u32) -> bool {
        self.expected == Some((index, generation))
    }

    pub(super) fn fault(&mut self, what: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what);
        }
    }
}

/// Now, on the clock that all processes share.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
