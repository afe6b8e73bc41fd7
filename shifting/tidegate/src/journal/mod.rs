//! The append-only record of events; the program's state is its fold, and nothing else.
//!
//! An event is durable here before its effect leaves (invariant S6): when [`Journal::append`]
//! returns, the records are on disk, all of them, and after an error none of them is (but for
//! [`JournalError::Uncertain`], which says so). The only write is append-with-compare: a writer
//! names the revision it believes in, and is refused if the journal has moved on. It is the
//! comparison that will fence a leader that was paused, once there are several replicas.
//!
//! ```text
//! <data directory>/
//!   journal.sqlite3        the records; any `sqlite3` shell reads them, also while we write
//!   journal.sqlite3-wal    the newest of them, until SQLite moves them into the file
//!   journal.head           the newest revision, so that a lost tail is noticed
//!   journal.lock           held by the one writer; contains its process id
//! ```
//!
//! Beside its event a record keeps what was decided on it, with the numbers: `tidegate replay`
//! computes both anew. [`export`] and [`import`] carry a journal elsewhere, its chain intact.
//!
//! SQLite because an operator in trouble can look into it with tools at hand:
//! `sqlite3 journal.sqlite3 "SELECT revision, event ->> 'event' FROM record"`. Its checks
//! (STRICT columns, `json_valid`, triggers against UPDATE and DELETE) keep such a visitor from
//! breaking it by accident. A write that a crash tore is cut off, and somebody is told. Each record carries the SHA-256 of itself and its predecessor's, and
//! opening verifies all of them: damage is an error with its place and its remedy, never a
//! silent fresh start.
//!
//! Deliberately not here: compaction. A running rollout adds about one record of half a kilobyte
//! a second, a resting service none; everything is kept, also what is older than the last
//! finished rollout, because it is the audit trail as well. Opening reads all of it: 100,000
//! records (28 hours of rollouts under way, 50 MB) in 1.3 s without optimisation. When that
//! becomes too slow, a record that holds the folded state can take the place of the records
//! before the last finished rollout, its hash chained to the last of them, so that an archive of
//! those can still be verified. Also not here: clocks (times come with the records) and the
//! fold.

mod error;
mod head;
mod lock;
mod record;
mod schema;
mod tail;
#[cfg(test)]
mod tests;
mod transfer;
#[cfg(test)]
mod transfer_tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};

pub use self::error::JournalError;
use self::head::Head;
use self::lock::Lock;
pub use self::record::{Entry, Hash, Record, StoredRecord};
pub use self::transfer::{TransferError, Verified, export, hex, import, read};

/// The journal, open for its one writer.
pub struct Journal {
    path: PathBuf,
    connection: Connection,
    head: Head,
    revision: u64,
    hash: Hash,
    /// Set when a flush failed: what the kernel says about later flushes proves nothing about
    /// the earlier one, so nothing is appended until the file was read anew.
    uncertain: Option<String>,
    _lock: Lock,
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in `dir`, which is created if it is missing; reads and verifies every
    /// record, oldest first. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When another process has it open, when it can't be written, when it was damaged or
    /// truncated, or when a newer program wrote it.
    pub fn open(dir: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        fs::create_dir_all(dir).map_err(|cause| JournalError::io(dir, &cause))?;
        let lock = Lock::take(dir)?;
        let path = schema::path_in(dir);
        let (head, known) = Head::open(dir)?;
        if known > 0 && !path.exists() {
            return Err(JournalError::Lost {
                path,
                head: Head::path_in(dir),
                found: 0,
                known,
            });
        }
        schema::create_if_missing(dir)?;
        let log = dir.join("journal.sqlite3-wal");
        let torn = tail::torn(&log).map_err(|cause| JournalError::io(&log, &cause))?;
        let connection = schema::open(&path)?;
        let mut records = Vec::new();
        let hash = record::read_all(&path, &connection, schema::SCHEMA, |stored| {
            records.push(stored.parsed(&path)?);
            Ok(())
        })?;
        let revision = records.last().map_or(0, |record| record.revision);
        if revision < known {
            return Err(JournalError::Lost {
                path,
                head: Head::path_in(dir),
                found: revision,
                known,
            });
        }
        let mut journal = Self {
            path,
            connection,
            head,
            revision,
            hash,
            uncertain: None,
            _lock: lock,
        };
        if revision > known {
            journal.head.remember(revision)?;
        }
        if let Some(torn) = torn {
            tracing::error!(
                page = true,
                "a write to the journal was torn: its log `{}` has no whole record after byte {}, and \
                 ends there now, at revision {revision}; nothing that was acknowledged is lost. If \
                 this machine did not crash, look after its disk",
                log.display(),
                torn.from
            );
        }
        Ok((journal, records))
    }

