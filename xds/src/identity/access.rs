//! Lets connections and streams in, or not, and counts what it refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;

use super::policy::{Policy, Rule};
use super::rate::Rate;
use super::refusal::{Incident, Refusal};
use super::{Peer, SpiffeId};
use crate::limits::{
    ADMISSION_PATIENCE, ADS_STREAMS_PER_IDENTITY_MAX, CONNECTIONS_MAX,
    CONNECTIONS_PER_IDENTITY_MAX, CONNECTIONS_PER_SHARED_IDENTITY_MAX, NEW_STREAMS_BURST,
    NEW_STREAMS_PER_SECOND, NODE_BYTES_MAX, NODE_FIELD_BYTES_MAX, REPORT_STREAMS_PER_IDENTITY_MAX,
    STRANGERS_LINES_BURST, STRANGERS_LINES_PER_SECOND, TYPE_STREAMS_PER_IDENTITY_MAX,
};
use crate::resource::TypeUrl;
use crate::snapshot::Snapshot;

/// The type that goes only to whom it was granted.
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Lets connections and streams in, or not. One is shared by a listener and all services on it.
#[derive(Debug)]
pub struct Access {
    policy: Option<Policy>,
    limits: AccessLimits,
    state: Mutex<State>,
}

/// How much is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLimits {
    /// Secure connections at the same time.
    pub connections: usize,
    /// Connections of an identity that stands for one node.
    pub connections_per_identity: usize,
    /// Connections of an identity that several nodes share.
    pub connections_per_shared_identity: usize,
    /// Aggregated discovery streams of an identity that stands for one node.
    pub ads_streams_per_identity: usize,
    /// Discovery streams of one type of an identity that stands for one node, all types together.
    pub type_streams_per_identity: usize,
    /// Report streams of an identity that stands for one node.
    pub report_streams_per_identity: usize,
    /// Discovery streams let in per second, on average; at least 1.
    pub new_streams_per_second: u32,
    /// Discovery streams let in at once.
    pub new_streams_burst: u32,
    /// How long a discovery stream waits for its turn.
    pub patience: Duration,
}

/// What kind of stream somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Of discovery, of all types.
    Discovery,
    /// Of discovery, of one type.
    DiscoveryOfOneType,
    /// Of reports: metrics or load.
    Reports,
}

/// A place among its identity's connections; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPass {
    access: Arc<Access>,
    identity: SpiffeId,
}

/// A place among its identity's streams; given back when dropped.
#[derive(Debug)]
pub struct StreamPass {
    held: Option<(Arc<Access>, SpiffeId, StreamKind)>,
}

/// What a client may have, besides what everybody in its fleet may.
#[derive(Debug, Clone)]
pub struct Grants {
    /// `None`: everything, as nothing is known about anybody.
    rule: Option<Arc<Rule>>,
    access: Arc<Access>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    /// How much strangers may write into the log.
    lines: Rate,
    connections: usize,
    held: BTreeMap<SpiffeId, Held>,
    incidents: BTreeMap<Incident, u64>,
}

#[derive(Debug, Default)]
struct Held {
    connections: usize,
    discovery: usize,
    of_one_type: usize,
    reports: usize,
}

// === impl AccessLimits ===

impl Default for AccessLimits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            connections_per_identity: CONNECTIONS_PER_IDENTITY_MAX,
            connections_per_shared_identity: CONNECTIONS_PER_SHARED_IDENTITY_MAX,
            ads_streams_per_identity: ADS_STREAMS_PER_IDENTITY_MAX,
            type_streams_per_identity: TYPE_STREAMS_PER_IDENTITY_MAX,
            report_streams_per_identity: REPORT_STREAMS_PER_IDENTITY_MAX,
            new_streams_per_second: NEW_STREAMS_PER_SECOND,
            new_streams_burst: NEW_STREAMS_BURST,
            patience: ADMISSION_PATIENCE,
        }
    }
}

// === impl Access ===

impl Access {
    /// Believes every claim, and withholds no secret: for loopback, for tests, and for embedders
    /// whose [`Assign`](crate::Assign) checks [`Client::identity`](crate::Client::identity).
    #[must_use]
    pub fn open(limits: AccessLimits) -> Arc<Self> {
        Self::new(None, limits)
    }

    /// Lets in only whom the policy allows; secrets go only to whom it grants them.
    #[must_use]
    pub fn by(policy: Policy, limits: AccessLimits) -> Arc<Self> {
        Self::new(Some(policy), limits)
    }

