//! Many rollouts with everything that may go wrong: nothing of it may promote what is harmful.
//!
//! The traffic is dense (1,200 requests/s) and the waits are short, so that a rollout takes a minute.
//! Sidecars lose reports, fall silent, restart, vanish, reject and dawdle; telemetry fails; the
//! control plane is killed and comes back; operators pause, resume and abort. Each step is checked
//! against the engine's invariants and against what sidecars truly had.
//!
//! The sidecars of most rollouts report each second. Those of the others do so every 5, 10 or 15 s, not
//! all in the same second; the engine gets its tick each second all the same.

mod fleet;
mod kills;
mod life;
mod plan;

pub(crate) use self::kills::kills;

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate_engine::rollout::Phase;
use tidegate_integration::bench::report::{Goal, Report, Row, Section};

use self::life::{Beginning, End, live};
use self::plan::{Canary, Interval};
use crate::compare::{FALSE_MAX, per_thousand};
use crate::crew::Crew;
use crate::random::Coins;

/// Seconds of a year.
const YEAR_S: f64 = 365.25 * 86_400.0;

/// Wrong ends that are named.
const NAMED: usize = 5;

/// What else is simulated beside sidecars that report each second: so many times fewer rollouts of each
/// slower interval.
const SLOWER: usize = 5;

/// A population of rollouts, and what it took to simulate them.
#[derive(Debug)]
struct Lived {
    interval: Interval,
    ends: Vec<End>,
    /// By the wall clock, and CPU of all threads.
    took_s: f64,
    worked_s: f64,
}

/// Lives through `rollouts` rollouts whose sidecars report each second, and a part of that of others.
pub(crate) fn faults(seed: u64, rollouts: usize, crew: &Crew, report: &mut Report) {
    let tool = || (Beginning::default(), Coins::default());
    let lived = Interval::ALL.map(|interval| {
        let rollouts = match interval {
            Interval(1) => rollouts,
            _ => rollouts.div_ceil(SLOWER),
        };
        let (begun, worked_s) = (Instant::now(), crew.worked_s());
        let what = scenario(interval);
        let ends = crew.run(&what, rollouts, tool, |(beginning, coins), place| {
            live(beginning, seed + place as u64, interval, coins, false)
        });
        Lived {
            interval,
            ends,
            took_s: begun.elapsed().as_secs_f64(),
            worked_s: crew.worked_s() - worked_s,
        }
    });
    report.add(outcomes(&lived));
    report.add(speed(&lived));
    let (mut rollouts, mut wrong) = (0, 0);
    for Lived { interval, ends, .. } in &lived {
        rollouts += ends.len();
        let ends = ends.iter().enumerate();
        for (place, text) in ends.filter_map(|(place, end)| Some((place, end.wrong.as_deref()?))) {
            wrong += 1;
            if wrong <= NAMED {
                let (scenario, seed) = (scenario(*interval), seed + place as u64);
                println!(
                    "  seed {seed}: {text} (verdicts replay --scenario {scenario} --seed {seed})"
                );
            }
        }
    }
    let innocent = lived.iter().flat_map(|lived| &lived.ends);
    let innocent = innocent.filter(|end| matches!(end.canary, Canary::Healthy | Canary::Incident));
    let (all, blamed) = innocent.fold((0, 0), |(all, blamed), end| {
        (all + 1, blamed + usize::from(end.blamed))
    });
    report.goals.push(Goal::at_most(
        "of 1,000 with faults, healthy or failing as stable does: blamed for errors".to_owned(),
        per_thousand(blamed, all),
        FALSE_MAX,
    ));
    #[expect(clippy::cast_precision_loss, reason = "a count of rollouts")]
    report.goals.push(Goal::at_most(
        format!(
            "wrong promotions, wrong advances and broken invariants in {rollouts} rollouts with faults"
        ),
        wrong as f64,
        0.0,
    ));
}

/// What `replay` calls rollouts whose sidecars report so often.
fn scenario(interval: Interval) -> String {
    match interval {
        Interval(1) => "faults".to_owned(),
        Interval(seconds) => format!("faults-{seconds}s"),
    }
}

