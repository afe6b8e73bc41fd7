//! Whose fault it is when two rollouts overlap by an operator's word (issue 4, item 5).
//!
//! Each request draws the arms of two services independently, so each rollout's own comparison is
//! one margin of the cross table: a fault of one version alone shows in its margin, and in both
//! arms of the other, which is the environment there and blames nobody. When both margins show a
//! fault, the table cannot tell one from the other, nor from the two together. What is suspected
//! goes back all the same, at once; but it is not blamed, that is not quarantined, and may be tried
//! again alone.

use crate::rollout::run::Context;
use crate::rollout::{Cause, NoticeLevel, Phase, Rollout, State};
use crate::time::Time;

/// A rollout that went back no longer ago than this may have been what its neighbour suffered from.
const LATELY_MS: u64 = 60_000;

// === impl State ===

impl State {
    /// After a rollout was taken back for a fault: it is blamed only if no other that it overlaps
    /// is suspected as well.
    pub(crate) fn attribute(&mut self, service: &str, context: &mut Context) {
        let Some(run) = self.latest(service) else {
            return;
        };
        let at_fault = run.reverted.as_ref().map(|it| it.cause) == Some(Cause::Fault);
        if !at_fault || run.plan.policy.rules < 3 || run.rejection_fault().is_some() {
            return;
        }
        let rivals: Vec<String> = self
            .rollouts()
            .filter(|other| overlap(run, other) && other.is_suspected(context.now))
            .map(|other| {
                let (plan, sentence) = (&other.plan, other.battery.regression().sentence);
                format!("`{}` to `{}` ({sentence})", plan.service, plan.to)
            })
            .collect();
        if rivals.is_empty() {
            return;
        }
        if let Ok(run) = self.running_mut(service) {
            if let Some(reverted) = &mut run.reverted {
                reverted.cause = Cause::Shared;
            }
            let text = format!(
                "it is not blamed, since what it was let overlap is suspected too: {}; try them one \
                 after the other",
                rivals.join(", ")
            );
            run.tell(NoticeLevel::Page, text, context);
        }
    }
}

/// Whether one was let overlap the other.
fn overlap(one: &Rollout, other: &Rollout) -> bool {
    let beside = |one: &Rollout, other: &Rollout| {
        one.plan.lease.overlaps.contains(&other.plan.service) && one.number != other.number
    };
    beside(one, other) || beside(other, one)
}

// === impl Rollout ===

impl Rollout {
    /// Its own numbers speak against it now, or did when it went back lately.
    fn is_suspected(&self, now: Time) -> bool {
        let lately = match self.phase {
            Phase::Committed => false,
            Phase::Reverted => now.since_ms(self.since) < LATELY_MS,
            _ => true,
        };
        lately && self.battery.suspected().is_some()
    }
}
