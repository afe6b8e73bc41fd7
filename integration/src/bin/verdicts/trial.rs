//! Many rollouts under one scenario, and what became of them under each rule.

use crate::crew::Crew;
use crate::random::Coins;
use crate::rule::{Judge, Rule, Verdict};
use crate::scenario::{Kind, Scenario};
use crate::traffic::Traffic;

/// How one rollout went under one rule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// Seconds from the canary's first request (from the outbreak, where it breaks out later) to
    /// the revert.
    pub(crate) reverted_after_s: Option<u64>,
    /// It reverted before anything was wrong.
    pub(crate) too_early: bool,
    /// Canary requests that failed until then.
    pub(crate) failed: u64,
    /// It wanted to advance while nothing was told.
    pub(crate) blind_advance: bool,
    pub(crate) held_and_paged: bool,
}

/// The outcomes of one rule, in the order of seeds.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) judge: Judge,
    pub(crate) outcomes: Vec<Outcome>,
}

// === impl Tally ===

impl Tally {
    /// Rollouts.
    pub(crate) fn all(&self) -> usize {
        self.outcomes.len()
    }

    pub(crate) fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| which(outcome))
            .count()
    }

    /// Reverts that were not called for, or not yet.
    pub(crate) fn reverted(&self) -> usize {
        self.count(|outcome| outcome.reverted_after_s.is_some() || outcome.too_early)
    }

    /// The rollouts that were reverted, by their place.
    pub(crate) fn reverted_at(&self) -> Vec<usize> {
        let places = self.outcomes.iter().enumerate();
        places
            .filter(|(_, outcome)| outcome.reverted_after_s.is_some() || outcome.too_early)
            .map(|(place, _)| place)
            .collect()
    }

    /// The time to revert within which this part of the rollouts was reverted, as nobody knows
    /// more of the others than that they take longer; `None` when fewer were.
    pub(crate) fn delay_s(&self, part: f64) -> Option<u64> {
        quantile(self.delays(), self.all(), part)
    }

    /// The same for failed requests.
    pub(crate) fn failed(&self, part: f64) -> Option<u64> {
        let found = self
            .outcomes
            .iter()
            .filter(|o| o.reverted_after_s.is_some());
        quantile(found.map(|o| o.failed).collect(), self.all(), part)
    }

    fn delays(&self) -> Vec<u64> {
        self.outcomes
            .iter()
            .filter_map(|o| o.reverted_after_s)
            .collect()
    }
}

fn quantile(mut found: Vec<u64>, all: usize, part: f64) -> Option<u64> {
    found.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (all as f64 * part) as usize;
    found.get(place).copied()
}

/// Lets every rule judge `rollouts` rollouts, whose seeds begin at `seed`.
pub(crate) fn run(
    scenario: &Scenario,
    judges: &[Judge],
    seed: u64,
    rollouts: usize,
    crew: &Crew,
) -> Vec<Tally> {
    let outcomes = crew.run(scenario.name, rollouts, Coins::default, |coins, place| {
        rollout(scenario, judges, seed + place as u64, coins)
    });
    judges
        .iter()
        .enumerate()
        .map(|(place, judge)| Tally {
            judge: *judge,
            outcomes: outcomes.iter().map(|all| all[place]).collect(),
        })
        .collect()
}

/// One rollout, judged by all: each sees the same seconds.
fn rollout(scenario: &Scenario, judges: &[Judge], seed: u64, coins: &mut Coins) -> Vec<Outcome> {
    let mut traffic = Traffic::new(scenario, seed, coins);
    let (_, outage_ends) = traffic.outage();
    let mut benches: Vec<(Option<Box<dyn Rule>>, Outcome)> = judges
        .iter()
        .map(|judge| (Some(judge.rule(scenario)), Outcome::default()))
        .collect();
    for _ in 0..scenario.seconds {
        let second = traffic.next();
        let mut judging = false;
        for (bench, outcome) in &mut benches {
            let Some(rule) = bench else { continue };
            outcome.failed += second.canary.bad;
            let verdict = rule.second(&second);
            if verdict == Verdict::Advance && !second.told {
                outcome.blind_advance = true;
            }
            let advanced = verdict == Verdict::Advance
                && scenario.kind == Kind::Outage
                && second.at >= outage_ends;
            if verdict == Verdict::Revert {
                match (second.at + 1).checked_sub(scenario.begins()) {
                    Some(after) if after > 0 => outcome.reverted_after_s = Some(after),
                    _ => outcome.too_early = true,
                }
            }
            if verdict == Verdict::Revert || advanced {
                outcome.held_and_paged = rule.held_and_paged();
                *bench = None;
            }
            judging |= bench.is_some();
        }
        if !judging {
            break;
        }
    }
    benches
        .into_iter()
        .map(|(bench, outcome)| Outcome {
            held_and_paged: outcome.held_and_paged
                || bench.is_some_and(|rule| rule.held_and_paged()),
            ..outcome
        })
        .collect()
}