    fn new(policy: Option<Policy>, limits: AccessLimits) -> Arc<Self> {
        let rate = Rate::new(
            limits.new_streams_per_second,
            limits.new_streams_burst,
            limits.patience,
        );
        let state = State {
            rate,
            lines: Rate::new(
                STRANGERS_LINES_PER_SECOND,
                STRANGERS_LINES_BURST,
                Duration::ZERO,
            ),
            connections: 0,
            held: BTreeMap::new(),
            incidents: BTreeMap::new(),
        };
        Arc::new(Self {
            policy,
            limits,
            state: Mutex::new(state),
        })
    }

    /// How often each incident happened since the start. Those that never did are missing.
    #[must_use]
    pub fn incidents(&self) -> BTreeMap<Incident, u64> {
        self.state().incidents.clone()
    }

    /// Takes note of an incident.
    pub fn note(&self, incident: Incident) {
        self.state().note(incident);
    }

    /// Takes note of an incident that anybody can cause; whether it may be told in the log as well,
    /// which strangers must not be able to fill.
    #[must_use]
    pub fn note_stranger(&self, incident: Incident, now: Instant) -> bool {
        let mut state = self.state();
        state.note(incident);
        state.lines.turn(now).is_some()
    }

    /// Lets a connection in whose handshake proved an identity.
    ///
    /// # Errors
    /// If there are too many.
    pub fn connect(self: &Arc<Self>, identity: &SpiffeId) -> Result<ConnectionPass, Refusal> {
        let limit = if self.is_one_node(identity) {
            self.limits.connections_per_identity
        } else {
            self.limits.connections_per_shared_identity
        };
        let mut state = self.state();
        if state.connections >= self.limits.connections {
            state.note(Incident::ConnectionRefused);
            return Err(Refusal::Connections(self.limits.connections));
        }
        let held = state.held.entry(identity.clone()).or_default();
        if held.connections >= limit {
            state.note(Incident::ConnectionRefused);
            return Err(Refusal::ConnectionsOfIdentity {
                identity: identity.clone(),
                limit,
            });
        }
        held.connections += 1;
        state.connections += 1;
        Ok(ConnectionPass {
            access: Arc::clone(self),
            identity: identity.clone(),
        })
    }

    /// Lets a stream in, before anything of it is read.
    ///
    /// # Errors
    /// If a policy asks for an identity and there is none, or if the identity has too many streams.
    pub fn open_stream(
        self: &Arc<Self>,
        peer: Option<&Peer>,
        kind: StreamKind,
    ) -> Result<StreamPass, Refusal> {
        let Some(peer) = peer else {
            return match self.policy {
                Some(_) => Err(self.refuse(Incident::IdentityMissing, Refusal::IdentityMissing)),
                None => Ok(StreamPass { held: None }),
            };
        };
        let (limit, what) = match kind {
            StreamKind::Discovery => (self.limits.ads_streams_per_identity, "discovery"),
            StreamKind::DiscoveryOfOneType => {
                (self.limits.type_streams_per_identity, "per-type discovery")
            }
            StreamKind::Reports => (self.limits.report_streams_per_identity, "report"),
        };
        let limit = if self.is_one_node(&peer.id) {
            limit
        } else {
            usize::MAX
        };
        let mut state = self.state();
        let count = state.held.entry(peer.id.clone()).or_default().streams(kind);
        if *count >= limit {
            state.note(Incident::StreamRefused);
            return Err(Refusal::StreamsOfIdentity {
                identity: peer.id.clone(),
                limit,
                what,
            });
        }
        *count += 1;
        let held = Some((Arc::clone(self), peer.id.clone(), kind));
        Ok(StreamPass { held })
    }

    /// How long a new discovery stream has to wait for its turn. Streams that are open already
    /// never ask: reverts and renewals don't wait behind newcomers (design M14).
    ///
    /// # Errors
    /// If it would be too long.
    pub fn turn(&self, now: Instant) -> Result<Duration, Refusal> {
        let mut state = self.state();
        match state.rate.turn(now) {
            Some(wait) => {
                if !wait.is_zero() {
                    state.note(Incident::StreamDelayed);
                }
                Ok(wait)
            }
            None => {
                state.note(Incident::StreamShed);
                Err(Refusal::TooFast(self.limits.patience))
            }
        }
    }

