//! The harness of the tests against real Envoys and gRPC clients: it starts the program as an
//! operator would, gives it sidecars, hosts and traffic, and looks at what came of it from
//! outside (the command line's JSON, Envoy's admin interface, what hosts and clients saw).
//!
//! - [`mod@bench`]: the benchmarks
//! - [`program`]: builds `tidegate` once and runs its commands
//! - [`serve`]: a control plane that can be killed and started again
//! - [`library`]: a control plane in this process, made with the library alone
//! - [`intermediary`]: what stands between a sidecar and its control plane, and withholds
//! - [`sidecar`]: a real Envoy with the program's own bootstrap, or another
//! - [`hosts`] and [`traffic`]: HTTP hosts that tell their version, and clients that record
//! - [`mesh`]: the files of small meshes
//! - [`prometheus`]: a real Prometheus that scrapes sidecars
//! - [`python`]: proxyless gRPC clients and servers
//! - [`machine`]: ports, waiting, randomness, and the one place at which tests queue up
//!
//! Deliberately not here: fakes of Envoy. What a sidecar does is asked of a sidecar.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code; a panic is how a test fails"
)]

pub mod bench;
pub mod hosts;
pub mod intermediary;
pub mod library;
pub mod machine;
pub mod mesh;
mod process;
pub mod program;
pub mod prometheus;
pub mod python;
pub mod serve;
pub mod sidecar;
pub mod traffic;

pub use process::Running;
