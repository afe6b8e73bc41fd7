//! Decides which view each sidecar should have.
//!
//! Pure: no I/O, no clock, no async, no threads. Everything that could differ between two runs
//! (time, randomness, files, sockets) enters as an argument, so that the same inputs give the
//! same outputs, on replay to the bit.
//!
//! ```text
//! mesh files ─► mesh ─► compile ─► views (the program hands them to tidegate-xds)
//!                          ▲
//! commands ─► rollout ─────┘
//!                ▲
//!             evidence ◄─ reports of sidecars
//! ```
//!
//! - [`mesh`]: what operators can declare, and its checks
//! - [`compile`]: mesh + exposures → Envoy resources
//! - [`rollout`]: the state machine that carries one change up the ladder
//! - [`evidence`]: from sidecars' reports to what is known of each arm, and the tests on it
//! - [`guard`]: what is refused
//! - [`plan`]: what a rollout would be able to see
//!
//! What is deliberately absent: streams, sockets, files, clocks. `tidegate-xds` and this crate
//! do not know each other; the program `tidegate` connects them.

pub mod compile;
pub mod evidence;
pub mod guard;
pub mod mesh;
pub mod plan;
pub mod rollout;
pub mod time;
pub mod units;
