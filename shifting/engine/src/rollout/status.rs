//! What people are shown of a rollout: wanted, acknowledged and measured kept apart, both arms,
//! the evidence, the decision, and for every wait its reason, owner, deadline and the command
//! that ends it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rollout::{
    Approval, ArmCounts, Cause, Exposed, KnownGood, Plan, QueuedStatus, Reason, Rejection,
    ReportFaults, WayBack,
};
use crate::time::Time;
use crate::units::Ppm;

/// A rollout as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// Number of the rollout, rising over the journal's life.
    pub number: u64,
    /// What was planned.
    pub plan: Plan,
    /// Who started it.
    pub actor: String,
    /// Where it stands.
    pub phase: Phase,
    /// The rung it stands on: `1 host`, `5%`, `100%`; `-` before the first and at rest.
    pub rung: String,
    /// When it was started.
    pub started: Time,
    /// When it reached this phase or rung.
    pub since: Time,
    /// The engine's time of this status.
    pub now: Time,
    /// The canary's share as decided.
    pub share_wanted: Ppm,
    /// Sidecars that acknowledged it, of `sidecars_expected`.
    pub sidecars_acknowledged: u32,
    /// Connected sidecars that should have it.
    pub sidecars_expected: u32,
    /// Sidecars that are behind, by node id.
    pub behind: Vec<String>,
    /// What sidecars rejected.
    pub rejected: Vec<Rejection>,
    /// The canary's share of requests in the latest intervals; `None` without traffic.
    pub share_measured: Option<Ppm>,
    /// The canary's requests since the rollout started.
    pub canary: ArmCounts,
    /// The stable version's requests since the rollout started.
    pub stable: ArmCounts,
    /// Evidence against the canary.
    pub evidence: Vec<EvidenceStatus>,
    /// What the second source says, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Box<WitnessStatus>>,
    /// Evidence for the canary, by metric; every one has to reach its mark before the rung is left.
    /// Empty at 100%, and where none is asked for.
    #[serde(default)]
    pub proof: Vec<ProofStatus>,
    /// What the rollout cost so far; `None` where nothing is kept.
    #[serde(default)]
    pub budget: Option<BudgetStatus>,
    /// What was odd about the reports since the rollout started.
    #[serde(default)]
    pub reports: ReportFaults,
    /// On a rung of a few hosts: at most so many times, in millionths, were their odds of a bad request
    /// those of their peers before, on the old version. As much is tolerated. `None` when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ratio_ppm: Option<u32>,
    /// The verdict of the latest tick.
    pub decision: Decision,
    /// Set when `phase` is [`Phase::Reverting`] or [`Phase::Reverted`].
    pub revert_reason: Option<String>,
    /// Whose doing that was.
    #[serde(default)]
    pub revert_cause: Option<Cause>,
    /// Where the service's traffic could go back to now.
    #[serde(default)]
    pub way_back: Option<WayBack>,
    /// The versions that the service ran well with, oldest first.
    #[serde(default)]
    pub known_good: Vec<KnownGood>,
    /// The sidecars that have the new revision, where the subject is a fleet's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed: Option<Exposed>,
    /// The services, or fleets, whose rollouts it was found to overlap when both were under way. Those
    /// that it was let overlap are in the plan's lease.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub found_overlaps: BTreeSet<String>,
    /// Who let it leave which rung.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The starts of the service that wait for their turn, the next one first.
    #[serde(default)]
    pub queue: Vec<QueuedStatus>,
    /// Sentences on what happened, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new version's hosts are being made ready at 0% exposure.
    Preparing,
    /// On a rung below 100%, or at 100% before its bake is over.
    Judging,
    /// At 100%, the old version still warm.
    Soaking,
    /// The share is being written into the route, without TTL.
    Committing,
    /// Over: the new version has all traffic.
    Committed,
    /// The canary is being taken back.
    Reverting,
    /// Over: the old version has all traffic.
    Reverted,
}

