//! The intake of reports: thousands of sidecars, each with a message a second, of metrics or of load.
//!
//! The server and the sidecars are processes of their own, commanded by lines as in the other
//! benchmark. All sidecars send the same bytes, encoded once; each has a stream of its own and its
//! own second.

pub mod load;
pub mod lrs;
pub mod messages;
pub mod payload;
pub mod server;
