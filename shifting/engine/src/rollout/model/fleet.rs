//! The model check of configuration rollouts: the subject is a fleet of three sidecars.
//!
//! The one that has the new revision, or one that has the old, may crash, be slow, reject it or lose
//! its stream; the new revision or the mesh as a whole may fail requests; reports may be missing;
//! the program may crash for a moment or for long; operators pause, resume, abort, and declare
//! another mesh in the middle.

mod faults;
mod properties;
mod seen;
mod world;

use stateright::{Model, Property};

use super::{Told, explore, finds};

use faults::Fault;
use world::{Action, World};

/// A configuration rollout of a few ticks and its surprises, with one bug or none.
#[derive(Clone)]
struct Configurations {
    surprises: u8,
    fault: Option<Fault>,
}

impl Model for Configurations {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.surprises)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        world.step(action, self.fault)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the step kept its invariants", |_, world: &World| {
                world.broken().is_none()
            }),
            Property::always(
                "L5: what goes back arrives",
                |model: &Self, world: &World| world.goes_back(model.fault),
            ),
            Property::always("L3: nothing is stuck", |_, world: &World| world.ends()),
            Property::sometimes("a revision is committed", |_, world: &World| {
                world.committed()
            }),
            Property::sometimes("a revision is taken back", |_, world: &World| {
                world.reverted()
            }),
            Property::sometimes("a second revision is under way", |_, world: &World| {
                world.run().number() > 1
            }),
        ]
    }
}

const SOMETIMES: [&str; 3] = [
    "a revision is committed",
    "a revision is taken back",
    "a second revision is under way",
];

impl Told for World {
    fn broken(&self) -> Option<&str> {
        World::broken(self)
    }
}

fn configurations(surprises: u8, fault: Option<Fault>) -> Configurations {
    Configurations { surprises, fault }
}

#[test]
fn whatever_goes_wrong_with_a_fleet_at_any_moment_the_invariants_hold() {
    explore(configurations(1, None), &SOMETIMES);
}

#[test]
#[ignore = "takes minutes"]
fn whatever_goes_wrong_with_a_fleet_twice_the_invariants_hold() {
    explore(configurations(2, None), &SOMETIMES);
}

#[test]
fn every_bug_of_a_configuration_rollout_is_found() {
    let missed: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| !finds(configurations(1, Some(*fault)), fault))
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
