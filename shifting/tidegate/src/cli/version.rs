//! `tidegate version`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{ApiArguments, Outcome, print_json, print_text};
use crate::api::model::VersionAnswer;
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Serialize)]
struct Versions {
    program: &'static str,
    /// `None` when no control plane answers.
    control_plane: Option<VersionAnswer>,
}

pub(crate) async fn run(arguments: &VersionArguments, json: bool) -> Outcome {
    // No control plane is a fine answer here: the program's own version is what was asked.
    let control_plane = arguments.api.client().version().await.ok();
    let versions = Versions {
        program: env!("CARGO_PKG_VERSION"),
        control_plane,
    };
    if json {
        print_json(&versions)?;
        return Ok(ExitCode::SUCCESS);
    }
    match versions.control_plane {
        Some(answer) => print_text(&show::version(versions.program, &answer))?,
        None => print_text(&format!(
            "tidegate {}\nno control plane answers at {}",
            versions.program, arguments.api.api
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}
