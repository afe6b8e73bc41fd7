//! What operators declare, and its checks.

mod model;

pub use model::*;
