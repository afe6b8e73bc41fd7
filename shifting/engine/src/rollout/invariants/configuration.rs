//! What a fleet's sidecars are configured with.

use super::before::Before;
use super::{Broken, broken};
use crate::mesh::Settings;
use crate::rollout::{Event, Phase, Rollout, State, subject};

/// No change of configuration reaches everyone but by a rollout that ends with it (design §1.1), and
/// what a rollout ended with is what everyone has.
///
/// # Errors
/// When one does.
pub(super) fn settings(before: &Before, event: &Event, after: &State) -> Result<(), Broken> {
    if matches!(event, Event::MeshAccepted { .. }) {
        return Ok(()); // by a program that knew no configuration rollouts
    }
    if before.has_settings_of(after) {
        return Ok(());
    }
    let fleets = before.mesh.iter().flat_map(|mesh| mesh.fleets.keys());
    for fleet in fleets {
        let name = subject(fleet);
        let committed = after
            .latest(&name)
            .filter(|run| run.phase == Phase::Committed && was_committing(before, run));
        let (was, is) = (before.settings(fleet), after.settings(fleet));
        match committed {
            Some(run) if is.as_ref() != brought(run) => {
                return broken(
                    "configuration",
                    run,
                    "it was committed, and is not in force".to_owned(),
                );
            }
            None if is.is_some() && was != is => {
                return Err(Broken {
                    rule: "configuration",
                    service: name,
                    what: "it changed for everyone without a rollout".to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn was_committing(before: &Before, run: &Rollout) -> bool {
    before
        .same(run)
        .is_some_and(|was| was.phase == Phase::Committing)
}

fn brought(run: &Rollout) -> Option<&Settings> {
    Some(&run.plan.configuration.as_deref()?.after)
}
