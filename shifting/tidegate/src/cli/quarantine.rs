//! `tidegate quarantine list|lift`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ApiArguments, Failure, Outcome, WhoArguments, print_json, print_text};
use crate::api::model::LiftRequest;
use crate::show::{self, Style};

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Show what is refused: what it did, in which rollout, and until when
    List(ListArguments),
    /// Allow a version to be tried again before its quarantine expires
    Lift(LiftArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LiftArguments {
    /// The service
    service: String,
    /// The version
    #[arg(id = "VERSION")]
    version: String,
    /// Why it is safe now; kept in the journal
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    who: WhoArguments,
    #[command(flatten)]
    api: ApiArguments,
}

pub(crate) async fn run(command: QuarantineCommand, json: bool) -> Outcome {
    let answer = match command {
        QuarantineCommand::List(ListArguments { api }) => api.client().quarantine().await,
        QuarantineCommand::Lift(arguments) => {
            let request = LiftRequest {
                version: arguments.version,
                actor: arguments.who.name(),
                reason: arguments.reason,
            };
            let client = arguments.api.client();
            client.lift(&arguments.service, &request).await
        }
    }
    .map_err(Failure::new)?;
    if json {
        print_json(&answer)?;
    } else {
        print_text(&show::quarantine(&answer, &Style::of(&std::io::stdout())))?;
    }
    Ok(ExitCode::SUCCESS)
}
