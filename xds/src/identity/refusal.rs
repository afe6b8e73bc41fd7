//! What is refused at the door, as the client reads it and as it is counted.

use std::fmt;
use std::time::Duration;

use tonic::Status;

use super::SpiffeId;
use super::policy::Denied;
use crate::limits::{NODE_BYTES_MAX, NODE_FIELD_BYTES_MAX};

/// What was refused, or went wrong, at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Incident {
    /// A connection beyond the limits.
    ConnectionRefused,
    /// A handshake that failed: no certificate, an expired one, one of another CA, no TLS at all.
    HandshakeFailed,
    /// A handshake that took too long.
    HandshakeSlow,
    /// A handshake under way that had to give its place to a newer one.
    HandshakeDisplaced,
    /// A valid certificate without exactly one SPIFFE ID.
    IdentityUnusable,
    /// A connection whose certificate expired while it was open.
    CertificateExpired,
    /// A connection that said nothing after its handshake.
    ConnectionMute,
    /// A stream beyond the limits of its identity.
    StreamRefused,
    /// A stream that waited for its turn.
    StreamDelayed,
    /// A stream that would have had to wait too long for its turn.
    StreamShed,
    /// A stream without an identity where a policy asks for one.
    IdentityMissing,
    /// A node that its identity may not speak for.
    ClaimDenied,
    /// A node that is too large or has an id or a cluster that is too long.
    NodeTooLarge,
    /// A node that changed within a stream.
    NodeChanged,
    /// A request that no server could serve, or that could not be read.
    RequestRefused,
    /// A stream whose first request did not come in time.
    StreamMute,
    /// A stream that left responses unread for too long.
    StreamBlocked,
    /// A view with secrets that the client was not granted, which it gets without them.
    SecretsWithheld,
    /// A whole set of clusters or listeners, over state of the world, that clients with gRPC's usual
    /// limit refuse (xDS protocol rule C17). It can't be split.
    ResponseTooLarge,
    /// A secure connection that was ended because its client reset calls faster than they could be
    /// taken up (CVE-2023-44487, rapid reset).
    Http2Resets,
    /// The same for calls that had to be reset for errors of the client (RUSTSEC-2024-0003).
    Http2MalformedCalls,
    /// The same for request headers without an end, or far beyond their limit (RUSTSEC-2024-0332).
    Http2Headers,
    /// The same for small or empty data frames without end (RUSTSEC-2026-0258).
    Http2EmptyData,
    /// The same for another breach of HTTP/2.
    Http2Broken,
    /// A stream whose request was more, with the unfinished ones of all others, than is kept of
    /// requests.
    RequestsTooLarge,
    /// A stream that began with a request and did not finish it in time.
    RequestUnfinished,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All connections are taken.
    #[error("the server has its maximum of {0} connections; try again, or another replica")]
    Connections(usize),
    /// The identity has too many connections.
    #[error("`{identity}` has {limit} connections already; it gets another when one of them ends")]
    ConnectionsOfIdentity {
        /// Whose.
        identity: SpiffeId,
        /// How many it may have.
        limit: usize,
    },
    /// The identity has too many streams.
    #[error(
        "`{identity}` has {limit} {what} streams already; give every client an identity of its own"
    )]
    StreamsOfIdentity {
        /// Whose.
        identity: SpiffeId,
        /// How many it may have.
        limit: usize,
        /// Of which kind.
        what: &'static str,
    },
    /// Too many streams are waiting.
    #[error("too many streams come at once; try again in {} s", .0.as_secs().max(1))]
    TooFast(Duration),
    /// A policy asks for an identity.
    #[error("this control plane serves only clients with a certificate that holds a SPIFFE ID")]
    IdentityMissing,
    /// The policy says no.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// The node is too large.
    #[error(
        "the node has {bytes} bytes, of which at most {NODE_BYTES_MAX} are accepted; remove metadata"
    )]
    NodeTooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// A name in the node is too long.
    #[error("{field} has {bytes} bytes, of which at most {NODE_FIELD_BYTES_MAX} are accepted")]
    NodeFieldTooLong {
        /// Which.
        field: &'static str,
        /// How many it has.
        bytes: usize,
    },
    /// A stream's node is what its first message said (invariant X11).
    #[error(
        "the node of a stream can't change: it was `{node_id}` in `{cluster}`; open another stream"
    )]
    NodeChanged {
        /// The first `node.id`.
        node_id: String,
        /// The first `node.cluster`.
        cluster: String,
    },
}

// === impl Refusal ===

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Connections(_)
            | Refusal::ConnectionsOfIdentity { .. }
            | Refusal::StreamsOfIdentity { .. }
            | Refusal::TooFast(_)
            | Refusal::NodeTooLarge { .. } => Self::resource_exhausted(text),
            Refusal::IdentityMissing => Self::unauthenticated(text),
            Refusal::Denied(_) => Self::permission_denied(text),
            Refusal::NodeFieldTooLong { .. } | Refusal::NodeChanged { .. } => {
                Self::invalid_argument(text)
            }
        }
    }
}

// === impl Incident ===

impl Incident {
    /// A name for metrics, such as `claim_denied`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeSlow => "handshake_slow",
            Self::HandshakeDisplaced => "handshake_displaced",
            Self::IdentityUnusable => "identity_unusable",
            Self::CertificateExpired => "certificate_expired",
            Self::ConnectionMute => "connection_mute",
            Self::StreamRefused => "stream_refused",
            Self::StreamDelayed => "stream_delayed",
            Self::StreamShed => "stream_shed",
            Self::IdentityMissing => "identity_missing",
            Self::ClaimDenied => "claim_denied",
            Self::NodeTooLarge => "node_too_large",
            Self::NodeChanged => "node_changed",
            Self::RequestRefused => "request_refused",
            Self::StreamMute => "stream_mute",
            Self::StreamBlocked => "stream_blocked",
            Self::SecretsWithheld => "secrets_withheld",
            Self::ResponseTooLarge => "response_too_large",
            Self::Http2Resets => "http2_resets",
            Self::Http2MalformedCalls => "http2_malformed_calls",
            Self::Http2Headers => "http2_headers",
            Self::Http2EmptyData => "http2_empty_data",
            Self::Http2Broken => "http2_broken",
            Self::RequestsTooLarge => "requests_too_large",
            Self::RequestUnfinished => "request_unfinished",
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
