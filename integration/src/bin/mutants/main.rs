//! Breaks the engine's safeguards one by one and shows that the engine's own tests notice.
//!
//! ```text
//! cargo run -p tidegate-integration --bin mutants
//! cargo run -p tidegate-integration --bin mutants -- --only dropped-verdict,compile
//! cargo run -p tidegate-integration --bin mutants -- --list
//! ```
//!
//! ```text
//! integration/mutants/*.txt ─► list ─► scratch: a copy of the engine ─► trial: build, test ─► table
//! ```
//!
//! A mutant is a piece of the engine's source and what stands there instead; its list says which
//! safeguard that breaks. The tests that are meant to notice run first, and all of the library's
//! tests before a mutant counts as a survivor: an equivalent one, to be replaced, or a missing
//! test. A mutant that does not compile is a fault of the list. The exit code is 1 when one survives
//! or the list is at fault.
//!
//! All of it happens in a copy with its own build directory; nothing that is edited here is touched.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: a mistake of its own may end it"
)]

mod list;
mod scratch;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use tidegate_integration::bench::report::{Goal, Report, Row, Section};

use crate::list::{LEAST, Mutant};
use crate::scratch::Scratch;
use crate::trial::{Outcome, Tests};

/// Breaks the engine's safeguards one by one and shows that the engine's own tests notice. Prints a
/// table; fails when a mutant survives.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
struct Arguments {
    /// Only these mutants, or all of these lists.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Tells what each mutant breaks, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Takes it for granted that the tests pass without mutants, and runs those that are meant to
    /// notice only: for whoever changes a list.
    #[arg(long)]
    quick: bool,
    /// Where the copy of the engine and its builds are kept; the next run builds on them.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Writes everything to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = chosen(&arguments).and_then(|mutants| {
        if arguments.list {
            tell(&mutants);
            return Ok(true);
        }
        try_all(&mutants, &arguments)
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("mutants: {cause}");
            ExitCode::from(2)
        }
    }
}

/// Where everything is.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn chosen(arguments: &Arguments) -> Result<Vec<Mutant>, String> {
    let mut mutants = list::read()?;
    let is_named = |mutant: &Mutant, name: &String| *name == mutant.name || *name == mutant.list;
    for name in &arguments.only {
        if !mutants.iter().any(|mutant| is_named(mutant, name)) {
            return Err(format!("there is no mutant or list `{name}`; see --list"));
        }
    }
    if !arguments.only.is_empty() {
        mutants.retain(|mutant| arguments.only.iter().any(|name| is_named(mutant, name)));
    }
    Ok(mutants)
}

fn tell(mutants: &[Mutant]) {
    let mut list = "";
    for mutant in mutants {
        if mutant.list != list {
            list = &mutant.list;
            println!("\n{list}");
        }
        println!("  {:<36} {}", mutant.name, mutant.breaks);
    }
}

/// Whether all are caught.
fn try_all(mutants: &[Mutant], arguments: &Arguments) -> Result<bool, String> {
    let text = |cause: std::io::Error| cause.to_string();
    let root = arguments.scratch.clone();
    let root = root.unwrap_or_else(|| workspace().join("target/mutants"));
    let scratch = Scratch::of(workspace(), &root).map_err(text)?;
    println!("building the tests of the engine as it is; the first time this takes minutes");
    let tests = Tests::unmutated(&scratch, arguments.quick)?;
    if let Some(took) = tests.took {
        let (count, seconds) = (tests.names.len(), took.as_secs_f64());
        println!("its {count} tests pass in {seconds:.0} s\n");
    }

    let mut results = Vec::new();
    for (place, mutant) in mutants.iter().enumerate() {
        let begun = Instant::now();
        let outcome = trial::try_one(&scratch, &tests, mutant)?;
        let (name, count) = (&mutant.name, mutants.len());
        let took = begun.elapsed();
        println!(
            "{:>3} of {count}  {name:<36} {outcome} ({:.0} s)",
            place + 1,
            took.as_secs_f64()
        );
        results.push((mutant, outcome, took));
    }
    let report = report(&results, arguments.only.is_empty());
    report.conclude();
    if let Some(path) = &arguments.json {
        report.write(path).map_err(text)?;
    }
    Ok(report.faults.is_empty() && report.goals.iter().all(|goal| goal.met))
}

/// The table for people; what is kept of it tells of each mutant what it breaks, too.
fn report(results: &[(&Mutant, Outcome, Duration)], all: bool) -> Report {
    let mut report = Report::default();
    let title = "mutants of the safeguards";
    let (mut shown, mut kept) = (Section::new(title), Section::new(title));
    for (mutant, outcome, took) in results {
        let row = || {
            Row::default()
                .with("mutant", mutant.name.as_str())
                .with("in", mutant.file.as_str())
                .with("outcome", outcome.word())
                .with("by", outcome.by())
        };
        shown.rows.push(row());
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        let more = row().with("breaks", mutant.breaks.as_str());
        kept.rows.push(more.with("seconds", seconds));
    }
    print!("{shown}");
    report.sections.push(kept);
    for (mutant, outcome, _) in results {
        if let Outcome::Faulty(why) = outcome {
            report.faults.push(format!("{}: {why}", mutant.name));
        }
        if let Outcome::Survived = outcome {
            println!("\nSURVIVED {}: {}", mutant.name, mutant.breaks);
        }
    }
    let count = |is: fn(&Outcome) -> bool| {
        let found = results.iter().filter(|(_, outcome, _)| is(outcome)).count();
        f64::from(u32::try_from(found).unwrap_or(u32::MAX))
    };
    let survivors = count(|outcome| matches!(outcome, Outcome::Survived));
    let caught = count(Outcome::is_caught);
    report.machine.insert("caught".to_owned(), json!(caught));
    report
        .goals
        .push(Goal::at_most("mutants that survive", survivors, 0.0));
    if all {
        let least = f64::from(u32::try_from(LEAST).unwrap_or(u32::MAX));
        report
            .goals
            .push(Goal::at_least("mutants that are caught", caught, least));
    }
    report
}
