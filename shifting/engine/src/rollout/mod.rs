//! The state machine that carries one change up the ladder.
//!
//! ```text
//!             acknowledged        rung by rung, judged            watched        acknowledged
//! Start ─► Preparing ─────► Judging 1 host ─► 5% ─► 100% ─► Soaking ─► Committing ─► Committed
//!              │                    │  ▲ one rung back                     │
//!              │                    │  └─ telemetry outage                 │ abort
//!              └────────────────────┴──────────► Reverting ◄───────────────┘
//!                                                    │ acknowledged, nothing in flight
//!                                                    ▼
//!                                                 Reverted
//! ```
//!
//! It is a fold (design M8): [`State::apply`] takes a state, an event and the time, and gives the
//! next state and what must follow. The journal's events, applied in order, are the state.
//!
//! - `state` the state and its questions; `command` what operators ask; `recover` after an outage
//! - `plan` which exposures the rungs allow; `run` one rollout and its changes of phase
//! - `admission` what may start; `quarantine` what may not; `known_good` what was proven, and the
//!   way back
//! - `gate` and `freeze` what else a rung that passed waits for; `queue` starts that wait
//! - `turns` when their turn has come; `lease` what a rollout keeps others from, `calls` by which graph;
//!   `after` what is to be committed before a start; `cap` how many are under way at once, and with how
//!   much of the traffic; `attribution` who of two that overlap is blamed, `callers` whose requests tell
//! - `tick` one observation: `delivery` and `signals` remember what it says, `faults` what takes the
//!   canary back, `alone` whose fault it is at 100%, `judge` what holds, `advance` what is asked for to go
//!   on, and what it may cost
//! - `configuration` the same machine with a fleet's sidecars for its subject; `sidecars` who of them
//!   is exposed, `health` what they do beside their requests
//! - `witness` the second source of a rollout that has one: it may object, and nothing else
//! - [`invariants`] what must hold in every step; [`Decided`] what the journal keeps of one
//!
//! What is deliberately absent: any way to raise exposure without positive evidence.

mod admission;
mod advance;
mod after;
mod alone;
mod attribution;
mod callers;
mod calls;
mod cap;
mod command;
mod configuration;
mod decided;
mod delivery;
mod event;
mod faults;
mod freeze;
mod gate;
mod health;
pub mod invariants;
mod judge;
mod known_good;
mod lease;
mod plan;
mod quarantine;
mod queue;
mod reason;
mod recover;
mod refusal;
mod run;
mod sidecars;
mod signals;
mod state;
mod status;
mod tick;
mod turns;
mod view;
mod witness;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use after::After;
pub use callers::Callers;
pub use calls::Call;
pub use configuration::{
    Change, FleetConfiguration, FleetConfigurations, Pending, Preview, fleet_of, subject,
};
pub use decided::{Decided, RolloutDecision};
pub use event::*;
pub use gate::Approval;
pub use health::{ArmHealth, FleetHealth};
pub use known_good::{KnownGood, WayBack};
pub use lease::{Lease, Terms};
pub use quarantine::Quarantined;
pub use queue::{Queued, QueuedStatus};
pub use reason::Reason;
pub use refusal::Refusal;
pub use run::{Cause, Rollout};
pub use sidecars::{Exposed, NAMED_MAX, order};
pub use state::State;
pub use status::*;
pub(crate) use tick::{RHO, tolerated_odds};
