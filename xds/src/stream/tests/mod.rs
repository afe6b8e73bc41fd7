//! The rules, one test each, at the level of the state machine. `C`, `S`, `D`, `O` and `X` are
//! the numbers of the xDS protocol rules and of the invariants.

mod alike;
mod both;
mod bulk;
mod common;
mod delivery;
mod delta;
mod doubt;
mod errors;
mod expiry;
mod found;
mod in_use;
mod on_demand;
mod order;
mod pace;
mod per_type;
mod properties;
mod quarantine;
mod rest;
mod simulation;
mod sotw;
mod suspicion;
mod versions;
mod xdstp;

use common::*;
