//! Identities and limits over the wire: who is let in, for which node, how often; and that whoever
//! is refused disturbs nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[path = "../common/mod.rs"]
mod common;

mod certificates;
mod hostile;
mod limits;
mod peers;
mod world;
