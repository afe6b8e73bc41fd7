//! Whether the write-ahead log ends in something that SQLite will cut.
//!
//! SQLite ends the log at the first frame that is not whole, without a word. What is cut there was
//! never acknowledged ([`Head`](super::head::Head) knows what was), but somebody should hear that a
//! write was torn: it is a crash, a power loss, or a disk that begins to fail.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The last bit of the magic number says which way checksums read words.
const MAGIC: u32 = 0x377f_0682;

/// A log's last frames that belong to no finished write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn {
    /// Where the finished writes end, in bytes from the beginning of the log.
    pub(super) from: usize,
}

/// The torn end of a log; `None` if it is whole, or there is none.
///
/// # Errors
/// When it can't be read.
pub(super) fn torn(log: &Path) -> std::io::Result<Option<Torn>> {
    match fs::read(log) {
        Ok(bytes) => Ok(end_of(&bytes)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn end_of(log: &[u8]) -> Option<Torn> {
    if log.is_empty() {
        return None;
    }
    let Some(header) = log.get(..HEADER_BYTES).and_then(Header::of) else {
        return Some(Torn { from: 0 });
    };
    let mut sums = header.sums;
    let (mut at, mut finished) = (HEADER_BYTES, HEADER_BYTES);
    loop {
        let rest = log.get(at..).unwrap_or_default();
        // Frames of the log's earlier use follow the newest ones, and have other salts.
        let is_ours = rest.get(8..16).is_none_or(|salts| salts == header.salts);
        if rest.is_empty() || !is_ours {
            return (finished < at).then_some(Torn { from: finished });
        }
        let frame = rest.get(..FRAME_HEADER_BYTES + header.page_bytes);
        let Some((next, commits)) = frame.and_then(|frame| header.follow(sums, frame)) else {
            return Some(Torn { from: finished });
        };
        sums = next;
        at += FRAME_HEADER_BYTES + header.page_bytes;
        if commits {
            finished = at;
        }
    }
}

#[derive(Debug)]
struct Header<'a> {
    big_endian: bool,
    page_bytes: usize,
    salts: &'a [u8],
    sums: [u32; 2],
}

// === impl Header ===

impl<'a> Header<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let magic = word(bytes, 0)?;
        let mut header = Self {
            big_endian: magic & 1 == 1,
            page_bytes: usize::try_from(word(bytes, 8)?).ok()?,
            salts: bytes.get(16..24)?,
            sums: [0; 2],
        };
        header.sums = header.checksum([0; 2], bytes.get(..24)?);
        let told = [word(bytes, 24)?, word(bytes, 28)?];
        (magic & !1 == MAGIC && header.sums == told).then_some(header)
    }

    /// The checksums after a frame, and whether a write ends with it; `None` if it is not whole.
    fn follow(&self, sums: [u32; 2], frame: &[u8]) -> Option<([u32; 2], bool)> {
        let sums = self.checksum(sums, frame.get(..8)?);
        let sums = self.checksum(sums, frame.get(FRAME_HEADER_BYTES..)?);
        let told = [word(frame, 16)?, word(frame, 20)?];
        (sums == told).then_some((sums, word(frame, 4)? != 0))
    }

    fn checksum(&self, [mut first, mut second]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        let mut words = bytes.as_chunks::<4>().0.iter().map(|word| {
            if self.big_endian {
                u32::from_be_bytes(*word)
            } else {
                u32::from_le_bytes(*word)
            }
        });
        while let (Some(one), Some(other)) = (words.next(), words.next()) {
            first = first.wrapping_add(one).wrapping_add(second);
            second = second.wrapping_add(other).wrapping_add(first);
        }
        [first, second]
    }
}

/// The word at this byte; the format's own words are big-endian.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::Connection;
    use tempfile::TempDir;
    use tidegate_engine::rollout::Event;
    use tidegate_engine::time::Time;

    use super::super::{Entry, Journal, schema};
    use super::*;

    fn log_in(dir: &Path) -> PathBuf {
        dir.join("journal.sqlite3-wal")
    }

    fn append(journal: &mut Journal, count: u64) {
        for _ in 0..count {
            let unix_ms = journal.revision();
            let entry = Entry {
                at: Time(unix_ms),
                wall_ms: unix_ms,
                event: Event::ClockRead { unix_ms },
                decided: None,
            };
            journal.append(unix_ms, &[entry]).unwrap();
        }
    }

    /// What a crash leaves of a journal of five records that is open: nothing is moved out of its log.
    fn crashed() -> TempDir {
        let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        append(&mut journal, 5);
        for file in ["journal.sqlite3", "journal.sqlite3-wal", "journal.head"] {
            fs::copy(dir.path().join(file), left.path().join(file)).unwrap();
        }
        left
    }

    #[test]
    fn a_log_without_a_torn_write_is_whole_also_when_it_is_used_again() {
        let left = crashed();
        assert_eq!(torn(&log_in(left.path())).unwrap(), None);
        assert_eq!(torn(&left.path().join("none")).unwrap(), None);
        let (mut journal, records) = Journal::open(left.path()).unwrap();
        assert_eq!(records.len(), 5);
        append(&mut journal, 20);
        let visitor = Connection::open(schema::path_in(left.path())).unwrap();
        visitor
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap();
        let before = fs::metadata(log_in(left.path())).unwrap().len();
        append(&mut journal, 1);
        let after = fs::metadata(log_in(left.path())).unwrap().len();
        assert_eq!(before, after, "the frames of the earlier use follow");
        assert_eq!(torn(&log_in(left.path())).unwrap(), None);
    }

    #[test]
    fn a_write_that_a_crash_tore_is_told_and_nothing_acknowledged_is_lost() {
        let whole = fs::read(log_in(crashed().path())).unwrap();
        let frame = whole.get(whole.len() - 4_120..).unwrap();
        for length in [1, 12, 20, 1_000, 4_119, 4_120] {
            let left = crashed();
            let log = log_in(left.path());
            let own = fs::read(&log).unwrap();
            let salts = own[16..24].to_vec();
            // The salts are this log's; the checksums go with another place.
            let mut piece = frame.to_vec();
            piece[8..16].copy_from_slice(&salts);
            fs::write(&log, [&own[..], &piece[..length]].concat()).unwrap();
            let from = own.len();
            assert_eq!(torn(&log).unwrap(), Some(Torn { from }), "{length} bytes");
            let (mut journal, records) = Journal::open(left.path()).unwrap();
            assert_eq!(records.len(), 5, "{length} bytes");
            append(&mut journal, 1);
            drop(journal);
            assert_eq!(Journal::open(left.path()).unwrap().1.len(), 6);
        }
    }

    #[test]
    fn a_byte_that_changed_ends_the_log_before_the_write_that_it_is_in() {
        let left = crashed();
        let log = log_in(left.path());
        let mut bytes = fs::read(&log).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let found = torn(&log).unwrap().unwrap();
        assert!(found.from < last && (found.from - HEADER_BYTES).is_multiple_of(4_120));
        bytes[3] ^= 1;
        fs::write(&log, &bytes).unwrap();
        assert_eq!(torn(&log).unwrap(), Some(Torn { from: 0 }));
    }
}
