//! One time base for everything the demo measures.

use std::time::{Duration, Instant};

/// Counts microseconds since the scenario was set up. Copies count alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Instant,
}

// === impl Clock ===

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    pub(super) fn now_us(self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment `us` microseconds after the epoch, for timers.
    pub(super) fn at(self, us: u64) -> tokio::time::Instant {
        (self.epoch + Duration::from_micros(us)).into()
    }
}
