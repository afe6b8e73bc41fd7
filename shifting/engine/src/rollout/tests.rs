//! Each rule with hand-made events. Every step is also checked against the invariants.

use super::fixture::*;
use super::*;
use crate::time::Time;
use crate::units::Ppm;

mod advance;
mod commands;
mod delivery;
mod evidence;
mod kills;
mod ladder;
mod memory;
mod meshes;
mod recovery;
mod silence;
