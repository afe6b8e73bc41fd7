//! The parts of the program `tidegate`: files, sockets and clocks into calls on the two
//! libraries, and their answers into action.

pub mod api;
pub mod bootstrap;
pub mod client;
pub mod demo;
pub mod envoy;
pub mod journal;
pub mod show;
