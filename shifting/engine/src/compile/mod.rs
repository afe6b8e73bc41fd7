//! Mesh + splits → Envoy resources, per fleet and kind of client.
//!
//! ```text
//!                     Envoy                                     gRPC without a proxy
//! listener    `egress`, one per fleet                   one per service, named as the service
//! routes      `egress`: a virtual host per service;     one per service: the split as weights
//!             stable by default, every other version
//!             behind a runtime key that is 0
//! clusters    `SERVICE/VERSION`, one per version        the same names, with load reports
//! endpoints   one assignment per cluster                the same bytes
//! runtime     `tidegate`: the canaries' shares          none
//! ```
//!
//! Why this way:
//! - Traffic moves by the runtime layer alone, which only heartbeats keep alive (design M4). A
//!   step of a rollout changes the layer and, for `n hosts`, the canary's endpoints; a commit
//!   changes the default route. Clusters and listeners hold no byte that depends on a split,
//!   because any changed byte of theirs drops connections (envoy facts §4, xDS protocol rule E3).
//! - Equal input gives equal bytes on every replica and after every restart, so that a reconnect
//!   finds nothing to send. No message here has a map with more than one entry, except the
//!   runtime layer, whose map is ordered.
//! - Every version of a service has its cluster and its endpoints in every view, also in a gRPC
//!   client's and also when nothing refers to it: the way back is there before the way forward
//!   (design M10), and a gRPC client asks only for what its routes name.
//!
//! A commit in two steps: while the routes that make the new version the default are on their
//! way, the runtime layer must go on carrying its share, or traffic would fall back for a moment.
//! A [`Split`] whose canary is its own stable version says exactly that: the new default, and
//! still the share. Drop the canary once the routes are acknowledged.
//!
//! What is deliberately absent: which view a sidecar gets, when, and in what order.

mod cluster;
mod endpoint;
mod listener;
mod route;
mod runtime;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mesh::{Mesh, Service};
use crate::units::Ppm;

pub use endpoint::exposed_hosts;
pub use runtime::{LAYER as RUNTIME_LAYER, runtime_key};

/// Type URLs of the resources that a view is made of.
pub mod type_url {
    /// Clusters.
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Endpoints of a cluster.
    pub const ENDPOINTS: &str =
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Listeners.
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Route configurations.
    pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Runtime layers.
    pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
}

/// Name of the listener and of the route configuration of an Envoy, and prefix of its statistics
/// (`http.egress.…`).
pub const EGRESS: &str = "egress";

/// What kind of client a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// Envoy: the canary's share lives in the runtime layer, with a TTL.
    Envoy,
    /// A proxyless gRPC client: it has no runtime layer, so the share stands in the route and
    /// nothing takes it back when the control plane dies.
    Grpc,
}

/// How one service's traffic is to be split now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The version that the route's default leads to.
    pub stable: String,
    /// The version under judgement, if a rollout runs.
    ///
    /// While a rollout commits, this is the same version as `stable`, with a share of 100%: the
    /// route's default already leads to it, and the share stays in the runtime layer until every
    /// sidecar has that route.
    pub canary: Option<CanarySplit>,
}

/// The canary's part of a [`Split`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySplit {
    /// The version under judgement.
    pub version: String,
    /// Its share of requests.
    pub share: Ppm,
    /// Only this many of its hosts take part; all when `None`.
    pub hosts: Option<u32>,
    /// Life of the share in the runtime layer without renewal, milliseconds.
    pub ttl_ms: u64,
}

/// The split of every service, by service name.
pub type Splits = BTreeMap<String, Split>;

/// One encoded Envoy resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledResource {
    /// Such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub type_url: &'static str,
    /// The resource's name.
    pub name: String,
    /// Deterministic protobuf encoding.
    pub body: Vec<u8>,
    /// Only ever set on the runtime layer (invariant S17).
    pub ttl_ms: Option<u64>,
}

/// Why a view cannot be compiled. The mesh and the splits don't fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// No such fleet.
    #[error("no fleet `{fleet}` in the mesh")]
    UnknownFleet {
        /// What was asked for.
        fleet: String,
    },
    /// A service without a split: nobody said which version has its traffic.
    #[error("service `{service}` has no split; accept the mesh before compiling it")]
    MissingSplit {
        /// The service.
        service: String,
    },
    /// A split names a version that the mesh does not declare.
    #[error("service `{service}` splits its traffic to version `{version}`, which is not declared")]
    UnknownVersion {
        /// The service.
        service: String,
        /// The version.
        version: String,
    },
    /// A version would get traffic without having a host that takes it.
    #[error(
        "version `{version}` of service `{service}` would get {share} of its traffic without a host"
    )]
    NoHosts {
        /// The service.
        service: String,
        /// The version.
        version: String,
        /// Its share.
        share: Ppm,
    },
}

/// Name of a version's cluster and of its endpoints: `SERVICE/VERSION`.
#[must_use]
pub fn cluster_name(service: &str, version: &str) -> String {
    format!("{service}/{version}")
}

