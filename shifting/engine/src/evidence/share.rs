//! Does the canary get the share of requests that was decided? (evidence §4.5)
//!
//! A share far off means that something else decides: stale routes, sidecars that dropped the
//! share, a canary that was ejected, somebody who edits weights.

use serde::{Deserialize, Serialize};

use super::ratios::Ratios;
use super::wealth::{Late, MOST, Wealth};
use crate::units::Ppm;

/// Shares within these multiples of the wanted one are as wanted.
const LOWEST: f64 = 0.8;
const HIGHEST: f64 = 1.25;

/// Alternatives, as multiples of the wanted share.
const TOO_LOW: [f64; 3] = [0.2, 0.4, 0.6];
const TOO_HIGH: [f64; 4] = [1.6, 2.0, 4.0, 10.0];

const _: () = assert!(TOO_LOW.len() + TOO_HIGH.len() < MOST);

/// As good as nothing: an alternative on its own.
const NEXT_TO_NOTHING: f64 = 0.0005;

/// Evidence that the measured share is not the wanted one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareTest {
    wanted: Ppm,
    ratios: Ratios,
    wealth: Wealth,
    canary: u64,
    both: u64,
}

// === impl ShareTest ===

impl ShareTest {
    pub(crate) fn new(wanted: Ppm, horizon: u32) -> Self {
        let part = wanted.fraction();
        let (low, high) = (LOWEST * part, HIGHEST * part);
        // An alternative on the wrong side of its bound is no bet.
        let below = |q: f64| if q < low { (low, q) } else { (low, low) };
        let above = |q: f64| if q > high { (high, q) } else { (high, high) };
        let bets: Vec<(f64, f64)> = std::iter::once(below(NEXT_TO_NOTHING))
            .chain(TOO_LOW.iter().map(|m| below(m * part)))
            .chain(TOO_HIGH.iter().map(|m| above((m * part).min(0.95))))
            .collect();
        Self {
            wanted,
            ratios: Ratios::new(&bets),
            wealth: Wealth::new(bets.len(), Late::Half, horizon),
            canary: 0,
            both: 0,
        }
    }

    /// One tick's requests, as issued.
    pub(crate) fn observe(&mut self, canary: u64, stable: u64) {
        let both = canary.saturating_add(stable);
        if both == 0 {
            return;
        }
        self.canary = self.canary.saturating_add(canary);
        self.both = self.both.saturating_add(both);
        self.wealth.bet(self.ratios.factors(canary, both));
    }

    /// The canary is meant to be the only arm.
    pub(crate) fn wants_everything(&self) -> bool {
        self.wanted == Ppm::WHOLE
    }

    /// Both arms are meant to have requests.
    pub(crate) fn wants_both(&self) -> bool {
        self.wanted != Ppm::ZERO && self.wanted != Ppm::WHOLE
    }

    pub(crate) fn e(&self) -> f64 {
        self.wealth.e()
    }

    /// What was measured since the rung was acknowledged.
    pub(crate) fn measured(&self) -> Ppm {
        Ppm::of(self.canary, self.both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::enough;

    fn ticks_to_fire(wanted: u32, canary: u64, stable: u64) -> Option<usize> {
        let mut test = ShareTest::new(Ppm::new(wanted).unwrap(), 120);
        (1..=600).find(|_| {
            test.observe(canary, stable);
            enough(test.e(), 1000.0)
        })
    }

    #[test]
    fn a_share_twice_or_half_as_wanted_is_found_within_twenty_five_ticks() {
        for canary in [0, 4, 8, 50] {
            let ticks = ticks_to_fire(50_000, canary, 500 - canary);
            assert!(ticks.is_some_and(|t| t <= 25), "{canary}: {ticks:?}");
        }
    }

    #[test]
    fn the_wanted_share_and_its_neighbours_never_fire() {
        for canary in [21, 25, 30] {
            assert_eq!(
                ticks_to_fire(50_000, canary, 500 - canary),
                None,
                "{canary}"
            );
        }
        assert_eq!(ticks_to_fire(1_000_000, 500, 0), None);
        assert_eq!(ticks_to_fire(1_000_000, 450, 50), None);
    }

    #[test]
    fn at_everything_a_fallen_share_fires() {
        assert!(ticks_to_fire(1_000_000, 0, 500).is_some_and(|t| t <= 5));
    }

    #[test]
    fn too_few_requests_prove_nothing() {
        assert_eq!(ticks_to_fire(500, 0, 0), None);
        let mut test = ShareTest::new(Ppm::new(32_000).unwrap(), 120);
        for _ in 0..20 {
            test.observe(0, 4);
        }
        assert!(!enough(test.e(), 1000.0));
    }
}
