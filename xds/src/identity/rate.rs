//! How fast new streams are let in.

use std::time::{Duration, Instant};

/// A queue without a queue: each newcomer is told how long to wait for its turn. Pure.
#[derive(Debug)]
pub(super) struct Rate {
    every: Duration,
    burst: Duration,
    patience: Duration,
    /// When the next turn would be if all came evenly.
    next: Option<Instant>,
}

// === impl Rate ===

impl Rate {
    /// `per_second` turns on average, `burst` of them at once; who would have to wait longer than
    /// `patience` is turned away.
    pub(super) fn new(per_second: u32, burst: u32, patience: Duration) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self {
            every,
            burst: every * burst.saturating_sub(1),
            patience,
            next: None,
        }
    }

    /// How long to wait for the next turn, which is taken; `None` if it would be too long.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        let next = self.next.map_or(now, |next| next.max(now));
        let wait = next
            .saturating_duration_since(now)
            .saturating_sub(self.burst);
        if wait > self.patience {
            return None;
        }
        self.next = Some(next + self.every);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_the_rest_waits_its_turn_and_too_many_are_turned_away() {
        let now = Instant::now();
        let mut rate = Rate::new(10, 3, Duration::from_millis(200));
        let waits: Vec<_> = (0..6).map(|_| rate.turn(now)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(0), ms(0), ms(0), ms(100), ms(200), None]);
        // Who was turned away took no turn.
        assert_eq!(rate.turn(now + Duration::from_millis(100)), ms(200));
        let later = now + Duration::from_secs(10);
        assert_eq!(rate.turn(later), ms(0));
    }

    #[test]
    fn five_thousand_streams_return_within_ten_seconds() {
        use crate::limits::{ADMISSION_PATIENCE, NEW_STREAMS_BURST, NEW_STREAMS_PER_SECOND};
        let now = Instant::now();
        let mut rate = Rate::new(
            NEW_STREAMS_PER_SECOND,
            NEW_STREAMS_BURST,
            ADMISSION_PATIENCE,
        );
        let last = (0..5_000).map(|_| rate.turn(now).unwrap()).max();
        assert!(last.unwrap() < Duration::from_secs(10));
    }
}
