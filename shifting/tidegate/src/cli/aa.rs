//! `tidegate aa`.

use std::process::ExitCode;

use clap::Args;

use super::{ApiArguments, Failure, Outcome, print_json, print_text};
use crate::show::{self, Style};

const AFTER_HELP: &str = "\
All the time, a random half of the sidecars is compared with the other half, by their requests to the
stable version and as a rollout would be: whatever that finds is a false alarm. A trial lasts as long
as a rollout of the service is watched, an hour at most. Counts begin anew with the program, the
stable version and the settings. Nothing is decided by it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AaArguments {
    /// Only this service
    service: Option<String>,
    #[command(flatten)]
    api: ApiArguments,
}

pub(crate) async fn run(arguments: &AaArguments, json: bool) -> Outcome {
    let client = arguments.api.client();
    let answer = client
        .aa(arguments.service.as_deref())
        .await
        .map_err(Failure::new)?;
    if json {
        print_json(&answer)?;
    } else {
        print_text(&show::aa(&answer, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}
