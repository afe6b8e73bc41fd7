//! The invariants as alarms: what must hold in every step is looked at in the running program, too.
//!
//! A step that breaks one is a fault of this program. It is told to a person and taken all the same:
//! what is broken may be the way back of a canary, which nothing may stop.

use tidegate_engine::rollout::invariants::{Before, Broken, check_step};
use tidegate_engine::rollout::{Effect, Event, State};
use tidegate_engine::time::Time;
use tracing::error;

use crate::journal::Entry;

/// Whether a step is looked at: whatever changes an exposure or was asked for. The observations of
/// every second, which change none, are too many: each look goes over all rollouts.
pub(super) fn looks_at(event: &Event, follows: &[Effect]) -> bool {
    let exposes = |effect: &Effect| matches!(effect, Effect::Expose { .. });
    !matches!(event, Event::Observed(_)) || follows.iter().any(exposes)
}

/// Looks at one step of several that are taken at once: `event`, by which `after` came of `base` and
/// those `taken` before it.
pub(super) fn look(base: &State, taken: &[Entry], event: &Event, (after, now): (&State, Time)) {
    if let Some(broken) = broken(base, taken, event, (after, now)) {
        let service = &broken.service;
        error!(
            service,
            page = true,
            "{broken}; this is a fault of Tidegate, please report it with the journal (`tidegate \
             journal export`); to be on the safe side: tidegate rollout abort {service}"
        );
    }
}

fn broken(
    base: &State,
    taken: &[Entry],
    event: &Event,
    (after, now): (&State, Time),
) -> Option<Broken> {
    let mut before = State::clone(base);
    for entry in taken {
        // It was accepted a moment ago, in the same state.
        before.step(&entry.event, now).ok()?;
    }
    check_step(&Before::of(&before, event), event, after).err()
}

#[cfg(test)]
mod tests {
    use tidegate_engine::mesh::{SourceFile, read};

    use super::*;

    const MESH: &str = "
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 0}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {success: 99%}
traffic: {timeout: 15s}
versions: {v1: {hosts: [{address: \"127.0.0.1:1\"}]}}
";

    fn state(timeout: &str) -> State {
        let text = MESH.replace("15s", timeout);
        let path = "mesh.yaml".to_owned();
        let mesh = read(&[SourceFile { path, text }]).unwrap();
        let accepted = Event::MeshAccepted { mesh };
        State::default().apply(&accepted, Time(0)).unwrap().0
    }

    #[test]
    fn a_step_that_breaks_an_invariant_is_told_and_a_sound_one_is_not() {
        let before = state("15s");
        let event = Event::ClockRead { unix_ms: 1 };
        let (sound, follows) = before.apply(&event, Time(1)).unwrap();
        assert!(looks_at(&event, &follows));
        assert_eq!(broken(&before, &[], &event, (&sound, Time(1))), None);
        // A timeout that is in force without ever having been rolled out.
        let told = broken(&before, &[], &event, (&state("10s"), Time(1))).unwrap();
        assert_eq!(told.service, "fleet:web", "{told}");
    }

    #[test]
    fn an_observation_is_looked_at_when_it_changes_an_exposure() {
        let observed = Event::Observed(tidegate_engine::rollout::Observation::default());
        assert!(!looks_at(&observed, &[]));
        let exposes = Effect::Expose {
            service: "checkout".to_owned(),
            epoch: 2,
        };
        assert!(looks_at(&observed, &[exposes]));
    }
}
