//! What a rollout keeps others from.

use super::{Broken, broken};
use crate::rollout::attribution::overlap;
use crate::rollout::lease::Held;
use crate::rollout::{Event, Rollout, State, Turn};

/// S1: no two running rollouts hold the same service by what was known when the later one began, but by
/// an operator's word, which is kept. What a rollout holds is fixed, but for calls that are seen later
/// ([`seen`]), so it is enough to look when one begins.
///
/// # Errors
/// When it begins beside another.
pub(super) fn began(
    before: &State,
    event: &Event,
    after: &State,
    rollout: &Rollout,
) -> Result<(), Broken> {
    let lease = after.lease_of(rollout);
    let own = Held::new(&rollout.plan.service, &lease);
    let overlaps = &rollout.plan.lease.overlaps;
    let others = after
        .active()
        .filter(|other| other.number != rollout.number);
    for other in others {
        let theirs = after.lease_of(other);
        let Some(shared) = Held::new(&other.plan.service, &theirs).shared(own) else {
            continue;
        };
        let unchecked = matches!(event, Event::Start { turn, .. } if *turn == Turn::Unchecked);
        if !unchecked && !overlaps.contains(&other.plan.service) {
            let other = &other.plan.service;
            let what = format!("it began beside `{other}`, which holds `{shared}` too");
            return broken("S1", rollout, what);
        }
    }
    if !overlaps.is_empty() && !may_overlap(before, event) {
        return broken("S1", rollout, "nobody let it overlap".to_owned());
    }
    Ok(())
}

/// Calls that are seen neither move nor stop a rollout; two that turn out to overlap know of each other.
///
/// # Errors
/// When they do, or don't.
pub(super) fn seen(before: &State, event: &Event, after: &State) -> Result<(), Broken> {
    if !matches!(event, Event::CallsSeen { .. }) {
        return Ok(());
    }
    for rollout in after.active() {
        let place = |run: &Rollout| (run.number, run.phase, run.rung, run.epoch, run.share());
        let earlier = before.latest(&rollout.plan.service);
        if earlier.map(place) != Some(place(rollout)) {
            return broken("S1", rollout, "a call that was seen moved it".to_owned());
        }
        let hold_both = |state: &State, other: &Rollout| {
            let (own, theirs) = (state.lease_of(rollout), state.lease_of(other));
            let theirs = Held::new(&other.plan.service, &theirs);
            let own = Held::new(&rollout.plan.service, &own);
            own.shared(theirs).is_some()
        };
        let unknown = after.active().find(|other| {
            let strangers = other.number != rollout.number && !overlap(rollout, other);
            strangers && hold_both(after, other) && !hold_both(before, other)
        });
        if let Some(other) = unknown {
            let what = format!("it overlaps `{}` and isn't told", other.plan.service);
            return broken("S1", rollout, what);
        }
    }
    Ok(())
}

/// Whether an operator said so.
fn may_overlap(before: &State, event: &Event) -> bool {
    match event {
        Event::Start { terms, .. } => terms.overlap,
        Event::Back { .. } => true,
        Event::Admit { service } => before
            .services
            .get(service)
            .and_then(|state| state.queue.first())
            .is_some_and(|first| first.terms.overlap),
        _ => false,
    }
}
