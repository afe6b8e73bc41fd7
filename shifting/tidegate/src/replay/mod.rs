//! The journal read again: does this program decide what was decided, to the bit, and what would
//! have been decided with other settings?
//!
//! The state is the fold of the journal (design M8), so a replay needs no sidecars, no clock and
//! no data directory of its own; it changes nothing.

mod what_if;

use std::path::Path;

use serde::Serialize;
use tidegate_engine::rollout::{self, Decided, Event, Refusal, Rollout, RolloutDecision, State};
use tidegate_engine::time::Time;

use crate::journal::{self, JournalError, StoredRecord};

use what_if::Alternatives;
pub use what_if::{Outcome, Stand, WhatIf};

/// Most differences that are told one by one; the first is the one that matters.
const DIFFERENCES_MAX: usize = 20;

/// What a replay found.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// Records that were read.
    pub records: u64,
    /// Records that tell what was decided, and were compared.
    pub compared: u64,
    /// Where this program decides otherwise; the first ones.
    pub differences: Vec<Difference>,
    /// How many there are in all.
    pub differing: u64,
    /// What the rollouts did, in order; a line for each change of place or of decision.
    pub story: Vec<Change>,
    /// What other settings would have changed, a rollout each; empty unless asked for.
    pub what_if: Vec<WhatIf>,
    /// Why the rest of the journal can't be read, if it can't.
    pub damage: Option<String>,
}

/// A record on which this program decides otherwise.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// The record.
    pub revision: u64,
    /// What differs.
    pub what: String,
}

/// A rollout went to another place, or waits for something else.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The record.
    pub revision: u64,
    /// The engine's time.
    pub at: Time,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Where the rollout stands since then, and on which numbers.
    #[serde(flatten)]
    pub rollout: RolloutDecision,
}

/// Why a journal could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// This program refuses what the one that wrote it accepted.
    #[error(
        "record {revision} is refused by this program ({refusal}); replay it with the program \
         that wrote it"
    )]
    Refused {
        /// The record.
        revision: u64,
        /// Why.
        refusal: Refusal,
    },
}

/// Replays the journal in the data directory `data`. `settings`: a mesh whose objectives, ladders
/// and waits are tried on every rollout. `service`: tell of this service only.
///
/// # Errors
/// When there is no journal, or a record is not what this program knows. Damage inside ends the
/// replay and is told in the answer.
pub fn replay(
    data: &Path,
    service: Option<&str>,
    settings: Option<&tidegate_engine::mesh::Mesh>,
) -> Result<Replay, ReplayError> {
    let mut replayer = Replayer {
        state: State::default(),
        alternatives: settings.map(Alternatives::new),
        service,
        replay: Replay {
            records: 0,
            compared: 0,
            differences: Vec::new(),
            differing: 0,
            story: Vec::new(),
            what_if: Vec::new(),
            damage: None,
        },
    };
    let verified = journal::read(data, |stored| replayer.take(data, stored))?;
    let mut replay = replayer.replay;
    replay.records = verified.records;
    replay.damage = verified.damage.map(|damage| damage.to_string());
    if let Some(alternatives) = replayer.alternatives {
        replay.what_if = alternatives.finish(service);
    }
    Ok(replay)
}

struct Replayer<'a> {
    state: State,
    alternatives: Option<Alternatives<'a>>,
    service: Option<&'a str>,
    replay: Replay,
}

// === impl Replayer ===

impl Replayer<'_> {
    fn take(&mut self, data: &Path, stored: StoredRecord) -> Result<(), ReplayError> {
        let record = stored.parsed(data)?;
        let (next, effects) = self
            .state
            .apply(&record.event, record.at)
            .map_err(|refusal| ReplayError::Refused {
                revision: record.revision,
                refusal,
            })?;
        let decided = Decided::new(&record.event, &next, &effects);
        self.compare(&stored, &decided);
        self.tell(&stored, &decided);
        if let Some(alternatives) = &mut self.alternatives {
            alternatives.observe(&self.state, &record.event, &next, record.at);
        }
        self.state = next;
        Ok(())
    }

    fn compare(&mut self, stored: &StoredRecord, again: &Decided) {
        let Some(text) = &stored.decided else { return };
        self.replay.compared += 1;
        let what = match serde_json::from_str::<Decided>(text) {
            Ok(recorded) => recorded.difference(again),
            Err(cause) => Some(format!("what was decided can't be read: {cause}")),
        };
        let Some(what) = what else { return };
        self.replay.differing += 1;
        if self.replay.differences.len() < DIFFERENCES_MAX {
            self.replay.differences.push(Difference {
                revision: stored.revision,
                what,
            });
        }
    }

    fn tell(&mut self, stored: &StoredRecord, decided: &Decided) {
        for rollout in &decided.rollouts {
            if self
                .service
                .is_some_and(|service| service != rollout.service)
            {
                continue;
            }
            let last = self
                .replay
                .story
                .iter()
                .rev()
                .find(|change| change.rollout.service == rollout.service);
            if last.is_some_and(|last| !changed(&last.rollout, rollout)) {
                continue;
            }
            self.replay.story.push(Change {
                revision: stored.revision,
                at: stored.at,
                wall_ms: stored.wall_ms,
                rollout: rollout.clone(),
            });
        }
    }
}

/// Another place or another kind of decision; the words of a wait change every second.
fn changed(was: &RolloutDecision, is: &RolloutDecision) -> bool {
    (was.number, was.phase, &was.rung, was.share) != (is.number, is.phase, &is.rung, is.share)
        || was.decision.kind() != is.decision.kind()
}

/// The service, or `fleet:NAME`, whose rollout an event began.
fn begins(before: &State, event: &Event, after: &State) -> Option<String> {
    let subject = match event {
        Event::Configure { fleet } => rollout::subject(fleet),
        other => other.service()?.to_owned(),
    };
    let number = |state: &State| state.latest(&subject).map(Rollout::number);
    (number(after) != number(before)).then_some(subject)
}

#[cfg(test)]
mod tests;
