//! Likelihood ratios of several rates to others, made ready: a tick needs no logarithm.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bits;
use super::exponential::exp;
use super::wealth::MOST;

/// Counts up to these are raised to by multiplying: a handful of products for all alternatives at
/// once, and far from overflow. Larger ones take an exponential each.
const BAD_MAX: u64 = 64;
const GOOD_MAX: u64 = 256;

/// For each alternative, by what a bad and a good request multiply the likelihood ratio of its rate
/// to the null's, and the logarithms of that. The same for all copies of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Ratios(Arc<Tables>);

#[derive(Debug, PartialEq)]
struct Tables {
    stored: Stored,
    bad: Powers,
    good: Powers,
}

/// What of it is stored; the rest follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    #[serde(with = "bits")]
    bad: Vec<f64>,
    #[serde(with = "bits")]
    good: Vec<f64>,
    #[serde(with = "bits")]
    ln_bad: Vec<f64>,
    #[serde(with = "bits")]
    ln_good: Vec<f64>,
}

/// Each base to the powers 1, 2, 4, and so on.
#[derive(Debug, PartialEq)]
struct Powers(Vec<[f64; MOST]>);

// === impl Ratios ===

impl Ratios {
    /// From pairs of a null's rate and an alternative's, at most [`MOST`]. Where the two cannot be
    /// told apart in order, requests add nothing.
    pub(crate) fn new(rates: &[(f64, f64)]) -> Self {
        let each = |ratio: fn(f64, f64) -> f64| -> Vec<f64> {
            rates
                .iter()
                .map(|(p, q)| if proper(*p, *q) { ratio(*p, *q) } else { 1.0 })
                .collect()
        };
        let (bad, good) = (each(|p, q| q / p), each(|p, q| (1.0 - q) / (1.0 - p)));
        let ln = |ratios: &[f64]| ratios.iter().map(|ratio| ratio.ln()).collect();
        Self::from(Stored {
            ln_bad: ln(&bad),
            ln_good: ln(&good),
            bad,
            good,
        })
    }

    /// Alternatives.
    pub(crate) fn len(&self) -> usize {
        self.0.stored.bad.len()
    }

    /// The ratios after `bad` of `requests`; those beyond [`Self::len`] mean nothing.
    pub(crate) fn factors(&self, bad: u64, requests: u64) -> [f64; MOST] {
        let good = requests.saturating_sub(bad);
        let mut factors = [1.0; MOST];
        if bad <= BAD_MAX && good <= GOOD_MAX {
            self.0.good.multiply(&mut factors, good);
            self.0.bad.multiply(&mut factors, bad);
        } else {
            let logs = self.log_factors(bad, good);
            for (factor, log) in factors.iter_mut().zip(logs) {
                *factor = exp(log);
            }
        }
        factors
    }

    #[allow(clippy::cast_precision_loss, reason = "requests of a second")]
    fn log_factors(&self, bad: u64, good: u64) -> impl Iterator<Item = f64> + '_ {
        let (bad, good) = (bad as f64, good as f64);
        let each = self.0.stored.ln_bad.iter().zip(&self.0.stored.ln_good);
        each.map(move |(of_bad, of_good)| bad * of_bad + good * of_good)
    }
}

impl From<Stored> for Ratios {
    fn from(stored: Stored) -> Self {
        Self(Arc::new(Tables {
            bad: Powers::up_to(BAD_MAX, &stored.bad),
            good: Powers::up_to(GOOD_MAX, &stored.good),
            stored,
        }))
    }
}

impl From<Ratios> for Stored {
    fn from(ratios: Ratios) -> Self {
        ratios.0.stored.clone()
    }
}

// === impl Powers ===

impl Powers {
    /// Enough of them for every power up to `most`.
    fn up_to(most: u64, bases: &[f64]) -> Self {
        let mut square = [1.0; MOST];
        for (square, base) in square.iter_mut().zip(bases) {
            *square = *base;
        }
        let squares = std::iter::successors(Some(square), |square| Some(square.map(|it| it * it)));
        let bits = u64::BITS - most.leading_zeros();
        Self(squares.take(bits as usize).collect())
    }

    /// Multiplies each product by its base, so many times.
    fn multiply(&self, products: &mut [f64; MOST], mut times: u64) {
        for powers in &self.0 {
            if times & 1 == 1 {
                for (product, power) in products.iter_mut().zip(powers) {
                    *product *= *power;
                }
            }
            times >>= 1;
            if times == 0 {
                return;
            }
        }
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
                mean += chance * ratios.factors(bad, n)[place];
                choose *= (n - bad) as f64 / (bad + 1) as f64;
            }
            assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        }
    }

    #[test]
    fn rates_that_are_none_add_nothing() {
        let ratios = Ratios::new(&[(0.0, 0.5), (0.5, 1.0), (1.0, 0.5)]);
        assert!(ratios.factors(3, 5).iter().all(|factor| *factor == 1.0));
    }

    #[test]
    fn many_requests_multiply_as_few_do() {
        let ratios = Ratios::new(&[(0.005, 0.4), (0.8, 0.0005), (0.01, 0.015)]);
        for (bad, good) in [(0, 190), (64, 256), (65, 256), (64, 257), (3, 1)] {
            let logs: Vec<f64> = ratios.log_factors(bad, good).collect();
            for (factor, log) in ratios.factors(bad, bad + good).iter().zip(logs) {
                assert!((factor.ln() - log).abs() < 1e-9, "{bad} {good}: {factor}");
            }
        }
    }
}
