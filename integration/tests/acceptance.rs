//! Each fault of the acceptance table (evidence §6b) is injected somewhere: into the running program
//! with real Envoys where it involves sidecars, into the engine otherwise. This checks that none
//! lacks a test, and makes the table in this package's README from their names: what shows T5 is
//! called `t5_…`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- faults: made by tests/acceptance.rs -->";
const END: &str = "<!-- end of faults -->";

/// Tests that run the program against real Envoys.
const REAL: [&str; 2] = [
    "integration/tests/against_envoy",
    "integration/tests/prometheus",
];
/// Tests of the engine, from reports to verdicts.
const ENGINE: &str = "shifting/engine/src";

/// One fault.
struct Fault {
    injected: &'static str,
    must: &'static str,
    /// Why no real Envoy shows it; empty when one does.
    simulated: &'static str,
}

/// T1 and so on.
const FAULTS: [Fault; 16] = [
    fault(
        "abort, while stable may not lose a host",
        "weight 0 is acknowledged within 1 s; the shrinking is refused apart from it",
    ),
    fault(
        "the control plane is killed at a step and stays dead",
        "Envoys fall back to 0% within the share's time to live",
    ),
    fault(
        "the control plane is killed and started again at random moments",
        "the same decisions, to the bit; no step longer, shorter or left out, nothing rises",
    ),
    fault(
        "nobody's reports come, or Prometheus is gone",
        "hold; no advance, no revert",
    ),
    fault(
        "one canary reporter is silent, and all else about it looks well",
        "revert within 25 s, by name",
    ),
    fault(
        "both arms fail 3%",
        "no revert; hold, and a page that says that it is the environment",
    ),
    fault(
        "the canary fails 1, 5 or 50% at 10 canary requests/s",
        "revert in a median of 120, 25 and 15 s; at 50% at most 100 requests fail",
    ),
    Fault {
        injected: "a healthy canary, looked at each second for a thousand hours",
        must: "at most 1 in 1,000 rollouts is reverted",
        simulated: "it would take six weeks",
    },
    fault(
        "somebody edits the weights; a sidecar stays stale",
        "the clock stops within 25 s, stale sidecars are named",
    ),
    fault(
        "a newer version at 50%, and its hosts are not there",
        "no request to an empty cluster; the old canary is drained first",
    ),
    fault(
        "a reverted version is applied again, also in other words",
        "refused, with the rollout that reverted it",
    ),
    fault(
        "the canary answers nothing at all",
        "a black hole within 15 s",
    ),
    fault(
        "retries or ejection hide the canary's errors from clients",
        "found by the attempts that failed, or by the share",
    ),
    fault(
        "no requests, no numbers, counters or clocks that begin anew",
        "hold with a reason; no advance, no revert",
    ),
    fault(
        "two services that depend on each other are shifted at once, one is bad",
        "they are serialised; if somebody insists, only the bad one goes back",
    ),
    fault(
        "a sidecar rejects what it gets, or crashes on it",
        "those of that step alone are affected; it goes back by itself",
    ),
];

const fn fault(injected: &'static str, must: &'static str) -> Fault {
    Fault {
        injected,
        must,
        simulated: "",
    }
}

/// Names of tests with their files, by the fault that they are named after.
type Tests = BTreeMap<usize, Vec<(String, String)>>;

fn sources(place: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path())
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

/// The number in `t5_…`; none of a test that is named after several, whose scenarios are functions
/// of their own.
fn number(function: &str) -> Option<usize> {
    let number = |word: &str| word.strip_prefix('t')?.parse::<usize>().ok();
    let mut words = function.split('_');
    let first = number(words.next()?)?;
    let several = number(words.next()?).is_some();
    (!several).then_some(first)
}

fn tests(folders: &[&str]) -> Tests {
    let mut tests = Tests::new();
    for folder in folders {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let place = file.strip_prefix(root()).unwrap().display().to_string();
            for line in text.lines() {
                let Some(rest) = line.trim_start().strip_prefix("fn ") else {
                    continue;
                };
                let name = rest.split('(').next().unwrap_or_default();
                if let Some(number) = number(name) {
                    let entry = (name.to_owned(), place.clone());
                    tests.entry(number).or_default().push(entry);
                }
            }
        }
    }
    tests
}

fn cell(tests: &Tests, number: usize, none: &str) -> String {
    let Some(tests) = tests.get(&number) else {
        return none.to_owned();
    };
    let words = |(name, place): &(String, String)| {
        let file = Path::new(place).with_extension("");
        let words: Vec<_> = file.iter().rev().take(2).collect();
        let module = words.into_iter().rev().collect::<PathBuf>();
        format!("`{name}` ({})", module.display())
    };
    tests.iter().map(words).collect::<Vec<_>>().join("<br>")
}

fn table() -> String {
    let (real, engine) = (tests(&REAL), tests(&[ENGINE]));
    let mut text = String::from(
        "| | fault injected | must happen | against real Envoys | in the engine |\n|---|---|---|---|---|\n",
    );
    for (number, fault) in (1..).zip(&FAULTS) {
        writeln!(
            text,
            "| T{number} | {} | {} | {} | {} |",
            fault.injected,
            fault.must,
            cell(&real, number, fault.simulated),
            cell(&engine, number, ""),
        )
        .unwrap();
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_fault_is_shown_where_it_happens() {
    let (real, engine) = (tests(&REAL), tests(&[ENGINE]));
    for (number, fault) in (1..).zip(&FAULTS) {
        let shown = real.contains_key(&number);
        assert_eq!(shown, fault.simulated.is_empty(), "T{number}");
        assert!(shown || engine.contains_key(&number), "T{number}");
    }
    let most = real.keys().chain(engine.keys()).max();
    assert!(most <= Some(&FAULTS.len()), "there is no T{most:?}");
}

#[test]
fn the_table_of_faults_in_the_readme_is_up_to_date() {
    let readme = root().join("integration/README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{before}{BEGIN}\n{}{END}{after}", table());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&readme, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "run `UPDATE=1 cargo test -p tidegate-integration --test acceptance`"
        );
    }
}
