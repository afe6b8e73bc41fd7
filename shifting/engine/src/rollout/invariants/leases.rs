//! What a rollout keeps others from.

use super::before::Before;
use super::{Broken, broken};
use crate::rollout::lease::Held;
use crate::rollout::{Event, Rollout, State, Turn};

/// S1: no two running rollouts hold the same service, but by an operator's word, which is kept. What
/// a rollout holds is fixed, so it is enough to look when one begins.
///
/// # Errors
/// When it begins beside another.
pub(super) fn began(
    before: &Before,
    event: &Event,
    after: &State,
    rollout: &Rollout,
) -> Result<(), Broken> {
    let own = Held::by(&rollout.plan);
    let overlaps = &rollout.plan.lease.overlaps;
    let others = after
        .active()
        .filter(|other| other.number != rollout.number);
    for other in others {
        let Some(shared) = Held::by(&other.plan).shared(own) else {
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
