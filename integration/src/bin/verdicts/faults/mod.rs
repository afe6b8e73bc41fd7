//! Many rollouts with everything that may go wrong: nothing of it may promote what is harmful.
//!
//! The traffic is dense (1,200 requests/s) and the waits are short, so that a rollout takes a minute.
//! Sidecars lose reports, fall silent, restart, vanish, reject and dawdle; telemetry fails; the
//! control plane is killed and comes back; operators pause, resume and abort. Each step is checked
//! against the engine's invariants and against what sidecars truly had.

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
use self::plan::Canary;
use crate::crew::Crew;
use crate::random::Coins;

/// Seconds of a year.
const YEAR_S: f64 = 365.25 * 86_400.0;

/// Wrong ends that are named.
const NAMED: usize = 5;

/// Lives through `rollouts` rollouts.
pub(crate) fn faults(seed: u64, rollouts: usize, crew: &Crew, report: &mut Report) {
    let begun = Instant::now();
    let tool = || (Beginning::default(), Coins::default());
    let ends = crew.run("faults", rollouts, tool, |(beginning, coins), place| {
        live(beginning, seed + place as u64, coins, false)
    });
    let took_s = begun.elapsed().as_secs_f64();
    report.add(outcomes(&ends));
    let seconds: u64 = ends.iter().map(|end| end.seconds).sum();
    let events: u64 = ends.iter().map(|end| end.events).sum();
    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    let (rollouts, years, events) = (ends.len() as f64, seconds as f64 / YEAR_S, events as f64);
    let mut section = Section::new("How fast that was");
    section.rows.push(
        Row::default()
            .with("rollouts", ends.len())
            .with("seconds it took", took_s)
            .with("rollouts/s", rollouts / took_s)
            .with("events/s", events / took_s)
            .with("simulated years", years)
            .with("simulated years per minute", years * 60.0 / took_s),
    );
    report.add(section);
    let wrong: Vec<(usize, &End)> = ends
        .iter()
        .enumerate()
        .filter(|(_, end)| end.wrong.is_some())
        .collect();
    for (place, end) in wrong.iter().take(NAMED) {
        println!(
            "  seed {}: {} (verdicts replay --scenario faults --seed {})",
            seed + *place as u64,
            end.wrong.as_deref().unwrap_or_default(),
            seed + *place as u64
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rollouts")]
    report.goals.push(Goal::at_most(
        format!("wrong promotions, wrong advances and broken invariants in {rollouts} rollouts with faults"),
        wrong.len() as f64,
        0.0,
    ));
}

/// Lives through one again and tells of it. Whether nothing was wrong.
pub(crate) fn replay(seed: u64) -> bool {
    let end = live(&Beginning::default(), seed, &mut Coins::default(), true);
    println!("{:?} after {} s", end.phase, end.seconds);
    if let Some(wrong) = &end.wrong {
        println!("WRONG: {wrong}");
    }
    end.wrong.is_none()
}

fn outcomes(ends: &[End]) -> Section {
    let mut section = Section::new("Rollouts with faults, by what the canary truly is");
    let mut by_canary: BTreeMap<Canary, Vec<&End>> = BTreeMap::new();
    for end in ends {
        by_canary.entry(end.canary).or_default().push(end);
    }
    for (canary, ends) in by_canary {
        let count = |which: fn(Phase) -> bool| ends.iter().filter(|end| which(end.phase)).count();
        section.rows.push(
            Row::default()
                .with("canary", format!("{canary:?}").to_lowercase())
                .with("rollouts", ends.len())
                .with("promoted", count(|phase| phase == Phase::Committed))
                .with("reverted", count(|phase| phase == Phase::Reverted))
                .with("held", count(|phase| !phase.is_final()))
                .with(
                    "wrong",
                    ends.iter().filter(|end| end.wrong.is_some()).count(),
                ),
        );
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_life() {
        let (beginning, mut coins) = (Beginning::default(), Coins::default());
        for seed in 0..20 {
            let once = live(&beginning, seed, &mut coins, false);
            let twice = live(&beginning, seed, &mut Coins::default(), false);
            assert_eq!(once.phase, twice.phase);
            assert_eq!((once.seconds, once.events), (twice.seconds, twice.events));
        }
    }

    #[test]
    fn nothing_harmful_is_promoted_and_much_that_is_healthy_is() {
        let (beginning, mut coins) = (Beginning::default(), Coins::default());
        let ends: Vec<End> = (0..200)
            .map(|seed| live(&beginning, seed, &mut coins, false))
            .collect();
        for (seed, end) in ends.iter().enumerate() {
            assert_eq!(end.wrong, None, "seed {seed}");
        }
        let promoted = |canary| {
            let of = ends.iter().filter(|end| end.canary == canary);
            of.filter(|end| end.phase == Phase::Committed).count()
        };
        assert_eq!(promoted(Canary::Harmful), 0);
        assert!(promoted(Canary::Healthy) >= 40);
    }
}
