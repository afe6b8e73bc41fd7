//! What a host does with a request. Pure: the draw is an argument.

use std::time::Duration;

/// How the hosts of the new version behave; those of the old one are always healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Answers 200 within 8 ms.
    Healthy,
    /// Half of the answers are 500.
    Errors,
    /// Two thirds of the answers take 600 ms.
    Slow,
    /// Never answers.
    Hang,
    /// The first host that gets a request closes its listener and all its connections.
    Gone,
}

/// What is wrong with how a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Answered 500.
    Failed,
    /// Answered too late for the objective.
    Slow,
    /// Never answered.
    Unanswered,
}

/// What to do with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200 after this time.
    Fine(Duration),
    /// 500 after this time.
    Failed(Duration),
    /// 200, after more time than the objective allows.
    Late(Duration),
    /// Nothing, while the connection stays.
    Never,
    /// Nothing, and the host is gone.
    Leave,
}

/// Time of an answer by a slow host.
pub(super) const SLOW: Duration = Duration::from_millis(600);

// === impl Behaviour ===

impl Behaviour {
    /// The answer to one request; `draw` is uniform over all values.
    pub(super) fn answer(self, draw: u64) -> Answer {
        // Independent parts of the draw: the time, and which way it goes.
        let usual = Duration::from_micros(2_000 + (draw & 0xffff_ffff) % 6_000);
        let side = draw >> 32;
        match self {
            Self::Errors if side.is_multiple_of(2) => Answer::Failed(usual),
            Self::Slow if !side.is_multiple_of(3) => Answer::Late(SLOW),
            Self::Hang => Answer::Never,
            Self::Gone => Answer::Leave,
            Self::Healthy | Self::Errors | Self::Slow => Answer::Fine(usual),
        }
    }
}

impl Answer {
    /// What is wrong with it, if anything.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Fine(_) => None,
            Self::Failed(_) => Some(Fault::Failed),
            Self::Late(_) => Some(Fault::Slow),
            Self::Never | Self::Leave => Some(Fault::Unanswered),
        }
    }
}

/// A small generator of uniform draws (SplitMix64): equal seeds give equal hosts.
#[derive(Debug, Clone)]
pub(super) struct Draws(u64);

// === impl Draws ===

impl Draws {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(behaviour: Behaviour) -> usize {
        let mut draws = Draws::seeded(7);
        (0..10_000)
            .filter(|_| behaviour.answer(draws.next()).fault().is_some())
            .count()
    }

    #[test]
    fn each_behaviour_fails_as_often_as_it_says() {
        assert_eq!(faults(Behaviour::Healthy), 0);
        assert!((4_800..5_200).contains(&faults(Behaviour::Errors)));
        assert!((6_400..6_900).contains(&faults(Behaviour::Slow)));
        assert_eq!(faults(Behaviour::Hang), 10_000);
        assert_eq!(faults(Behaviour::Gone), 10_000);
    }

    #[test]
    fn usual_answers_take_two_to_eight_milliseconds() {
        let mut draws = Draws::seeded(1);
        for _ in 0..10_000 {
            let Answer::Fine(time) = Behaviour::Healthy.answer(draws.next()) else {
                panic!("a healthy host failed");
            };
            assert!((2..8).contains(&time.as_millis()), "{time:?}");
        }
    }
}
