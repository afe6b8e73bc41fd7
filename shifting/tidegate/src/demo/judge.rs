//! What should have been, against what was recorded. Pure.

use std::collections::BTreeMap;

use tidegate_engine::rollout::{Phase, RolloutStatus};
use tidegate_engine::units::Ppm;

use super::Scenario;
use super::hosts::{Arm, Seen};
use super::load::Answered;
use super::measure::{self, Failures, Rung, RungShare};
use super::mesh::{DEAD_MAN_TTL_MS, MINIMUM_REQUESTS};
use super::report::{Ending, Expectation, Measurements, RungTaken};
use super::script::ROLLOUT_LIMIT;
use crate::show;

/// Requests that may fail before a canary that fails half of its requests is gone, at up to 500
/// requests a second.
const FAILED_LIMIT: u64 = 60;
/// Time from the first failure to the last canary-served request that one run may take when half
/// of the requests fail. The promise is a median of 6 s over several runs.
const ERRORS_LIMIT_MS: u64 = 10_000;
/// The same for a canary that is slow or hangs.
const SLOW_LIMIT_MS: u64 = 30_000;
/// Time after the TTL within which the sidecars must have dropped the canary.
const AFTER_TTL_MS: u64 = 1_000;
/// Requests in a window of measurement, below which a share says nothing.
const END_WINDOW_US: u64 = 1_000_000;

/// Everything that was recorded of a scenario.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) rate: u32,
    /// When the rollout was started, on the scenario's clock; so for all times.
    pub(super) started_us: u64,
    /// When it was over, or its time was.
    pub(super) ended_us: u64,
    /// When the client stopped.
    pub(super) stopped_us: u64,
    /// The last that was heard of it.
    pub(super) status: RolloutStatus,
    pub(super) rungs: Vec<Rung>,
    /// When it was decided to go back.
    pub(super) decided_us: Option<u64>,
    pub(super) answers: Vec<Answered>,
    pub(super) seen: Vec<Seen>,
    pub(super) loss: Option<Loss>,
}

/// What was recorded of the control plane's death and return.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) killed_us: u64,
    pub(super) restarted_us: u64,
    /// The rollout just before.
    pub(super) before: RolloutStatus,
    /// Resources sent after the restart, by short type name, over all sidecars.
    pub(super) resent: BTreeMap<String, u64>,
    /// The highest share that the restarted control plane wanted.
    pub(super) highest_after: Ppm,
}

/// Figures that several judgements need.
struct Figures {
    outcome: Ending,
    failures: Failures,
    shares: Vec<RungShare>,
    fault_to_decision_ms: Option<u64>,
    fault_to_last_ms: Option<u64>,
    kill_to_last_ms: Option<u64>,
}

/// Judges a scenario.
pub(super) fn judge(run: &Run) -> Measurements {
    let figures = Figures::of(run);
    let expectations = expectations(run, &figures);
    let last_us = measure::last_canary_us(&run.seen, u64::MAX);
    Measurements {
        scenario: run.scenario,
        outcome: figures.outcome,
        as_expected: expectations.iter().all(|expectation| expectation.held),
        sentence: sentence(run, &figures),
        duration_ms: ms_between(run.started_us, run.ended_us),
        requests: run.answers.len() as u64,
        non_200: figures.failures.all,
        failed_on_canary: figures.failures.on_canary,
        failed_on_stable: figures.failures.on_stable,
        failed_before_any_host: figures.failures.before_any_host,
        canary_served: run
            .seen
            .iter()
            .filter(|seen| seen.arm == Arm::Canary)
            .count() as u64,
        first_failure_to_decision_ms: figures.fault_to_decision_ms,
        first_failure_to_last_canary_ms: figures.fault_to_last_ms,
        decision_to_last_canary_ms: run
            .decided_us
            .zip(last_us)
            .map(|(decided, last)| ms_between(decided, last)),
        canary_zero_after_kill_ms: figures.kill_to_last_ms,
        resources_resent: run.loss.as_ref().map(|loss| loss.resent.clone()),
        revert_reason: run.status.revert_reason.clone(),
        rungs: figures
            .shares
            .iter()
            .map(|share| rung_taken(run, share))
            .collect(),
        expectations,
    }
}

// === impl Figures ===

impl Figures {
    fn of(run: &Run) -> Self {
        let first = measure::first_fault_us(&run.seen);
        let last = measure::last_canary_us(&run.seen, u64::MAX);
        let between = |to: Option<u64>| Some(ms_between(first?, to?));
        Self {
            outcome: match run.status.phase {
                Phase::Committed => Ending::Promoted,
                Phase::Reverted => Ending::Reverted,
                _ => Ending::Unfinished,
            },
            failures: measure::failures(&run.answers, &run.seen),
            shares: measure::rung_shares(&run.seen, &run.rungs, run.stopped_us),
            fault_to_decision_ms: between(run.decided_us),
            fault_to_last_ms: between(last),
            kill_to_last_ms: run.loss.as_ref().map(|loss| {
                // None at all is 0 ms: the canary was gone at once.
                measure::last_canary_us(&run.seen, loss.restarted_us)
                    .map_or(0, |last| ms_between(loss.killed_us, last))
            }),
        }
    }
}

