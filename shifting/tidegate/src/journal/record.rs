//! One record, and the chain that ties it to all before it.

use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tidegate_engine::rollout::{Decided, Event};
use tidegate_engine::time::Time;

use super::JournalError;

/// One event that is to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The engine's time of the event.
    pub at: Time,
    /// Milliseconds since the Unix epoch, for display only (invariant S20).
    pub wall_ms: u64,
    /// What happened.
    pub event: Event,
    /// What was decided on it; `None` in records of programs that did not keep it.
    pub decided: Option<Decided>,
}

/// One event of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place: 1, 2, 3, … without gaps.
    pub revision: u64,
    /// The engine's time of the event.
    pub at: Time,
    /// Milliseconds since the Unix epoch, for display only (invariant S20).
    pub wall_ms: u64,
    /// What happened.
    pub event: Event,
}

/// One record as it is stored, its hash verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place: 1, 2, 3, … without gaps.
    pub revision: u64,
    /// The engine's time of the event.
    pub at: Time,
    /// Milliseconds since the Unix epoch, for display only (invariant S20).
    pub wall_ms: u64,
    /// The event's JSON text.
    pub event: String,
    /// The JSON text of what was decided on it, if that was kept.
    pub decided: Option<String>,
    /// The SHA-256 of the record and everything before it.
    pub hash: Hash,
}

/// The SHA-256 of a record and everything before it.
pub type Hash = [u8; 32];

/// What the first record is chained to.
pub(super) const GENESIS: Hash = [0; 32];

/// A record's link: the fields before the texts have a fixed width, and no JSON text contains the
/// byte 0 that divides the two, so no two records are alike.
fn link(
    previous: &Hash,
    revision: u64,
    at: u64,
    wall_ms: u64,
    event: &str,
    decided: Option<&str>,
) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(revision.to_be_bytes());
    hasher.update(at.to_be_bytes());
    hasher.update(wall_ms.to_be_bytes());
    hasher.update(event.as_bytes());
    if let Some(decided) = decided {
        hasher.update([0]);
        hasher.update(decided.as_bytes());
    }
    hasher.finalize().into()
}

// === impl StoredRecord ===

impl StoredRecord {
    /// The record that follows the one with `previous`' hash.
    pub(super) fn following(
        previous: &Hash,
        revision: u64,
        entry: &Entry,
    ) -> Result<Self, JournalError> {
        let unstorable = |cause: serde_json::Error| JournalError::Unstorable {
            what: cause.to_string(),
        };
        let event = serde_json::to_string(&entry.event).map_err(unstorable)?;
        let decided = entry
            .decided
            .as_ref()
            .map(serde_json::to_string)
            .transpose()
            .map_err(unstorable)?;
        let mut record = Self {
            revision,
            at: entry.at,
            wall_ms: entry.wall_ms,
            event,
            decided,
            hash: GENESIS,
        };
        record.hash = record.link(previous);
        Ok(record)
    }

    /// What its hash must be after a record with `previous`' hash.
    pub(super) fn link(&self, previous: &Hash) -> Hash {
        link(
            previous,
            self.revision,
            self.at.0,
            self.wall_ms,
            &self.event,
            self.decided.as_deref(),
        )
    }

    /// The event that the text holds.
    ///
    /// # Errors
    /// When this program does not know such an event; `path` is the journal, for the sentence.
    pub fn parsed(&self, path: &Path) -> Result<Record, JournalError> {
        let event =
            serde_json::from_str(&self.event).map_err(|cause| JournalError::UnknownEvent {
                path: path.to_owned(),
                revision: self.revision,
                cause: cause.to_string(),
            })?;
        Ok(Record {
            revision: self.revision,
            at: self.at,
            wall_ms: self.wall_ms,
            event,
        })
    }
}

/// Reads and verifies every record, oldest first, and hands each to `take`; answers the last
/// one's hash. What was taken before an error is verified.
pub(super) fn read_all<E: From<JournalError>>(
    path: &Path,
    connection: &Connection,
    schema: i64,
    mut take: impl FnMut(StoredRecord) -> Result<(), E>,
) -> Result<Hash, E> {
    let failed = |cause: rusqlite::Error| JournalError::sqlite(path, &cause);
    let decided = if schema < 2 { "NULL" } else { "decided" };
    let mut statement = connection
        .prepare(&format!(
            "SELECT revision, at_ms, wall_ms, event, hash, {decided} FROM record ORDER BY revision"
        ))
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut previous = GENESIS;
    let mut revision = 0;
    loop {
        let expected = revision + 1;
        let corrupt = |cause: String| JournalError::Corrupt {
            path: path.to_owned(),
            place: format!("revision {expected}"),
            cause,
        };
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(previous),
            Err(cause) => {
                return Err(match failed(cause) {
                    JournalError::Corrupt { cause, .. } => corrupt(cause),
                    other => other,
                }
                .into());
            }
        };
        let record = stored(row).map_err(|cause| corrupt(cause.to_string()))?;
        if record.revision != expected {
            return Err(corrupt(format!("the next record is {}", record.revision)).into());
        }
        if record.hash != record.link(&previous) {
            return Err(corrupt(
                "its hash does not match its content and the records before it".to_owned(),
            )
            .into());
        }
        previous = record.hash;
        revision = expected;
        take(record)?;
    }
}

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord {
        revision: unsigned(row, 0)?,
        at: Time(unsigned(row, 1)?),
        wall_ms: unsigned(row, 2)?,
        event: row.get(3)?,
        hash: row.get(4)?,
        decided: row.get(5)?,
    })
}

/// A column that is never negative; SQLite's integers are signed.
pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
