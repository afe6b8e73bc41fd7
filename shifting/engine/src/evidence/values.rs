//! The e-values of a battery, for simulations and for people.

use super::advance::Proofs;
use super::battery::Battery;
use super::{ADVANCE_AT, HOLD_AT, REVERT_AT};
use crate::rollout::{EvidenceStatus, ProofStatus};

/// Logarithms of the e-values of all tests, for simulations: each may be looked at after every
/// tick, and each passes ln(1/alpha) with a probability of at most alpha under its null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EValues {
    /// Against "the canary's odds of failure are at most rho times stable's, at every tick".
    pub errors: f64,
    /// The same of slow requests, over all edges; `None` without a latency objective.
    pub latency: Option<f64>,
    /// Both together; what [`Battery::regressed`] looks at.
    pub regression: f64,
    /// Against "at most 5 × (1 − objective) of the canary's requests are bad, at every tick", over
    /// failures and slow requests.
    pub canary_breach: f64,
    /// The same of stable's.
    pub stable_breach: f64,
    /// Against "the canary's share is 0.8 to 1.25 times the wanted one".
    pub share: f64,
    /// For each metric, against "the canary is too bad to go on" ([`Battery::shortfall`]); the
    /// least of them, and `None` where no proof is asked for.
    pub proof: Option<f64>,
}

// === impl Battery ===

impl Battery {
    /// All tests' e-values.
    #[must_use]
    pub fn e_values(&self) -> EValues {
        let latency = self.slower();
        EValues {
            errors: self.errors.regression.e().ln(),
            latency: latency.map(f64::ln),
            regression: self.worse().0.ln(),
            canary_breach: self.absolute(|judged| &judged.canary).0.ln(),
            stable_breach: self.absolute(|judged| &judged.stable).0.ln(),
            share: self.share.e().ln(),
            proof: self
                .proofs
                .iter()
                .flat_map(Proofs::e)
                .map(|(_, e)| e.ln())
                .min_by(f64::total_cmp),
        }
    }

    /// For people.
    #[must_use]
    pub fn status(&self) -> Vec<EvidenceStatus> {
        let entry = |test: &str, e_value: f64| EvidenceStatus {
            test: test.to_owned(),
            e_value,
            hold_at: HOLD_AT,
            revert_at: REVERT_AT,
        };
        let mut all = vec![entry("errors", self.errors.regression.e())];
        if let Some(slower) = self.slower() {
            all.push(entry("latency", slower));
            all.push(entry("combined", self.worse().0));
        }
        all.push(entry("absolute errors", self.errors.canary.e()));
        if let Some(latency) = &self.latency {
            all.push(entry("absolute latency", latency.canary.e()));
        }
        all
    }

    /// The evidence to advance, for people; empty where none is asked for.
    #[must_use]
    pub fn proof_status(&self) -> Vec<ProofStatus> {
        let proofs = self.proofs.iter().flat_map(Proofs::e);
        proofs
            .map(|(metric, e_value)| ProofStatus {
                metric: metric.to_string(),
                e_value,
                advance_at: ADVANCE_AT,
            })
            .collect()
    }
}
