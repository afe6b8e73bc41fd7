//! What a rollout keeps others from.

use std::collections::BTreeSet;

use super::before::Before;
use super::{Broken, broken, exposure};
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
    before: &Before,
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
    if !overlaps.is_empty() && !before.may_overlap {
        return broken("S1", rollout, "nobody let it overlap".to_owned());
    }
    Ok(())
}

/// Calls that are seen neither move nor stop a rollout; two that turn out to overlap know of each other.
///
/// # Errors
/// When they do, or don't.
pub(super) fn seen(before: &Before, event: &Event, after: &State) -> Result<(), Broken> {
    if !matches!(event, Event::CallsSeen { .. }) {
        return Ok(());
    }
    for rollout in after.active() {
        let place = (
            rollout.phase,
            rollout.rung,
            rollout.epoch,
            exposure(after, rollout),
        );
        let stood = before.same(rollout);
        if stood.map(|it| (it.phase, it.rung, it.epoch, it.exposed)) != Some(place) {
            return broken("S1", rollout, "a call that was seen moved it".to_owned());
        }
        let unknown = after.active().find(|other| {
            let strangers = other.number != rollout.number && !overlap(rollout, other);
            strangers
                && hold_both(after, rollout, other)
                && !before.overlapping.contains(&(rollout.number, other.number))
        });
        if let Some(other) = unknown {
            let what = format!("it overlaps `{}` and isn't told", other.plan.service);
            return broken("S1", rollout, what);
        }
    }
    Ok(())
}

/// The numbers of running rollouts that overlap, where the event could make that more.
pub(super) fn overlapping(before: &State, event: &Event) -> BTreeSet<(u64, u64)> {
    if !matches!(event, Event::CallsSeen { .. }) {
        return BTreeSet::new();
    }
    let pairs = before
        .active()
        .flat_map(|one| before.active().map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| one.number != other.number && hold_both(before, one, other))
        .map(|(one, other)| (one.number, other.number))
        .collect()
}

/// Whether two rollouts hold a service both.
fn hold_both(state: &State, one: &Rollout, other: &Rollout) -> bool {
    let (own, theirs) = (state.lease_of(one), state.lease_of(other));
    let theirs = Held::new(&other.plan.service, &theirs);
    Held::new(&one.plan.service, &own).shared(theirs).is_some()
}

/// Whether an operator said that what the event starts may overlap.
pub(super) fn may_overlap(before: &State, event: &Event) -> bool {
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
