//! The one place where the program reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_engine::time::Time;

/// Continues the engine's time: monotonic within a run, carried over restarts by the journal.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    offset: Time,
}

// === impl Clock ===

impl Clock {
    /// A clock that reads `offset` now.
    #[must_use]
    pub fn starting_at(offset: Time) -> Self {
        Self {
            started: Instant::now(),
            offset,
        }
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The engine's time at `instant`; instants before the start read as the start.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Time {
        self.offset
            .plus_ms(millis(instant.saturating_duration_since(self.started)))
    }
}

/// Milliseconds since 1970, for display and to measure an outage across restarts.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// Whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
