//! The benchmarks: what the xDS server costs, beside go-control-plane and beside a bare broadcast.
//!
//! ```text
//!   bench_xds ──► server: ours (serve), floor, or the Go program ◄── h2 ── fleet: thousands of clients
//!     │  lines of commands, each answered                                      │
//!     └──────────────────────────── JSON lines ────────────────────────────────┘
//! ```
//!
//! Every part is a process of its own, so that CPU and memory of the server are the server's. The
//! clients are the same for all servers, and they check every byte: a run with a fault is no
//! measurement.
//!
//! - [`data`]: what is served; - [`wire`]: messages by hand; - [`fleet`]: the clients
//! - [`ours`], [`floor`]: servers; - [`servers`]: starting and commanding all of it
//! - [`measure`]: memory and CPU of a process; - [`scenario`]: what is measured; - [`report`]
//! - [`reports`]: the other benchmark, of the intake of reports

pub mod data;
pub mod fleet;
pub mod floor;
pub mod measure;
pub mod ours;
pub mod report;
pub mod reports;
pub mod scenario;
pub mod servers;
pub mod wire;
