//! One rollout.
//!
//! Three shares are kept apart everywhere (design M6): what was decided, who acknowledged it,
//! and what the traffic shows.

use std::fmt::Write;

use tidegate_engine::rollout::{
    ArmCounts, BudgetStatus, Decision, EvidenceStatus, Phase, ProofStatus, ReportFaults,
    RolloutStatus, Waiting,
};

use tidegate_engine::time::Time;
use tidegate_engine::units::Ppm;

use super::style::{Style, Tone};
use super::text::{clean, wrap};
use super::words::{ago, count, duration, ratio};

/// Columns of the labels on the left.
const LABEL: usize = 11;
/// Names listed before the rest is only counted.
const NAMES: usize = 8;

/// Everything about a rollout: where it stands and what happened. Ends with a line feed.
#[must_use]
pub fn rollout(status: &RolloutStatus, style: &Style) -> String {
    let mut page = Page::now(status, style);
    page.approvals(status);
    page.known_good(status);
    for (index, entry) in status.history.iter().enumerate() {
        let label = if index == 0 { "history" } else { "" };
        // Times in a column of their own, so that the sentences line up.
        let text = format!("{:>15}  {}", ago(status.now, entry.at), clean(&entry.text));
        page.hanging(label, &text, 17);
    }
    page.text
}

/// Where a rollout stands, and what happened last: the block of `watch` and of the demo. Ends with
/// a line feed.
#[must_use]
pub fn rollout_now(status: &RolloutStatus, style: &Style) -> String {
    let mut page = Page::now(status, style);
    page.latest(status);
    page.text
}

/// What happened after `since`, a line each, for logs; with `None`, nothing of it is new.
#[must_use]
pub fn rollout_news(status: &RolloutStatus, since: Option<Time>) -> Vec<String> {
    let service = clean(&status.plan.service);
    let news = status
        .history
        .iter()
        .filter(|entry| since.is_some_and(|since| entry.at > since));
    news.map(|entry| format!("{service}: {}", clean(&entry.text)))
        .collect()
}

/// How many sidecars have the present exposure; nobody counts any more when it is over.
fn acknowledged(status: &RolloutStatus, separator: &str) -> String {
    if status.phase.is_final() {
        return String::new();
    }
    let (acknowledged, expected) = (status.sidecars_acknowledged, status.sidecars_expected);
    format!("{separator}acknowledged by {acknowledged} of {expected} sidecars")
}

/// The share as decided. Single sidecars of a fleet are no share.
pub(super) fn wanted(status: &RolloutStatus) -> String {
    match &status.exposed {
        Some(exposed) if exposed.share != Ppm::WHOLE => exposed.words(),
        _ => status.share_wanted.to_string(),
    }
}

/// What must differ for another line of a log. Numbers don't count: they change all the time.
#[must_use]
pub fn rollout_subject(status: &RolloutStatus) -> String {
    let decision = match &status.decision {
        Decision::Advance => "advance",
        Decision::Wait(waiting) => waiting.kind.as_str(),
        Decision::Revert { .. } => "revert",
        Decision::Done => "done",
    };
    format!("{:?}/{}/{decision}", status.phase, status.rung)
}

/// One line, for logs: phase, the three shares, both arms, the decision.
#[must_use]
pub fn rollout_line(status: &RolloutStatus) -> String {
    let Plan { service, from, to } = names(status);
    format!(
        "{service} {from} → {to}: {}, wanted {}{}, measured {}; canary {}, stable {}; {}",
        place(status),
        wanted(status),
        acknowledged(status, ", "),
        measured(status),
        arm_words(&status.canary),
        arm_words(&status.stable),
        decision_words(status),
    )
}

struct Plan {
    service: String,
    from: String,
    to: String,
}

fn names(status: &RolloutStatus) -> Plan {
    Plan {
        service: clean(&status.plan.service),
        from: clean(&status.plan.from),
        to: clean(&status.plan.to),
    }
}

/// Text that grows by labelled fields.
struct Page<'a> {
    text: String,
    style: &'a Style,
}

// === impl Page ===

impl<'a> Page<'a> {
    fn now(status: &RolloutStatus, style: &'a Style) -> Self {
        let mut page = Self {
            text: String::new(),
            style,
        };
        page.title(status);
        if let Some(change) = &status.plan.configuration {
            page.field("changes", &clean(&change.changes.join("; ")), None);
        }
        page.shares(status);
        page.arms(status);
        if !status.evidence.is_empty() {
            let tests: Vec<_> = status.evidence.iter().map(evidence).collect();
            page.field("evidence", &tests.join(" · "), worst(&status.evidence));
        }
        page.witness(status);
        page.hosts(status);
        if !status.proof.is_empty() {
            let proofs: Vec<_> = status.proof.iter().map(proof).collect();
            page.field("to advance", &proofs.join(" · "), None);
        }
        if let Some(budget) = &status.budget {
            let tone = budget.exceeded.then_some(Tone::Bad);
            page.field("budget", &budget_words(budget), tone);
        }
        if !status.reports.is_none() {
            page.field("reports", &report_faults(&status.reports), None);
        }
        page.decision(status);
        page.overlaps(status);
        page.way_back(status);
        page.queue(status);
        page
    }

