//! What operators declare, and its checks.
//!
//! ```text
//! text ─► tree (every value knows its place) ─► decode (serde; finds every mistake of form)
//!      ─► check (finds every mistake of meaning) ─► model
//! ```
//!
//! All mistakes are reported at once, each with its place and what would be right, because a
//! mesh is written by many and fixed by whoever is on call.
//!
//! What is deliberately absent: files (the program reads them) and any comparison with what is in
//! force ([`crate::guard`]). A mesh that passes here can be compiled; whether it may replace the
//! one in force is another question.
//!
//! Decided here: a fleet that no service names is refused, because its sidecars would have a
//! listener that routes nothing; so is a mesh that declares nothing at all.

mod calendar;
mod check;
mod declared;
mod decode;
mod diagnostic;
mod hosts;
pub mod limits;
mod model;
mod neighbours;
mod policies;
mod read;
mod settings;
mod tree;
mod values;
mod waits;

pub(crate) use calendar::frozen;
pub use calendar::{Day, Freeze, FreezeSpan};
pub use diagnostic::{Diagnostic, SourceFile};
pub use model::*;
pub use neighbours::Tier;
pub use read::read;
pub use settings::{ServiceSettings, Settings};