    /// Appends `entries` after `expected_revision`: all of them or none, durable on return. The answer is the new
    /// revision. Blocks for the flush, 0.3 to 4 ms on a healthy disk.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] when the journal is at another revision; otherwise when the
    /// disk is full or can't be written. Nothing was appended then, and a later call may succeed,
    /// except after [`JournalError::Uncertain`]: the journal must be opened anew.
    pub fn append(
        &mut self,
        expected_revision: u64,
        entries: &[Entry],
    ) -> Result<u64, JournalError> {
        if let Some(cause) = &self.uncertain {
            return Err(JournalError::Uncertain {
                path: self.path.clone(),
                cause: cause.clone(),
            });
        }
        if expected_revision != self.revision {
            return Err(JournalError::Conflict {
                expected: expected_revision,
                found: self.revision,
            });
        }
        if entries.is_empty() {
            return Ok(self.revision);
        }
        let (mut revision, mut hash) = (self.revision, self.hash);
        let records = entries
            .iter()
            .map(|entry| {
                revision += 1;
                let record = StoredRecord::following(&hash, revision, entry)?;
                hash = record.hash;
                Ok(record)
            })
            .collect::<Result<Vec<_>, JournalError>>()?;
        self.restore(&records)
    }

    /// Appends records that follow from the last one: all of them or none.
    fn restore(&mut self, records: &[StoredRecord]) -> Result<u64, JournalError> {
        match self.insert(records) {
            Ok(()) => {
                if let Some(last) = records.last() {
                    (self.revision, self.hash) = (last.revision, last.hash);
                }
                // The records are durable, and a head that lags only weakens a later check.
                if let Err(cause) = self.head.remember(self.revision) {
                    tracing::warn!(%cause, "the journal's head file could not be updated");
                }
                Ok(self.revision)
            }
            Err(error) => {
                if let JournalError::Uncertain { cause, .. } = &error {
                    self.uncertain = Some(cause.clone());
                }
                Err(error)
            }
        }
    }

    /// The revision of the last record; 0 when there is none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All records or none.
    fn insert(&mut self, records: &[StoredRecord]) -> Result<(), JournalError> {
        let path = &self.path;
        let failed = |cause: rusqlite::Error| JournalError::sqlite(path, &cause);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        // The lock keeps other programs of ours out; this sees through a shell's insert.
        let found = transaction
            .query_row("SELECT coalesce(max(revision), 0) FROM record", [], |row| {
                record::unsigned(row, 0)
            })
            .map_err(failed)?;
        if found != self.revision {
            return Err(JournalError::Conflict {
                expected: self.revision,
                found,
            });
        }
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .map_err(failed)?;
            for record in records {
                insert
                    .execute(params![
                        storable(record.revision)?,
                        storable(record.at.0)?,
                        storable(record.wall_ms)?,
                        record.event,
                        record.hash,
                        record.decided
                    ])
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

/// SQLite's integers are signed.
fn storable(number: u64) -> Result<i64, JournalError> {
    i64::try_from(number).map_err(|_| JournalError::Unstorable {
        what: format!("{number} is above the largest whole number that SQLite holds"),
    })
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .field("revision", &self.revision)
            .field("uncertain", &self.uncertain)
            .finish_non_exhaustive()
    }
}
