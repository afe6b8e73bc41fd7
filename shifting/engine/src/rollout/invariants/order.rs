//! Declared order between changes.

use super::before::Before;
use super::{Broken, broken};
use crate::rollout::{Event, Rollout, State, Turn, fleet_of};

/// What is to be committed first was committed when a rollout began.
///
/// # Errors
/// When it wasn't.
pub(super) fn began(before: &Before, rollout: &Rollout) -> Result<(), Broken> {
    match &before.precedes {
        Some(service) => {
            let what = format!("it began before `{service}` was committed");
            broken("order", rollout, what)
        }
        None => Ok(()),
    }
}

/// The service whose change has to be committed before what the event starts, and isn't.
pub(super) fn precedes(before: &State, event: &Event) -> Option<String> {
    let terms = match event {
        Event::Start { turn, terms, .. } if *turn != Turn::Unchecked => Some(terms),
        Event::Admit { service } => before
            .services
            .get(service)
            .and_then(|state| state.queue.first())
            .map(|first| &first.terms),
        _ => None,
    };
    let mut first = terms.into_iter().flat_map(|terms| &terms.after);
    let lacking = first.find(|after| {
        let in_force = match fleet_of(&after.service) {
            Some(fleet) => before.settings(fleet).map(|it| it.revision(fleet)),
            None => before.stable(&after.service).map(str::to_owned),
        };
        after.version.is_none() || in_force != after.version
    });
    lacking.map(|after| after.service.clone())
}
