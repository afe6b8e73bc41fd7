//! Judges simulated rollouts with the engine and with the rules of Flagger, Argo Rollouts and
//! Kayenta, side by side.
//!
//! ```text
//! cargo run --release -p tidegate-integration --bin verdicts
//! cargo run --release -p tidegate-integration --bin verdicts -- replay --scenario healthy --seed 7
//! ```
//!
//! ```text
//! scenario ─► traffic (seeded) ─► each second ─► rule: ours, argo, flagger, … ─► trial ─► compare
//! ```
//!
//! Everything is drawn from a seed: the same command prints the same numbers, but for times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a program for developers: a mistake of its own may end it"
)]

mod compare;
mod crew;
mod declared;
mod faults;
mod random;
mod rule;
mod scenario;
mod throughput;
mod timeline;
mod traffic;
mod trial;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;
use tidegate_integration::bench::report::Report;

use crate::crew::Crew;

/// What else `--only` takes.
const FAULTS: (&str, &str) = (
    "faults",
    "everything that may go wrong, in a million rollouts and more",
);
const KILLS: (&str, &str) = ("kills", "the control plane is killed after every record");
const THROUGHPUT: (&str, &str) = ("throughput", "what a decision costs");

/// Judges simulated rollouts with the engine, and with the rules of Flagger, Argo Rollouts and
/// Kayenta beside it. Prints tables and goals; fails when a goal of ours is missed.
#[derive(Debug, Parser)]
#[command(name = "verdicts", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Healthy rollouts; of every other scenario a tenth of it.
    #[arg(long, default_value_t = 20_000)]
    rollouts: usize,
    /// Rollouts with faults whose sidecars report each second; and a fifth as many each whose sidecars
    /// report every 5, 10 and 15 s. How fast that goes is told in
    /// simulated years per minute: the time under rollout of all services together, of which the engine
    /// takes every second as a tick, with all invariants checked after it, by the wall clock. On a busy
    /// machine the figure for a minute of CPU of one core tells more.
    #[arg(long, default_value_t = 1_000_000)]
    faulty: usize,
    /// Rollouts that are killed after each of their records.
    #[arg(long, default_value_t = 200)]
    killed: usize,
    /// Seed of the first rollout; the next ones count up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these; see `verdicts scenarios`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Writes everything to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Threads; one per core by default.
    #[arg(long)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists what `--only` and `--scenario` take.
    Scenarios,
    /// Runs one rollout again and tells second by second what the engine thinks.
    Replay {
        #[arg(long)]
        scenario: String,
        #[arg(long)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None => judge(&arguments),
        Some(Command::Scenarios) => {
            list();
            Ok(true)
        }
        Some(Command::Replay { scenario, seed }) => {
            faults::replay(scenario, *seed).map_or_else(|| timeline::replay(scenario, *seed), Ok)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("verdicts: {cause}");
            ExitCode::from(2)
        }
    }
}

/// Whether all goals are met.
fn judge(arguments: &Arguments) -> io::Result<bool> {
    for name in &arguments.only {
        if !names().any(|(known, _)| known == name) {
            return Err(io::Error::other(format!(
                "there is no scenario `{name}`; see `verdicts scenarios`"
            )));
        }
    }
    let chosen = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|o| o == name);
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let crew = Crew::of(threads);
    let mut report = Report::default();
    let optimised = !cfg!(debug_assertions);
    for (key, value) in [
        ("seed", json!(arguments.seed)),
        ("rollouts", json!(arguments.rollouts)),
        ("threads", json!(threads)),
        ("optimised", json!(optimised)),
    ] {
        report.machine.insert(key.to_owned(), value);
    }
    if !optimised {
        eprintln!("verdicts: built without --release: this takes long, and speeds mean nothing");
    }
    let (seed, rollouts) = (arguments.seed, arguments.rollouts);
    if chosen(THROUGHPUT.0) {
        throughput::throughput(seed, &mut report)?;
    }
    compare::compare(chosen, seed, rollouts, &crew, &mut report);
    if chosen(FAULTS.0) {
        faults::faults(seed, arguments.faulty, &crew, &mut report);
    }
    if chosen(KILLS.0) {
        faults::kills(seed, arguments.killed, &crew, &mut report);
    }
    report.conclude();
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(report.faults.is_empty() && report.goals.iter().all(|goal| goal.met))
}

fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    scenario::all()
        .into_iter()
        .map(|scenario| (scenario.name, scenario.about))
        .chain([FAULTS, KILLS, THROUGHPUT])
}

fn list() {
    for (name, about) in names() {
        println!("{name:<16} {about}");
    }
}
