//! The state machine that carries one change up the ladder.

mod event;
mod status;

pub use event::*;
pub use status::*;