    /// Why it stands where it stands.
    fn latest(&mut self, status: &RolloutStatus) {
        if let Some(entry) = status.history.last() {
            let text = format!("{}: {}", ago(status.now, entry.at), clean(&entry.text));
            self.field("latest", &text, None);
        }
    }

    fn title(&mut self, status: &RolloutStatus) {
        let Plan { service, from, to } = names(status);
        let title = format!("{service} {from} → {to}");
        let place = place(status);
        let since = duration(status.now.since_ms(status.since));
        let detail = format!(
            "for {since} (rollout {}, started {} by {})",
            status.number,
            ago(status.now, status.started),
            clean(&status.actor)
        );
        let tone = phase_tone(status.phase);
        self.line(&format!(
            "{}  {} {}",
            self.style.paint(Tone::Strong, &title),
            self.style.paint(tone, &place),
            self.style.paint(Tone::Faint, &detail),
        ));
    }

    fn shares(&mut self, status: &RolloutStatus) {
        let text = format!(
            "wanted {}{} · measured {}",
            wanted(status),
            acknowledged(status, " · "),
            measured(status),
        );
        self.field("share", &text, None);
        if !status.behind.is_empty() {
            self.field("behind", &name_list(&status.behind), Some(Tone::Warning));
        }
        for rejection in &status.rejected {
            let text = format!("{}: {}", clean(&rejection.sidecar), clean(&rejection.text));
            self.field("rejected", &text, Some(Tone::Bad));
        }
    }

    fn arms(&mut self, status: &RolloutStatus) {
        let slow = status
            .plan
            .slo
            .latency
            .as_ref()
            .map(|objective| objective.threshold_ms);
        let heading = slow.map(|ms| format!("slow (> {ms} ms)"));
        let mut header = format!("{:>12}  {:<20}{:<8}", "requests", "failed", "lost");
        if let Some(heading) = &heading {
            let _ = write!(header, "{heading:<22}");
        }
        header.push_str("in flight");
        self.field("", &header, Some(Tone::Faint));
        let Plan { from, to, .. } = names(status);
        for (arm, version, counts) in [
            ("canary", to, &status.canary),
            ("stable", from, &status.stable),
        ] {
            let failed = part(counts.bad, counts.requests);
            let mut row = format!(
                "{:>12}  {failed:<20}{:<8}",
                count(counts.requests),
                count(counts.lost)
            );
            if heading.is_some() {
                let _ = write!(row, "{:<22}", part(counts.slow, counts.timed));
            }
            let _ = write!(row, "{:<11}{version}", count(counts.in_flight));
            self.row(arm, &row);
        }
    }

    fn decision(&mut self, status: &RolloutStatus) {
        let tone = match &status.decision {
            Decision::Wait(waiting) if waiting.overdue => Some(Tone::Bad),
            Decision::Wait(waiting) if waiting.clock_stopped => Some(Tone::Warning),
            Decision::Revert { .. } => Some(Tone::Bad),
            Decision::Wait(_) | Decision::Advance | Decision::Done => None,
        };
        self.field("decision", &decision_words(status), tone);
        if let Decision::Wait(Waiting { command, .. }) = &status.decision
            && !command.is_empty()
        {
            self.field("", &clean(command), Some(Tone::Faint));
        }
    }

