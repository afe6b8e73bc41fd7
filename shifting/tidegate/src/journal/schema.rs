//! The database file: its tables, its marks, how it comes into being and how it is opened.
//!
//! A journal is built under another name and renamed when it is whole. Therefore a file of the
//! journal's name that is empty, or not ours, was damaged; it is never taken for a fresh one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::JournalError;

/// `Tide` in ASCII: marks the file as a journal (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x5469_6465;

/// Rises when an older program could no longer read the file (`PRAGMA user_version`).
///
/// 1: the events. 2: beside each event what was decided on it; older records have none.
pub(super) const SCHEMA: i64 = 2;

/// How long to wait for another program's transaction, such as a `sqlite3` shell's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The history can be added to, not edited: not by us by mistake, not by a shell by accident.
const TABLES: &str = "
CREATE TABLE record (
    revision INTEGER PRIMARY KEY CHECK (revision > 0),
    at_ms    INTEGER NOT NULL CHECK (at_ms >= 0),
    wall_ms  INTEGER NOT NULL CHECK (wall_ms >= 0),
    event    TEXT    NOT NULL CHECK (json_valid(event)),
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    decided  TEXT    CHECK (decided IS NULL OR json_valid(decided))
) STRICT;
CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER record_is_never_removed BEFORE DELETE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
";

/// From schema 1 to 2. Nothing of a record changes, so its hash stays what it was.
const ADD_DECIDED: &str = "
BEGIN IMMEDIATE;
ALTER TABLE record ADD COLUMN decided TEXT CHECK (decided IS NULL OR json_valid(decided));
PRAGMA user_version = 2;
COMMIT;
";

/// Where the database is.
pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join("journal.sqlite3")
}

/// Creates the database if the directory has none. The caller holds the lock.
pub(super) fn create_if_missing(dir: &Path) -> Result<(), JournalError> {
    let path = path_in(dir);
    if path
        .try_exists()
        .map_err(|cause| JournalError::io(&path, &cause))?
    {
        return Ok(());
    }
    let log = dir.join("journal.sqlite3-wal");
    if log
        .try_exists()
        .map_err(|cause| JournalError::io(&log, &cause))?
    {
        // SQLite would play the old log into the new file.
        return Err(JournalError::Corrupt {
            path,
            place: "its beginning".to_owned(),
            cause: format!(
                "the file is missing, but its log `{}` is there",
                log.display()
            ),
        });
    }
    let building = dir.join("journal.sqlite3.new");
    for leftover in [&building, &dir.join("journal.sqlite3.new-journal")] {
        match fs::remove_file(leftover) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::io(leftover, &cause));
            }
            _ => {}
        }
    }
    let failed = |cause: rusqlite::Error| JournalError::sqlite(&building, &cause);
    let connection = Connection::open(&building).map_err(failed)?;
    connection.execute_batch(TABLES).map_err(failed)?;
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    connection
        .pragma_update(None, "user_version", SCHEMA)
        .map_err(failed)?;
    connection.close().map_err(|(_, cause)| failed(cause))?;
    fs::rename(&building, &path).map_err(|cause| JournalError::io(&path, &cause))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|cause| JournalError::io(dir, &cause))
}

/// Opens the database to write, checks that it is one of ours, and brings it up to date.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let failed = |cause: rusqlite::Error| JournalError::sqlite(path, &cause);
    let (connection, found) = connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // The write-ahead log lets a shell read while we write; FULL flushes it at every commit.
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(JournalError::NotWritable {
            path: path.to_owned(),
            cause: format!(
                "this file system holds no write-ahead log (SQLite stays in `{mode}` mode); a \
                 local one does"
            ),
        });
    }
    connection
        .pragma_update(None, "synchronous", "full")
        .map_err(failed)?;
    if found < SCHEMA {
        connection.execute_batch(ADD_DECIDED).map_err(failed)?;
    }
    Ok(connection)
}

/// Opens the database to read, also while another program writes it. Answers its schema.
pub(super) fn open_to_read(path: &Path) -> Result<(Connection, i64), JournalError> {
    connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// A connection to a file that is one of ours, and its schema.
fn connect(path: &Path, mode: rusqlite::OpenFlags) -> Result<(Connection, i64), JournalError> {
    let failed = |cause: rusqlite::Error| JournalError::sqlite(path, &cause);
    let flags = mode | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(failed)
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(JournalError::Corrupt {
            path: path.to_owned(),
            place: "its header".to_owned(),
            cause: "it is empty, or not a journal of this program".to_owned(),
        });
    }
    let found = number("user_version")?;
    if found > SCHEMA {
        return Err(JournalError::NewerSchema {
            path: path.to_owned(),
            found,
            known: SCHEMA,
        });
    }
    Ok((connection, found))
}
