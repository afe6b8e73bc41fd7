//! `tidegate replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_FAILED, Failure, Outcome, print_json, print_text};
use crate::replay;
use crate::show::{self, Style};
use crate::source::MeshDirectory;

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Data directory of a control plane, running or not; it is only read
    data: PathBuf,
    /// Tell of this service only
    #[arg(long)]
    service: Option<String>,
    /// What if: try the objectives, ladders and waits of this mesh directory on every rollout
    #[arg(long, value_name = "MESH_DIR")]
    what_if: Option<PathBuf>,
}

pub(crate) fn run(arguments: &ReplayArguments, json: bool) -> Outcome {
    let settings = arguments
        .what_if
        .as_ref()
        .map(|directory| MeshDirectory::new(directory.clone()).read())
        .transpose()
        .map_err(Failure::new)?;
    let replay = replay::replay(
        &arguments.data,
        arguments.service.as_deref(),
        settings.as_ref(),
    )
    .map_err(Failure::new)?;
    if json {
        print_json(&replay)?;
    } else {
        print_text(&show::replay(&replay, &Style::of(&std::io::stdout())))?;
    }
    let whole = replay.differing == 0 && replay.damage.is_none();
    Ok(ExitCode::from(if whole { 0 } else { EXIT_FAILED }))
}
