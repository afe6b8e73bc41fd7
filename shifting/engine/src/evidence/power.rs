//! How long the tests need for what they are to see (evidence §4.1: T ≈ ln(J/alpha)/(λ·KL)).
//!
//! Estimates of the median, for people who plan; nothing is decided from them. The simulation of
//! [`crate::plan`] holds them to within 30% of what the tests themselves do.

use super::REVERT_AT;
use super::absolute::{self, tolerated};
use super::regression::Bets;
use super::wealth::{CLIP, Late};
use crate::mesh::RULES;
use crate::units::Ppm;

/// What the regression test is to tell apart: requests per second and failure rates of both arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// The canary's requests per second.
    pub canary_rps: f64,
    /// Stable's requests per second.
    pub stable_rps: f64,
    /// Part of the canary's requests that fail, 0 to 1.
    pub canary_rate: f64,
    /// Part of stable's requests that fail, 0 to 1.
    pub stable_rate: f64,
    /// The odds ratio that is tolerated.
    pub rho: f64,
    /// Metrics whose e-values are averaged; the others are taken to say nothing.
    pub metrics: u32,
    /// Seconds from one report to the next, above 0.
    pub interval_s: f64,
}

// === impl Contrast ===

impl Contrast {
    /// Seconds until the regression test reverts; `None`: never, it is within what is tolerated.
    #[must_use]
    pub fn seconds_to_revert(&self) -> Option<f64> {
        let (canary, stable) = (self.canary_rps, self.stable_rps);
        let (bad, others) = (canary * self.canary_rate, stable * self.stable_rate);
        let tolerated = self.rho * canary / (self.rho * canary + stable);
        let actual = bad / (bad + others);
        // NaN, where there is no traffic or no failure, is no contrast either.
        if actual.partial_cmp(&tolerated) != Some(std::cmp::Ordering::Greater) {
            return None;
        }
        let growth = (bad + others) * divergence(actual, tolerated);
        let bets = Bets::of(RULES);
        let errors_part = match self.metrics {
            0 | 1 => 1.0,
            _ => bets.errors_part(),
        };
        let capital = errors_part * (1.0 - bets.late().part());
        seconds(growth, bad, bets.ratios().len(), capital, self.interval_s)
    }
}

/// Seconds until a failure rate of `rate` (0 to 1) at `rps` requests per second, reported every
/// `interval_s` seconds, is a certain breach of `objective`, at 100%; `None`: never, it is within what
/// is tolerated.
#[must_use]
pub fn seconds_to_breach(
    rps: f64,
    rate: f64,
    objective: Ppm,
    metrics: u32,
    interval_s: f64,
) -> Option<f64> {
    let limit = tolerated(objective);
    if rate <= limit || rps <= 0.0 {
        return None;
    }
    let growth = rps * divergence(rate, limit);
    let capital = (1.0 - Late::Half.part()) / f64::from(metrics.max(1));
    seconds(
        growth,
        rps * rate,
        absolute::ALTERNATIVES,
        capital,
        interval_s,
    )
}

/// The failure rate that an arm may have at 100% (5 times the objective's).
#[must_use]
pub fn tolerated_rate(objective: Ppm) -> f64 {
    tolerated(objective)
}

/// Of `capital` that is bet from the first second on and grows by `growth` a second on one of some
/// alternatives. A report in which anything fails (`bad` requests a second in the mean) adds no more
/// than the clip.
#[allow(clippy::cast_precision_loss, reason = "a handful of alternatives")]
fn seconds(
    growth: f64,
    bad: f64,
    alternatives: usize,
    capital: f64,
    interval_s: f64,
) -> Option<f64> {
    let most = CLIP.ln() * -(-bad * interval_s).exp_m1() / interval_s;
    // When even that is reached, about half of the alternatives grow as fast.
    let betting = if growth > most {
        alternatives as f64 / 2.0
    } else {
        1.0
    };
    let share = betting / alternatives as f64 * capital;
    let growth = growth.min(most);
    (growth > 0.0).then(|| (REVERT_AT / share).ln() / growth)
}

/// Kullback-Leibler divergence of Bernoulli(`a`) from Bernoulli(`b`).
fn divergence(a: f64, b: f64) -> f64 {
    let part = |x: f64, y: f64| if x > 0.0 { x * (x / y).ln() } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contrast(canary_rate: f64) -> Contrast {
        Contrast {
            canary_rps: 10.0,
            stable_rps: 190.0,
            canary_rate,
            stable_rate: 0.001,
            rho: 1.5,
            metrics: 1,
            interval_s: 1.0,
        }
    }

    #[test]
    fn the_worse_the_sooner_and_health_never() {
        let times: Vec<f64> = [0.003, 0.01, 0.05, 0.5, 1.0]
            .iter()
            .map(|rate| contrast(*rate).seconds_to_revert().unwrap())
            .collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        for rate in [0.0, 0.001, 0.0015] {
            assert_eq!(contrast(rate).seconds_to_revert(), None, "{rate}");
        }
    }

    #[test]
    fn no_traffic_sees_nothing() {
        let silent = Contrast {
            canary_rps: 0.0,
            ..contrast(1.0)
        };
        assert_eq!(silent.seconds_to_revert(), None);
        let objective = Ppm::of(999, 1_000);
        assert_eq!(seconds_to_breach(0.0, 1.0, objective, 1, 1.0), None);
        assert_eq!(seconds_to_breach(200.0, 0.005, objective, 1, 1.0), None);
    }
}
