//! The view of every (fleet, kind of client): compiled, encoded once, shared by all its sidecars.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_engine::compile::{self, ClientKind, CompileError, CompiledResource, Splits};
use tidegate_engine::mesh::Mesh;
use tidegate_xds::server::{self, Assign, Client, Refused};
use tidegate_xds::{Resource, ResourceError, Snapshot, SnapshotBuilder, SnapshotError, TypeUrl};
use tokio::sync::watch;

type Key = (String, ClientKind);
type Slot = watch::Sender<Option<Arc<Snapshot>>>;

/// The views in force. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Views {
    slots: Arc<Mutex<BTreeMap<Key, Slot>>>,
}

/// Views that were compiled and checked, not yet in force.
#[derive(Debug)]
pub(crate) struct Prepared(BTreeMap<Key, Arc<Snapshot>>);

/// Why a mesh gives no views.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The engine could not compile it.
    #[error("fleet `{fleet}`: {source}")]
    Compile {
        /// For which fleet.
        fleet: String,
        /// Why.
        source: CompileError,
    },
    /// A compiled resource is not what it says.
    #[error("fleet `{fleet}`: {source}")]
    Resource {
        /// For which fleet.
        fleet: String,
        /// Why.
        source: ResourceError,
    },
    /// The resources do not fit together.
    #[error("fleet `{fleet}`: {source}")]
    Snapshot {
        /// For which fleet.
        fleet: String,
        /// Why.
        source: SnapshotError,
    },
}

/// Which kind of view a client gets. A client of an unknown kind is treated as an Envoy, whose
/// configuration is the general one.
pub(crate) fn kind_of(kind: server::ClientKind) -> ClientKind {
    match kind {
        server::ClientKind::Grpc => ClientKind::Grpc,
        server::ClientKind::Envoy | server::ClientKind::Other => ClientKind::Envoy,
    }
}

// === impl Views ===

impl Views {
    /// Compiles and checks the views of a mesh under these splits; changes nothing.
    pub(crate) fn prepare(mesh: &Mesh, splits: &Splits) -> Result<Prepared, ViewError> {
        let mut views = BTreeMap::new();
        for fleet in mesh.fleets.keys() {
            for kind in [ClientKind::Envoy, ClientKind::Grpc] {
                let resources = compile::view(mesh, fleet, kind, splits).map_err(|source| {
                    ViewError::Compile {
                        fleet: fleet.clone(),
                        source,
                    }
                })?;
                views.insert((fleet.clone(), kind), Arc::new(snapshot(fleet, resources)?));
            }
        }
        Ok(Prepared(views))
    }

    /// Puts views in force. Those whose content did not change are not touched, and a fleet that
    /// is no longer declared keeps its last view: absence is not deletion.
    pub(crate) fn publish(&self, prepared: Prepared) {
        let mut slots = self.lock();
        for (key, view) in prepared.0 {
            let slot = slots.entry(key).or_insert_with(|| watch::Sender::new(None));
            slot.send_if_modified(|current| {
                let changed = current
                    .as_ref()
                    .is_none_or(|current| current.id() != view.id());
                if changed {
                    *current = Some(view);
                }
                changed
            });
        }
    }

    /// The id of the view that a client of this fleet and kind should have.
    pub(crate) fn id(&self, fleet: &str, kind: ClientKind) -> Option<String> {
        let slots = self.lock();
        let view = slots.get(&(fleet.to_owned(), kind))?.borrow().clone();
        view.map(|view| view.id().to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        // Nothing that holds the lock can leave the map half changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assign for Views {
    fn assign(&self, client: &Client) -> Result<watch::Receiver<Option<Arc<Snapshot>>>, Refused> {
        let slots = self.lock();
        let key = (client.cluster.clone(), kind_of(client.kind));
        match slots.get(&key) {
            Some(slot) => Ok(slot.subscribe()),
            None => {
                let mut known: Vec<&str> = slots.keys().map(|(fleet, _)| fleet.as_str()).collect();
                known.dedup();
                Err(Refused {
                    reason: format!(
                        "node.cluster `{}` of node `{}` is not a fleet of the mesh, which declares: {}",
                        client.cluster,
                        client.node_id,
                        known.join(", ")
                    ),
                })
            }
        }
    }
}

fn snapshot(fleet: &str, resources: Vec<CompiledResource>) -> Result<Snapshot, ViewError> {
    let wrong = |source| ViewError::Resource {
        fleet: fleet.to_owned(),
        source,
    };
    let mut builder = SnapshotBuilder::default();
    for compiled in resources {
        let type_url = TypeUrl::new(compiled.type_url);
        let mut resource =
            Resource::new(type_url, &compiled.name, compiled.body.into()).map_err(wrong)?;
        if let Some(ttl_ms) = compiled.ttl_ms {
            resource = resource
                .with_ttl(Duration::from_millis(ttl_ms))
                .map_err(wrong)?;
        }
        builder.insert(resource);
    }
    builder.build().map_err(|source| ViewError::Snapshot {
        fleet: fleet.to_owned(),
        source,
    })
}
