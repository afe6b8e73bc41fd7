//! Every rule of the protocol is tested wherever it applies: at the state machine, for both
//! variants, and over the wire, over both transports as well. This checks that none lacks a test,
//! and makes the table in the README from their names.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use matrix::{AGGREGATED, ALL, DELTA, Modes, PER_TYPE, RULES, SOTW, WIRE_ONLY};

#[path = "rules/matrix.rs"]
mod matrix;

const BEGIN: &str = "<!-- rules: made by tests/rules.rs -->";
const END: &str = "<!-- end of rules -->";

/// The state machine's own tests.
const MACHINE: &str = "xds/src/stream/tests";
/// The rules over a real connection.
const WIRE: &str = "xds/tests/protocol";
/// Where else a test may be named after a rule.
const ELSEWHERE: [&str; 3] = ["xds/src", "xds/tests", "integration/tests"];
/// The papers number the protocol's rules and the invariants alike. The tests of these files are
/// of the invariants S7 to S17.
const OF_INVARIANTS: [&str; 1] = ["xds/src/guard.rs"];

/// A rule's number, in the order of the table: letter, number, suffix.
type Key = (String, u32, String);

/// What is known of a rule.
#[derive(Default)]
struct Row {
    machine: Vec<(String, BTreeSet<&'static str>)>,
    wire: Vec<(String, Vec<String>)>,
    elsewhere: Vec<String>,
}

/// A function with its body.
struct Function {
    name: String,
    is_test: bool,
    body: String,
}

fn key(word: &str) -> Option<Key> {
    let letter = word.chars().next()?.to_ascii_uppercase();
    let digits: String = word
        .chars()
        .skip(1)
        .take_while(char::is_ascii_digit)
        .collect();
    let suffix = &word[1 + digits.len()..];
    let known = "CSDOXM".contains(letter) && ["", "a", "b", "c"].contains(&suffix);
    let number = digits.parse().ok().filter(|_| known)?;
    Some((letter.to_string(), number, suffix.to_owned()))
}

/// The rules that a test is named after.
fn keys(name: &str) -> impl Iterator<Item = Key> {
    name.split('_').map_while(key)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The functions of a file, as rustfmt leaves them: each ends with a brace as far in as it began.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let rest = line.trim_start();
        let indent = &line[..line.len() - rest.len()];
        let rest = rest
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        let rest = rest.trim_start_matches("async ");
        let Some(name) = rest.strip_prefix("fn ") else {
            continue;
        };
        let name = name.split(['(', '<']).next().unwrap_or_default();
        let end = format!("{indent}}}");
        let body = lines[at..].iter().take_while(|line| **line != end);
        let attributes = lines[..at].iter().rev();
        let mut attributes = attributes.take_while(|line| line.trim().starts_with("#["));
        functions.push(Function {
            name: name.to_owned(),
            is_test: attributes.any(|line| line.contains("test]") || line.contains("test(")),
            body: body.copied().collect::<Vec<_>>().join("\n"),
        });
    }
    functions
}

/// The variants that a body names as values, not as patterns.
fn named(body: &str) -> BTreeSet<&'static str> {
    let names = |word: &str| {
        body.match_indices(word).any(|(at, _)| {
            let (before, after) = (&body[..at], &body[at + word.len()..]);
            let whole = !after.starts_with(|next: char| next.is_alphanumeric());
            let compared = before.ends_with("== ") || after.starts_with(" =>");
            whole && !compared && !before.ends_with("Request::")
        })
    };
    let mut variants = BTreeSet::new();
    for (variant, word) in [("delta", "Delta"), ("sotw", "Sotw")] {
        if names(word) || names("BOTH") {
            variants.insert(variant);
        }
    }
    variants
}

/// A test of the state machine is of the variants that it, or a helper of its file that it calls,
/// names.
fn variants(test: &Function, file: &[Function]) -> BTreeSet<&'static str> {
    let mut variants = named(&test.body);
    for helper in file.iter().filter(|function| !function.is_test) {
        if test.body.contains(&format!("{}(", helper.name)) {
            variants.extend(named(&helper.body));
        }
    }
    variants
}

/// What `runs!(rule: modes)` makes of its modes.
fn modes(list: &str) -> Vec<String> {
    let whole: Modes = match list {
        "all" => ALL,
        "delta" => DELTA,
        "sotw" => SOTW,
        "aggregated" => AGGREGATED,
        "per_type" => PER_TYPE,
        _ => return list.split(", ").map(str::to_owned).collect(),
    };
    whole.iter().map(|mode| (*mode).to_owned()).collect()
}

