//! The rules side by side: false reverts, time to revert, and what silence makes of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_integration::bench::report::{Goal, Report, Row, Section};

use crate::crew::Crew;
use crate::rule::Judge;
use crate::scenario::{Kind, Scenario, all};
use crate::trial::{Tally, run};

/// Seconds to the revert by half of the rollouts that our own may take, at 10 canary requests/s.
const MEDIANS_S: [(&str, f64); 3] = [
    ("errors-1%", 105.0),
    ("errors-5%", 14.0),
    ("errors-50%", 5.0),
];

/// Failed canary requests until the revert, at half of them failing.
const FAILED_MAX: f64 = 25.0;

/// Healthy rollouts that may be reverted, of a thousand.
pub(crate) const FALSE_MAX: f64 = 1.0;

/// Seeds of reverted rollouts that are named.
const NAMED: usize = 5;

/// What was found, by scenario.
type Found = BTreeMap<&'static str, Vec<Tally>>;

/// Judges what `chosen` says with all rules; `rollouts` of the healthy one, a tenth of the others.
pub(crate) fn compare(
    chosen: impl Fn(&str) -> bool,
    seed: u64,
    rollouts: usize,
    crew: &Crew,
    report: &mut Report,
) {
    let scenarios: Vec<Scenario> = all().into_iter().filter(|s| chosen(s.name)).collect();
    let found: Found = scenarios
        .iter()
        .map(|scenario| {
            let count = if scenario.name == "healthy" {
                rollouts
            } else {
                rollouts.div_ceil(10)
            };
            (scenario.name, run(scenario, &Judge::ALL, seed, count, crew))
        })
        .collect();
    false_reverts(&scenarios, &found, seed, report);
    delays(&scenarios, &found, report);
    outage(&found, report);
}

fn false_reverts(scenarios: &[Scenario], found: &Found, seed: u64, report: &mut Report) {
    let harmless: Vec<&Scenario> = scenarios
        .iter()
        .filter(|scenario| scenario.kind == Kind::Harmless)
        .collect();
    if harmless.is_empty() {
        return;
    }
    let mut section = Section::new(
        "Reverts of 1,000 rollouts with which nothing is wrong, watched each second for an hour",
    );
    for (place, judge) in Judge::ALL.iter().enumerate() {
        let mut row = Row::default().with("rule", judge.name());
        for scenario in &harmless {
            let tally = &found[scenario.name][place];
            row = row.with(scenario.name, per_thousand(tally.reverted(), tally.all()));
        }
        section.rows.push(row);
    }
    report.add(section);
    for scenario in &harmless {
        let ours = &found[scenario.name][0];
        let reverted = ours.reverted_at();
        if !reverted.is_empty() {
            let seeds: Vec<String> = reverted
                .iter()
                .take(NAMED)
                .map(|place| (seed + *place as u64).to_string())
                .collect();
            println!(
                "  {}: {} of {} reverted by Tidegate, such as seeds {} (verdicts replay --scenario {} --seed N)",
                scenario.name,
                reverted.len(),
                ours.all(),
                seeds.join(", "),
                scenario.name
            );
        }
        let limit = if scenario.name.starts_with("alike") {
            0.0
        } else if ["healthy", "lost-reports", "resets"].contains(&scenario.name) {
            FALSE_MAX
        } else {
            continue; // no goal: what is assumed of hosts and bursts is a service's own
        };
        report.goals.push(Goal::at_most(
            format!(
                "false reverts of 1,000, {} ({})",
                scenario.name, scenario.about
            ),
            per_thousand(ours.reverted(), ours.all()),
            limit,
        ));
    }
    let mut section = Section::new("Both arms fail alike: is somebody told?");
    for scenario in harmless.iter().filter(|s| s.name.starts_with("alike")) {
        let ours = &found[scenario.name][0];
        let told = ours.count(|outcome| outcome.held_and_paged);
        section.rows.push(
            Row::default()
                .with("scenario", scenario.name)
                .with("what happens", scenario.about)
                .with("rollouts", ours.all())
                .with("held and paged", told)
                .with("reverted", ours.reverted()),
        );
        report.goals.push(Goal::at_most(
            format!("of 1,000 neither held nor paged, {}", scenario.name),
            per_thousand(ours.all() - told, ours.all()),
            FALSE_MAX,
        ));
    }
    if !section.rows.is_empty() {
        report.add(section);
    }
}

fn delays(scenarios: &[Scenario], found: &Found, report: &mut Report) {
    let harmful: Vec<&Scenario> = scenarios
        .iter()
        .filter(|scenario| scenario.kind == Kind::Harmful)
        .collect();
    if harmful.is_empty() {
        return;
    }
    let mut section = Section::new(
        "Seconds to the revert, of half / of 9 in 10 rollouts (- : not within the hour)",
    );
    for (place, judge) in Judge::ALL.iter().enumerate() {
        let mut row = Row::default().with("rule", judge.name());
        for scenario in &harmful {
            let tally = &found[scenario.name][place];
            row = row.with(
                scenario.name,
                format!(
                    "{}/{}",
                    shown(tally.delay_s(0.5)),
                    shown(tally.delay_s(0.9))
                ),
            );
        }
        if let Some(tallies) = found.get("errors-50%") {
            let failed = tallies[place].failed(0.5);
            row = row.with("failed requests at 50%", number(failed));
        }
        section.rows.push(row);
    }
    report.add(section);
    for (name, limit) in MEDIANS_S {
        let Some(tallies) = found.get(name) else {
            continue;
        };
        report.goals.push(Goal::at_most(
            format!("median seconds to the revert, {name} at 10 canary requests/s"),
            goal_number(tallies[0].delay_s(0.5)),
            limit,
        ));
    }
    if let Some(tallies) = found.get("errors-50%") {
        report.goals.push(Goal::at_most(
            "median of failed requests until the revert, errors-50%",
            goal_number(tallies[0].failed(0.5)),
            FAILED_MAX,
        ));
    }
}

fn outage(found: &Found, report: &mut Report) {
    let Some(tallies) = found.get("outage") else {
        return;
    };
    let mut section = Section::new("Of 1,000 rollouts during 5 min without any telemetry");
    for tally in tallies {
        let blind = tally.count(|outcome| outcome.blind_advance);
        section.rows.push(
            Row::default()
                .with("rule", tally.judge.name())
                .with("advanced on silence", per_thousand(blind, tally.all()))
                .with("reverted", per_thousand(tally.reverted(), tally.all())),
        );
    }
    report.add(section);
    let ours = &tallies[0];
    let blind = ours.count(|outcome| outcome.blind_advance);
    for (what, count) in [("advances", blind), ("reverts", ours.reverted())] {
        report.goals.push(Goal::at_most(
            format!("{what} of 1,000 in an outage of telemetry"),
            per_thousand(count, ours.all()),
            0.0,
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of rollouts")]
pub(crate) fn per_thousand(count: usize, all: usize) -> f64 {
    count as f64 * 1_000.0 / all.max(1) as f64
}

fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn number(value: Option<u64>) -> Value {
    value.map_or(Value::Null, |value| json!(value))
}

/// Never is more than any limit.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds and requests of an hour"
)]
fn goal_number(value: Option<u64>) -> f64 {
    value.map_or(f64::MAX, |value| value as f64)
}
