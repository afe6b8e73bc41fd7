//! Changes of what clients have, as they happen, and proof that it is in force.
//!
//! An ACK comes from Envoy's main thread; that its workers use what it acknowledged comes back with
//! its version gauges (envoy facts §5a, §8), which the embedder passes on from its reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;

use super::{Hub, Server};
use crate::delivery::{Rejection, Suspicion};
use crate::limits::CHANGES_KEPT;

/// A change of what one client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryChange {
    /// Who.
    pub node_id: Arc<str>,
    /// What.
    pub what: Delivered,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It opened a stream.
    Connected,
    /// It closed one.
    Disconnected,
    /// It took a response.
    Acknowledged,
    /// It refused one, with all these; its [status](crate::ClientStatus) tells all that it refuses.
    Rejected(Rejection),
    /// It acknowledged all of this view.
    CaughtUp(Arc<str>),
    /// Its gauges prove that this view is in force.
    Applied(Arc<str>),
    /// It is silent where it should speak.
    Suspected(Suspicion),
}

/// A view isn't in force everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "view {view} isn't in force at: {}",
    .missing.iter().map(|(node, why)| format!("{node} ({why})")).collect::<Vec<_>>().join(", ")
)]
pub struct NotApplied {
    /// The view's id.
    pub view: String,
    /// Where not, and why.
    pub missing: Vec<(String, &'static str)>,
}

// === impl Server ===

impl Server {
    /// Changes from now on. A receiver that falls behind by more than 4,096 is told how many it
    /// missed, and should look at [`clients`](Server::clients).
    pub fn watch_delivery(&self) -> broadcast::Receiver<DeliveryChange> {
        let deliveries = &self.hub.deliveries;
        deliveries
            .get_or_init(|| broadcast::Sender::new(CHANGES_KEPT))
            .subscribe()
    }

    /// Takes in the version gauges of a client, as
    /// [`Report::versions`](crate::report::Report::versions) has them. They count for the streams
    /// that it has now.
    pub fn note_versions(&self, node_id: &str, versions: &BTreeMap<String, u64>) {
        if let Some(view) = self.hub.registry.note_versions(node_id, versions) {
            self.hub.tell(&Arc::from(node_id), Delivered::Applied(view));
        }
    }

    /// Waits until a view is proven in force at all these clients.
    ///
    /// # Errors
    /// With those where it isn't, once the deadline has passed.
    pub async fn wait_applied(
        &self,
        view: &str,
        clients: &[&str],
        deadline: Instant,
    ) -> Result<(), NotApplied> {
        let mut changes = self.changed();
        loop {
            changes.mark_unchanged();
            let missing: Vec<(String, &'static str)> = clients
                .iter()
                .filter_map(|id| Some(((*id).to_owned(), self.lacks(view, id)?)))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let change = tokio::time::timeout_at(deadline.into(), changes.changed()).await;
            if !matches!(change, Ok(Ok(()))) {
                let view = view.to_owned();
                return Err(NotApplied { view, missing });
            }
        }
    }

    /// Why a view isn't proven in force at a client.
    fn lacks(&self, view: &str, node_id: &str) -> Option<&'static str> {
        let Some(status) = self.client(node_id).filter(|status| status.connected) else {
            return Some("not connected");
        };
        let is = |id: &Option<Arc<str>>| id.as_deref() == Some(view);
        if is(&status.applied) {
            None
        } else if is(&status.acknowledged) {
            Some("acknowledged, but its gauges don't show it")
        } else if is(&status.wanted) {
            Some("not acknowledged")
        } else {
            Some("it should have another view")
        }
    }
}

// === impl Hub ===

impl Hub {
    /// Lets everybody know who waits for it.
    pub(super) fn tell(&self, node_id: &Arc<str>, what: Delivered) {
        if let Some(deliveries) = self.deliveries.get() {
            let node_id = node_id.clone();
            // The last receiver may have gone.
            let _ = deliveries.send(DeliveryChange { node_id, what });
        }
        self.bump();
    }
}
