//! The parts of the program `tidegate`: files, sockets and clocks into calls on the two
//! libraries, and their answers into action.
//!
//! - [`daemon`]: the wiring of `tidegate serve`
//! - [`source`]: where meshes come from
//! - [`prometheus`]: evidence from a Prometheus server
//! - [`journal`]: the append-only record of events; [`replay`]: it is decided again, or otherwise
//! - [`api`], [`client`]: the operators' API and its client
//! - [`cli`], [`show`]: the command line and its tables
//! - [`envoy`], [`bootstrap`]: finding Envoy, and the configuration that makes it a sidecar
//! - [`demo`]: a whole canary on one machine

pub mod api;
pub mod bootstrap;
pub mod cli;
pub mod client;
pub mod clock;
pub mod daemon;
pub mod demo;
pub mod envoy;
pub mod journal;
pub mod prometheus;
pub mod replay;
pub mod show;
pub mod source;
