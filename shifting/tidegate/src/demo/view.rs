//! What a person sees while a scenario runs: a block redrawn in place on a terminal, else one
//! line per change.

use std::time::{Duration, Instant};

use tidegate_engine::rollout::RolloutStatus;

use super::Scenario;
use super::error::DemoError;
use super::load::Counts;
use super::report::Measurements;
use crate::show::{self, Live, Style, Tone};

/// Time between two redraws.
const EVERY: Duration = Duration::from_millis(500);

/// Shows scenes.
#[derive(Debug)]
pub(super) struct View {
    live: Live,
    style: Style,
    drawn: Option<Instant>,
    /// What the latest line was about, where lines are written.
    latest: String,
}

/// What there is to see at a moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) scenario: Scenario,
    /// Since the rollout was started.
    pub(super) elapsed_ms: u64,
    pub(super) status: Option<&'a RolloutStatus>,
    /// What the rollout's status can't say: that nobody answers.
    pub(super) remark: Option<String>,
    pub(super) load: Counts,
    /// Requests at the hosts of (old, new) in the last second.
    pub(super) hosts: (u64, u64),
}

// === impl View ===

impl View {
    /// On standard output, or on standard error when that is for data.
    pub(super) fn new(to_stderr: bool) -> Self {
        let (live, style) = if to_stderr {
            (Live::stderr(), Style::of(&std::io::stderr()))
        } else {
            (Live::stdout(), Style::of(&std::io::stdout()))
        };
        Self {
            live,
            style,
            drawn: None,
            latest: String::new(),
        }
    }

    /// A line that stays.
    pub(super) fn note(&mut self, text: &str) -> Result<(), DemoError> {
        self.live.line(text).map_err(DemoError::Output)
    }

    /// Shows a scene: at most twice a second in place, or as a line when something changed.
    pub(super) fn show(&mut self, scene: &Scene<'_>) -> Result<(), DemoError> {
        if self.live.in_place() {
            if self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
                return Ok(());
            }
            self.drawn = Some(Instant::now());
            return self
                .live
                .draw(&block(scene, &self.style))
                .map_err(DemoError::Output);
        }
        let subject = subject(scene);
        if subject != self.latest {
            self.latest = subject;
            self.note(&line(scene))?;
        }
        Ok(())
    }

    /// Takes the block away.
    pub(super) fn clear(&mut self) -> Result<(), DemoError> {
        self.drawn = None;
        self.latest.clear();
        self.live.clear().map_err(DemoError::Output)
    }

    /// What was measured.
    pub(super) fn verdict(&mut self, measured: &Measurements) -> Result<(), DemoError> {
        self.clear()?;
        measured
            .render(&self.style)
            .lines()
            .try_for_each(|line| self.note(line))
    }
}

fn block(scene: &Scene<'_>, style: &Style) -> String {
    let title = format!(
        "demo {}  {}",
        scene.scenario.name(),
        show::duration(scene.elapsed_ms)
    );
    let mut text = format!("{}\n", style.paint(Tone::Faint, &title));
    if let Some(status) = scene.status {
        text.push_str(&show::rollout_now(status, style));
    }
    if let Some(remark) = &scene.remark {
        text.push_str(&format!("{}\n", style.paint(Tone::Warning, remark)));
    }
    text.push_str(&style.paint(Tone::Faint, &measured(scene)));
    text.push('\n');
    text
}

/// What the client and the hosts measured, whatever the control plane says.
fn measured(scene: &Scene<'_>) -> String {
    let Counts {
        sent,
        answered,
        non_200,
    } = scene.load;
    let (stable, canary) = scene.hosts;
    format!(
        "client     {} sent, {} in flight, {} not 200 · at the hosts, last second: v1 {stable}, \
         v2 {canary} ({})",
        show::count(sent),
        show::count(sent.saturating_sub(answered)),
        show::count(non_200),
        show::ratio(canary, stable + canary),
    )
}

fn line(scene: &Scene<'_>) -> String {
    let elapsed = show::duration(scene.elapsed_ms);
    let text = match (&scene.remark, scene.status) {
        (Some(remark), _) => remark.clone(),
        (None, Some(status)) => show::rollout_line(status),
        (None, None) => "no rollout yet".to_owned(),
    };
    format!("{elapsed:>8}  {text}")
}

/// What must differ for another line.
fn subject(scene: &Scene<'_>) -> String {
    if scene.remark.is_some() {
        return "remark".to_owned();
    }
    scene.status.map_or_else(String::new, show::rollout_subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::samples::judging;

    fn scene(status: &RolloutStatus) -> Scene<'_> {
        Scene {
            scenario: Scenario::Errors,
            elapsed_ms: 4_350,
            status: Some(status),
            remark: None,
            load: Counts {
                sent: 5_040,
                answered: 5_033,
                non_200: 80,
            },
            hosts: (484, 16),
        }
    }

    #[test]
    fn the_block_shows_the_rollout_and_what_was_measured_apart_from_it() {
        let status = judging();
        let text = block(&scene(&status), &Style::plain());
        assert!(text.starts_with("demo errors  4.3 s\ncheckout v1 → v2  judging at 1 host"));
        assert!(
            text.ends_with(
                "client     5,040 sent, 7 in flight, 80 not 200 · at the hosts, last second: \
                 v1 484, v2 16 (3.2%)\n"
            ),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn numbers_alone_are_no_news_and_a_new_rung_is() {
        let before = judging();
        let mut after = before.clone();
        after.canary.requests += 100;
        assert_eq!(subject(&scene(&before)), subject(&scene(&after)));
        after.rung = "5%".into();
        assert_ne!(subject(&scene(&before)), subject(&scene(&after)));
    }
}
