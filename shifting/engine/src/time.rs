//! The engine's time: milliseconds that only go forward, handed in by the program.

use serde::{Deserialize, Serialize};

/// A point in the engine's time, in milliseconds since the journal began.
///
/// It is monotonic within a run of the program; across restarts the program continues it from
/// the journal's last record plus the outage it measured. Decisions depend on nothing else
/// (invariant S20); the wall clock is for display.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

// === impl Time ===

impl Time {
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}
