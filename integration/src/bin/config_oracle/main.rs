//! Compares our judgement of configurations with Envoy's own.
//!
//! ```text
//! cargo run -p tidegate-integration --bin config_oracle -- --count 2000 --seed 1
//! ```
//!
//! Good configurations (`fixtures/envoy-configs/good`) are mutated; each result goes through
//! [`Reader`] and through `envoy --mode validate`. What Envoy refuses, we must refuse: one
//! configuration that we let pass makes the program fail. What only we refuse is listed by reason.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: a mistake of its own may end it"
)]

mod mutate;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tidegate_xds::config::{Diagnostic, Reader};

use crate::mutate::{Random, mutate};

/// What Envoy says of its surroundings and not of the configuration, which the validator can't
/// know: words of its reason, and the explanation.
const SURROUNDINGS: [(&str, &str); 1] = [(
    "unable to open file",
    "Envoy opens the files of access logs; which there are depends on the machine",
)];

/// What the command line asks for.
struct Options {
    count: u32,
    seed: u64,
    /// Where to keep the configurations on which we disagree.
    keep: Option<PathBuf>,
}

/// Configurations on which one side said what.
#[derive(Default)]
struct Disagreement {
    count: u32,
    example: String,
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
        count: 2_000,
        seed: 1,
        keep: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let no_number = || format!("{word} {value}: not a number that fits");
        match word.as_str() {
            "--count" => options.count = value.parse().map_err(|_| no_number())?,
            "--seed" => options.seed = value.parse().map_err(|_| no_number())?,
            "--keep" => options.keep = Some(PathBuf::from(&value)),
            _ => return Err(format!("{word}: there are --count, --seed and --keep")),
        }
    }
    Ok(options)
}

/// Whether we refused everything that Envoy refused.
fn compare(options: &Options) -> Result<bool, String> {
    let text = |cause: std::io::Error| cause.to_string();
    let envoy = tidegate::envoy::find(None, &mut |progress| {
        tidegate::envoy::tell_on_stderr(&progress);
    })
    .map_err(|cause| cause.to_string())?;
    let good = good_configurations().map_err(text)?;
    println!("Envoy {}, seed {}", envoy.version, options.seed);
    let scratch = tempfile::tempdir().map_err(text)?;
    let file = scratch.path().join("config.yaml");

    let reader = Reader::new();
    let (mut ours, mut theirs, mut surroundings) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut both_refuse, mut both_accept) = (0_u32, 0_u32);
    let (mut our_time, mut their_time) = (Duration::ZERO, Duration::ZERO);
    for (name, config) in &good {
        fs::write(&file, config).map_err(text)?;
        if let Err(cause) = validate(&envoy.path, &file)? {
            return Err(format!("Envoy refuses {name}: {cause}"));
        }
        if let Err(diagnostics) = reader.read(name, config) {
            return Err(format!("we refuse {name}:\n{}", listed(&diagnostics)));
        }
    }
    for number in 0..options.count {
        // Each configuration can be made again from the seed and its number alone.
        let mut random = Random::new(options.seed, u64::from(number));
        let (name, config) = random.pick(&good);
        let (mutation, config) = mutate(config, &mut random);
        fs::write(&file, &config).map_err(text)?;
        let started = Instant::now();
        let we_say = reader.read(name, &config);
        our_time += started.elapsed();
        let started = Instant::now();
        let envoy_says = validate(&envoy.path, &file)?;
        their_time += started.elapsed();
        let (disagreements, side, reason, detail) = match (&we_say, &envoy_says) {
            (Err(_), Err(_)) => {
                both_refuse += 1;
                continue;
            }
            (Ok(_), Ok(())) => {
                both_accept += 1;
                continue;
            }
            (Ok(_), Err(cause)) => {
                let explained = SURROUNDINGS.iter().find(|(words, _)| cause.contains(words));
                match explained {
                    Some((_, why)) => (
                        &mut surroundings,
                        "machine",
                        (*why).to_owned(),
                        cause.clone(),
                    ),
                    None => (&mut theirs, "envoy", category(cause), cause.clone()),
                }
            }
            (Err(found), Ok(())) => (&mut ours, "we", category_of(found), listed(found)),
        };
        if let Some(keep) = &options.keep {
            fs::create_dir_all(keep).map_err(text)?;
            fs::write(keep.join(format!("{side}-{number}.yaml")), &config).map_err(text)?;
        }
        let entry: &mut Disagreement = disagreements.entry(reason).or_default();
        entry.count += 1;
        if entry.example.is_empty() {
            entry.example = format!("#{number} {name}: {mutation}\n      {}", detail.trim_end());
        }
    }
    println!(
        "{} configurations: both refuse {both_refuse}, both accept {both_accept}",
        options.count
    );
    println!(
        "{:.2} ms each for us, {:.0} ms each for Envoy",
        our_time.as_secs_f64() * 1e3 / f64::from(options.count.max(1)),
        their_time.as_secs_f64() * 1e3 / f64::from(options.count.max(1)),
    );
    print("only Envoy refuses", &theirs);
    print("only Envoy refuses, because of the machine", &surroundings);
    print("only we refuse", &ours);
    Ok(theirs.is_empty())
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

/// What Envoy says; the inner error is its reason.
fn validate(envoy: &Path, file: &Path) -> Result<Result<(), String>, String> {
    // Validating creates the files that a configuration writes to; they go where it lies.
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let output = Command::new(envoy)
        .current_dir(directory)
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file)
        .output()
        .map_err(|cause| format!("{}: {cause}", envoy.display()))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let reason = log
        .lines()
        .find(|line| line.contains("error initializing") || line.contains("[critical]"))
        .or_else(|| log.lines().next())
        .unwrap_or("no reason");
    Ok(Err(format!("{}: {reason}", output.status)))
}

/// A reason without what differs from case to case.
fn category(reason: &str) -> String {
    let reason = reason
        .rsplit_once(".yaml': ")
        .map_or(reason, |(_, rest)| rest);
    let mut out = String::new();
    let mut quoted = false;
    for c in reason.chars().take(200) {
        if matches!(c, '\'' | '"' | '`') {
            quoted = !quoted;
            out.push(c);
        } else if c.is_ascii_digit() {
            if !out.ends_with('#') {
                out.push('#');
            }
        } else if !quoted {
            out.push(c);
        }
    }
    out
}

fn category_of(diagnostics: &[Diagnostic]) -> String {
    let first = diagnostics.first();
    first.map_or_else(String::new, |first| category(&first.message))
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| format!("{d}\n")).collect()
}

fn print(title: &str, disagreements: &BTreeMap<String, Disagreement>) {
    let total: u32 = disagreements.values().map(|entry| entry.count).sum();
    println!("\n{title}: {total}");
    for (reason, entry) in disagreements {
        println!("{:5} {reason}\n      {}", entry.count, entry.example);
    }
}
