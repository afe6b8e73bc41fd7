//! The control plane killed after every record of a rollout: it ends as it would have, or cleanly back.

use tidegate_engine::mesh::RolloutPolicy;
use tidegate_engine::rollout::Phase;
use tidegate_integration::bench::report::{Goal, Report, Row, Section};

use super::life::{Beginning, End, live_through};
use super::plan::{HARMFUL, Plan};
use crate::crew::Crew;
use crate::random::{Coins, Random};

/// How long nobody watches, milliseconds; `None`: nobody knows.
const OUTAGES_MS: [Option<u64>; 4] = [Some(900), Some(5_999), Some(30_000), None];

/// Wrong ends that are named.
const NAMED: usize = 5;

/// What came of all kills of one rollout.
#[derive(Debug, Default)]
struct Killed {
    alike: usize,
    back: usize,
    wrong: Vec<String>,
}

/// Kills `rollouts` rollouts after each of their records, in turn healthy and harmful ones.
pub(crate) fn kills(seed: u64, rollouts: usize, crew: &Crew, report: &mut Report) {
    let tool = || (Beginning::default(), Coins::default());
    let killed = crew.run("kills", rollouts, tool, |(beginning, coins), place| {
        let rate = (place % 2 == 1).then_some(HARMFUL * 2.5);
        every_record(beginning, seed + place as u64, rate, coins)
    });
    let sum = |count: fn(&Killed) -> usize| killed.iter().map(count).sum::<usize>();
    let wrong: Vec<&String> = killed.iter().flat_map(|killed| &killed.wrong).collect();
    for text in wrong.iter().take(NAMED) {
        println!("  {text}");
    }
    let mut section = Section::new("The control plane killed after every record");
    section.rows.push(
        Row::default()
            .with("rollouts", rollouts)
            .with("kills", sum(|k| k.alike + k.back + k.wrong.len()))
            .with("ended as without the kill", sum(|k| k.alike))
            .with("went cleanly back", sum(|k| k.back))
            .with("anything else", wrong.len()),
    );
    report.add(section);
    #[expect(clippy::cast_precision_loss, reason = "a count of kills")]
    report.goals.push(Goal::at_most(
        "kills after which exposure rose, or the end was neither the same nor a clean revert",
        wrong.len() as f64,
        0.0,
    ));
}

fn every_record(beginning: &Beginning, seed: u64, rate: Option<f64>, coins: &mut Coins) -> Killed {
    let mut killed = Killed::default();
    let calm = Plan::calm(rate);
    let undisturbed = live(beginning, calm.clone(), seed, coins);
    for second in 1..=undisturbed.seconds {
        for outage_ms in OUTAGES_MS {
            let plan = Plan {
                kills: vec![(second, outage_ms)],
                ..calm.clone()
            };
            let end = live(beginning, plan, seed, coins);
            let case = || format!("seed {seed}, killed in second {second} for {outage_ms:?} ms");
            let ttl_ms = RolloutPolicy::default().dead_man_ttl_ms;
            let dropped = outage_ms.is_none_or(|ms| ms >= ttl_ms);
            match (&end.wrong, end.phase) {
                (Some(wrong), _) => killed.wrong.push(format!("{}: {wrong}", case())),
                (None, phase) if phase == undisturbed.phase => killed.alike += 1,
                (None, Phase::Reverted) if dropped => killed.back += 1,
                (None, phase) => killed.wrong.push(format!(
                    "{}: {phase:?} instead of {:?}",
                    case(),
                    undisturbed.phase
                )),
            }
        }
    }
    killed
}

fn live(beginning: &Beginning, plan: Plan, seed: u64, coins: &mut Coins) -> End {
    live_through(beginning, plan, Random::new(seed), coins, false)
}
