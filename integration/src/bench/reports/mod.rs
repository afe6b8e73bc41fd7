//! The intake of reports: thousands of sidecars, each with a metrics message a second.
//!
//! The server and the sidecars are processes of their own, commanded by lines as in the other
//! benchmark. All sidecars send the same bytes, encoded once; each has a stream of its own and its
//! own second.

pub mod load;
pub mod payload;
pub mod server;
