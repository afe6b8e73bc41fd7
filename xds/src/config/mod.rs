//! Reading and checking Envoy configuration: YAML or JSON in, [`Resource`](crate::Resource)s out,
//! or everything that is wrong with it at once.
//!
//! ```text
//!  text ─► tree (places) ─► decode (JSON mapping) ─► messages ─► encode (sorted) ─► Resource
//!             │                   │                     │
//!             │                   │                     ├─ rules: what the schema says
//!             │                   │                     ├─ semantics: what Envoy finds out beyond
//!             └───────────────────┴──── Diagnostics ◄───┴─ references: clusters that exist
//! ```
//!
//! Everything goes by the descriptors of Envoy's API, through every `Any`; nothing is written down
//! here for a single message, except in `semantics` and `references`.
//!
//! Deliberately not here: files (the caller reads them), extensions that only a particular Envoy
//! has, and anything that needs a running Envoy (certificates, DNS, sockets).

mod decode;
mod diagnostic;
mod encode;
mod fields;
pub mod limits;
mod outcome;
mod path;
mod reader;
mod references;
mod rules;
mod scalar;
mod schema;
mod semantics;
mod spelling;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod well_known;

pub use self::diagnostic::Diagnostic;
pub use self::encode::encode;
pub use self::path::{Path, Segment};
pub use self::reader::{Reader, Source};
pub use self::rules::Violation;
pub use self::schema::pool;
pub use self::walk::validate;
