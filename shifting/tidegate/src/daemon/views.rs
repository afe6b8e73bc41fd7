//! The view of every (fleet, kind of client): compiled, encoded once, shared by all its sidecars.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    slots: BTreeMap<Key, Slot>,
    /// While a share is above 0: until when it may be handed out, and what is handed out then.
    lease: Option<(Instant, Prepared)>,
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
        self.lock().publish(prepared);
    }

    /// From the instant on, unless renewed, the views that go with it take the place of those in
    /// force as soon as somebody connects. Whoever is connected is not renewed then either.
    pub(crate) fn lend(&self, lease: Option<(Instant, Prepared)>) {
        self.lock().lease = lease;
    }

    /// Moves the end of the lease; false when there is none, or its end was used.
    pub(crate) fn renew_lease(&self, until: Instant) -> bool {
        match &mut self.lock().lease {
            Some((end, _)) => {
                *end = until;
                true
            }
            None => false,
        }
    }

    /// The id of the view that a client of this fleet and kind should have.
    pub(crate) fn id(&self, fleet: &str, kind: ClientKind) -> Option<String> {
        let shared = self.lock();
        let view = shared
            .slots
            .get(&(fleet.to_owned(), kind))?
            .borrow()
            .clone();
        view.map(|view| view.id().to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that holds the lock can leave the map half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign_at(
        &self,
        client: &Client,
        now: Instant,
    ) -> Result<watch::Receiver<Option<Arc<Snapshot>>>, Refused> {
        let mut shared = self.lock();
        if let Some((_, without_canaries)) = shared.lease.take_if(|(end, _)| now >= *end) {
            shared.publish(without_canaries);
        }
        let slots = &shared.slots;
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

// === impl Shared ===

impl Shared {
    fn publish(&mut self, prepared: Prepared) {
        for (key, view) in prepared.0 {
            let slot = self
                .slots
                .entry(key)
                .or_insert_with(|| watch::Sender::new(None));
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
}

impl Assign for Views {
    fn assign(&self, client: &Client) -> Result<watch::Receiver<Option<Arc<Snapshot>>>, Refused> {
        self.assign_at(client, Instant::now())
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

#[cfg(test)]
mod tests {
    use tidegate_engine::compile::{CanarySplit, Split};
    use tidegate_engine::mesh::SourceFile;
    use tidegate_engine::units::Ppm;

    use super::*;

    const MESH: &str = "
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 0}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {success: 99%}
versions:
  v1: {hosts: [{address: \"127.0.0.1:1\"}]}
  v2: {hosts: [{address: \"127.0.0.1:2\"}]}
";

    fn views(share: Ppm) -> Prepared {
        let file = SourceFile {
            path: "mesh.yaml".to_owned(),
            text: MESH.to_owned(),
        };
        let mesh = tidegate_engine::mesh::read(&[file]).unwrap();
        let split = Split {
            stable: "v1".to_owned(),
            canary: Some(CanarySplit {
                version: "v2".to_owned(),
                share,
                hosts: None,
                ttl_ms: 6_000,
            }),
        };
        let splits = Splits::from([("checkout".to_owned(), split)]);
        Views::prepare(&mesh, &splits).unwrap()
    }

    fn client() -> Client {
        Client {
            identity: None,
            node_id: "s1".to_owned(),
            cluster: "web".to_owned(),
            zone: String::new(),
            region: String::new(),
            sub_zone: String::new(),
            kind: server::ClientKind::Envoy,
            version: String::new(),
            client_features: Vec::new(),
        }
    }

    #[test]
    fn who_connects_after_a_share_ran_out_does_not_get_it() {
        let views_in_force = Views::default();
        views_in_force.publish(views(Ppm::WHOLE));
        let raised = views_in_force.id("web", ClientKind::Envoy);
        let begun = Instant::now();
        let end = begun + Duration::from_secs(6);
        views_in_force.lend(Some((begun, views(Ppm::ZERO))));
        assert!(views_in_force.renew_lease(end));

        let old = views_in_force.assign_at(&client(), begun).unwrap();
        assert_eq!(views_in_force.id("web", ClientKind::Envoy), raised);
        let new = views_in_force.assign_at(&client(), end).unwrap();
        let lowered = new.borrow().clone().unwrap().id().to_string();
        assert_ne!(Some(&lowered), raised.as_ref());
        assert!(old.has_changed().unwrap(), "streams that are open learn it");
        assert!(
            !views_in_force.renew_lease(end + Duration::from_secs(6)),
            "what ran out is not renewed"
        );
    }
}
