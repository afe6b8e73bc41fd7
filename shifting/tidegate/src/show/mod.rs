//! What people read in a terminal.
//!
//! Pure functions from the API's answers to text: no sockets, no clock, no terminal. Only
//! [`Style::of`] and [`Live`] look at the terminal. Programs read `--json`; this text may change.
//!
//! Whatever comes from a mesh, an operator or a sidecar is cleaned of control characters before
//! it is shown ([`text::clean`]): a rejection's text is a stranger's and must not drive the
//! terminal.

mod aa;
mod configuration;
mod graph;
mod lists;
mod live;
mod plan;
mod quarantine;
mod queue;
mod replay;
mod rollout;
mod style;
mod text;
mod words;

pub use aa::aa;
pub use configuration::{pending, preview};
pub use graph::graph;
pub use lists::{mesh, rollouts, sidecars, version};
pub use live::Live;
pub use plan::plan;
pub use quarantine::quarantine;
pub use queue::{queue, queued};
pub use replay::replay;
pub use rollout::{rollout, rollout_line, rollout_news, rollout_now, rollout_subject};
pub use style::{Style, Tone};
pub use text::{clean, wrap};
pub use words::{ago, count, duration, ratio};

#[cfg(test)]
pub(crate) mod samples;
