use std::io::Cursor;
use std::time::{Duration, Instant};

use tidegate_engine::rollout::{Decided, Event, State};
use tidegate_engine::time::Time;

use super::transfer::{TransferError, export, import, read};
use super::{Entry, Journal, JournalError, Record, schema};

fn entry(number: u64) -> Entry {
    let event = Event::Pause {
        service: format!("s{number}"),
        actor: "zoë \"z\" \\ \u{1f30a}".to_owned(),
    };
    let decided = Decided::new(&event, &State::default(), &[]);
    Entry {
        at: Time(number),
        wall_ms: number,
        decided: (number > 2).then_some(decided),
        event,
    }
}

/// Another test's child, between its fork and its exec, holds our lock for a moment.
fn opened(dir: &tempfile::TempDir) -> (Journal, Vec<Record>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Journal::open(dir.path()) {
            Err(JournalError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

fn journal_of(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(&dir);
    let entries: Vec<Entry> = (1..=count).map(entry).collect();
    journal.append(0, &entries).unwrap();
    dir
}

fn exported(dir: &tempfile::TempDir) -> String {
    let mut out = Vec::new();
    let verified = export(dir.path(), &mut out).unwrap();
    assert!(verified.damage.is_none(), "{:?}", verified.damage);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_import_has_the_same_records_and_the_same_chain() {
    let dir = journal_of(5);
    let text = exported(&dir);
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(import(copy.path(), &mut Cursor::new(&text)).unwrap(), 5);
    assert_eq!(exported(&copy), text);
    let (mut journal, records) = opened(&copy);
    assert_eq!(records[4].event, entry(5).event);
    assert_eq!(journal.append(5, &[entry(6)]).unwrap(), 6);
}

#[test]
fn a_line_that_was_touched_removed_or_moved_is_refused_and_nothing_is_imported() {
    let text = exported(&journal_of(4));
    let lines: Vec<&str> = text.lines().collect();
    let touched = text.replace("s3", "s9");
    let decided = text.replace("\"effects\":[]", "\"effects\":[ ]");
    let cases = [
        ("touched", touched, 4),
        ("a decision touched", decided, 4),
        (
            "removed",
            [lines[0], lines[1], lines[3], lines[4]].join("\n"),
            3,
        ),
        (
            "moved",
            [lines[0], lines[2], lines[1], lines[3]].join("\n"),
            2,
        ),
        ("headless", lines[1..].join("\n"), 1),
        ("cut", text[..text.len() - 20].to_owned(), 5),
        ("newer", text.replace("_journal\":1", "_journal\":2"), 1),
    ];
    for (how, text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let error = import(dir.path(), &mut Cursor::new(&text)).unwrap_err();
        assert!(
            matches!(&error, TransferError::Refused { line, .. } if *line == expected),
            "{how}: {error}"
        );
        assert_eq!(opened(&dir).0.revision(), 0);
    }
}

#[test]
fn histories_are_not_merged() {
    let (dir, other) = (journal_of(2), journal_of(3));
    let error = import(dir.path(), &mut Cursor::new(exported(&other))).unwrap_err();
    assert!(
        matches!(error, TransferError::NotEmpty { revision: 2, .. }),
        "{error}"
    );
}

#[test]
fn of_a_damaged_journal_everything_before_the_damage_is_exported() {
    let dir = journal_of(5);
    let visitor = rusqlite::Connection::open(schema::path_in(dir.path())).unwrap();
    visitor
        .execute_batch(
            "DROP TRIGGER record_is_never_changed; UPDATE record SET at_ms = 99 WHERE revision = 4",
        )
        .unwrap();
    drop(visitor);
    let mut out = Vec::new();
    let verified = export(dir.path(), &mut out).unwrap();
    assert_eq!(verified.records, 3);
    let damage = verified.damage.unwrap().to_string();
    assert!(damage.contains("revision 4"), "{damage}");
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(import(copy.path(), &mut Cursor::new(out)).unwrap(), 3);
}

#[test]
fn reading_disturbs_no_writer_and_needs_no_lock() {
    let dir = journal_of(2);
    let (mut journal, _) = opened(&dir);
    let mut seen = 0;
    read::<JournalError>(dir.path(), |_| {
        seen += 1;
        journal.append(journal.revision(), &[entry(7)])?;
        Ok(())
    })
    .unwrap();
    assert!(seen >= 2, "{seen}");
    assert_eq!(journal.revision(), 2 + seen);
}

/// The tables of schema 1.
const OLD_TABLES: &str = "
CREATE TABLE record (
    revision INTEGER PRIMARY KEY CHECK (revision > 0),
    at_ms    INTEGER NOT NULL CHECK (at_ms >= 0),
    wall_ms  INTEGER NOT NULL CHECK (wall_ms >= 0),
    event    TEXT    NOT NULL CHECK (json_valid(event)),
    hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER record_is_never_removed BEFORE DELETE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
";

#[test]
fn a_journal_of_the_first_schema_is_read_and_goes_on() {
    let dir = journal_of(2); // none of these tells what was decided
    let path = schema::path_in(dir.path());
    let mut records = Vec::new();
    read::<JournalError>(dir.path(), |stored| {
        records.push(stored);
        Ok(())
    })
    .unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(OLD_TABLES).unwrap();
    let head: i64 = 0x5469_6465;
    old.pragma_update(None, "application_id", head).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    for record in &records {
        old.execute(
            "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5)",
            rusqlite::params![
                record.revision as i64,
                record.at.0 as i64,
                record.wall_ms as i64,
                record.event,
                record.hash
            ],
        )
        .unwrap();
    }
    drop(old);

    let verified = read::<JournalError>(dir.path(), |_| Ok(())).unwrap();
    assert_eq!(verified.records, 2, "read as it is");
    for _ in 0..2 {
        let (journal, read) = opened(&dir);
        assert_eq!((journal.revision(), read.len()), (2, 2));
    }
    let (mut journal, _) = opened(&dir);
    assert_eq!(journal.append(2, &[entry(3)]).unwrap(), 3);
    drop(journal);
    assert_eq!(opened(&dir).1.len(), 3);
    let visitor = rusqlite::Connection::open(&path).unwrap();
    assert!(
        visitor.execute("UPDATE record SET at_ms = 1", []).is_err(),
        "the triggers are still there"
    );
}
