use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{Decided, Event, Observation, State, Turn};
use tidegate_engine::time::Time;

use super::{Entry, Journal, JournalError, StoredRecord, schema};

fn entry(at: u64, wall_ms: u64, event: Event) -> Entry {
    Entry {
        at: Time(at),
        wall_ms,
        event,
        decided: None,
    }
}

/// Every other one tells what was decided.
fn start(number: u64) -> Entry {
    let event = Event::Start {
        service: "checkout".to_owned(),
        to: format!("v{number}"),
        actor: "amélie".to_owned(),
        turn: Turn::Next,
        terms: tidegate_engine::rollout::Terms::default(),
    };
    let decided = Decided::new(&event, &State::default(), &[]);
    Entry {
        decided: number.is_multiple_of(2).then_some(decided),
        ..entry(number * 10, 1_700_000_000_000 + number, event)
    }
}

fn starts(numbers: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    numbers.map(start).collect()
}

/// A closed journal of `count` records.
fn journal_of(count: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append(0, &starts(1..=count)).unwrap(), count);
    dir
}

/// The database as a visitor with a shell sees it.
fn shell(dir: &Path) -> Connection {
    Connection::open(schema::path_in(dir)).unwrap()
}

fn refused(dir: &Path) -> JournalError {
    Journal::open(dir).unwrap_err()
}

#[test]
fn a_new_directory_is_created_and_begins_at_revision_0() {
    let parent = tempfile::tempdir().unwrap();
    let (journal, records) = Journal::open(&parent.path().join("a/b")).unwrap();
    assert_eq!(journal.revision(), 0);
    assert!(records.is_empty());
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let events = [
        entry(
            0,
            5,
            Event::MeshAccepted {
                mesh: Mesh::default(),
            },
        ),
        start(1),
        entry(
            20,
            7,
            Event::Observed(Observation {
                service: "checkout".to_owned(),
                epoch: 3,
                ..Observation::default()
            }),
        ),
        entry(30, 9, Event::Recovered { outage_ms: None }),
    ];
    {
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.append(0, &events[..2]).unwrap(), 2);
        assert_eq!(journal.append(2, &events[2..]).unwrap(), 4);
        assert_eq!(journal.append(4, &[]).unwrap(), 4);
    }
    let (journal, records) = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.revision(), 4);
    for ((record, entry), revision) in records.iter().zip(&events).zip(1..) {
        assert_eq!(record.revision, revision);
        assert_eq!((record.at, record.wall_ms), (entry.at, entry.wall_ms));
        assert_eq!(record.event, entry.event);
    }
    assert_eq!(records.len(), events.len());
}

#[test]
fn a_writer_that_missed_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(0, &[start(1)]).unwrap();
    for expected in [0, 2] {
        let error = journal.append(expected, &[start(2)]).unwrap_err();
        assert!(
            matches!(error, JournalError::Conflict { found: 1, expected: e } if e == expected),
            "{error}"
        );
    }
    assert_eq!(journal.append(1, &[start(2)]).unwrap(), 2);
}

#[test]
fn a_record_that_someone_else_inserted_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(0, &[start(1)]).unwrap();
    shell(dir.path())
        .execute(
            "INSERT INTO record SELECT 2, at_ms, wall_ms, event, hash, NULL FROM record",
            [],
        )
        .unwrap();
    let error = journal.append(1, &[start(2)]).unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::Conflict {
                expected: 1,
                found: 2
            }
        ),
        "{error}"
    );
}

#[test]
fn a_second_writer_is_refused_and_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let error = refused(dir.path());
    let own = std::process::id().to_string();
    assert!(
        matches!(&error, JournalError::Locked { holder, .. } if *holder == own),
        "{error}"
    );
    drop(journal);
    Journal::open(dir.path()).unwrap();
}

#[test]
fn a_full_disk_appends_nothing_and_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(0, &starts(1..=3)).unwrap();
    let limit = |journal: &Journal, pages: i64| {
        journal
            .connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    };
    limit(&journal, 1); // SQLite takes the present size as the least limit.
    let error = journal.append(3, &starts(4..=500)).unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    assert!(error.to_string().contains("journal.sqlite3"), "{error}");
    assert_eq!(journal.revision(), 3);
    limit(&journal, 1_000_000);
    assert_eq!(journal.append(3, &starts(4..=500)).unwrap(), 500);
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().1.len(), 500);
}

