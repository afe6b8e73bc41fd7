//! `tidegate demo`: the whole ring on one machine, with no setup.
//!
//! ```text
//! client ──► Envoys ──► hosts of v1 and v2      the client and the hosts are in this process
//!              ▲ │
//!        views │ │ reports
//!              │ ▼
//!          `tidegate serve` (a child process, so that it can be killed)
//! ```
//!
//! A scenario decides how the hosts of the new version behave and what else happens. What is
//! claimed at the end was measured at the client and at the hosts, by one clock, and not taken
//! from the control plane's own numbers.
//!
//! Deliberately not here: anything the control plane could not do without us. The demo starts
//! it as any operator would and speaks to it through its API.

mod behaviour;
mod child;
mod clock;
mod error;
mod hosts;
mod judge;
mod load;
mod measure;
mod mesh;
mod ports;
mod report;
mod script;
mod sidecar;
mod signals;
mod stage;
mod view;
mod wait;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use error::{BoxError, DemoError};
pub use report::{Ending, Expectation, Measurements, Outcome, RungTaken};
pub use sidecar::SidecarPlace;

use signals::Signals;
use stage::Stage;
use view::View;

/// What `tidegate demo` can be asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What happens to the new version, or to the control plane
    #[arg(long, value_enum, default_value_t = Scenario::Healthy)]
    pub scenario: Scenario,
    /// Requests a second, through all sidecars together
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..=20_000))]
    pub rate: u32,
    /// Envoys to start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sidecars: u32,
    /// The Envoy to use, instead of $TIDEGATE_ENVOY, the PATH's, or one installed from PyPI
    #[arg(long, value_name = "FILE")]
    pub envoy: Option<PathBuf>,
    /// Write the measurements as JSON to standard output, and the live view to standard error;
    /// set from the program's own `--json`
    #[arg(skip)]
    pub json: bool,
    /// Keep the temporary directory with the mesh, the journal and all logs
    #[arg(long)]
    pub keep: bool,
}

/// What happens during a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The new version is as good as the old one: promoted
    Healthy,
    /// The new version fails half of its requests: reverted
    Errors,
    /// The new version answers most requests after 600 ms: reverted
    Slow,
    /// The new version never answers: reverted
    Hang,
    /// The first host of the new version dies with its first request: reverted, or another chosen
    Gone,
    /// The control plane is killed at 5%: the sidecars take the canary back by themselves
    ControlPlaneLoss,
    /// Each of them in turn
    All,
}

/// What the demo needs from the rest of the program.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The executable whose `serve` is the control plane: usually the running one.
    pub program: PathBuf,
    /// Finds the Envoy that `--envoy` names, or another, or installs one. May block.
    pub find_envoy: fn(Option<&Path>) -> Result<PathBuf, BoxError>,
    /// An Envoy bootstrap for a sidecar.
    pub bootstrap: fn(&SidecarPlace) -> Result<String, BoxError>,
}

/// Runs the scenario and writes its view and its measurements.
///
/// A scenario that ran and ended otherwise than it should is no error: see
/// [`Outcome::exit_code`]. Whatever happens, all children are ended and the temporary files
/// removed on return, and when the future is dropped.
///
/// # Errors
/// When the scenario could not be run to its end, or was interrupted by SIGINT, SIGTERM or
/// SIGHUP.
pub async fn run(options: Options, tools: Tools) -> Result<Outcome, DemoError> {
    let mut signals = Signals::listen()?;
    let mut view = View::new(options.json);
    let finding = {
        let (find, named) = (tools.find_envoy, options.envoy.clone());
        tokio::task::spawn_blocking(move || find(named.as_deref()))
    };
    let envoy = tokio::select! {
        found = finding => found.unwrap_or_else(|error| Err(error.into())).map_err(DemoError::Envoy)?,
        interrupted = signals.next() => return Err(interrupted),
    };
    let mut measurements = Vec::new();
    let mut failure = None;
    for scenario in options.scenario.each() {
        match Box::pin(run_one(
            scenario,
            &options,
            &tools,
            &envoy,
            &mut view,
            &mut signals,
        ))
        .await
        {
            Ok(measured) => {
                view.verdict(&measured)?;
                measurements.push(measured);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    // What was measured before a failure is still worth having.
    let outcome = Outcome { measurements };
    if options.json && !(failure.is_some() && outcome.measurements.is_empty()) {
        report::write_json(&outcome, options.scenario == Scenario::All)?;
    }
    failure.map_or(Ok(outcome), Err)
}

async fn run_one(
    scenario: Scenario,
    options: &Options,
    tools: &Tools,
    envoy: &Path,
    view: &mut View,
    signals: &mut Signals,
) -> Result<Measurements, DemoError> {
    let mut stage = Stage::new(tools, options.keep)?;
    if options.keep {
        view.note(&format!("files are kept in {}", stage.dir().display()))?;
    }
    let mut result = tokio::select! {
        result = Box::pin(script::play(scenario, options, envoy, &mut stage, view)) => result,
        interrupted = signals.next() => Err(interrupted),
    };
    if let Err(DemoError::Overdue { tail, .. }) = &mut result {
        *tail = format!("; the last words of each child:\n{}", stage.tails());
    }
    let cleared = view.clear();
    let down = stage.tear_down().await;
    let measured = result?;
    cleared?;
    down?;
    Ok(measured)
}

// === impl Scenario ===

impl Scenario {
    /// The scenarios to run, in order.
    fn each(self) -> Vec<Self> {
        match self {
            Self::All => vec![
                Self::Healthy,
                Self::Errors,
                Self::Slow,
                Self::Hang,
                Self::Gone,
                Self::ControlPlaneLoss,
            ],
            one => vec![one],
        }
    }

    /// As on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Gone => "gone",
            Self::ControlPlaneLoss => "control-plane-loss",
            Self::All => "all",
        }
    }
}
