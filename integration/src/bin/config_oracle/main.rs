//! Compares our judgement of configurations with Envoy's own.
//!
//! ```text
//! cargo run -p tidegate-integration --bin config_oracle -- --refusals 2000 --seed 1
//! ```
//!
//! Good configurations (`fixtures/envoy-configs/good`) get one mistake each; the result goes
//! through [`Reader`](tidegate_xds::config::Reader) and through `envoy --mode validate`, until Envoy
//! has refused `--refusals` different ones (or `--count` were made). What Envoy refuses, we must
//! refuse, and the other way round; what is meant to differ is in `explanations.rs`, and any other
//! disagreement makes the program fail. `--keep` names a directory for the configurations on which
//! the judges disagree; `--jobs` tells how many Envoys run at once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: a mistake of its own may end it"
)]

mod explained;
mod explanations;
mod judges;
mod kinds;
mod lines;
mod mutate;
mod random;
mod tally;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use crate::judges::{Verdict, judge};
use crate::mutate::{Corpus, Mutant};
use crate::random::Random;
use crate::tally::Tally;

/// Configurations that are judged before the next ones are made.
const BATCH: usize = 64;

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    /// Configurations that Envoy refuses, at which to stop.
    refusals: u32,
    /// Configurations at which to stop in any case.
    count: u64,
    seed: u64,
    jobs: usize,
    /// Where to keep the configurations on which the judges disagree.
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(|options| compare(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("config_oracle: {cause}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        refusals: 2_000,
        count: 100_000,
        seed: 1,
        jobs: 2,
        keep: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let no_number = || format!("{word} {value}: not a number that fits");
        match word.as_str() {
            "--refusals" => options.refusals = value.parse().map_err(|_| no_number())?,
            "--count" => options.count = value.parse().map_err(|_| no_number())?,
            "--seed" => options.seed = value.parse().map_err(|_| no_number())?,
            "--jobs" => options.jobs = value.parse().map_err(|_| no_number())?,
            "--keep" => options.keep = Some(PathBuf::from(&value)),
            _ => {
                let known = "--refusals, --count, --seed, --jobs and --keep";
                return Err(format!("{word}: there are {known}"));
            }
        }
    }
    Ok(options)
}

/// Whether all disagreements are explained.
fn compare(options: &Options) -> Result<bool, String> {
    let text = |cause: std::io::Error| cause.to_string();
    let envoy = tidegate::envoy::find(None, &mut |progress| {
        tidegate::envoy::tell_on_stderr(&progress);
    })
    .map_err(|cause| cause.to_string())?;
    let good = good_configurations().map_err(text)?;
    println!("Envoy {}, seed {}", envoy.version, options.seed);
    let scratch = tempfile::tempdir().map_err(text)?;
    for (name, config) in &good {
        let verdict = judge(&envoy.path, scratch.path(), config)?;
        if let Some(cause) = verdict.envoys {
            return Err(format!("Envoy refuses {name}: {cause}"));
        }
        if let Some(found) = verdict.ours.first() {
            return Err(format!("we refuse {name}: {found}"));
        }
    }

    let corpus = Corpus::new(&good);
    let (mut tally, mut seen) = (Tally::default(), BTreeSet::new());
    let mut number = 0;
    while tally.refusals() < options.refusals && number < options.count {
        let mut batch = Vec::new();
        while batch.len() < BATCH && number < options.count {
            // Each configuration can be made again from the seed and its number alone.
            let mutant = corpus.mutant(&mut Random::new(options.seed, number));
            if seen.insert(mutant.config.clone()) {
                batch.push((number, mutant));
            }
            number += 1;
        }
        let verdicts = judge_all(&envoy.path, scratch.path(), &batch, options.jobs)?;
        for ((number, mutant), verdict) in batch.iter().zip(&verdicts) {
            if tally.refusals() >= options.refusals {
                break;
            }
            let (name, _) = &corpus.good[mutant.base];
            let disagree = tally.add(*number, name, mutant, verdict);
            if let Some(keep) = options.keep.as_ref().filter(|_| disagree) {
                let side = if verdict.ours.is_empty() {
                    "envoy"
                } else {
                    "we"
                };
                fs::create_dir_all(keep).map_err(text)?;
                let file = keep.join(format!("{side}-{}-{number}.yaml", options.seed));
                fs::write(file, &mutant.config).map_err(text)?;
            }
        }
    }
    tally.print();
    Ok(tally.is_clean())
}

/// In the order of the batch.
fn judge_all(
    envoy: &Path,
    scratch: &Path,
    batch: &[(u64, Mutant)],
    jobs: usize,
) -> Result<Vec<Verdict>, String> {
    let (next, results) = (Mutex::new(0..batch.len()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for job in 0..jobs.max(1) {
            let (next, results) = (&next, &results);
            scope.spawn(move || {
                let directory = scratch.join(job.to_string());
                let made = fs::create_dir_all(&directory).map_err(|cause| cause.to_string());
                loop {
                    let Some(index) = next.lock().unwrap().next() else {
                        break;
                    };
                    let verdict = made
                        .clone()
                        .and_then(|()| judge(envoy, &directory, &batch[index].1.config));
                    results.lock().unwrap().push((index, verdict));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, verdict)| verdict).collect()
}

/// By name, so that a seed means the same on every machine.
fn good_configurations() -> std::io::Result<Vec<(String, String)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/envoy-configs/good");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.push((name.into_owned(), fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}
