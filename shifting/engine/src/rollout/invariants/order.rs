//! Declared order between changes.

use super::{Broken, broken};
use crate::rollout::{Event, Rollout, State, Turn};

/// What is to be committed first was committed when a rollout began.
///
/// # Errors
/// When it wasn't.
pub(super) fn began(before: &State, event: &Event, rollout: &Rollout) -> Result<(), Broken> {
    let terms = match event {
        Event::Start { turn, terms, .. } if *turn != Turn::Unchecked => Some(terms),
        Event::Admit { service } => before
            .services
            .get(service)
            .and_then(|state| state.queue.first())
            .map(|first| &first.terms),
        _ => None,
    };
    for after in terms.iter().flat_map(|terms| &terms.after) {
        let stable = before.stable(&after.service);
        if after.version.is_none() || stable != after.version.as_deref() {
            let what = format!("it began before `{}` was committed", after.service);
            return broken("order", rollout, what);
        }
    }
    Ok(())
}
