//! What the brain lets others read without asking it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_engine::evidence::AaStatus;
use tidegate_engine::plan::Traffic;
use tidegate_engine::rollout::State;
use tidegate_engine::time::Time;

use super::health::Health;

/// The latest durable state and what stands in its way. Immutable; a new one replaces it.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The fold of the journal.
    pub state: Arc<State>,
    /// Why the mesh on disk is not in force, if it isn't.
    pub mesh_refused: Option<String>,
    /// Why the journal can't be written, if it can't: no step is taken meanwhile.
    pub journal_failed: Option<String>,
    /// When each sidecar reported last, by node id; renewed every tick.
    pub last_reports: Arc<BTreeMap<String, Time>>,
    /// How each sidecar's process is; renewed every tick.
    pub health: Arc<Health>,
    /// Traffic of the last minute, by cluster; renewed every tick. Empty in the first seconds.
    pub traffic: Arc<BTreeMap<String, Traffic>>,
    /// How often two halves of each service's sidecars would have been told apart, by service.
    pub a_a: Arc<Vec<AaStatus>>,
}
