//! What the API answers, besides [`tidegate_engine::rollout::RolloutStatus`].
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/version` | | [`VersionAnswer`] |
//! | `GET /v1/sidecars` | | [`SidecarsAnswer`] |
//! | `GET /v1/rollouts` | | [`RolloutsAnswer`]: the latest of each service and fleet, and what is to come |
//! | `GET /v1/rollouts/{service}` | | `RolloutStatus`; 404 without one |
//! | `POST /v1/rollouts/{service}` | [`StartRequest`] | 201 `RolloutStatus`, 202 `QueuedStatus` or `Pending`; 404, 409 |
//! | `GET /v1/rollouts/{service}/plan?to=VERSION` | | [`PlanAnswer`]; 404, 409; [`PlanQuery`] |
//! | `POST /v1/rollouts/{service}/pause`, `/resume`, `/approve` | [`ActRequest`] | `RolloutStatus` |
//! | `POST /v1/rollouts/{service}/abort` | [`AbortRequest`] | `RolloutStatus` |
//! | `POST /v1/rollouts/{service}/back` | [`BackRequest`] | 201 `RolloutStatus`; 404, 409 |
//! | `GET /v1/queue` | | [`QueueAnswer`] |
//! | `POST /v1/queue/{service}/cancel` | [`CancelRequest`] | [`QueueAnswer`]; 409 |
//! | `GET /v1/quarantine` | | [`QuarantineAnswer`] |
//! | `POST /v1/quarantine/{service}/lift` | [`LiftRequest`] | [`QuarantineAnswer`]; 409 |
//! | `GET /v1/aa` | | [`AaAnswer`]: of every service |
//! | `GET /v1/aa/{service}` | | [`AaAnswer`]: of this one; 404 |
//! | `GET /v1/mesh` | | [`MeshAnswer`] |
//! | `GET /v1/mesh/graph` | | [`GraphAnswer`] |
//! | `POST /v1/mesh/plan` | a mesh, as JSON | `Preview`: what declaring it would lead to; 422 |
//! | `POST /v1/mesh/reload` | | [`MeshAnswer`]; 422 with all errors |
//!
//! Every failure answers [`ErrorAnswer`]. An actor has 1 to 100 characters, a reason at most 1,000,
//! both on one line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_engine::evidence::AaStatus;
use tidegate_engine::plan::Outlook;
use tidegate_engine::rollout::{
    Call, Pending, Plan, Quarantined, QueuedStatus, RolloutStatus, Terms, Turn,
};
use tidegate_engine::time::Time;

/// What failed, as sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What went wrong and what to do next.
    pub error: String,
}

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionAnswer {
    /// The program's version.
    pub version: String,
    /// The mesh revision in force.
    pub revision: String,
}

/// The sidecars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SidecarsAnswer {
    /// By node id.
    pub sidecars: Vec<SidecarStatus>,
    /// How often somebody was refused at the door, or thrown out, since this control plane started,
    /// by what it was; what never happened is missing.
    #[serde(default)]
    pub incidents: BTreeMap<String, u64>,
}

/// One sidecar, connected now or lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SidecarStatus {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub fleet: String,
    /// `node.locality.zone`.
    pub zone: String,
    /// `envoy`, `grpc` or `other`.
    pub kind: String,
    /// The client's own version, such as `1.40.0`.
    pub version: String,
    /// Whether its configuration stream is open.
    pub connected: bool,
    /// Configuration streams that are open under this id. More than one for long means that two
    /// sidecars use the same id, and then their numbers are one sidecar's.
    pub streams: usize,
    /// Milliseconds since it connected or disconnected.
    pub since_ms: u64,
    /// Id of the view it should have.
    pub view_wanted: Option<String>,
    /// Id of the newest view of which it acknowledged everything it subscribes to.
    pub view_acknowledged: Option<String>,
    /// Id of the view that its reports prove in force; `None` when they don't (yet).
    pub view_applied: Option<String>,
    /// Silence where there should be words, as a sentence.
    pub suspect: Option<String>,
    /// Milliseconds it has been behind; `None` when it is not.
    pub behind_ms: Option<u64>,
    /// What it rejected and does not hold.
    pub rejected: Vec<RejectionStatus>,
    /// Milliseconds since its latest report; `None` when there was none.
    pub last_report_ms: Option<u64>,
    /// How often it opened its configuration connection since this control plane heard of it.
    #[serde(default)]
    pub connections: u64,
    /// How often it was restarted since then, as its reports tell.
    #[serde(default)]
    pub restarts: u64,
    /// Memory that it has allocated, bytes, as it reported last; `None` when it never did.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Resources sent on its streams since this control plane started, by short type name
    /// (`cds`, `eds`, `lds`, `rds`, `rtds`). Heartbeats do not count.
    pub sent: BTreeMap<String, u64>,
}

/// A resource that a sidecar rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionStatus {
    /// Short type name.
    pub kind: String,
    /// Names of the resources in the rejected response.
    pub names: Vec<String>,
    /// The sidecar's own words, truncated.
    pub text: String,
}

/// The latest rollout of each service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutsAnswer {
    /// By service name; then those of fleets' configurations.
    pub rollouts: Vec<RolloutStatus>,
    /// Fleets whose sidecars are not configured as declared, and that no rollout changes now.
    #[serde(default)]
    pub pending: Vec<Pending>,
}

/// Asks what a rollout would do and be able to see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// The version to move to.
    pub to: String,
    /// Requests per second to plan for; as measured when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<f64>,
    /// Part of them that fail, 0 to 1; as measured when left out, or with `rps` what the objective
    /// allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
}

/// What a rollout would do and be able to see. It changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanAnswer {
    /// What it would do.
    pub plan: Plan,
    /// What it would be able to see.
    pub outlook: Outlook,
    /// The traffic is what sidecars reported in the last minute, not what was given.
    pub measured: bool,
}

/// Asks to move a service's traffic to another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// The version to move to.
    pub to: String,
    /// Who asks.
    pub actor: String,
    /// What if it can't begin at once.
    #[serde(default)]
    pub turn: RequestedTurn,
    /// What else is asked for.
    #[serde(default, skip_serializing_if = "Terms::is_none")]
    pub terms: Terms,
}

/// What if a start can't begin at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestedTurn {
    /// It waits behind what runs; it is refused in a freeze.
    #[default]
    Next,
    /// It waits behind what runs, and for the end of a freeze.
    Queue,
    /// What runs is taken back first, and what waits gives way; it is refused in a freeze.
    Supersede,
}

impl From<RequestedTurn> for Turn {
    fn from(turn: RequestedTurn) -> Self {
        match turn {
            RequestedTurn::Next => Turn::Next,
            RequestedTurn::Queue => Turn::Queue,
            RequestedTurn::Supersede => Turn::Supersede,
        }
    }
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Started {
    /// It runs.
    Rollout(Box<RolloutStatus>),
    /// It waits for its turn.
    Queued(QueuedStatus),
    /// A fleet's configuration, which begins by itself when what it waits for is over.
    Pending(Pending),
}

/// Asks to take a start out of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The version that would have been started.
    pub to: String,
    /// Who asks.
    pub actor: String,
}

/// The starts that wait for their turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAnswer {
    /// The engine's time of this answer.
    pub now: Time,
    /// By service; of each the next one first.
    pub queue: Vec<QueuedStatus>,
}

/// Asks to pause, resume or approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// Who asks.
    pub actor: String,
}

/// Asks to take the canary back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortRequest {
    /// Who asks.
    pub actor: String,
    /// Why; kept in the journal.
    #[serde(default)]
    pub reason: String,
    /// Quarantine the version as if it had failed by itself.
    #[serde(default)]
    pub quarantine: bool,
}

/// Asks for an earlier version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackRequest {
    /// The version to go back to; the latest known good one when left out.
    #[serde(default)]
    pub to: Option<String>,
    /// Who asks.
    pub actor: String,
}

/// Asks to allow a quarantined version again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// The version.
    pub version: String,
    /// Who asks.
    pub actor: String,
    /// Why; at least one character.
    pub reason: String,
}

/// How often two halves of each service's sidecars would have been told apart, though both call the
/// same version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaAnswer {
    /// The engine's time of this answer.
    pub now: Time,
    /// By name; a service that is new is missing for a second.
    pub services: Vec<AaStatus>,
}

/// What is in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineAnswer {
    /// The engine's time of this answer.
    pub now: Time,
    /// By service and version.
    pub quarantined: Vec<Quarantined>,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphAnswer {
    /// The engine's time of this answer.
    pub now: Time,
    /// As declared and as observed, by caller and callee.
    pub calls: Vec<Call>,
    /// The fleets of which the mesh doesn't say beside which service their sidecars stand: what they call
    /// is not known to be anybody's.
    pub unobserved: Vec<String>,
}

/// The mesh in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshAnswer {
    /// Its content hash.
    pub revision: String,
    /// Names of its fleets.
    pub fleets: Vec<String>,
    /// For each service the version that has its traffic.
    pub services: BTreeMap<String, String>,
    /// Why the mesh on disk is not in force, if it isn't.
    pub refused: Option<String>,
    /// Fleets whose sidecars are not configured as declared, and that no rollout changes now.
    #[serde(default)]
    pub pending: Vec<Pending>,
}
