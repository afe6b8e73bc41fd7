//! The views of every (fleet, kind of client): compiled, encoded once, shared by all its sidecars.
//! While a configuration rollout runs there are two, and each sidecar is assigned one of them
//! (design M5): to go back is to be assigned the other again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_engine::compile::{self, ClientKind, CompileError, CompiledResource, Splits};
use tidegate_engine::rollout::{Exposed, FleetConfigurations};
use tidegate_xds::server::{self, Assign, Client, Refused};
use tidegate_xds::{Resource, ResourceError, Snapshot, SnapshotBuilder, SnapshotError, TypeUrl};
use tokio::sync::watch;

type Key = (String, ClientKind);

/// One client's view; it may change sides without anybody else.
type Slot = watch::Sender<Option<Arc<Snapshot>>>;

/// The views in force. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Views {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    fleets: BTreeMap<Key, Fleet>,
    /// While a share is above 0: until when it may be handed out, and what is handed out then.
    lease: Option<(Instant, Prepared)>,
}

/// A fleet's clients of one kind.
#[derive(Debug)]
struct Fleet {
    views: Sides,
    /// By node id; those that nobody listens to are dropped when the views change.
    clients: BTreeMap<String, Slot>,
}

/// What a fleet's clients of one kind are to have.
#[derive(Debug)]
struct Sides {
    stable: Arc<Snapshot>,
    candidate: Option<(Arc<Snapshot>, Exposed)>,
}

