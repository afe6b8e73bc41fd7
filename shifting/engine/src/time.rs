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

    /// The time from `earlier` to `self` for a sentence: `6 d 23 h`, `2 h 5 min`, `40 s`.
    pub(crate) fn since_words(self, earlier: Time) -> String {
        let seconds = self.since_ms(earlier).div_ceil(1000);
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
            0 => format!("{large} {unit}"),
            _ => format!("{large} {unit} {small} {small_unit}"),
        };
        match seconds {
            0..60 => format!("{seconds} s"),
            60..3600 => two(minutes, "min", seconds % 60, "s"),
            3600..86_400 => two(hours, "h", minutes % 60, "min"),
            _ => two(hours / 24, "d", hours % 24, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let words = |ms| Time(ms).since_words(Time(0));
        assert_eq!(words(39_001), "40 s");
        assert_eq!(words(125_000), "2 min 5 s");
        assert_eq!(words(7_500_000), "2 h 5 min");
        assert_eq!(words(604_800_000), "7 d");
        assert_eq!(words(604_799_000), "6 d 23 h");
    }
}