/// Lives through one again and tells of it: whether nothing was wrong. `None`: no rollouts with faults
/// are called so.
pub(crate) fn replay(name: &str, seed: u64) -> Option<bool> {
    let interval = Interval::ALL
        .into_iter()
        .find(|interval| scenario(*interval) == name)?;
    let end = live(
        &Beginning::default(),
        seed,
        interval,
        &mut Coins::default(),
        true,
    );
    println!("{:?} after {} s", end.phase, end.seconds);
    if let Some(wrong) = &end.wrong {
        println!("WRONG: {wrong}");
    }
    Some(end.wrong.is_none())
}

/// Simulated time under rollout by the wall clock: of how many services' rollouts a year was watched,
/// tick by tick, in a minute of all threads.
#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
fn speed(lived: &[Lived]) -> Section {
    let mut section = Section::new(
        "How fast that was (simulated seconds under rollout, one tick each, by the wall clock)",
    );
    let mut row = |reports: String, lived: &mut dyn Iterator<Item = &Lived>| {
        let (mut rollouts, mut seconds, mut events) = (0.0, 0.0, 0.0);
        let (mut took_s, mut worked_s) = (0.0, 0.0);
        for lived in lived {
            rollouts += lived.ends.len() as f64;
            seconds += lived.ends.iter().map(|end| end.seconds).sum::<u64>() as f64;
            events += lived.ends.iter().map(|end| end.events).sum::<u64>() as f64;
            took_s += lived.took_s;
            worked_s += lived.worked_s;
        }
        let years = seconds / YEAR_S;
        section.rows.push(
            Row::default()
                .with("sidecars report each", reports)
                .with("rollouts", rollouts)
                .with("seconds it took", took_s)
                .with("events/s", events / took_s)
                .with("simulated years", years)
                .with("simulated years per minute", years * 60.0 / took_s)
                .with("per minute of one core", years * 60.0 / worked_s),
        );
    };
    for one in lived {
        row(seconds(one.interval), &mut std::iter::once(one));
    }
    row("all".to_owned(), &mut lived.iter());
    section
}

fn outcomes(lived: &[Lived]) -> Section {
    let mut section = Section::new("Rollouts with faults, by what the canary truly is");
    for Lived { interval, ends, .. } in lived {
        let mut by_canary: BTreeMap<Canary, Vec<&End>> = BTreeMap::new();
        for end in ends {
            by_canary.entry(end.canary).or_default().push(end);
        }
        for (canary, ends) in by_canary {
            let count = |which: &dyn Fn(&End) -> bool| ends.iter().filter(|end| which(end)).count();
            section.rows.push(
                Row::default()
                    .with("sidecars report each", seconds(*interval))
                    .with("canary", format!("{canary:?}").to_lowercase())
                    .with("rollouts", ends.len())
                    .with("promoted", count(&|end| end.phase == Phase::Committed))
                    .with("reverted", count(&|end| end.phase == Phase::Reverted))
                    .with("held", count(&|end| !end.phase.is_final()))
                    .with("blamed for others' errors", count(&|end| end.blamed))
                    .with("wrong", count(&|end| end.wrong.is_some())),
            );
        }
    }
    section
}

fn seconds(interval: Interval) -> String {
    format!("{} s", interval.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_life() {
        let (beginning, mut coins) = (Beginning::default(), Coins::default());
        for seed in 0..20 {
            for interval in Interval::ALL {
                let once = live(&beginning, seed, interval, &mut coins, false);
                let twice = live(&beginning, seed, interval, &mut Coins::default(), false);
                assert_eq!(once.phase, twice.phase);
                assert_eq!((once.seconds, once.events), (twice.seconds, twice.events));
            }
        }
    }

    #[test]
    fn nothing_harmful_is_promoted_and_much_that_is_healthy_is() {
        let (beginning, mut coins) = (Beginning::default(), Coins::default());
        for interval in Interval::ALL {
            let ends: Vec<End> = (0..200)
                .map(|seed| live(&beginning, seed, interval, &mut coins, false))
                .collect();
            for (seed, end) in ends.iter().enumerate() {
                assert_eq!(end.wrong, None, "seed {seed}, {interval:?}");
            }
            let promoted = |canary| {
                let of = ends.iter().filter(|end| end.canary == canary);
                of.filter(|end| end.phase == Phase::Committed).count()
            };
            assert_eq!(promoted(Canary::Harmful), 0);
            assert!(promoted(Canary::Healthy) >= 40, "{interval:?}");
        }
    }
}
