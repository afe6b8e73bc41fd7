//! `tidegate journal verify|export|import`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{EXIT_FAILED, Failure, Outcome, print_json, print_text};
use crate::journal::{self, JournalError, Verified};
use crate::show::count;

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Read every record and check the chain of hashes; changes nothing
    Verify(DataArguments),
    /// Write the journal as JSON lines to standard output; of a damaged one, all before the damage
    Export(DataArguments),
    /// Make a journal from an export, in a directory that holds none
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    /// Data directory of a control plane, running or not
    data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Data directory to make; no control plane may run on it
    data: PathBuf,
    /// The export; standard input when left out
    #[arg(value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer {
    records: u64,
    hash: Option<String>,
    damage: Option<String>,
}

// === impl Answer ===

impl Answer {
    fn of(verified: &Verified) -> Self {
        Self {
            records: verified.records,
            hash: Some(journal::hex(&verified.hash)),
            damage: verified.damage.as_ref().map(ToString::to_string),
        }
    }

    fn code(&self) -> ExitCode {
        ExitCode::from(if self.damage.is_none() {
            0
        } else {
            EXIT_FAILED
        })
    }
}

pub(crate) fn run(command: &JournalCommand, json: bool) -> Outcome {
    match command {
        JournalCommand::Verify(arguments) => verify(arguments, json),
        JournalCommand::Export(arguments) => export(arguments, json),
        JournalCommand::Import(arguments) => import(arguments, json),
    }
}

fn verify(arguments: &DataArguments, json: bool) -> Outcome {
    let verified =
        journal::read::<JournalError>(&arguments.data, |_| Ok(())).map_err(Failure::new)?;
    let answer = Answer::of(&verified);
    if json {
        print_json(&answer)?;
    } else {
        print_text(&format!(
            "{} records, each of them whole and in its place; the last one's hash is {}",
            count(answer.records),
            journal::hex(&verified.hash)
        ))?;
        warn(&answer);
    }
    Ok(answer.code())
}

/// The export has standard output for itself; what there is to say goes to standard error.
fn export(arguments: &DataArguments, json: bool) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let verified = journal::export(&arguments.data, &mut out).map_err(Failure::new)?;
    let answer = Answer::of(&verified);
    if json {
        let text = serde_json::to_string(&answer).map_err(Failure::new)?;
        eprintln!("{text}");
    } else {
        eprintln!("tidegate: {} records exported", count(answer.records));
        warn(&answer);
    }
    Ok(answer.code())
}

fn import(arguments: &ImportArguments, json: bool) -> Outcome {
    let records = match &arguments.from {
        Some(path) => {
            let file = File::open(path)
                .map_err(|cause| Failure(format!("{}: {cause}", path.display())))?;
            journal::import(&arguments.data, &mut BufReader::new(file))
        }
        None => journal::import(&arguments.data, &mut io::stdin().lock()),
    }
    .map_err(Failure::new)?;
    if json {
        print_json(&Answer {
            records,
            hash: None,
            damage: None,
        })?;
    } else {
        print_text(&format!(
            "{} records imported into `{}`; a control plane that starts on it takes rollouts that \
             were under way back, since nobody watched them",
            count(records),
            arguments.data.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn warn(answer: &Answer) {
    if let Some(damage) = &answer.damage {
        eprintln!(
            "tidegate: everything after record {} is lost to this program: {damage}",
            answer.records
        );
    }
}
