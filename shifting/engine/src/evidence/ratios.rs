//! Likelihood ratios of several rates to others, made ready: a tick needs no logarithm.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bits;

/// For each alternative, what a bad and a good request add to the logarithm of the likelihood
/// ratio of its rate to the null's. The same for all copies of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    #[serde(with = "bits")]
    bad: Arc<[f64]>,
    #[serde(with = "bits")]
    good: Arc<[f64]>,
}

// === impl Ratios ===

impl Ratios {
    /// From pairs of a null's rate and an alternative's. Where the two cannot be told apart in
    /// order, requests add nothing.
    pub(crate) fn new(rates: &[(f64, f64)]) -> Self {
        let log = |ratio: fn(f64, f64) -> f64| {
            rates
                .iter()
                .map(|(p, q)| {
                    if proper(*p, *q) {
                        ratio(*p, *q).ln()
                    } else {
                        0.0
                    }
                })
                .collect()
        };
        Self {
            bad: log(|p, q| q / p),
            good: log(|p, q| (1.0 - q) / (1.0 - p)),
        }
    }

    /// Alternatives.
    pub(crate) fn len(&self) -> usize {
        self.bad.len()
    }

    /// Logarithms of the ratios after `bad` of `requests`.
    #[allow(clippy::cast_precision_loss, reason = "requests of a second")]
    pub(crate) fn log_factors(&self, bad: u64, requests: u64) -> impl Iterator<Item = f64> + '_ {
        let good = requests.saturating_sub(bad) as f64;
        let bad = bad as f64;
        let each = self.bad.iter().zip(self.good.iter());
        each.map(move |(of_bad, of_good)| bad * of_bad + good * of_good)
    }
}

fn proper(p: f64, q: f64) -> bool {
    let inside = |rate: f64| rate > 0.0 && rate < 1.0;
    inside(p) && inside(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ratio_has_mean_one_under_the_null() {
        let (p, n) = (0.01, 40_u64);
        let ratios = Ratios::new(&[(p, 0.02), (p, 0.3)]);
        for place in 0..ratios.len() {
            let mut choose = 1.0;
            let mut mean = 0.0;
            for bad in 0..=n {
                let chance = choose * p.powi(bad as i32) * (1.0 - p).powi((n - bad) as i32);
                mean += chance * ratios.log_factors(bad, n).nth(place).unwrap().exp();
                choose *= (n - bad) as f64 / (bad + 1) as f64;
            }
            assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        }
    }

    #[test]
    fn rates_that_are_none_add_nothing() {
        let ratios = Ratios::new(&[(0.0, 0.5), (0.5, 1.0), (1.0, 0.5)]);
        assert!(ratios.log_factors(3, 5).all(|factor| factor == 0.0));
    }
}
