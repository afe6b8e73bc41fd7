//! What can go wrong with the journal: each error names the file, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process writes this journal.
    #[error(
        "the journal in `{dir}` is in use by process {holder}; \
         stop that process, or give this one another data directory",
        dir = dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The other process' id, or `unknown`.
        holder: String,
    },
    /// Something outside this program holds SQLite's own lock, such as an open `sqlite3` shell.
    #[error(
        "the journal `{path}` is being written by another program (an open `sqlite3` shell?); \
         end its transaction. Nothing was appended",
        path = path.display()
    )]
    Busy {
        /// The journal's file.
        path: PathBuf,
    },
    /// No space left.
    #[error(
        "the journal `{path}` can't grow: the disk is full; free some space. \
         Nothing was appended, and no new step is taken until it can be",
        path = path.display()
    )]
    Full {
        /// The journal's file.
        path: PathBuf,
    },
    /// The file or its directory can't be created, read or written.
    #[error(
        "the journal `{path}` can't be used: {cause}; \
         check that this user may write the directory and that its disk is healthy and mounted \
         read-write",
        path = path.display()
    )]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's own words.
        cause: String,
    },
    /// A write may or may not have reached the disk; only a fresh look at the file can tell.
    #[error(
        "the journal `{path}` could not be flushed to disk: {cause}; its last append is \
         uncertain. Check the disk, then restart this program to read the journal anew",
        path = path.display()
    )]
    Uncertain {
        /// The journal's file.
        path: PathBuf,
        /// The system's own words.
        cause: String,
    },
    /// The file is not what this program wrote.
    #[error(
        "the journal `{path}` is corrupt at {place}: {cause}. Nothing was changed. Restore the \
         data directory from a backup, or move it away to begin a new history (sidecars keep \
         their configuration until then)",
        path = path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// `revision 17`, or another place in the file.
        place: String,
        /// What is wrong there.
        cause: String,
    },
    /// Records that were acknowledged are gone: the file was truncated, or an old copy of it
    /// was put back.
    #[error(
        "the journal `{path}` ends at revision {found}, but revision {known} was written. \
         Restore a newer copy; or, to go on without the lost records, remove `{head}`",
        path = path.display(),
        head = head.display()
    )]
    Lost {
        /// The journal's file.
        path: PathBuf,
        /// The file that remembers the newest revision.
        head: PathBuf,
        /// The last revision in the journal.
        found: u64,
        /// The last revision that was written.
        known: u64,
    },
    /// Written by a newer program.
    #[error(
        "the journal `{path}` was written by a newer program (schema {found}, this program knows \
         {known}); run that program, or one newer still",
        path = path.display()
    )]
    NewerSchema {
        /// The journal's file.
        path: PathBuf,
        /// The file's schema.
        found: i64,
        /// This program's schema.
        known: i64,
    },
    /// An intact record that this program can't read.
    #[error(
        "revision {revision} of the journal `{path}` is intact but holds an event that this \
         program does not know ({cause}); run the version of the program that wrote it",
        path = path.display()
    )]
    UnknownEvent {
        /// The journal's file.
        path: PathBuf,
        /// The record.
        revision: u64,
        /// What could not be read.
        cause: String,
    },
    /// The journal has moved on since the writer looked.
    #[error(
        "the journal is at revision {found}, not at {expected} as the writer expected; \
         nothing was appended"
    )]
    Conflict {
        /// What the writer expected.
        expected: u64,
        /// Where the journal stands.
        found: u64,
    },
    /// There is none to read.
    #[error(
        "there is no journal `{path}`; name the data directory of `tidegate serve --data`",
        path = path.display()
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A record that no journal can hold.
    #[error("a record can't be stored: {what}")]
    Unstorable {
        /// What is wrong with it.
        what: String,
    },
}

// === impl JournalError ===

impl JournalError {
    /// The journal itself is at fault, not its place: to wait or to try again is no remedy.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::Lost { .. }
                | Self::NewerSchema { .. }
                | Self::UnknownEvent { .. }
        )
    }

    /// A failed operation on a file or directory of the journal.
    pub(super) fn io(path: &Path, cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path: path.to_owned(),
            },
            _ => Self::NotWritable {
                path: path.to_owned(),
                cause: cause.to_string(),
            },
        }
    }

    /// A failed operation of SQLite.
    pub(super) fn sqlite(path: &Path, cause: &rusqlite::Error) -> Self {
        use rusqlite::ffi::{
            SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC, SQLITE_IOERR_SHORT_READ,
            SQLITE_IOERR_TRUNCATE,
        };
        let path = path.to_owned();
        let rusqlite::Error::SqliteFailure(failure, _) = cause else {
            // A value of a wrong type or a missing table: not a file of ours any more.
            return Self::Corrupt {
                path,
                place: "its schema".to_owned(),
                cause: cause.to_string(),
            };
        };
        match failure.code {
            rusqlite::ErrorCode::DiskFull => Self::Full { path },
            rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked => {
                Self::Busy { path }
            }
            rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase => {
                Self::Corrupt {
                    path,
                    place: "a page of the file".to_owned(),
                    cause: cause.to_string(),
                }
            }
            rusqlite::ErrorCode::SystemIoFailure
                if failure.extended_code == SQLITE_IOERR_SHORT_READ =>
            {
                Self::Corrupt {
                    path,
                    place: "the end of the file".to_owned(),
                    cause: "it is shorter than it should be".to_owned(),
                }
            }
            rusqlite::ErrorCode::SystemIoFailure
                if matches!(
                    failure.extended_code,
                    SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC | SQLITE_IOERR_TRUNCATE
                ) =>
            {
                Self::Uncertain {
                    path,
                    cause: cause.to_string(),
                }
            }
            rusqlite::ErrorCode::Unknown => Self::Corrupt {
                path,
                place: "its schema".to_owned(),
                cause: cause.to_string(),
            },
            _ => Self::NotWritable {
                path,
                cause: cause.to_string(),
            },
        }
    }
}
