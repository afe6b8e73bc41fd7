//! What one client really has, as far as its own words tell.
//!
//! An ACK says that Envoy's main thread parsed and accepted; it doesn't prove that workers apply
//! it (envoy facts §8). What proves that comes back with the reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::resource::{Name, TypeUrl};

/// What one stream was sent and acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The id of the view that the client should have.
    pub wanted: Option<Arc<str>>,
    /// The newest view of which everything that the client subscribed to is acknowledged.
    pub acknowledged: Option<Arc<str>>,
    /// Since when the two differ.
    pub behind_since: Option<Instant>,
    /// What the client refuses of the wanted view, and refusals whose culprit isn't found yet.
    pub rejections: Vec<Rejection>,
    /// What was sent on this stream, by type.
    pub sent: BTreeMap<TypeUrl, SentCounts>,
    /// Types that the client subscribed to on this stream.
    pub subscribed: Vec<TypeUrl>,
    /// Whether a time to live reaches the client: over delta always, over state of the world if it
    /// is an Envoy or says so. Where it doesn't, there is no dead man's switch.
    pub takes_ttl: bool,
    /// How often a gate was passed by its deadline and not by an acknowledgement: the client was
    /// sent something without proof that it was ready for it.
    pub gates_forced: u64,
    /// Silence where there should be words.
    pub suspect: Option<Suspicion>,
    /// The newest suspicion, cured or not.
    pub last_suspicion: Option<Suspicion>,
}

// === impl Suspicion ===

impl Suspicion {
    pub(crate) fn new(kind: SuspicionKind, since: Instant) -> Self {
        let clusters = |type_url: &TypeUrl| *type_url == TypeUrl::CLUSTER;
        let sentence = match &kind {
            SuspicionKind::Unanswered(type_url) if clusters(type_url) => {
                "clusters are unanswered for more than 10 s: one of them may warm for ever, or be \
                 invalid; what the client took last is sent again, then each alone"
                    .to_owned()
            }
            SuspicionKind::Unanswered(type_url) => format!(
                "{type_url} is unanswered for more than 10 s: the client may be overloaded or stuck"
            ),
            SuspicionKind::NotAsked(type_url) if clusters(type_url) => {
                "the client came back and didn't ask for clusters within 10 s; they are sent \
                 without being asked for"
                    .to_owned()
            }
            SuspicionKind::NotAsked(type_url) => {
                format!("the client came back and didn't ask for {type_url} within 10 s")
            }
        };
        Self {
            kind,
            since,
            sentence,
        }
    }
}

/// A client that is silent where it should speak. An embedder should page somebody if it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// What is missing.
    pub kind: SuspicionKind,
    /// Since when it counts as missing.
    pub since: Instant,
    /// What it means, and what was done.
    pub sentence: String,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SuspicionKind {
    /// A response of this type is unanswered for more than 10 s.
    Unanswered(TypeUrl),
    /// The client had asked for this type on its previous stream, and didn't within 10 s on this
    /// one.
    NotAsked(TypeUrl),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The type of what was refused.
    pub type_url: TypeUrl,
    /// The resource; several if they were refused together and the culprit isn't known.
    pub names: Vec<Name>,
    /// The client's own words, truncated. Not to be parsed (envoy facts §3).
    pub text: Arc<str>,
    /// When.
    pub at: Instant,
}

/// What was sent of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentCounts {
    /// Responses, renewals included.
    pub responses: u64,
    /// Resources with their bodies, renewals excluded.
    pub resources: u64,
    /// Removals (delta only: a state-of-the-world response removes by what it lacks).
    pub removals: u64,
    /// Resources whose time to live was renewed.
    pub renewals: u64,
}

/// Where one resource of the wanted view stands with one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceStatus {
    /// The client didn't ask for it.
    NotSubscribed,
    /// Not sent yet; it may wait for another's acknowledgement, or for the response in flight.
    NotSent,
    /// Sent, and neither acknowledged nor rejected.
    Sent,
    /// Acknowledged.
    Acknowledged,
    /// The client refused it, alone or together with others.
    Rejected {
        /// The client's own words, truncated.
        text: Arc<str>,
    },
    /// Acknowledged once, but its time to live lapsed without renewal.
    Expired,
}