/// The service and the version whose cluster has this name; `None` for any other cluster.
#[must_use]
pub fn service_and_version(cluster: &str) -> Option<(&str, &str)> {
    // Names have no slash, so a second one means that the cluster isn't ours.
    cluster.split_once('/').filter(|(service, version)| {
        !service.is_empty() && !version.is_empty() && !version.contains('/')
    })
}

/// The split of every service before its first rollout: all traffic to the initial version.
#[must_use]
pub fn initial_splits(mesh: &Mesh) -> Splits {
    mesh.services
        .iter()
        .map(|(name, service)| {
            let split = Split {
                stable: service.initial.clone(),
                canary: None,
            };
            (name.clone(), split)
        })
        .collect()
}

/// Everything that a client of this kind in this fleet is given; ordered by type (clusters,
/// endpoints, listeners, routes, runtime) and name. It refers to nothing outside itself.
///
/// # Errors
/// When the mesh and the splits don't fit together. Nothing is left out to make them fit.
pub fn view(
    mesh: &Mesh,
    fleet: &str,
    kind: ClientKind,
    splits: &Splits,
) -> Result<Vec<CompiledResource>, CompileError> {
    let listener = &mesh
        .fleets
        .get(fleet)
        .ok_or_else(|| CompileError::UnknownFleet {
            fleet: fleet.to_owned(),
        })?
        .listener;
    let services: Vec<Routed<'_>> = mesh
        .services_of(fleet)
        .map(|(name, service)| Routed::new(name, service, splits))
        .collect::<Result<_, _>>()?;

    let mut resources = Vec::new();
    for routed in &services {
        for version in routed.service.versions.keys() {
            resources.push(match kind {
                ClientKind::Envoy => cluster::for_envoy(routed.name, version, routed.service),
                ClientKind::Grpc => cluster::for_grpc(routed.name, version, routed.service),
            });
        }
    }
    for routed in &services {
        for (version, declared) in &routed.service.versions {
            resources.push(endpoint::assignment(
                &cluster_name(routed.name, version),
                &declared.hosts,
                routed.host_limit(version),
            ));
        }
    }
    match kind {
        ClientKind::Envoy => {
            resources.push(listener::for_envoy(listener));
            resources.push(route::for_envoy(&services));
            resources.push(runtime::layer(&services));
        }
        ClientKind::Grpc => {
            resources.extend(
                services
                    .iter()
                    .map(|routed| listener::for_grpc(routed.name)),
            );
            resources.extend(services.iter().map(route::for_grpc));
        }
    }
    Ok(resources)
}

/// The view of every fleet and kind of client.
///
/// # Errors
/// As [`view`].
pub fn views(
    mesh: &Mesh,
    splits: &Splits,
) -> Result<BTreeMap<(String, ClientKind), Vec<CompiledResource>>, CompileError> {
    let mut views = BTreeMap::new();
    for fleet in mesh.fleets.keys() {
        for kind in [ClientKind::Envoy, ClientKind::Grpc] {
            let view = view(mesh, fleet, kind, splits)?;
            views.insert((fleet.clone(), kind), view);
        }
    }
    Ok(views)
}

/// A service with its split, which was found to fit.
#[derive(Debug)]
struct Routed<'a> {
    name: &'a str,
    service: &'a Service,
    split: &'a Split,
}

// === impl Routed ===

impl<'a> Routed<'a> {
    fn new(name: &'a str, service: &'a Service, splits: &'a Splits) -> Result<Self, CompileError> {
        let split = splits.get(name).ok_or_else(|| CompileError::MissingSplit {
            service: name.to_owned(),
        })?;
        let routed = Self {
            name,
            service,
            split,
        };
        for (version, share) in routed.shares() {
            let Some(declared) = service.versions.get(version) else {
                return Err(CompileError::UnknownVersion {
                    service: name.to_owned(),
                    version: version.to_owned(),
                });
            };
            let hosts = declared
                .hosts
                .len()
                .min(routed.host_limit(version).unwrap_or(usize::MAX));
            if hosts == 0 && share > Ppm::ZERO {
                return Err(CompileError::NoHosts {
                    service: name.to_owned(),
                    version: version.to_owned(),
                    share,
                });
            }
        }
        Ok(routed)
    }

    /// The versions that the split names, with their shares, which make up the whole. The stable
    /// version first; a canary that is the stable version has no share of its own.
    fn shares(&self) -> Vec<(&'a str, Ppm)> {
        match &self.split.canary {
            Some(canary) if canary.version != self.split.stable => {
                let rest = Ppm::WHOLE.get() - canary.share.get();
                let rest = Ppm::new(rest).unwrap_or(Ppm::ZERO);
                vec![
                    (self.split.stable.as_str(), rest),
                    (canary.version.as_str(), canary.share),
                ]
            }
            _ => vec![(self.split.stable.as_str(), Ppm::WHOLE)],
        }
    }

    /// How many of a version's hosts may take part; `None` for all.
    fn host_limit(&self, version: &str) -> Option<usize> {
        self.split
            .canary
            .as_ref()
            .filter(|canary| canary.version == version && canary.version != self.split.stable)
            .and_then(|canary| canary.hosts)
            .map(|hosts| usize::try_from(hosts).unwrap_or(usize::MAX))
    }
}
