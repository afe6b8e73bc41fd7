//! The command line: one file a command, human tables by default, `--json` everywhere.

mod aa;
mod bootstrap;
mod demo;
mod journal;
mod mesh;
mod quarantine;
mod replay;
mod rollout;
mod serve;
mod sidecars;
mod version;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use http::Uri;
use serde::Serialize;

use crate::client::Client;

/// Exit code of a command that failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of `rollout watch` when the rollout went back.
pub const EXIT_REVERTED: u8 = 10;
/// Exit code of `rollout watch` when the rollout is held past its deadline.
pub const EXIT_OVERDUE: u8 = 11;

const AFTER_HELP: &str = "\
Start here: `tidegate demo` runs a whole canary on this machine, with real Envoys.

Exit codes: 0 done or promoted, 1 failed, 2 wrong usage, 10 reverted, 11 held past its deadline.";

/// An Envoy control plane that moves traffic in steps (1 host, 5%, everyone) and goes back by
/// itself when the service's SLO is breached.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Arguments {
    /// Print JSON on standard output instead of text for people
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane
    Serve(serve::ServeArguments),
    /// Print an Envoy bootstrap for one sidecar
    Bootstrap(bootstrap::BootstrapArguments),
    /// Start, watch and end rollouts
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Show what was reverted for its own fault and is refused, and allow it again
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Show how often a service's own traffic raises a false alarm: half of its sidecars against
    /// the other half, all on the stable version
    Aa(aa::AaArguments),
    /// Show who is connected, which view each has, and for how long it is behind
    Sidecars(sidecars::SidecarsArguments),
    /// Check, show and reload the mesh
    #[command(subcommand)]
    Mesh(mesh::MeshCommand),
    /// Decide all that the journal holds again: the same to the bit, or what other settings would do
    Replay(replay::ReplayArguments),
    /// Verify a journal's chain, export it, import it elsewhere
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Find Envoy (installing it once if need be) and print its path
    Envoy(bootstrap::EnvoyArguments),
    /// Run a canary on this machine with real Envoys, and a fault if you like
    Demo(crate::demo::Options),
    /// Print the versions of this program and of the control plane it reaches
    Version(version::VersionArguments),
}

/// Where the control plane's API is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArguments {
    /// Address of the control plane's API
    #[arg(
        long,
        env = "TIDEGATE_API",
        default_value = "http://127.0.0.1:18001",
        value_name = "URL"
    )]
    api: Uri,
}

// === impl ApiArguments ===

impl ApiArguments {
    fn client(&self) -> Client {
        Client::new(self.api.clone())
    }
}

/// Who acts.
#[derive(Debug, Args)]
pub(crate) struct WhoArguments {
    /// Who acts, for the journal [default: $USER, else operator]
    #[arg(long = "as", value_name = "NAME")]
    actor: Option<String>,
}

// === impl WhoArguments ===

impl WhoArguments {
    fn name(self) -> String {
        self.actor.unwrap_or_else(actor)
    }
}

/// Why a command failed, as a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

type Outcome = Result<ExitCode, Failure>;

/// Runs one command and says how it went.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let json = arguments.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(json, &format!("cannot start: {error}")),
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Bootstrap(arguments) => bootstrap::run(arguments, json),
            Command::Rollout(command) => rollout::run(command, json).await,
            Command::Quarantine(command) => quarantine::run(command, json).await,
            Command::Aa(arguments) => aa::run(&arguments, json).await,
            Command::Sidecars(arguments) => sidecars::run(&arguments, json).await,
            Command::Mesh(command) => mesh::run(command, json).await,
            Command::Envoy(arguments) => bootstrap::envoy(&arguments, json),
            Command::Demo(options) => demo::run(options, json).await,
            Command::Replay(arguments) => replay::run(&arguments, json),
            Command::Journal(command) => journal::run(&command, json),
            Command::Version(arguments) => version::run(&arguments, json).await,
        }
    });
    let code = match outcome {
        Ok(code) => code,
        Err(Failure(text)) => fail(json, &text),
    };
    // A blocking search or a read of standard input must not keep a finished program alive.
    runtime.shutdown_background();
    code
}

fn fail(json: bool, text: &str) -> ExitCode {
    if json {
        let answer = crate::api::model::ErrorAnswer {
            error: text.to_owned(),
        };
        let _ = print_json(&answer);
    }
    eprintln!("tidegate: {text}");
    ExitCode::from(EXIT_FAILED)
}

/// Prints one JSON document. A reader that went away (`| head`) is not an error.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    print_text(&text)
}

/// Prints text and a line end. A reader that went away (`| head`) is not an error.
fn print_text(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

/// Who acts, for the journal.
fn actor() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "operator".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn every_command_is_well_formed_and_explained() {
        let mut root = Arguments::command();
        root.build();
        root.clone().debug_assert();
        let mut commands: Vec<clap::Command> = vec![root];
        while let Some(command) = commands.pop() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{argument} of {} has no help",
                    command.get_name()
                );
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
