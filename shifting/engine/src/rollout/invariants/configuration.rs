//! What a fleet's sidecars are configured with.

use super::Broken;
use crate::rollout::{Event, Phase, State, subject};

/// No change of configuration reaches everyone but by a rollout that ends with it (design §1.1).
///
/// # Errors
/// When one does.
pub(super) fn settings(before: &State, event: &Event, after: &State) -> Result<(), Broken> {
    if matches!(event, Event::MeshAccepted { .. }) {
        return Ok(()); // by a program that knew no configuration rollouts
    }
    if before.has_settings_of(after) {
        return Ok(());
    }
    let fleets = before
        .mesh()
        .into_iter()
        .flat_map(|mesh| mesh.fleets.keys());
    for fleet in fleets {
        let (was, is) = (before.settings(fleet), after.settings(fleet));
        let Some(is) = is.filter(|is| was.as_ref() != Some(is)) else {
            continue;
        };
        let name = subject(fleet);
        let was_committing = before
            .latest(&name)
            .is_some_and(|run| run.phase == Phase::Committing);
        let brought = after.latest(&name).is_some_and(|run| {
            let change = run.plan.configuration.as_deref();
            run.phase == Phase::Committed && change.is_some_and(|change| change.after == is)
        });
        if !(was_committing && brought) {
            return Err(Broken {
                rule: "configuration",
                service: name,
                what: "it changed for everyone without a rollout".to_owned(),
            });
        }
    }
    Ok(())
}