    /// Whether a peer may speak for the node of its stream's first message. To be asked before
    /// anything is built.
    ///
    /// # Errors
    /// If it may not, or if the node is too large.
    pub fn check(self: &Arc<Self>, peer: Option<&Peer>, node: &Node) -> Result<Grants, Refusal> {
        for (field, text) in [("node.id", &node.id), ("node.cluster", &node.cluster)] {
            if text.len() > NODE_FIELD_BYTES_MAX {
                let bytes = text.len();
                let refusal = Refusal::NodeFieldTooLong { field, bytes };
                return Err(self.refuse(Incident::NodeTooLarge, refusal));
            }
        }
        let bytes = node.encoded_len();
        if bytes > NODE_BYTES_MAX {
            return Err(self.refuse(Incident::NodeTooLarge, Refusal::NodeTooLarge { bytes }));
        }
        let access = Arc::clone(self);
        let Some(policy) = &self.policy else {
            return Ok(Grants { rule: None, access });
        };
        let Some(peer) = peer else {
            return Err(self.refuse(Incident::IdentityMissing, Refusal::IdentityMissing));
        };
        match policy.check(&peer.id, &node.id, &node.cluster) {
            Ok(rule) => Ok(Grants {
                rule: Some(Arc::new(rule.clone())),
                access,
            }),
            Err(denied) => {
                // A client with the wrong identity comes back several times a second.
                if self.note_stranger(Incident::ClaimDenied, Instant::now()) {
                    tracing::warn!(address = %peer.address, reason = %denied, "a client claimed what it may not");
                }
                Err(Refusal::Denied(Box::new(denied)))
            }
        }
    }

    /// Whether a later message of a stream still speaks for the same node (invariant X11). It may
    /// leave the node out, or its id and cluster empty.
    ///
    /// # Errors
    /// If it names another one.
    pub fn same_node(
        &self,
        node_id: &str,
        cluster: &str,
        later: Option<&Node>,
    ) -> Result<(), Refusal> {
        match later {
            Some(node) if node.id.is_empty() && node.cluster.is_empty() => Ok(()),
            Some(node) if node.id != node_id || node.cluster != cluster => {
                let refusal = Refusal::NodeChanged {
                    node_id: node_id.to_owned(),
                    cluster: cluster.to_owned(),
                };
                Err(self.refuse(Incident::NodeChanged, refusal))
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, incident: Incident, refusal: Refusal) -> Refusal {
        self.note(incident);
        refusal
    }

    fn is_one_node(&self, identity: &SpiffeId) -> bool {
        self.policy
            .as_ref()
            .is_some_and(|policy| policy.is_one_node(identity))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn note(&mut self, incident: Incident) {
        *self.incidents.entry(incident).or_default() += 1;
    }

    /// Changes what an identity holds, and forgets it when that is nothing.
    fn give_back(&mut self, identity: &SpiffeId, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.held.get_mut(identity) {
            change(held);
            let streams = held.discovery + held.of_one_type + held.reports;
            if held.connections == 0 && streams == 0 {
                self.held.remove(identity);
            }
        }
    }
}

// === impl Held ===

impl Held {
    fn streams(&mut self, kind: StreamKind) -> &mut usize {
        match kind {
            StreamKind::Discovery => &mut self.discovery,
            StreamKind::DiscoveryOfOneType => &mut self.of_one_type,
            StreamKind::Reports => &mut self.reports,
        }
    }
}

// === impl ConnectionPass ===

impl ConnectionPass {
    /// Takes note of an incident on the connection.
    pub fn note(&self, incident: Incident) {
        self.access.note(incident);
    }
}

impl Drop for ConnectionPass {
    fn drop(&mut self) {
        let mut state = self.access.state();
        state.connections = state.connections.saturating_sub(1);
        state.give_back(&self.identity, |held| {
            held.connections = held.connections.saturating_sub(1);
        });
    }
}

// === impl StreamPass ===

impl Drop for StreamPass {
    fn drop(&mut self) {
        if let Some((access, identity, kind)) = &self.held {
            access.state().give_back(identity, |held| {
                let count = held.streams(*kind);
                *count = count.saturating_sub(1);
            });
        }
    }
}

// === impl Grants ===

impl Grants {
    /// Whether the client may have a resource. Everything but a secret is decided by its view.
    #[must_use]
    pub fn may_have(&self, type_url: &TypeUrl, name: &str) -> bool {
        let of_rule = |rule: &Arc<Rule>| type_url.as_str() != SECRET || rule.may_have_secret(name);
        self.rule.as_ref().is_none_or(of_rule)
    }

    /// The view without the secrets that the client was not granted. It keeps its id: for this
    /// client this is all of it.
    pub(crate) fn visible(&self, view: Arc<Snapshot>) -> Arc<Snapshot> {
        let secrets = TypeUrl::new(SECRET);
        match view.with_only(&secrets, |name| self.may_have(&secrets, name)) {
            Some(rest) => {
                self.access.note(Incident::SecretsWithheld);
                Arc::new(rest)
            }
            None => view,
        }
    }
}
