//! One record, and the chain that ties it to all before it.

use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tidegate_engine::rollout::Event;
use tidegate_engine::time::Time;

use super::JournalError;

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

/// The SHA-256 of a record and everything before it.
pub(super) type Hash = [u8; 32];

/// What the first record is chained to.
pub(super) const GENESIS: Hash = [0; 32];

/// A record's link: every field has a fixed width but the last, so no two records are alike.
pub(super) fn link(previous: &Hash, revision: u64, at: u64, wall_ms: u64, event: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(revision.to_be_bytes());
    hasher.update(at.to_be_bytes());
    hasher.update(wall_ms.to_be_bytes());
    hasher.update(event.as_bytes());
    hasher.finalize().into()
}

/// Reads and verifies every record; also the last one's hash.
pub(super) fn read_all(
    path: &Path,
    connection: &Connection,
) -> Result<(Vec<Record>, Hash), JournalError> {
    let failed = |cause: rusqlite::Error| JournalError::sqlite(path, &cause);
    let mut statement = connection
        .prepare("SELECT revision, at_ms, wall_ms, event, hash FROM record ORDER BY revision")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut records = Vec::new();
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
            Ok(None) => return Ok((records, previous)),
            Err(cause) => {
                return Err(match failed(cause) {
                    JournalError::Corrupt { cause, .. } => corrupt(cause),
                    other => other,
                });
            }
        };
        let unreadable = |cause: rusqlite::Error| corrupt(cause.to_string());
        let found = unsigned(row, 0).map_err(unreadable)?;
        if found != expected {
            return Err(corrupt(format!("the next record is {found}")));
        }
        let at = unsigned(row, 1).map_err(unreadable)?;
        let wall_ms = unsigned(row, 2).map_err(unreadable)?;
        let text = row
            .get_ref(3)
            .map_err(unreadable)?
            .as_str()
            .map_err(|cause| corrupt(cause.to_string()))?;
        let hash: Hash = row.get(4).map_err(unreadable)?;
        if hash != link(&previous, expected, at, wall_ms, text) {
            return Err(corrupt(
                "its hash does not match its content and the records before it".to_owned(),
            ));
        }
        let event = serde_json::from_str(text).map_err(|cause| JournalError::UnknownEvent {
            path: path.to_owned(),
            revision: expected,
            cause: cause.to_string(),
        })?;
        records.push(Record {
            revision: expected,
            at: Time(at),
            wall_ms,
            event,
        });
        previous = hash;
        revision = expected;
    }
}

/// A column that is never negative; SQLite's integers are signed.
pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
