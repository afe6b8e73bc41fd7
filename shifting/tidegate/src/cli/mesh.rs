//! `tidegate mesh check|plan|show|graph|reload`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{ApiArguments, EXIT_FAILED, Failure, Outcome, print_json, print_text};
use crate::api::model::MeshAnswer;
use crate::show::{self, Style};
use crate::source::MeshDirectory;

const GRAPH_HELP: &str = "\
A call is seen when the sidecars of a fleet send requests to a service; who calls is the fleet's `service`,
beside whose hosts they stand. It is kept for 8 days after it was last seen, which is told to the hour. A
rollout waits for the end of those that hold its service or one of its neighbours, as declared or as seen.";

#[derive(Debug, Subcommand)]
pub(crate) enum MeshCommand {
    /// Check a mesh directory without a control plane: all errors at once
    Check(CheckArguments),
    /// Show what declaring a mesh directory would change, and by which rollouts; changes nothing
    Plan(PlanArguments),
    /// Show the mesh in force, and why the one on disk is refused if it is
    Show(ShowArguments),
    /// Show who calls whom, as declared and as sidecars were seen doing: what rollouts hold of one
    /// another's services
    #[command(after_help = GRAPH_HELP)]
    Graph(ShowArguments),
    /// Read the mesh directory again now
    Reload(ShowArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The mesh directory
    directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// The mesh directory that would be declared
    directory: PathBuf,
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Serialize)]
struct CheckAnswer {
    valid: bool,
    revision: Option<String>,
    errors: Vec<String>,
}

pub(crate) async fn run(command: MeshCommand, json: bool) -> Outcome {
    match command {
        MeshCommand::Check(arguments) => check(arguments, json),
        MeshCommand::Plan(arguments) => plan(arguments, json).await,
        MeshCommand::Show(arguments) => show_mesh(
            &arguments.api.client().mesh().await.map_err(Failure::new)?,
            json,
        ),
        MeshCommand::Graph(arguments) => graph(&arguments, json).await,
        MeshCommand::Reload(arguments) => show_mesh(
            &arguments
                .api
                .client()
                .reload()
                .await
                .map_err(Failure::new)?,
            json,
        ),
    }
}

fn check(arguments: CheckArguments, json: bool) -> Outcome {
    let directory = MeshDirectory::new(arguments.directory);
    let result = directory.read();
    if json {
        let answer = match &result {
            Ok(mesh) => CheckAnswer {
                valid: true,
                revision: Some(mesh.revision()),
                errors: vec![],
            },
            Err(error) => CheckAnswer {
                valid: false,
                revision: None,
                errors: error.lines(),
            },
        };
        print_json(&answer)?;
        return Ok(ExitCode::from(if answer.valid { 0 } else { EXIT_FAILED }));
    }
    let mesh = result.map_err(Failure::new)?;
    print_text(&format!(
        "{}: valid, revision {}; fleets: {}, services: {}",
        directory.path().display(),
        mesh.revision(),
        mesh.fleets.len(),
        mesh.services.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn plan(arguments: PlanArguments, json: bool) -> Outcome {
    let directory = MeshDirectory::new(arguments.directory);
    let mesh = directory.read().map_err(Failure::new)?;
    let preview = arguments.api.client().preview(&mesh).await;
    let preview = preview.map_err(Failure::new)?;
    if json {
        print_json(&preview)?;
    } else {
        print_text(&show::preview(&preview, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn graph(arguments: &ShowArguments, json: bool) -> Outcome {
    let answer = arguments.api.client().graph().await;
    let answer = answer.map_err(Failure::new)?;
    if json {
        print_json(&answer)?;
    } else {
        print_text(&show::graph(&answer, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_mesh(answer: &MeshAnswer, json: bool) -> Outcome {
    if json {
        print_json(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_text(&show::mesh(answer, &Style::of(&std::io::stdout())))?;
    Ok(ExitCode::SUCCESS)
}
