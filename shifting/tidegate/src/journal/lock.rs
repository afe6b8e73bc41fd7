//! One writer per journal: an operating-system lock, freed by the kernel when its holder dies,
//! so that `kill -9` leaves nothing to clean up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::JournalError;

/// Held as long as the journal is open.
#[derive(Debug)]
pub(super) struct Lock {
    /// Open, therefore locked.
    _file: File,
}

// === impl Lock ===

impl Lock {
    /// Takes the lock in `dir` and leaves this process' id there for whoever is refused.
    pub(super) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("journal.lock");
        let failed = |cause: std::io::Error| JournalError::io(&path, &cause);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The id is a courtesy; without it the refusal stands all the same.
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                return Err(JournalError::Locked {
                    dir: dir.to_owned(),
                    holder: if known {
                        holder.trim().to_owned()
                    } else {
                        "unknown".to_owned()
                    },
                });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