fn rows(root: &Path) -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let mut files = Vec::new();
    for folder in ELSEWHERE {
        sources(&root.join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let place = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let functions = functions(&text);
        for test in functions.iter().filter(|function| function.is_test) {
            for mut key in keys(&test.name) {
                if OF_INVARIANTS.contains(&place.as_str()) {
                    key.2 = " (invariant)".to_owned();
                }
                let row = rows.entry(key).or_default();
                if place.starts_with(MACHINE) {
                    let variants = variants(test, &functions);
                    row.machine.push((test.name.clone(), variants));
                } else {
                    row.elsewhere.push(format!("`{}` ({place})", test.name));
                }
            }
        }
        if !place.starts_with(WIRE) {
            continue;
        }
        for line in text.lines() {
            let run = line
                .strip_prefix("runs!(")
                .and_then(|run| run.strip_suffix(");"));
            let Some((name, list)) = run.and_then(|run| run.split_once(": ")) else {
                continue;
            };
            for key in keys(name) {
                let row = rows.entry(key).or_default();
                row.wire.push((name.to_owned(), modes(list)));
            }
        }
    }
    rows
}

/// Words for a list of variants or modes.
fn words<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<&str> = list.into_iter().collect();
    if list == ALL || list == ["delta", "sotw"] {
        return "all".to_owned();
    }
    list.join(", ").replace('_', " ")
}

fn table(rows: &BTreeMap<Key, Row>) -> String {
    let mut text = String::from(
        "| rule | at the state machine | over the wire | elsewhere |\n|---|---|---|---|\n",
    );
    for ((letter, number, suffix), row) in rows {
        let id = format!("{letter}{number}{suffix}");
        let apart = WIRE_ONLY.iter().filter(|(rule, _)| *rule == id);
        let apart = apart.map(|(_, reason)| format!("none: {reason}"));
        let machine = row
            .machine
            .iter()
            .map(|(name, variants)| format!("`{name}` ({})", words(variants.iter().copied())))
            .chain(apart);
        let wire = row
            .wire
            .iter()
            .map(|(name, modes)| format!("`{name}` ({})", words(modes.iter().map(String::as_str))));
        let rule = RULES.iter().find(|(rule, _, _)| *rule == id);
        let excuse = rule.filter(|(_, _, reason)| !reason.is_empty());
        let excuse = excuse.map(|(_, applies, reason)| {
            let others = ALL.iter().filter(|mode| !applies.contains(mode));
            format!("not {}: {reason}", words(others.copied()))
        });
        text.push_str(&format!(
            "| {id} | {} | {} | {} |\n",
            machine.collect::<Vec<_>>().join("<br>"),
            wire.chain(excuse).collect::<Vec<_>>().join("<br>"),
            row.elsewhere.join("<br>"),
        ));
    }
    text
}

fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap()
}

#[test]
fn every_rule_is_tested_wherever_it_applies() {
    let rows = rows(root());
    let mut lacks = Vec::new();
    for (id, applies, reason) in RULES {
        assert_eq!(reason.is_empty(), applies == ALL, "{id} wants a reason");
        let row = key(&id.to_ascii_lowercase()).and_then(|key| rows.get(&key));
        let Some(row) = row else {
            lacks.push(format!("{id}: any test"));
            continue;
        };
        for mode in applies {
            let (variant, _) = mode.split_once('_').unwrap();
            let machine = WIRE_ONLY.iter().all(|(rule, _)| *rule != id);
            if machine
                && !row
                    .machine
                    .iter()
                    .any(|(_, variants)| variants.contains(variant))
            {
                lacks.push(format!("{id}: a test of {variant} in {MACHINE}"));
            }
            let mut wire = row.wire.iter().flat_map(|(_, modes)| modes);
            if !wire.any(|tested| tested == mode) {
                lacks.push(format!("{id}: {mode} in {WIRE}"));
            }
        }
        for (name, modes) in &row.wire {
            for mode in modes
                .iter()
                .filter(|mode| !applies.contains(&mode.as_str()))
            {
                lacks.push(format!(
                    "{id}: `{name}` runs over {mode}, where it doesn't apply"
                ));
            }
        }
    }
    lacks.dedup();
    assert!(lacks.is_empty(), "lacking:\n{}", lacks.join("\n"));
}

#[test]
fn the_table_of_rules_in_the_readme_is_up_to_date() {
    let readme = root().join("xds/README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let table = table(&rows(root()));
    assert!(
        table.contains("| C2 |") && table.contains("| O5 |"),
        "{table}"
    );
    let wanted = format!("{before}{BEGIN}\n{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&readme, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "run `UPDATE=1 cargo test -p tidegate-xds --test rules`"
        );
    }
}
