//! Evidence from a Prometheus server that scrapes the sidecars.
//!
//! ```text
//! sidecars' /stats/prometheus ◄─ Prometheus ◄─ poller ─► polls ─► observe ─► engine's intake
//! ```
//!
//! What is asked for are the raw samples of the two clusters of a rollout (a range selector), not
//! rates: each sample has the time of its scrape, so that what is late, repeated or frozen is
//! seen, a counter that went backwards is a restart and no negative rate, and nothing is counted
//! twice or smeared over a window. A scrape of one target becomes a report like those that
//! sidecars send themselves, and the engine's intake judges its freshness alike.
//!
//! An outage of Prometheus is told with its reason ([`Outage`]) and leaves the reporters to grow
//! late and silent: that holds a rollout; it neither reverts nor advances it.

mod answer;
mod counters;
mod poller;
mod query;

pub use answer::{Sample, Scrapes, Series};
pub use counters::{Counters, TargetReport};
pub use poller::{Poll, run};
pub use query::Outage;

#[cfg(test)]
mod tests;