#[test]
fn after_a_failed_flush_nothing_is_appended_until_it_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let failure = rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC),
        None,
    );
    let error = JournalError::sqlite(&journal.path, &failure);
    let JournalError::Uncertain { cause, .. } = error else {
        panic!("{error}");
    };
    journal.uncertain = Some(cause);
    let error = journal.append(0, &[start(1)]).unwrap_err();
    assert!(matches!(error, JournalError::Uncertain { .. }), "{error}");
    drop(journal);
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.append(0, &[start(1)]).unwrap(), 1);
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("data");
    let error = Journal::open(&dir).unwrap_err();
    assert!(
        matches!(&error, JournalError::NotWritable { path, .. } if *path == dir),
        "{error}"
    );
}

#[test]
fn an_open_transaction_of_a_shell_is_reported_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let visitor = shell(dir.path());
    visitor.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = journal.append(0, &[start(1)]).unwrap_err();
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
    visitor.execute_batch("ROLLBACK").unwrap();
    assert_eq!(journal.append(0, &[start(1)]).unwrap(), 1);
}

#[test]
fn history_is_neither_edited_nor_removed_by_a_visitor() {
    let dir = journal_of(3);
    let visitor = shell(dir.path());
    for statement in [
        "DELETE FROM record",
        "UPDATE record SET at_ms = 0",
        "INSERT INTO record SELECT 4, at_ms, wall_ms, 'no json', hash, NULL FROM record LIMIT 1",
    ] {
        assert!(visitor.execute(statement, []).is_err(), "{statement}");
    }
    drop(visitor);
    assert_eq!(Journal::open(dir.path()).unwrap().1.len(), 3);
}

#[test]
fn an_edited_record_is_found_and_named() {
    for (edit, place) in [
        (
            "UPDATE record SET event = json_set(event, '$.to', 'v9') WHERE revision = 2",
            "revision 2",
        ),
        (
            "UPDATE record SET at_ms = 1 WHERE revision = 3",
            "revision 3",
        ),
        (
            "UPDATE record SET decided = json_set(decided, '$.state', 'x') WHERE revision = 2",
            "revision 2",
        ),
        (
            "UPDATE record SET decided = NULL WHERE revision = 4",
            "revision 4",
        ),
        ("DELETE FROM record WHERE revision = 2", "revision 2"),
        ("DELETE FROM record WHERE revision = 1", "revision 1"),
    ] {
        let dir = journal_of(4);
        let visitor = shell(dir.path());
        visitor
            .execute_batch(
                "DROP TRIGGER record_is_never_changed; DROP TRIGGER record_is_never_removed;",
            )
            .unwrap();
        visitor.execute(edit, []).unwrap();
        drop(visitor);
        let error = refused(dir.path());
        assert!(
            matches!(&error, JournalError::Corrupt { place: p, .. } if p == place),
            "{edit}: {error}"
        );
    }
}

#[test]
fn a_removed_tail_is_not_taken_for_the_end() {
    let dir = journal_of(4);
    let visitor = shell(dir.path());
    visitor
        .execute_batch("DROP TRIGGER record_is_never_removed; DELETE FROM record WHERE revision=4")
        .unwrap();
    drop(visitor);
    let error = refused(dir.path());
    assert!(
        matches!(
            error,
            JournalError::Lost {
                found: 3,
                known: 4,
                ..
            }
        ),
        "{error}"
    );
    // The remedy that the error names.
    fs::remove_file(dir.path().join("journal.head")).unwrap();
    assert_eq!(Journal::open(dir.path()).unwrap().0.revision(), 3);
}

/// Something that happens to a file.
type Damage = fn(&Path);

#[test]
fn a_missing_truncated_or_garbled_file_is_never_a_fresh_start() {
    let damages: [(&str, Damage); 5] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, b"").unwrap()),
        ("overwritten", |path| {
            fs::write(path, b"not a database, no".repeat(500)).unwrap();
        }),
        ("cut in half", |path| {
            let length = fs::metadata(path).unwrap().len();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(length / 2).unwrap();
        }),
        ("garbled inside", |path| {
            let length = fs::metadata(path).unwrap().len();
            let mut file = OpenOptions::new().write(true).open(path).unwrap();
            file.seek(SeekFrom::Start(length / 2)).unwrap();
            file.write_all(&[0xa5; 600]).unwrap();
        }),
    ];
    for (how, damage) in damages {
        let dir = journal_of(300);
        damage(&schema::path_in(dir.path()));
        for _ in 0..2 {
            let error = refused(dir.path());
            assert!(
                matches!(
                    error,
                    JournalError::Corrupt { .. } | JournalError::Lost { .. }
                ),
                "{how}: {error}"
            );
        }
    }
}

