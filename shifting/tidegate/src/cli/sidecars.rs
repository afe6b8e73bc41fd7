//! `tidegate sidecars`.

use std::process::ExitCode;

use clap::Args;

use super::{ApiArguments, Failure, Outcome, print_json, print_text};
use crate::show::{self, Style};

#[derive(Debug, Args)]
pub(crate) struct SidecarsArguments {
    #[command(flatten)]
    api: ApiArguments,
}

pub(crate) async fn run(arguments: &SidecarsArguments, json: bool) -> Outcome {
    let answer = arguments
        .api
        .client()
        .sidecars()
        .await
        .map_err(Failure::new)?;
    if json {
        print_json(&answer)?
    } else {
        print_text(&show::sidecars(&answer, &Style::of(&std::io::stdout())))?
    }
    Ok(ExitCode::SUCCESS)
}