fn expectations(run: &Run, figures: &Figures) -> Vec<Expectation> {
    let mut list = vec![nothing_failed_on_stable(figures), within_limits(figures)];
    match run.scenario {
        Scenario::Healthy => {
            list.push(ended(figures, Ending::Promoted));
            list.push(nothing_failed(figures));
            list.push(in_time(run));
            list.push(all_on_canary(run));
        }
        Scenario::Errors => {
            list.push(ended(figures, Ending::Reverted));
            let limit = FAILED_LIMIT.max(FAILED_LIMIT * u64::from(run.rate) / 500);
            let failed = figures.failures.all;
            list.push(expect(
                format!("at most {limit} requests failed"),
                failed <= limit,
                show::count(failed),
            ));
            list.push(gone_within(run.scenario, figures, ERRORS_LIMIT_MS));
        }
        Scenario::Slow | Scenario::Hang => {
            list.push(ended(figures, Ending::Reverted));
            list.push(gone_within(run.scenario, figures, SLOW_LIMIT_MS));
        }
        Scenario::Gone => {
            list.push(expect(
                "the rollout ended",
                figures.outcome != Ending::Unfinished,
                word(figures.outcome).to_owned(),
            ));
            list.push(no_advance_on_silence(run));
        }
        Scenario::ControlPlaneLoss => {
            list.push(nothing_failed(figures));
            if let Some(loss) = &run.loss {
                list.extend(after_loss(run, figures, loss));
            }
        }
        Scenario::All => {}
    }
    list
}

fn expect(name: impl Into<String>, held: bool, measured: impl Into<String>) -> Expectation {
    Expectation {
        name: name.into(),
        held,
        measured: measured.into(),
    }
}

fn ended(figures: &Figures, expected: Ending) -> Expectation {
    let name = format!("the rollout is {}", word(expected));
    expect(name, figures.outcome == expected, word(figures.outcome))
}

fn nothing_failed(figures: &Figures) -> Expectation {
    let failed = figures.failures.all;
    expect("no request failed", failed == 0, show::count(failed))
}

fn nothing_failed_on_stable(figures: &Figures) -> Expectation {
    let failed = figures.failures.on_stable;
    expect("no request failed on v1", failed == 0, show::count(failed))
}

/// Seen by the hosts, whatever the sidecars report.
fn within_limits(figures: &Figures) -> Expectation {
    let over: Vec<_> = figures
        .shares
        .iter()
        .filter(|share| share.over_limit())
        .collect();
    let shown = if over.is_empty() {
        figures.shares.iter().collect()
    } else {
        over.clone()
    };
    let shares: Vec<_> = shown
        .into_iter()
        .filter(|share| share.rung.phase == Phase::Judging && share.total > 0)
        .map(|share| {
            let measured = show::ratio(share.canary, share.total);
            format!("{measured} at {}", share.rung.name)
        })
        .collect();
    let measured = if shares.is_empty() {
        "no rung was stood on".to_owned()
    } else {
        shares.join(", ")
    };
    expect(
        "v2 had no more of the requests than each rung allows",
        over.is_empty(),
        measured,
    )
}

fn in_time(run: &Run) -> Expectation {
    let took_ms = ms_between(run.started_us, run.ended_us);
    let limit_ms = u64::try_from(ROLLOUT_LIMIT.as_millis()).unwrap_or(u64::MAX);
    let name = format!("it took at most {}", show::duration(limit_ms));
    expect(name, took_ms <= limit_ms, show::duration(took_ms))
}

fn all_on_canary(run: &Run) -> Expectation {
    let from_us = run.stopped_us.saturating_sub(END_WINDOW_US);
    let (canary, total) = measure::share(&run.seen, from_us, run.stopped_us);
    expect(
        "v2 has all requests at the end",
        total > 0 && canary == total,
        format!(
            "{} of {} in the last second",
            show::count(canary),
            show::count(total)
        ),
    )
}

/// What the canary does wrong for the first time.
fn fault_of(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Slow => "the first slow answer",
        Scenario::Hang => "the first unanswered request",
        _ => "the first failure",
    }
}

fn gone_within(scenario: Scenario, figures: &Figures, limit_ms: u64) -> Expectation {
    let (limit, fault) = (show::duration(limit_ms), fault_of(scenario));
    let name = format!("the last request on v2 came within {limit} of {fault}");
    match figures.fault_to_last_ms {
        Some(ms) => expect(name, ms <= limit_ms, seconds(ms)),
        None => expect(name, false, "no failure was seen, so nothing was tested"),
    }
}

