//! The newest revision, remembered outside the database.
//!
//! SQLite ends its write-ahead log at the first frame whose checksum is wrong. That is right for
//! a frame that was never acknowledged, but a log that was damaged or truncated afterwards, or a
//! copy of the directory that lacks it, would lose acknowledged records without a word. The
//! journal would then begin again at an earlier state, perhaps with a higher exposure.
//!
//! So every append, once durable, overwrites one short line here. It is not flushed: the line may
//! be behind the journal after a power loss, never ahead of it, and `kill -9` loses nothing that
//! the kernel has.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::JournalError;

/// The file that remembers the newest revision.
#[derive(Debug)]
pub(super) struct Head {
    path: PathBuf,
    file: File,
}

// === impl Head ===

impl Head {
    /// Where it is.
    pub(super) fn path_in(dir: &Path) -> PathBuf {
        dir.join("journal.head")
    }

    /// Opens or creates it; the newest revision it remembers, 0 for none.
    pub(super) fn open(dir: &Path) -> Result<(Self, u64), JournalError> {
        let path = Self::path_in(dir);
        let failed = |cause: std::io::Error| JournalError::io(&path, &cause);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let known = match std::str::from_utf8(&text).map(str::trim) {
            Ok("") => 0,
            Ok(line) => match line.parse() {
                Ok(revision) => revision,
                Err(_) => return Err(garbled(&path)),
            },
            Err(_) => return Err(garbled(&path)),
        };
        let mut head = Self { path, file };
        if text.is_empty() {
            head.remember(0)?;
            // Once its size is on disk, later lines replace bytes within one sector.
            head.file
                .sync_all()
                .map_err(|cause| JournalError::io(&head.path, &cause))?;
        }
        Ok((head, known))
    }

    /// Overwrites the line. The caller has made `revision` durable.
    pub(super) fn remember(&mut self, revision: u64) -> Result<(), JournalError> {
        let line = format!("{revision:020}\n");
        self.file
            .rewind()
            .and_then(|()| self.file.write_all(line.as_bytes()))
            .map_err(|cause| JournalError::io(&self.path, &cause))
    }
}

fn garbled(path: &Path) -> JournalError {
    JournalError::Corrupt {
        path: path.to_owned(),
        place: "its only line".to_owned(),
        cause: "it should be one whole number, the newest revision (removing this file gives up \
                the check that no record was lost)"
            .to_owned(),
    }
}
