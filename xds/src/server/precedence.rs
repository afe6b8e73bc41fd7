//! Pushes to open streams go before what newcomers and rejections cost.
//!
//! A runtime takes tasks one after another, those that its threads wake before those that somebody
//! else does, and a newcomer's first answer takes as long as the push to a hundred streams. So as soon
//! as any stream has its turn with a new view, all work that may wait does, until no more of them
//! follow. Pushes without end don't keep it out: on average half of the time is left to it. Pure: time
//! is an argument.

use std::time::{Duration, Instant};

use crate::limits::{PRECEDENCE_BURST, PUSH_PAUSE_MAX};

/// Who goes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Precedence {
    /// Until when others wait.
    until: Option<Instant>,
    /// When what they waited so far, and as long again for themselves, would be over.
    even: Option<Instant>,
}

// === impl Precedence ===

impl Precedence {
    /// An open stream takes in a new view: others are likely to follow at once.
    pub(super) fn push(&mut self, now: Instant) {
        let end = now + PUSH_PAUSE_MAX;
        let from = self.until.map_or(now, |until| until.clamp(now, end));
        let even = self.even.map_or(now, |even| even.max(now)) + (end - from) * 2;
        if even - now <= PRECEDENCE_BURST * 2 {
            self.until = Some(end);
            self.even = Some(even);
        }
    }

    /// How long others have to wait from now on, unless more is pushed meanwhile.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.until?.checked_duration_since(now)?;
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(100);

    /// How long others wait in all beside pushes at these times, in steps.
    fn waited(begin: Instant, steps: u32, pushes: impl Fn(u32) -> bool) -> Duration {
        let mut precedence = Precedence::default();
        let waits = (0..steps).filter(|step| {
            let now = begin + STEP * *step;
            if pushes(*step) {
                precedence.push(now);
            }
            precedence.wait(now).is_some()
        });
        STEP * u32::try_from(waits.count()).unwrap()
    }

    #[test]
    fn others_wait_until_a_push_is_over_and_not_without_one() {
        let begin = Instant::now();
        assert_eq!(waited(begin, 1_000, |_| false), Duration::ZERO);
        // A stream each millisecond for 20 ms.
        let push = |step| step < 200 && step % 10 == 0;
        let last = STEP * 190;
        assert_eq!(waited(begin, 1_000, push), last + PUSH_PAUSE_MAX);
    }

    #[test]
    fn a_pause_within_a_push_lets_others_go_on() {
        let begin = Instant::now();
        let mut precedence = Precedence::default();
        precedence.push(begin);
        let half = PUSH_PAUSE_MAX / 2;
        assert_eq!(precedence.wait(begin + half), Some(half));
        assert_eq!(precedence.wait(begin + PUSH_PAUSE_MAX), None);
        precedence.push(begin + PUSH_PAUSE_MAX * 3);
        assert_eq!(
            precedence.wait(begin + PUSH_PAUSE_MAX * 3),
            Some(PUSH_PAUSE_MAX)
        );
    }

    #[test]
    fn pushes_without_end_leave_others_half_of_the_time() {
        let begin = Instant::now();
        let steps = 100_000;
        let waited = waited(begin, steps, |_| true);
        let half = STEP * steps / 2;
        assert!(waited >= half, "{waited:?}");
        assert!(
            waited <= half + PRECEDENCE_BURST + PUSH_PAUSE_MAX,
            "{waited:?}"
        );
    }
}
