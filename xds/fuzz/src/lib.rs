//! What the fuzz targets do with their input. Each function panics if a promise is broken.
//!
//! Deliberately not here: corpora (`cargo fuzz` keeps them beside this crate, unversioned; the
//! small ones to begin with are in `seeds` and in the repository's `fixtures`).

#![forbid(unsafe_code)]

mod config;
mod message;
mod report;
mod stream;
mod world;

pub use config::{config_read, config_validate};
pub use report::report;
pub use stream::stream;