/// Past the first rung only with enough requests that a living host answered.
fn no_advance_on_silence(run: &Run) -> Expectation {
    let first = run
        .status
        .plan
        .rungs
        .first()
        .map_or(Ppm::ZERO, |rung| rung.share);
    let advanced_us = run
        .rungs
        .iter()
        .find(|rung| rung.share > first)
        .map(|rung| rung.since_us);
    let until_us = advanced_us.unwrap_or(u64::MAX);
    let answered = run
        .seen
        .iter()
        .filter(|seen| {
            seen.arm == Arm::Canary && seen.fault.is_none() && seen.arrived_us < until_us
        })
        .count() as u64;
    let silence = run.seen.iter().any(|seen| seen.fault.is_some());
    let measured = match advanced_us {
        _ if !silence => "no host died, so nothing was tested".to_owned(),
        None => "it never went past the first rung".to_owned(),
        Some(_) => format!("it did after {answered} requests that living hosts answered"),
    };
    let held = silence && (advanced_us.is_none() || answered >= MINIMUM_REQUESTS);
    expect("it did not advance on silence", held, measured)
}

fn after_loss(run: &Run, figures: &Figures, loss: &Loss) -> Vec<Expectation> {
    let limit_ms = DEAD_MAN_TTL_MS + AFTER_TTL_MS;
    let zero_ms = figures.kill_to_last_ms.unwrap_or(u64::MAX);
    let sent = |kind| loss.resent.get(kind).copied().unwrap_or(0);
    let before = loss.before.share_wanted;
    let (canary, total) = measure::share(&run.seen, loss.restarted_us, run.stopped_us);
    let after = RungShare {
        rung: Rung {
            name: loss.before.rung.clone(),
            phase: Phase::Judging,
            share: before,
            since_us: loss.restarted_us,
        },
        canary,
        total,
    };
    let told = run.status.number == loss.before.number
        && run.status.history.len() > loss.before.history.len();
    vec![
        expect(
            format!(
                "v2 had no request later than {} after the kill",
                show::duration(limit_ms)
            ),
            zero_ms <= limit_ms,
            seconds(zero_ms),
        ),
        expect(
            "after the restart no cluster and no listener was sent again",
            sent("cds") == 0 && sent("lds") == 0,
            format!("{} clusters, {} listeners", sent("cds"), sent("lds")),
        ),
        expect(
            "after the restart the rollout did not move up",
            loss.highest_after <= before
                && !after.over_limit()
                && figures.outcome != Ending::Promoted,
            format!(
                "{}; at most {} wanted, {} at the hosts",
                word(figures.outcome),
                loss.highest_after,
                show::ratio(canary, total),
            ),
        ),
        expect(
            "the journal tells what happened",
            told,
            run.status
                .history
                .last()
                .map_or_else(String::new, |entry| entry.text.clone()),
        ),
    ]
}

fn rung_taken(run: &Run, share: &RungShare) -> RungTaken {
    RungTaken {
        rung: share.rung.name.clone(),
        phase: share.rung.phase,
        at_ms: ms_between(run.started_us, share.rung.since_us),
        share_wanted_ppm: share.rung.share.get(),
        share_measured_ppm: (share.total > 0).then(|| Ppm::of(share.canary, share.total).get()),
    }
}

fn sentence(run: &Run, figures: &Figures) -> String {
    let plan = &run.status.plan;
    let head = format!("{} {} → {}", plan.service, plan.from, plan.to);
    let requests = show::count(run.answers.len() as u64);
    let failed = format!(
        "{} of {requests} requests failed",
        show::count(figures.failures.all)
    );
    let took = show::duration(ms_between(run.started_us, run.ended_us));
    if let Some(loss) = &run.loss {
        let sent = |kind| loss.resent.get(kind).copied().unwrap_or(0);
        return format!(
            "{head}: control plane killed at {}; last canary-served request {} later, by a \
             time-to-live of {}; {failed}; back after {}, it sent {} clusters and {} listeners \
             again, and the rollout is {}",
            loss.before.rung,
            seconds(figures.kill_to_last_ms.unwrap_or(0)),
            seconds(DEAD_MAN_TTL_MS),
            seconds(ms_between(loss.killed_us, loss.restarted_us)),
            sent("cds"),
            sent("lds"),
            word(figures.outcome),
        );
    }
    let event = match run.scenario {
        Scenario::Gone => "the host died",
        other => fault_of(other),
    };
    match (
        figures.outcome,
        figures.fault_to_decision_ms,
        figures.fault_to_last_ms,
    ) {
        (Ending::Reverted, Some(decided), Some(last)) => format!(
            "{head}: reverted {} after {event}; {failed}, {} of them on {}; last canary-served \
             request {} after {event}",
            seconds(decided),
            show::count(figures.failures.on_stable),
            plan.from,
            seconds(last),
        ),
        (outcome, ..) => format!("{head}: {} after {took}; {failed}", word(outcome)),
    }
}

fn word(outcome: Ending) -> &'static str {
    match outcome {
        Ending::Promoted => "promoted",
        Ending::Reverted => "reverted",
        Ending::Unfinished => "unfinished",
    }
}

/// Hundredths of a second, as measurements deserve: `4.35 s`.
fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
}

fn ms_between(from_us: u64, to_us: u64) -> u64 {
    to_us.saturating_sub(from_us) / 1_000
}

#[cfg(test)]
mod tests;
