//! The operators' API.

pub mod model;
