//! The model check: every order of a few surprises, in every place of a short rollout.
//!
//! Two sidecars that may be slow, reject, disconnect or fall silent; a service that fails on
//! either arm or has no requests; a program that crashes for a moment or for long; an operator
//! who pauses, resumes and aborts. The world is this file's [`World`]; what is checked in each of
//! its states is in `properties`; `faults` are bugs put in on purpose, each of which must be
//! found.
//!
//! One thing goes wrong, at every moment; an ignored test lets two, in every order.

mod faults;
mod fleet;
mod properties;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use faults::Fault;
use world::{Action, World};

/// A rollout of a few ticks and its surprises, with one bug or none.
#[derive(Clone)]
struct Rollouts {
    surprises: u8,
    fault: Option<Fault>,
}

impl Model for Rollouts {
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
                |model: &Self, world: &World| properties::goes_back(world, model.fault),
            ),
            Property::always("L3: nothing is stuck", |_, world: &World| {
                properties::ends(world)
            }),
            Property::sometimes("a rollout is committed", |_, world: &World| {
                world.committed()
            }),
            Property::sometimes("a rollout is reverted", |_, world: &World| world.reverted()),
            Property::sometimes("a share ran out by itself", |_, world: &World| {
                world.ran_out()
            }),
        ]
    }
}

const NEVER: [&str; 3] = [
    "the step kept its invariants",
    "L5: what goes back arrives",
    "L3: nothing is stuck",
];

const SOMETIMES: [&str; 3] = [
    "a rollout is committed",
    "a rollout is reverted",
    "a share ran out by itself",
];

/// What a state of a model knows.
trait Told: std::fmt::Debug + Clone + PartialEq + std::hash::Hash + Send + Sync + 'static {
    /// What is wrong with it, if anything.
    fn broken(&self) -> Option<&str>;
}

impl Told for World {
    fn broken(&self) -> Option<&str> {
        World::broken(self)
    }
}

fn rollouts(surprises: u8, fault: Option<Fault>) -> Rollouts {
    Rollouts { surprises, fault }
}

#[test]
fn whatever_goes_wrong_at_any_moment_the_invariants_hold() {
    explore(rollouts(1, None), &SOMETIMES);
}

#[test]
#[ignore = "takes minutes"]
fn whatever_goes_wrong_twice_the_invariants_hold() {
    explore(rollouts(2, None), &SOMETIMES);
}

/// Goes through every state of a model: nothing of [`NEVER`] is in any of them, and all of
/// `sometimes` is in some.
fn explore<M>(model: M, sometimes: &[&'static str])
where
    M: Model<State: Told, Action: std::fmt::Debug + Clone + PartialEq + Send + Sync>
        + Send
        + Sync
        + 'static,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} of them unique, up to {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for name in NEVER {
        if let Some(path) = checker.discovery(name) {
            let last = path.last_state().clone();
            panic!("{name}: {last:?} after {:#?}", path.into_actions());
        }
    }
    for name in sometimes {
        assert!(checker.discovery(name).is_some(), "{name} is never seen");
    }
    assert!(checker.unique_state_count() > 1_000);
}

/// Whether a model with a bug in it is seen to break something of [`NEVER`].
fn finds<M>(model: M, bug: &dyn std::fmt::Debug) -> bool
where
    M: Model<State: Told, Action: std::fmt::Debug + Clone + PartialEq + Send + Sync>
        + Send
        + Sync
        + 'static,
{
    let checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyOf(NEVER.into_iter().collect()))
        .spawn_bfs()
        .join();
    let found = NEVER
        .iter()
        .find_map(|name| Some((name, checker.discovery(name)?)));
    let Some((name, path)) = found else {
        return false;
    };
    println!(
        "{bug:?}: found after {} states: {}",
        checker.state_count(),
        path.last_state().broken().unwrap_or(name)
    );
    true
}

#[test]
fn every_bug_that_is_put_in_is_found() {
    let missed: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| !finds(rollouts(1, Some(*fault)), fault))
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
