//! The state machine of one ADS stream, without I/O.
//!
//! A [`Session`] holds everything that is known about one stream: what the client asked for, what
//! it was sent, what it acknowledged. It has no clock, no randomness, no sockets and no tasks;
//! time comes in as an argument. Whoever drives it calls
//!
//! 1. an input: [`Session::handle_request`], [`Session::set_view`], [`Session::heartbeat`],
//!    [`Session::handle_timeout`], with a time that never goes back;
//! 2. then [`Session::poll_response`] until it returns `None`, sending what it returns in order;
//! 3. then [`Session::next_timeout`], to know when to call `handle_timeout`.
//!
//! ```text
//!  requests ─► delta / sotw ─► TypeState (one per type: subscription, held, in flight)
//!                                   │
//!  view ──────────────────────► plan: what differs ─► order: may it go? ─► response
//! ```
//!
//! What both protocols share is in `state` (what the client has), `plan` (what differs) and
//! `order` (make before break); what they differ in is in `delta` and `sotw`. What a client of the
//! latter had on its last stream is in `earlier`.
//!
//! A stream at rest costs nothing that grows with its resources: what it has is the view's, and
//! what it asked for is a list that it shares (`holdings`, `names`, `settle`). A change costs what
//! changed: only names of which something changed are looked at (`agenda`), and how two views
//! differ is computed once for all streams. If that is assignments only, what a stream at rest says
//! to it is, too (`step`).
//!
//! Deliberately not here: deciding which view a client should have; timers of its own that would
//! renew a time to live (if the embedder's brain is dead, what it raised must expire).

mod agenda;
mod bulk;
mod collections;
mod completeness;
mod delta;
mod earlier;
mod errors;
mod gauges;
mod held;
mod holdings;
mod known;
mod names;
#[cfg(test)]
mod oracle;
mod order;
mod output;
mod owed;
mod pace;
mod plan;
mod proven;
mod request;
mod session;
mod settle;
mod sotw;
mod state;
mod status;
mod step;
mod subscription;
mod suspicion;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use earlier::Earlier;
pub use known::KnownVersions;
pub use names::NameLists;
pub use proven::Proven;
pub use request::Request;
pub use session::Session;
pub(crate) use suspicion::Legacy;

use crate::error_detail::ErrorDetail;
use crate::limits::{
    GATE_DEADLINE, NAME_BYTES_MAX, NAMES_MAX, REMOVAL_GRACE, TYPE_URL_BYTES_MAX, TYPES_MAX,
};
use crate::resource::{Name, Resource, TypeUrl};
use state::TypeState;

/// Which of the two protocols a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Incremental: resources come and go one by one.
    Delta,
    /// State of the world: a response for clusters or listeners is the whole set.
    Sotw,
}

/// How a session behaves.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// How long a gate waits for a silent client (xDS protocol rule O4).
    pub gate_deadline: Duration,
    /// How long a stream of one type keeps what the view no longer has. What leads to it is on
    /// other streams, so that nothing tells when it may go (rule O5).
    pub removal_grace: Duration,
    /// Whether a cluster or listener that no client took yet shares no incremental response with
    /// others of its kind (invariant S22). Off only to show what happens then.
    pub one_doubt_per_response: bool,
    /// What clients took, shared by all sessions that were given clones of these settings.
    pub proven: Arc<Proven>,
    /// Lists of names that clients subscribed to, shared in the same way.
    pub names: Arc<NameLists>,
    /// Which bytes versions of the embedder's own were sent with, shared in the same way.
    pub known_versions: Arc<KnownVersions>,
}

/// What to send next. The bodies are shared with the snapshot.
#[derive(Debug, Clone)]
pub struct Response {
    /// Which protocol it is for.
    pub variant: Variant,
    /// The type of everything in it.
    pub type_url: TypeUrl,
    /// Unique on its stream (rule C5).
    pub nonce: u64,
    /// Delta: the view's id, which Envoy's version gauges prove applied (envoy facts §5a).
    /// State of the world: a hash of the type's content that the client is subscribed to, so that
    /// it doesn't change with the rest of the view and is equal on every replica (rule C7).
    ///
    /// In place of both, the embedder's own version of the type, if the view has one. A
    /// state-of-the-world set that isn't all of it (yet) keeps its hash.
    pub version: Arc<str>,
    /// What is added, changed or renewed.
    pub items: Arc<[Item]>,
    /// What is taken away (delta only).
    pub removed: Vec<Name>,
    /// Names of virtual hosts that were asked for and lead nowhere; sent as resources that have an
    /// alias and no body (delta only, rule D14).
    pub unresolved: Vec<Name>,
    /// Why resources that were asked for don't come (xRFC TP3). None of them is among `items`.
    pub errors: Vec<(Name, Arc<ErrorDetail>)>,
}

/// One resource in a [`Response`].
#[derive(Debug, Clone)]
pub struct Item {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Without its body: it only renews the time to live of what the client has (rule D12).
    pub renewal: bool,
    /// State of the world only: wrapped, to carry its time to live (rule S13).
    pub wrapped: bool,
}

/// What a request said about an earlier response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client took the response.
    Acknowledged,
    /// The client refused it, by its error detail (rule C11).
    Rejected,
    /// Nothing: it named no response, or none that is in flight (rules C10, D4, S7).
    Stale,
}

/// A request that no server could serve. The stream ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Rule C1.
    #[error(
        "the first request of a stream must carry `node`; this one has none, or one without an id"
    )]
    NodeMissing,
    /// Rule C2.
    #[error("a request on an aggregated stream must carry `type_url`")]
    TypeMissing,
    /// Rule C2, on a stream of one type.
    #[error(
        "this stream serves {expected} only; ask for `{url:.120}` on its own service, or on the aggregated one"
    )]
    TypeDiffers {
        /// What the stream serves.
        expected: TypeUrl,
        /// What was asked for.
        url: String,
    },
    /// Requests of the two protocols on one stream.
    #[error("the request is of the other protocol variant than its stream")]
    VariantDiffers,
    /// More than [`TYPES_MAX`].
    #[error("more than {TYPES_MAX} resource types on one stream")]
    TooManyTypes,
    /// More than [`NAMES_MAX`].
    #[error("more than {NAMES_MAX} resource names on one stream")]
    TooManyNames,
    /// A name or a type URL is too long.
    #[error(
        "a resource name or type URL is too long: {NAME_BYTES_MAX} bytes for a name, {TYPE_URL_BYTES_MAX} for a type URL"
    )]
    TooLong,
}

pub(in crate::stream) type Types = BTreeMap<TypeUrl, Box<TypeState>>;

// === impl Item ===

impl Item {
    /// The resource as it is, body and all.
    pub(crate) fn plain(resource: Arc<Resource>) -> Self {
        Self {
            resource,
            renewal: false,
            wrapped: false,
        }
    }
}

// === impl SessionSettings ===

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            gate_deadline: GATE_DEADLINE,
            removal_grace: REMOVAL_GRACE,
            one_doubt_per_response: true,
            proven: Arc::default(),
            names: Arc::default(),
            known_versions: Arc::default(),
        }
    }
}
