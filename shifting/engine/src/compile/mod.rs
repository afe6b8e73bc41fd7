//! Mesh + exposures → Envoy resources, per fleet and kind of client.

use std::collections::BTreeMap;

use crate::units::Ppm;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
