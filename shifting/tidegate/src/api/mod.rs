//! The operators' API: JSON over HTTP on a listener of its own.

mod a_a;
mod graph;
mod memory;
pub mod model;
mod server;
#[cfg(test)]
mod tests;
mod turns;

pub use server::{Context, serve};
