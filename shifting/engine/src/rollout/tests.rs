//! Each rule with hand-made events. Every step is also checked against the invariants.

use super::fixture::*;
use super::*;
use crate::time::Time;
use crate::units::Ppm;

mod acceptance;
mod advance;
mod after;
mod alone;
mod callers;
mod calls;
mod cap;
mod commands;
mod configuration;
mod crossed;
mod delivery;
mod evidence;
mod gates;
mod interplay;
mod kills;
mod ladder;
mod memory;
mod meshes;
mod queue;
mod recovery;
mod silence;
mod witness;
