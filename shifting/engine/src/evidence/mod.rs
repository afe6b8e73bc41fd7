//! From sidecars' reports to what is known of each arm, and the tests on it.
//!
//! ```text
//! reports ─► intake ─► Evidence (journaled with the tick) ─► battery ─► e-values ─► rollout
//!            lost, overdue, freshness            against: regression, absolute, share, budget
//!                                                for:     proof
//! ```
//!
//! - [`Intake`]: adds up what sidecars report; lives in the program, not in the journal
//! - [`HostCounts`]: what each host had of its version's requests; lives in the program, too
//! - [`Battery`]: the tests of one rollout; lives in the journaled state
//! - [`Cells`]: what two rollouts that overlap have in common, counted apart
//! - [`AaTrials`]: the same tests on two halves of a stable version; lives in the program
//!
//! Every test is an e-process (evidence §4): its value may be looked at every second, for ever,
//! and passes 1/alpha with a probability of at most alpha when nothing is wrong.
//!
//! What is deliberately absent: decisions. They are taken in [`crate::rollout`], from the values
//! here.

mod a_a;
mod absolute;
mod advance;
mod battery;
mod binomial;
mod bits;
mod budget;
mod cohorts;
mod crossed;
mod difference;
mod edges;
mod exponential;
mod freshness;
#[cfg(test)]
mod guarantees;
mod host_counts;
mod host_ratio;
mod intake;
mod judged;
mod lost;
mod power;
mod proof;
#[cfg(test)]
pub(crate) mod random;
mod ratios;
mod regression;
mod report;
mod share;
mod upstream;
mod values;
mod wealth;

pub use a_a::{AaAlarm, AaRate, AaSettings, AaState, AaStatus, AaTrials};
pub use advance::Shortfall;
pub(crate) use battery::RULES_OF_ASKING_STABLE;
pub use battery::{Battery, Finding, Metric};
pub use cohorts::Cohorts;
pub use crossed::{Cell, Cells};
pub(crate) use crossed::{Crossed, Subject};
pub use host_counts::HostCounts;
pub use host_ratio::HostHistory;
pub use intake::{Arms, Intake};
pub use power::{Contrast, seconds_to_breach, tolerated_rate};
pub use proof::requests_to_prove;
pub use report::{SidecarReport, Taken, UpstreamCounts};
pub use values::EValues;

/// E-value at which a rollout is reverted: 1/alpha for alpha = 0.001 (evidence §4.8).
pub const REVERT_AT: f64 = 1000.0;

/// E-value at which a rollout does not advance: 1/alpha for alpha = 0.05 (evidence §4.8).
pub const HOLD_AT: f64 = 20.0;

/// E-value of the canary's health at which a rung may be left: 1/alpha for alpha = 0.05 per rung
/// (evidence §4.8).
pub const ADVANCE_AT: f64 = 20.0;

/// Part of an arm's traffic whose reporters must be fresh (evidence §4.6), parts per million.
pub const FRESH_ENOUGH_PPM: u32 = 900_000;

/// Whether evidence whose logarithm is `ln_e` reaches `mark`. Three clipped ticks are exactly
/// 1000 in arithmetic but a hair less in floating point, hence the tolerance.
#[must_use]
pub fn reaches(ln_e: f64, mark: f64) -> bool {
    ln_e >= mark.ln() - 1e-9
}

/// [`reaches`] for an e-value itself.
pub(crate) fn enough(e: f64, mark: f64) -> bool {
    e >= mark * (1.0 - 1e-9)
}
