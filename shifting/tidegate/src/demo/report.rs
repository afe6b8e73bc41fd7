//! What a scenario measured, for people and for programs.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::Scenario;
use super::error::DemoError;
use crate::show::{self, Style, Tone};

/// What the scenarios measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// In the order in which they ran.
    pub measurements: Vec<Measurements>,
}

/// What one scenario measured. Times in milliseconds; shares in parts per million.
///
/// "First failure" is the arrival, at a host of the new version, of the first request with which
/// it did something wrong (500, too slow, no answer); "last canary-served" is the arrival of the
/// last request at any host of the new version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurements {
    /// Which scenario.
    pub scenario: Scenario,
    /// How the rollout ended.
    pub outcome: Ending,
    /// Whether every expectation held.
    pub as_expected: bool,
    /// The measured figures in one sentence.
    pub sentence: String,
    /// From the start of the rollout to its end.
    pub duration_ms: u64,
    /// Requests that the client sent.
    pub requests: u64,
    /// Those that had no answer or another status than 200.
    pub non_200: u64,
    /// Those of them that a host of the new version had.
    pub failed_on_canary: u64,
    /// Those that a host of the old version had.
    pub failed_on_stable: u64,
    /// Those that no host ever saw.
    pub failed_before_any_host: u64,
    /// Requests that reached the new version.
    pub canary_served: u64,
    /// From the first failure to the decision to go back.
    pub first_failure_to_decision_ms: Option<u64>,
    /// From the first failure to the last canary-served request.
    pub first_failure_to_last_canary_ms: Option<u64>,
    /// From the decision to go back to the last canary-served request; 0 when that came earlier.
    pub decision_to_last_canary_ms: Option<u64>,
    /// From `kill -9` to the last canary-served request before the restart.
    pub canary_zero_after_kill_ms: Option<u64>,
    /// Resources sent after the restart, by short type name, over all sidecars.
    pub resources_resent: Option<BTreeMap<String, u64>>,
    /// Why the rollout went back, in the control plane's words.
    pub revert_reason: Option<String>,
    /// The rungs that the rollout stood on.
    pub rungs: Vec<RungTaken>,
    /// What should have been, and what was.
    pub expectations: Vec<Expectation>,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The new version has all traffic.
    Promoted,
    /// The old version has all traffic.
    Reverted,
    /// Neither, when the scenario's time was over.
    Unfinished,
}

/// A rung that the rollout stood on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RungTaken {
    /// `1 host`, `5%`, `100%`.
    pub rung: String,
    /// The phase, in the API's words.
    pub phase: tidegate_engine::rollout::Phase,
    /// Since the rollout was started.
    pub at_ms: u64,
    /// As decided.
    pub share_wanted_ppm: u32,
    /// As seen by the hosts; `None` when it was left at once.
    pub share_measured_ppm: Option<u32>,
}

/// Something that should hold, and whether it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// What should hold.
    pub name: String,
    /// Whether it did.
    pub held: bool,
    /// What was measured.
    pub measured: String,
}

// === impl Outcome ===

impl Outcome {
    /// 0 when every scenario ended as it should, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(
            !self
                .measurements
                .iter()
                .all(|measured| measured.as_expected),
        )
    }
}

// === impl Measurements ===

impl Measurements {
    /// The sentence, and below it what was expected. Ends with a line feed.
    #[must_use]
    pub fn render(&self, style: &Style) -> String {
        let mut text = String::new();
        for line in show::wrap(&show::clean(&self.sentence), style.width) {
            text.push_str(&style.paint(Tone::Strong, &line));
            text.push('\n');
        }
        for expectation in &self.expectations {
            let (mark, tone) = if expectation.held {
                ("ok    ", Tone::Good)
            } else {
                ("DIFFERS", Tone::Bad)
            };
            let line = format!(
                "{}: {}",
                expectation.name,
                show::clean(&expectation.measured)
            );
            for (index, line) in show::wrap(&line, style.width.saturating_sub(10))
                .iter()
                .enumerate()
            {
                let mark = if index == 0 { mark } else { "" };
                text.push_str(&format!(
                    "  {}{line}\n",
                    style.paint(tone, &format!("{mark:<8}"))
                ));
            }
        }
        text
    }
}

/// One JSON object, or an array of them, on standard output.
pub(super) fn write_json(outcome: &Outcome, array: bool) -> Result<(), DemoError> {
    let text = match (array, outcome.measurements.first()) {
        (false, Some(one)) => serde_json::to_string(one),
        _ => serde_json::to_string(&outcome.measurements),
    };
    let text = text.map_err(|error| DemoError::Output(error.into()))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(DemoError::Output)
}