/// One test's evidence against the canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceStatus {
    /// `errors`, `latency`, `combined` (their weighted mean, which decides; absent without a latency
    /// objective), `absolute errors`, `absolute latency` (of the canary, which decide at 100%).
    pub test: String,
    /// E-value: 1 is no evidence; revert at `revert_at`.
    pub e_value: f64,
    /// Hold at this mark.
    pub hold_at: f64,
    /// Revert at this mark (1/alpha).
    pub revert_at: f64,
}

/// What the second source of a rollout says. It may only object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// The base address of the Prometheus server.
    pub url: String,
    /// The canary's requests since the rollout started, by its numbers.
    pub canary: ArmCounts,
    /// The stable version's requests since the rollout started, by its numbers.
    pub stable: ArmCounts,
    /// The part of the canary's traffic that it knows of lately.
    pub canary_fresh: Ppm,
    /// The part of stable's traffic that it knows of lately.
    pub stable_fresh: Ppm,
    /// Why it tells nothing, or less than it should, as a sentence.
    pub trouble: Option<String>,
    /// Evidence against the canary by its numbers. Nothing advances from `hold_at` on; it does
    /// not revert at `revert_at`.
    pub evidence: Vec<EvidenceStatus>,
    /// Why nothing advances for its sake, as a sentence.
    pub objection: Option<String>,
}

/// Evidence that the canary is good enough to go on, for one metric on one rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofStatus {
    /// `errors`, `latency`.
    pub metric: String,
    /// E-value: 1 is no evidence; enough at `advance_at`.
    pub e_value: f64,
    /// The rung may be left at this mark (1/alpha).
    pub advance_at: f64,
}

/// The error budget of a rollout, in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// Requests that failed on the canary beyond what stable's rate explains.
    pub spent: u64,
    /// So many may.
    pub allowed: u64,
    /// More than that, and not by chance: it is taken back.
    pub exceeded: bool,
}

/// The verdict of a tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Decision {
    /// Moving on.
    Advance,
    /// Not yet.
    Wait(Waiting),
    /// Going back.
    Revert {
        /// Why.
        reason: String,
    },
    /// Nothing more to decide.
    Done,
}

/// Why it waits. Every wait has a reason, an owner, a deadline and the command that ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `bake`, `acknowledge`, `traffic`, `share`, `requests`, `evidence`, `proof`, `silence`,
    /// `saturation`, `environment`, `answers`, `overlap`, `sources`, `paused`, `disconnected`, `way back`,
    /// `wait` (of a gate), `approval`, `freeze`, `cap`: for programs.
    pub kind: String,
    /// A sentence.
    pub reason: Reason,
    /// `engine`, or the operator who paused it.
    pub owner: String,
    /// When the wait ends or becomes overdue.
    pub until: Option<Time>,
    /// The clock of the rung is stopped.
    pub clock_stopped: bool,
    /// A hold that passed its deadline: `watch` exits 11.
    pub overdue: bool,
    /// What an operator can do.
    pub command: String,
}

/// A sentence on what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Time,
    /// What.
    pub text: String,
}

// === impl Phase ===

impl Phase {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Phase::Committed | Phase::Reverted)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Preparing => "preparing",
            Phase::Judging => "judging",
            Phase::Soaking => "soaking",
            Phase::Committing => "committing",
            Phase::Committed => "committed",
            Phase::Reverting => "reverting",
            Phase::Reverted => "reverted",
        })
    }
}

// === impl Decision ===

impl Decision {
    /// In a word, for programs: `advance`, `revert`, `done`, or the kind of wait.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Decision::Advance => "advance",
            Decision::Wait(waiting) => &waiting.kind,
            Decision::Revert { .. } => "revert",
            Decision::Done => "done",
        }
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Decision::Advance => f.write_str("advance"),
            Decision::Wait(waiting) => write!(f, "wait ({}): {}", waiting.kind, waiting.reason),
            Decision::Revert { reason } => write!(f, "revert: {reason}"),
            Decision::Done => f.write_str("done"),
        }
    }
}
