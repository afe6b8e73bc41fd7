//! The proofs of one rung: every metric that the objective names must be proven by itself.
//!
//! They are not averaged as the tests that revert are. To go on is wrong if one metric is bad, so
//! each of them has to speak for it; then a wrong advance is at most as likely as for the worst of
//! them alone, 5%. Latency is asked for like errors: a canary of which half the requests take
//! seconds fails none of them.

use serde::{Deserialize, Serialize};

use super::proof::Proof;
use super::regression::Pair;
use super::{ADVANCE_AT, Metric, enough};
use crate::mesh::Slo;
use crate::units::Ppm;

/// What one metric still lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortfall {
    /// The metric.
    pub metric: Metric,
    /// E-value of "it is good enough"; [`ADVANCE_AT`] is asked for.
    pub e_value: f64,
    /// The rate of bad requests that the canary has to be proven to be below of.
    pub limit: Ppm,
    /// The canary's requests on this rung of which the metric is known, and the bad ones of them.
    pub counted: (u64, u64),
    /// About how many more it takes at the present rates; `None` when that is not in sight.
    pub requests: Option<u64>,
}

/// The proofs of one rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proofs {
    errors: Proof,
    latency: Option<Proof>,
}

// === impl Proofs ===

impl Proofs {
    pub(crate) fn new(slo: &Slo, burn_rate: u32, horizon: u32) -> Self {
        Self {
            errors: Proof::new(slo.success, burn_rate, horizon),
            latency: slo
                .latency
                .as_ref()
                .map(|objective| Proof::new(objective.share, burn_rate, horizon)),
        }
    }

    /// One tick by metric, with what was counted in the whole rollout before it.
    pub(crate) fn observe(&mut self, errors: (Pair, Pair), latency: (Pair, Pair), rho: f64) {
        self.errors.observe(errors.0, errors.1, rho);
        if let Some(proof) = &mut self.latency {
            proof.observe(latency.0, latency.1, rho);
        }
    }

    /// By metric, the e-value.
    pub(crate) fn e(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        self.each().map(|(metric, proof)| (metric, proof.e()))
    }

    /// The metric that lacks the most, if one does; `errors` and `latency` are what was counted in
    /// the whole rollout.
    pub(crate) fn shortfall(&self, errors: Pair, latency: Pair) -> Option<Shortfall> {
        self.each()
            .filter(|(_, proof)| !enough(proof.e(), ADVANCE_AT))
            .map(|(metric, proof)| {
                let counted = match metric {
                    Metric::Errors => errors,
                    Metric::Latency => latency,
                };
                let seen = proof.seen();
                Shortfall {
                    metric,
                    e_value: proof.e(),
                    limit: proof.limit(),
                    counted: (seen.canary, seen.canary_bad),
                    requests: proof.requests_missing(counted),
                }
            })
            .max_by_key(|shortfall| shortfall.requests.unwrap_or(u64::MAX))
    }

    /// Every metric is proven by the canary's own rate, whatever stable's is.
    pub(crate) fn own_proven(&self) -> bool {
        self.each()
            .all(|(_, proof)| enough(proof.own_e(), ADVANCE_AT))
    }

    fn each(&self) -> impl Iterator<Item = (Metric, &Proof)> {
        let latency = self.latency.as_ref().map(|proof| (Metric::Latency, proof));
        std::iter::once((Metric::Errors, &self.errors)).chain(latency)
    }
}
