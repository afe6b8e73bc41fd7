//! Who may open a connection or a stream, and for which node it may speak.
//!
//! ```text
//!  TCP ─► handshake (5 s) ─► SPIFFE ID ─► connection ─► stream ─► first request ─► Assign
//!         Certificates       Peer         └──────── Access: limits, rate, Policy ──┘
//! ```
//!
//! `node.id` and `node.cluster` are claims (design M13). A [`Policy`] says which identity may make
//! which of them; [`Access`] asks it before anything is built for a stream, counts what it
//! refuses, and keeps one identity from using up what belongs to all.
//!
//! Deliberately not here: watching certificate files (the embedder calls `Tls::reload` when it
//! wants), revocation lists (SPIFFE certificates live for hours), roles of operators.

mod access;
#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod farewell;
#[cfg(feature = "tls")]
mod listener;
mod peer;
mod policy;
mod rate;
mod refusal;

pub use access::{Access, AccessLimits, ConnectionPass, Grants, StreamKind, StreamPass};
#[cfg(feature = "tls")]
pub use certificates::{CertificateError, Certificates, Loaded, Tls};
#[cfg(feature = "tls")]
pub use listener::{Connection, SecureIncoming, secure_incoming};
pub use peer::{Peer, SpiffeId, SpiffeIdError};
pub use policy::{Denied, Policy, PolicyError, Rule};
pub use refusal::{Incident, Refusal};
