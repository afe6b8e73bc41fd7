//! The rules, one test each, at the level of the state machine. `C`, `S`, `D`, `O` and `X` are
//! the numbers of the xDS protocol rules and of the invariants.

mod both;
mod common;
mod delivery;
mod delta;
mod doubt;
mod expiry;
mod order;
mod per_type;
mod properties;
mod sotw;
mod suspicion;

use common::*;
