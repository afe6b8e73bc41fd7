//! The library's server alone, against the clients that people run: Envoy 1.40 and 1.36, over delta
//! and state of the world, aggregated and per type, and gRPC's C-core.
//!
//! - [`life`]: fetch, ACK, proof that it is in force, NACK, recovery, reconnect
//! - [`flips`]: a cluster and its route replaced a thousand times under load
//! - [`secrets`]: certificates over SDS, replaced while they are used
//! - [`expiry`]: a runtime layer that lives only as long as it is renewed
//! - [`grpc`]: proxyless clients
//!
//! Every Envoy carries requests all the time, and every response is looked at: a single one that
//! isn't 200 fails its test. What a test does with one kind of Envoy it does with all, at the same
//! time.
//!
//! Deliberately not here: what needs a bad client (`xds/tests`), the silent wedge (`tests/wedge`),
//! and the program around the library (`tests/against_envoy`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod config;
mod expiry;
mod flips;
mod grpc;
mod life;
mod secrets;
mod world;
