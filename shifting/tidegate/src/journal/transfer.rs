//! Reading a journal without writing it, and carrying it from one place to another.
//!
//! The exchange format is JSON lines: a head that names the format, then a record a line with the
//! very texts that its hash was made of, so that whoever imports it verifies the same chain.

use std::io::{BufRead, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_engine::time::Time;

use super::record::{self, GENESIS, Hash, StoredRecord};
use super::{Journal, JournalError, schema};

/// Rises when an older program could no longer read an export.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct HeadLine {
    tidegate_journal: u32,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
struct RecordLine {
    revision: u64,
    at_ms: u64,
    wall_ms: u64,
    event: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided: Option<Box<RawValue>>,
    hash: String,
}

/// Why an export can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The journal at the other end.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The export can't be written or read.
    #[error("the export can't be {doing}: {cause}")]
    Stream {
        /// `written` or `read`.
        doing: &'static str,
        /// The system's own words.
        cause: std::io::Error,
    },
    /// Not an export, or damaged.
    #[error(
        "line {line} of the export is refused: {cause}. Nothing was imported; export the journal \
         again from a place where `tidegate journal verify` passes"
    )]
    Refused {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// Only an empty place takes an import: two histories can't be merged.
    #[error(
        "`{dir}` already holds a journal of {revision} records; import into a directory that \
         holds none"
    )]
    NotEmpty {
        /// The data directory.
        dir: String,
        /// How many records it holds.
        revision: u64,
    },
}

/// How far a journal could be read.
#[derive(Debug)]
pub struct Verified {
    /// Records that are whole and follow from one another.
    pub records: u64,
    /// The last one's hash.
    pub hash: Hash,
    /// What is wrong after them, if anything.
    pub damage: Option<JournalError>,
}

/// What ended reading.
enum Ended<E> {
    Damage(JournalError),
    Taker(E),
}

impl<E> From<JournalError> for Ended<E> {
    fn from(damage: JournalError) -> Self {
        Self::Damage(damage)
    }
}

/// Reads the journal in `dir` without changing it, also while another program writes it, and
/// hands every verified record to `take`, oldest first.
///
/// # Errors
/// When there is no journal to read, or `take` fails. Damage inside is told in the answer: what
/// was taken before it is verified.
pub fn read<E: From<JournalError>>(
    dir: &Path,
    mut take: impl FnMut(StoredRecord) -> Result<(), E>,
) -> Result<Verified, E> {
    let path = schema::path_in(dir);
    if !path.exists() {
        return Err(JournalError::Missing { path }.into());
    }
    let (connection, found) = schema::open_to_read(&path)?;
    let (mut records, mut hash) = (0, GENESIS);
    let read = record::read_all(&path, &connection, found, |stored| {
        (records, hash) = (stored.revision, stored.hash);
        take(stored).map_err(Ended::Taker)
    });
    let damage = match read {
        Ok(_) => None,
        Err(Ended::Damage(damage)) => Some(damage),
        Err(Ended::Taker(error)) => return Err(error),
    };
    Ok(Verified {
        records,
        hash,
        damage,
    })
}

/// Writes the journal in `dir` to `out` as JSON lines. Damage inside ends it: everything before
/// is exported, and the answer tells what is wrong.
///
/// # Errors
/// When there is no journal to read, or `out` can't be written.
pub fn export(dir: &Path, out: &mut impl Write) -> Result<Verified, TransferError> {
    write_line(
        out,
        &HeadLine {
            tidegate_journal: FORMAT,
        },
    )?;
    let verified = read(dir, |stored| write_line(out, &RecordLine::of(stored)?))?;
    out.flush().map_err(|cause| TransferError::Stream {
        doing: "written",
        cause,
    })?;
    Ok(verified)
}

/// Makes the journal in `dir`, which must hold none, from an export. All of it or nothing.
///
/// # Errors
/// When the export is damaged, its chain does not hold, or the journal can't be written.
pub fn import(dir: &Path, from: &mut impl BufRead) -> Result<u64, TransferError> {
    let (mut journal, _) = Journal::open(dir)?;
    if journal.revision() > 0 {
        return Err(TransferError::NotEmpty {
            dir: dir.display().to_string(),
            revision: journal.revision(),
        });
    }
    let mut records = Vec::new();
    let mut previous = GENESIS;
    for (line, text) in (1..).zip(from.lines()) {
        let text = text.map_err(|cause| TransferError::Stream {
            doing: "read",
            cause,
        })?;
        let refused = |cause: String| TransferError::Refused { line, cause };
        if line == 1 {
            let head: HeadLine = serde_json::from_str(&text)
                .map_err(|_| refused("it is not the head of a journal's export".to_owned()))?;
            if head.tidegate_journal != FORMAT {
                return Err(refused(format!(
                    "format {} is not known to this program, which reads {FORMAT}",
                    head.tidegate_journal
                )));
            }
            continue;
        }
        let record: RecordLine =
            serde_json::from_str(&text).map_err(|cause| refused(cause.to_string()))?;
        let record = record.stored().map_err(refused)?;
        if record.revision != line - 1 || record.hash != record.link(&previous) {
            return Err(refused(
                "it does not follow from the lines before it".to_owned(),
            ));
        }
        record.parsed(dir)?;
        previous = record.hash;
        records.push(record);
    }
    Ok(journal.restore(&records)?)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), TransferError> {
    let written = serde_json::to_writer(&mut *out, line)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"));
    written.map_err(|cause| TransferError::Stream {
        doing: "written",
        cause,
    })
}

// === impl RecordLine ===

impl RecordLine {
    fn of(stored: StoredRecord) -> Result<Self, TransferError> {
        let raw = |text: String| {
            RawValue::from_string(text).map_err(|cause| {
                TransferError::Journal(JournalError::Unstorable {
                    what: cause.to_string(),
                })
            })
        };
        Ok(Self {
            revision: stored.revision,
            at_ms: stored.at.0,
            wall_ms: stored.wall_ms,
            event: raw(stored.event)?,
            decided: stored.decided.map(raw).transpose()?,
            hash: hex(&stored.hash),
        })
    }

    fn stored(self) -> Result<StoredRecord, String> {
        let hash = unhex(&self.hash).ok_or("its hash is not 64 hex digits")?;
        Ok(StoredRecord {
            revision: self.revision,
            at: Time(self.at_ms),
            wall_ms: self.wall_ms,
            event: self.event.get().to_owned(),
            decided: self.decided.map(|decided| decided.get().to_owned()),
            hash,
        })
    }
}

/// A hash in hex digits.
#[must_use]
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = GENESIS;
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}
