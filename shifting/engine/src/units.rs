//! Shares and ratios as whole numbers: parts per million.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Parts per million, 0 to 1,000,000. A share of requests or of sidecars, or an objective.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Ppm(u32);

/// A number above 1,000,000 parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} parts per million is more than the whole (1000000)")]
pub struct AboveWhole(pub u32);

// === impl Ppm ===

impl Ppm {
    /// Nothing.
    pub const ZERO: Ppm = Ppm(0);
    /// Everything.
    pub const WHOLE: Ppm = Ppm(1_000_000);

    /// `parts` per million.
    ///
    /// # Errors
    /// When `parts` is above 1,000,000.
    pub fn new(parts: u32) -> Result<Self, AboveWhole> {
        if parts > Self::WHOLE.0 {
            Err(AboveWhole(parts))
        } else {
            Ok(Self(parts))
        }
    }

    /// `part` of `whole`, rounded down; the whole when `part >= whole`, nothing when `whole` is 0.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::ZERO;
        }
        let parts = u128::from(part.min(whole)) * 1_000_000 / u128::from(whole);
        Self(u32::try_from(parts).unwrap_or(1_000_000))
    }

    /// The parts per million.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// As a fraction of 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1_000_000.0
    }
}

impl TryFrom<u32> for Ppm {
    type Error = AboveWhole;
    fn try_from(parts: u32) -> Result<Self, AboveWhole> {
        Self::new(parts)
    }
}

impl From<Ppm> for u32 {
    fn from(ppm: Ppm) -> u32 {
        ppm.0
    }
}

/// As a percentage with no trailing zeros: `5%`, `3.2258%`, `0.05%`.
impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_percentages_without_trailing_zeros() {
        assert_eq!(Ppm(50_000).to_string(), "5%");
        assert_eq!(Ppm(32_258).to_string(), "3.2258%");
        assert_eq!(Ppm(500).to_string(), "0.05%");
        assert_eq!(Ppm::WHOLE.to_string(), "100%");
    }

    #[test]
    fn a_share_never_passes_the_whole() {
        assert_eq!(Ppm::of(7, 3), Ppm::WHOLE);
        assert_eq!(Ppm::of(1, 0), Ppm::ZERO);
        assert_eq!(Ppm::of(1, 31), Ppm(32_258));
        assert_eq!(Ppm::new(1_000_001), Err(AboveWhole(1_000_001)));
    }
}