    /// A labelled text, wrapped under itself.
    fn field(&mut self, label: &str, text: &str, tone: Option<Tone>) {
        let lines = if label.is_empty() && text.starts_with(' ') {
            vec![text.to_owned()] // columns of a table
        } else {
            wrap(text, self.style.width.saturating_sub(LABEL))
        };
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let line = match tone {
                Some(tone) => self.style.paint(tone, line),
                None => line.clone(),
            };
            self.row(label, &line);
        }
    }

    /// A labelled text whose further lines are indented by `indent` columns.
    fn hanging(&mut self, label: &str, text: &str, indent: usize) {
        let (head, rest) = text.split_at_checked(indent).unwrap_or((text, ""));
        let width = self.style.width.saturating_sub(LABEL + indent);
        for (index, line) in wrap(rest, width).iter().enumerate() {
            if index == 0 {
                self.row(
                    label,
                    &format!("{}{line}", self.style.paint(Tone::Faint, head)),
                );
            } else {
                self.row("", &format!("{:indent$}{line}", ""));
            }
        }
    }

    fn row(&mut self, label: &str, text: &str) {
        let label = self.style.paint(Tone::Faint, &format!("{label:<LABEL$}"));
        self.line(&format!("{label}{text}"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// `judging at 5%`, `promoted`, `going back: …`.
pub(super) fn place(status: &RolloutStatus) -> String {
    let word = phase_word(status.phase);
    match status.phase {
        Phase::Judging => format!("{word} at {}", clean(&status.rung)),
        _ => word.to_owned(),
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Preparing => "preparing",
        Phase::Judging => "judging",
        Phase::Soaking => "soaking at 100%",
        Phase::Committing => "committing",
        Phase::Committed => "promoted",
        Phase::Reverting => "going back",
        Phase::Reverted => "reverted",
    }
}

pub(super) fn phase_tone(phase: Phase) -> Tone {
    match phase {
        Phase::Committed => Tone::Good,
        Phase::Reverting | Phase::Reverted => Tone::Bad,
        Phase::Preparing | Phase::Judging | Phase::Soaking | Phase::Committing => Tone::Strong,
    }
}

pub(super) fn measured(status: &RolloutStatus) -> String {
    // No traffic is not a share of 0%.
    status.share_measured.map_or_else(
        || "nothing yet".to_owned(),
        |share| ratio(share.get().into(), 1_000_000),
    )
}

fn part(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".to_owned()
    } else {
        format!("{} ({})", count(part), ratio(part, whole))
    }
}

fn arm_words(counts: &ArmCounts) -> String {
    format!("{} of {} failed", count(counts.bad), count(counts.requests))
}

/// `errors 12.4 of 1000`.
fn evidence(status: &EvidenceStatus) -> String {
    format!(
        "{} {} of {}",
        clean(&status.test),
        e_value(status.e_value),
        e_value(status.revert_at)
    )
}

/// `errors 4.1 of 20`: evidence for the canary.
fn proof(status: &ProofStatus) -> String {
    let mark = if status.e_value >= status.advance_at {
        ", proven"
    } else {
        ""
    };
    format!(
        "{} {} of {}{mark}",
        clean(&status.metric),
        e_value(status.e_value),
        e_value(status.advance_at)
    )
}

/// `12 of 5,184 failed requests spent`.
fn budget_words(budget: &BudgetStatus) -> String {
    format!(
        "{} of {} failed requests spent",
        count(budget.spent),
        count(budget.allowed)
    )
}

/// `3 skipped · 1 late`: what was odd about the reports.
fn report_faults(faults: &ReportFaults) -> String {
    let named = faults.named();
    let odd = named.iter().filter(|(_, number)| *number > 0);
    odd.map(|(name, number)| format!("{} {name}", count(*number)))
        .collect::<Vec<_>>()
        .join(" · ")
}

/// Three digits that matter; an e-value runs from near 0 to beyond all bounds.
fn e_value(value: f64) -> String {
    if !value.is_finite() {
        return if value > 0.0 {
            "∞".to_owned()
        } else {
            "unknown".to_owned()
        };
    }
    match value {
        1e6.. => format!("{value:.1e}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => trim(&format!("{value:.1}")),
        _ => trim(&format!("{value:.2}")),
    }
}

fn trim(decimal: &str) -> String {
    decimal
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

fn worst(evidence: &[EvidenceStatus]) -> Option<Tone> {
    let reached = |mark: fn(&EvidenceStatus) -> f64| {
        evidence.iter().any(|status| status.e_value >= mark(status))
    };
    if reached(|status| status.revert_at) {
        Some(Tone::Bad)
    } else if reached(|status| status.hold_at) {
        Some(Tone::Warning)
    } else {
        None
    }
}

/// The decision in a sentence: a wait with its reason, owner and end.
pub(super) fn decision_words(status: &RolloutStatus) -> String {
    match &status.decision {
        Decision::Advance => "moves on".to_owned(),
        Decision::Revert { reason } => format!("goes back: {}", clean(reason)),
        Decision::Done => match (&status.revert_reason, status.phase) {
            (Some(reason), _) => format!("done: went back, because {}", clean(reason)),
            (None, Phase::Committed) => {
                format!("done: {} has all traffic", clean(&status.plan.to))
            }
            (None, _) => "done".to_owned(),
        },
        Decision::Wait(waiting) => wait_words(status, waiting),
    }
}

fn wait_words(status: &RolloutStatus, waiting: &Waiting) -> String {
    let mut words = format!("waits: {}", clean(&waiting.reason.to_string()));
    let mut remarks = Vec::new();
    if waiting.owner != "engine" {
        remarks.push(format!("up to {}", clean(&waiting.owner)));
    }
    // A bake says itself how long it takes.
    if let Some(until) = waiting.until
        && (waiting.kind != "bake" || waiting.overdue)
    {
        let end = ago(status.now, until);
        remarks.push(match (end.strip_suffix(" ago"), end.strip_prefix("in ")) {
            (Some(time), _) if waiting.overdue => format!("overdue for {time}"),
            (_, Some(time)) => format!("for at most {time}"),
            _ => "no longer".to_owned(),
        });
    }
    if waiting.clock_stopped {
        remarks.push("the clock of the step is stopped".to_owned());
    }
    if !remarks.is_empty() {
        let _ = write!(words, " ({})", remarks.join(", "));
    }
    words
}

fn name_list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMES).map(|name| clean(name)).collect();
    let rest = names.len().saturating_sub(NAMES);
    let list = shown.join(", ");
    if rest == 0 {
        list
    } else {
        format!("{list} and {rest} more")
    }
}

mod around;
#[cfg(test)]
mod tests;