/// Views that were compiled and checked, not yet in force.
#[derive(Debug)]
pub(crate) struct Prepared(BTreeMap<Key, Sides>);

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
    /// Compiles and checks the views of these configurations under these splits; changes nothing.
    pub(crate) fn prepare(
        configurations: &FleetConfigurations,
        splits: &Splits,
    ) -> Result<Prepared, ViewError> {
        let mut views = BTreeMap::new();
        for (fleet, configuration) in configurations {
            for kind in [ClientKind::Envoy, ClientKind::Grpc] {
                let compiled = |mesh| {
                    let resources = compile::view(mesh, fleet, kind, splits);
                    let resources = resources.map_err(|source| ViewError::Compile {
                        fleet: fleet.clone(),
                        source,
                    })?;
                    snapshot(fleet, resources).map(Arc::new)
                };
                let candidate = match &configuration.candidate {
                    Some((mesh, exposed)) => Some((compiled(mesh)?, exposed.clone())),
                    None => None,
                };
                let sides = Sides {
                    stable: compiled(&configuration.mesh)?,
                    candidate,
                };
                views.insert((fleet.clone(), kind), sides);
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

    /// The id of the view that a sidecar of this fleet and kind should have.
    pub(crate) fn id(&self, fleet: &str, kind: ClientKind, sidecar: &str) -> Option<String> {
        let shared = self.lock();
        let fleet = shared.fleets.get(&(fleet.to_owned(), kind))?;
        Some(fleet.views.of(sidecar).id().to_string())
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
        let fleets = &mut shared.fleets;
        let key = (client.cluster.clone(), kind_of(client.kind));
        match fleets.get_mut(&key) {
            Some(fleet) => Ok(fleet.subscribe(&client.node_id)),
            None => {
                let mut known: Vec<&str> = fleets.keys().map(|(fleet, _)| fleet.as_str()).collect();
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
        for (key, views) in prepared.0 {
            match self.fleets.get_mut(&key) {
                Some(fleet) => fleet.replace(views),
                None => {
                    let clients = BTreeMap::new();
                    self.fleets.insert(key, Fleet { views, clients });
                }
            }
        }
    }
}

// === impl Fleet ===

impl Fleet {
    fn subscribe(&mut self, sidecar: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        match self.clients.get(sidecar) {
            Some(slot) => slot.subscribe(),
            None => {
                let view = Arc::clone(self.views.of(sidecar));
                let (slot, receiver) = watch::channel(Some(view));
                self.clients.insert(sidecar.to_owned(), slot);
                receiver
            }
        }
    }

    /// Whose view has the same content is not woken.
    fn replace(&mut self, views: Sides) {
        self.views = views;
        let views = &self.views;
        self.clients.retain(|sidecar, slot| {
            let view = views.of(sidecar);
            slot.send_if_modified(|current| {
                let changed = current
                    .as_ref()
                    .is_none_or(|current| current.id() != view.id());
                if changed {
                    *current = Some(Arc::clone(view));
                }
                changed
            });
            !slot.is_closed()
        });
    }
}

// === impl Sides ===

impl Sides {
    fn of(&self, sidecar: &str) -> &Arc<Snapshot> {
        match &self.candidate {
            Some((candidate, exposed)) if exposed.includes(sidecar) => candidate,
            _ => &self.stable,
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
    use tidegate_engine::rollout::{FleetConfiguration, State};
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
        let state = State::frozen(mesh, &splits, BTreeMap::new());
        let configurations = state.configurations();
        Views::prepare(&configurations, &splits).unwrap()
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
        let raised = views_in_force.id("web", ClientKind::Envoy, "s1");
        let begun = Instant::now();
        let end = begun + Duration::from_secs(6);
        views_in_force.lend(Some((begun, views(Ppm::ZERO))));
        assert!(views_in_force.renew_lease(end));

        let old = views_in_force.assign_at(&client(), begun).unwrap();
        assert_eq!(views_in_force.id("web", ClientKind::Envoy, "s1"), raised);
        let new = views_in_force.assign_at(&client(), end).unwrap();
        let lowered = new.borrow().clone().unwrap().id().to_string();
        assert_ne!(Some(&lowered), raised.as_ref());
        assert!(old.has_changed().unwrap(), "streams that are open learn it");
        assert!(
            !views_in_force.renew_lease(end + Duration::from_secs(6)),
            "what ran out is not renewed"
        );
    }

    #[test]
    fn each_sidecar_is_assigned_its_side_and_only_who_changes_sides_is_woken() {
        let side = |port: u16| {
            let text = MESH.replace("port: 0", &format!("port: {port}"));
            let path = "mesh.yaml".to_owned();
            let mesh = tidegate_engine::mesh::read(&[SourceFile { path, text }]).unwrap();
            Arc::new(mesh)
        };
        let splits = compile::initial_splits(&side(0));
        let configured = |named: &[&str]| {
            let exposed = Exposed {
                named: named.iter().map(|name| (*name).to_owned()).collect(),
                ..Exposed::nobody("r2")
            };
            let configuration = FleetConfiguration {
                mesh: side(8_001),
                candidate: Some((side(8_002), exposed)),
            };
            let configurations = BTreeMap::from([("web".to_owned(), configuration)]);
            Views::prepare(&configurations, &splits).unwrap()
        };
        let views = Views::default();
        views.publish(configured(&[]));
        let connect = |id: &str| {
            let client = Client {
                node_id: id.to_owned(),
                ..client()
            };
            views.assign_at(&client, Instant::now()).unwrap()
        };
        let id = |receiver: &watch::Receiver<Option<Arc<Snapshot>>>| {
            receiver.borrow().as_ref().unwrap().id().to_string()
        };
        let (first, mut second) = (connect("s1"), connect("s2"));
        let old = id(&first);
        assert_eq!(old, id(&second));

        views.publish(configured(&["s1"]));
        assert_ne!(id(&first), old);
        assert_eq!(id(&second), old);
        assert!(!second.has_changed().unwrap());
        assert_eq!(
            id(&connect("s1")),
            id(&first),
            "a second stream is on the same side"
        );
        assert_eq!(views.id("web", ClientKind::Envoy, "s1"), Some(id(&first)));

        views.publish(configured(&["s2"]));
        assert_eq!(id(&first), old, "back to the very same bytes");
        assert!(second.has_changed().unwrap());
        second.mark_unchanged();
        drop(first);
        views.publish(configured(&[]));
        let shared = views.lock();
        let fleet = &shared.fleets[&("web".to_owned(), ClientKind::Envoy)];
        let known: Vec<&String> = fleet.clients.keys().collect();
        assert_eq!(known, ["s2"], "nobody listens for s1 any more");
    }
}
