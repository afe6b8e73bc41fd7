//! The operators' API: JSON over HTTP on a listener of its own.

pub mod model;
mod server;

pub use server::{Context, serve};
