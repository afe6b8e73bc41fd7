//! The program against real Envoys, gRPC clients and `kill -9`. Tests that start Envoys or
//! measure time queue up ([`tidegate_integration::machine::alone`]): on two cores they would
//! otherwise measure each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod calls;
mod configuration;
mod demo;
mod faults;
mod grpc;
mod health;
mod identity;
mod load_reports;
mod memory;
mod overlap;
mod refusals;
mod restarts;
