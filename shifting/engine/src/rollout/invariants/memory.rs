//! What is remembered: quarantine, known good, the way back.

use super::before::Before;
use super::{Broken, broken};
use crate::rollout::{Cause, Event, Phase, Quarantined, Rollout, State, Turn};

/// A fault is quarantined, and stays so until it expires or is lifted; what is in quarantine does
/// not start.
///
/// # Errors
/// When it isn't so.
pub(super) fn quarantine(before: &Before, event: &Event, after: &State) -> Result<(), Broken> {
    for entry in before.quarantined(after.latest) {
        let lifted = matches!(event, Event::LiftQuarantine { service, version, .. }
            if *service == entry.service && *version == entry.version);
        if !lifted && !after.quarantine.contains_key(&entry.content) {
            return Err(Broken {
                rule: "quarantine",
                service: entry.service.clone(),
                what: format!("{} left it by {event:?}", entry.version),
            });
        }
    }
    let unchecked = matches!(
        event,
        Event::Start {
            turn: Turn::Unchecked,
            ..
        }
    );
    for rollout in after.rollouts() {
        let earlier = before.same(rollout);
        if earlier.is_none()
            && !unchecked
            && refused(before.quarantined(after.latest), after, rollout)
        {
            return broken("quarantine", rollout, "refused content started".to_owned());
        }
        let reverts = rollout.phase == Phase::Reverting
            && earlier.is_some_and(|earlier| earlier.phase != Phase::Reverting);
        let at_fault = rollout.reverted.as_ref().map(|it| it.cause) == Some(Cause::Fault);
        if reverts && at_fault && !refused(after.quarantined(after.latest), after, rollout) {
            return broken("quarantine", rollout, "a fault is forgotten".to_owned());
        }
    }
    Ok(())
}

/// S10: what is called known good was committed in this step, acknowledged by everyone.
///
/// # Errors
/// When something else is.
pub(super) fn known_good(before: &Before, event: &Event, after: &State) -> Result<(), Broken> {
    for (service, state) in &after.services {
        let earlier = before.known_good(service);
        let news = |good: &&crate::rollout::KnownGood| !earlier.contains(good);
        let Some(good) = state.known_good.iter().find(news) else {
            continue;
        };
        let proven = state.rollout.as_deref().is_some_and(|run| {
            let soaked = before
                .same(run)
                .is_some_and(|it| it.phase == Phase::Committing);
            soaked && run.phase == Phase::Committed && run.plan.to == good.version
        });
        let acknowledged = matches!(event, Event::Observed(observation)
            if observation.delivery.expected > 0
                && observation.delivery.acknowledged >= observation.delivery.expected
                && observation.delivery.behind.is_empty()
                && observation.delivery.rejected.is_empty());
        if !(proven && acknowledged) {
            return Err(Broken {
                rule: "S10",
                service: service.clone(),
                what: format!("{} was not proven", good.version),
            });
        }
    }
    Ok(())
}

/// S9: no mesh closes the way back of a running rollout.
///
/// # Errors
/// When one does.
pub(super) fn way_back(before: &Before, after: &State) -> Result<(), Broken> {
    for rollout in after.active() {
        let service = &rollout.plan.service;
        let closed = before
            .latest(service)
            .is_some_and(|stood| stood.no_way_back.is_some());
        if !closed && let Some(why) = after.no_way_back(service) {
            return broken("S9", rollout, why);
        }
    }
    Ok(())
}

/// What the rollout brings is among these.
fn refused<'a>(
    mut entries: impl Iterator<Item = &'a Quarantined>,
    after: &State,
    rollout: &Rollout,
) -> bool {
    let content = content(after, rollout);
    entries.any(|entry| Some(&entry.content) == content.as_ref())
}

fn content(state: &State, rollout: &Rollout) -> Option<String> {
    if rollout.plan.configuration.is_some() {
        return Some(rollout.plan.to.clone());
    }
    let service = &rollout.plan.service;
    let declared = state.mesh()?.services.get(service)?;
    Some(declared.content(service, &rollout.plan.to))
}
