//! Who is at the other end of a stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;

use crate::delivery::{Delivery, Rejection, SentCounts, Suspicion};
use crate::identity::SpiffeId;
use crate::limits::NODE_FIELD_BYTES_MAX;
use crate::resource::TypeUrl;
use crate::stream::Variant;

/// Who is at the other end of a stream, as it says itself: claims, checked against its identity
/// where the server has a [`Policy`](crate::identity::Policy) (design M13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What its certificate proves, if it came over the secure listener. No claim.
    pub identity: Option<SpiffeId>,
    /// `node.id`: names the client.
    pub node_id: String,
    /// `node.cluster`: its fleet.
    pub cluster: String,
    /// `node.locality.region`.
    pub region: String,
    /// `node.locality.zone`.
    pub zone: String,
    /// `node.locality.sub_zone`.
    pub sub_zone: String,
    /// What it is.
    pub kind: ClientKind,
    /// Its version, such as `1.40.0`; empty if it doesn't tell.
    pub version: String,
    /// `node.client_features`.
    pub client_features: Vec<String>,
}

/// What a client is, by its user agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// An Envoy.
    Envoy,
    /// A proxyless gRPC client or server.
    Grpc,
    /// Anything else.
    Other,
}

/// What is known about a client, connected or gone.
#[derive(Debug, Clone)]
pub struct ClientStatus {
    /// Who.
    pub client: Client,
    /// Which protocol its newest stream speaks.
    pub variant: Variant,
    /// Whether it has a stream now.
    pub connected: bool,
    /// Since when it is connected, or gone.
    pub since: Instant,
    /// Streams that it has now. More than one is normal for gRPC; from an Envoy it means that two
    /// use the same node id, or that a dead connection wasn't noticed yet.
    pub streams: usize,
    /// How often it opened its configuration connection since the server knows it; 1 after the first
    /// time, kept while it is gone. Every aggregated stream counts; where several at once are
    /// normal, as each is for something else (gRPC, and an Envoy that doesn't aggregate), only one
    /// that is opened when it has no other. Streams that were refused at the door don't count.
    pub connections: u64,
    /// The id of the view that it should have.
    pub wanted: Option<Arc<str>>,
    /// The newest view that it acknowledged all of, on its newest stream.
    pub acknowledged: Option<Arc<str>>,
    /// Since when the two differ.
    pub behind_since: Option<Instant>,
    /// That view, if its version gauges prove it in force on its newest streams (see
    /// [`Server::note_versions`](super::Server::note_versions)).
    pub applied: Option<Arc<str>>,
    /// What it refuses.
    pub rejections: Vec<Rejection>,
    /// What its newest streams were sent, by type.
    pub sent: BTreeMap<TypeUrl, SentCounts>,
    /// Types that it subscribed to on its newest stream. One that is missing after a reconnect is
    /// a sign of trouble (envoy facts §12).
    pub subscribed: Vec<TypeUrl>,
    /// Whether a time to live reaches it. Where it doesn't, there is no dead man's switch.
    pub takes_ttl: bool,
    /// How often its newest stream was sent something because a gate's deadline had passed.
    pub gates_forced: u64,
    /// Silence where there should be words, on its newest stream.
    pub suspect: Option<Suspicion>,
    /// The newest suspicion of its newest stream, cured or not.
    pub last_suspicion: Option<Suspicion>,
}

// === impl Client ===

impl Client {
    /// Reads a node. Fields that are too long are cut.
    pub fn of(node: &Node) -> Self {
        let locality = node.locality.clone().unwrap_or_default();
        let agent = node.user_agent_name.as_str();
        let kind = match agent {
            "envoy" => ClientKind::Envoy,
            _ if agent.starts_with("gRPC") || agent.starts_with("grpc") => ClientKind::Grpc,
            _ => ClientKind::Other,
        };
        let version = match &node.user_agent_version_type {
            Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
                let number = build.version.unwrap_or_default();
                format!(
                    "{}.{}.{}",
                    number.major_number, number.minor_number, number.patch
                )
            }
            None => String::new(),
        };
        Self {
            identity: None,
            node_id: cut(&node.id),
            cluster: cut(&node.cluster),
            region: cut(&locality.region),
            zone: cut(&locality.zone),
            sub_zone: cut(&locality.sub_zone),
            kind,
            version: cut(&version),
            client_features: node
                .client_features
                .iter()
                .take(64)
                .map(|text| cut(text))
                .collect(),
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(NODE_FIELD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

// === impl ClientStatus ===

impl ClientStatus {
    pub(super) fn new(
        client: Client,
        variant: Variant,
        since: Instant,
        delivery: Delivery,
    ) -> Self {
        Self {
            client,
            variant,
            connected: true,
            since,
            streams: 1,
            connections: 1,
            wanted: delivery.wanted,
            acknowledged: delivery.acknowledged,
            behind_since: delivery.behind_since,
            applied: None,
            rejections: delivery.rejections,
            sent: delivery.sent,
            subscribed: delivery.subscribed,
            takes_ttl: delivery.takes_ttl,
            gates_forced: delivery.gates_forced,
            suspect: delivery.suspect,
            last_suspicion: delivery.last_suspicion,
        }
    }

    /// Adds what another stream of the same client tells, of something else.
    pub(super) fn join(&mut self, other: Self) {
        if self.acknowledged != other.acknowledged {
            self.acknowledged = None;
        }
        self.behind_since = match (self.behind_since, other.behind_since) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.rejections.extend(other.rejections);
        for (type_url, counts) in other.sent {
            let sum = self.sent.entry(type_url).or_default();
            sum.responses += counts.responses;
            sum.resources += counts.resources;
            sum.removals += counts.removals;
            sum.renewals += counts.renewals;
        }
        self.subscribed.extend(other.subscribed);
        self.subscribed.sort();
        self.subscribed.dedup();
        self.takes_ttl &= other.takes_ttl;
        self.gates_forced += other.gates_forced;
        self.suspect = self.suspect.take().or(other.suspect);
        self.last_suspicion = self.last_suspicion.take().or(other.last_suspicion);
    }
}