#[test]
fn a_copy_that_lacks_the_newest_records_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.append(0, &starts(1..=5)).unwrap();
    for name in ["journal.sqlite3", "journal.head"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let error = refused(copy.path());
    assert!(
        matches!(error, JournalError::Lost { known: 5, .. }),
        "{error}"
    );
}

#[test]
fn a_log_without_its_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.sqlite3-wal"), b"log").unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
}

#[test]
fn the_journal_of_a_newer_program_is_refused() {
    let dir = journal_of(1);
    shell(dir.path())
        .pragma_update(None, "user_version", schema::SCHEMA + 1)
        .unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(error, JournalError::NewerSchema { found, .. } if found == schema::SCHEMA + 1),
        "{error}"
    );
}

#[test]
fn an_event_of_a_newer_program_is_refused_by_its_revision() {
    let dir = journal_of(2);
    let visitor = shell(dir.path());
    let last: [u8; 32] = visitor
        .query_row("SELECT hash FROM record WHERE revision = 2", [], |row| {
            row.get(0)
        })
        .unwrap();
    let event = r#"{"event":"teleport"}"#;
    let mut record = StoredRecord {
        revision: 3,
        at: Time(40),
        wall_ms: 50,
        event: event.to_owned(),
        decided: None,
        hash: last,
    };
    record.hash = record.link(&last);
    visitor
        .execute(
            "INSERT INTO record VALUES (3, 40, 50, ?1, ?2, NULL)",
            rusqlite::params![event, record.hash],
        )
        .unwrap();
    drop(visitor);
    let error = refused(dir.path());
    assert!(
        matches!(error, JournalError::UnknownEvent { revision: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_time_that_sqlite_cannot_hold_is_refused_not_wrapped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let too_late = Entry {
        at: Time(u64::MAX),
        ..start(2)
    };
    let error = journal.append(0, &[start(1), too_late]).unwrap_err();
    assert!(matches!(error, JournalError::Unstorable { .. }), "{error}");
    assert_eq!(journal.append(0, &[start(1)]).unwrap(), 1);
}

/// Records per append of the child below.
const BATCH: u64 = 3;
/// Where the child below keeps its journal.
const CHILD_DIR: &str = "TIDEGATE_TEST_JOURNAL_DIR";

#[test]
#[ignore = "the body of the child process that the next test starts and kills"]
fn child_that_appends_until_it_is_killed() {
    let dir = std::env::var(CHILD_DIR).unwrap();
    let (mut journal, _) = Journal::open(Path::new(&dir)).unwrap();
    loop {
        let revision = journal.revision();
        let batch = starts(revision + 1..=revision + BATCH);
        let revision = journal.append(revision, &batch).unwrap();
        println!("acknowledged {revision}");
    }
}

#[test]
fn kill_9_loses_no_acknowledged_record_and_tears_no_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("journal::tests::child_that_appends_until_it_is_killed")
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut acknowledged = 0;
        let mut seen = 0;
        // Kill after a different number of batches each time; then read what was still in the
        // pipe: all of that was acknowledged before the end.
        for line in output.lines() {
            let Some(revision) = line
                .unwrap()
                .strip_prefix("acknowledged ")
                .map(str::to_owned)
            else {
                continue;
            };
            acknowledged = revision.parse().unwrap();
            seen += 1;
            if seen == 1 + round * 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (journal, records) = Journal::open(dir.path()).unwrap();
        let found = journal.revision();
        assert!(
            acknowledged > before,
            "round {round}: the child did nothing"
        );
        assert!(found >= acknowledged, "{found} < {acknowledged}");
        assert!(found <= acknowledged + BATCH, "{found} > {acknowledged}");
        assert_eq!(found % BATCH, 0, "a batch was torn at {found}");
        for (record, revision) in records.iter().zip(1..) {
            assert_eq!(record.event, start(revision).event);
        }
        before = found;
    }
}
