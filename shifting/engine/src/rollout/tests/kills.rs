//! Killed after every record and back again: whatever the journal's prefix, coming back raises
//! nothing, and the rollout ends as it would have or goes back cleanly (invariant S8).

use super::*;

/// Ticks after which what is not over is held for good.
const TICKS: usize = 150;

/// A world that goes on whether anybody watches or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Promoted,
    Reverted,
    Held,
}

impl Course {
    const ALL: [Course; 3] = [Course::Promoted, Course::Reverted, Course::Held];

    fn tick(self, world: &mut World) {
        world.tick(|observation| {
            let evidence = &mut observation.evidence;
            let fail = |arm: &mut ArmCounts| arm.bad = arm.requests / 2;
            match self {
                Course::Promoted => {}
                Course::Reverted => fail(&mut evidence.canary),
                Course::Held => {
                    fail(&mut evidence.canary);
                    fail(&mut evidence.stable);
                }
            }
        });
    }

    fn run_on(self, world: &mut World) {
        for _ in 0..TICKS {
            if world.state.active().count() == 0 {
                return;
            }
            self.tick(world);
        }
    }

    /// Where it ends when nobody is killed.
    fn end(self) -> Phase {
        match self {
            Course::Promoted => Phase::Committed,
            Course::Reverted => Phase::Reverted,
            Course::Held => Phase::Judging,
        }
    }
}

fn recorded(course: Course) -> World {
    let mut world = World::started();
    course.run_on(&mut world);
    assert_eq!(world.phase(), course.end(), "{course:?} without a kill");
    world
}

/// The fold of the journal's first `records`.
fn survivor(journal: &[(Event, Time)], records: usize) -> World {
    let mut world = World {
        state: State::default(),
        now: Time(0),
        effects: Vec::new(),
        journal: Vec::new(),
    };
    for (event, at) in &journal[..records] {
        world.now = *at;
        world.apply(event.clone()).unwrap();
    }
    world
}

fn exposure(world: &World) -> Ppm {
    let rollout = world.state.latest("checkout");
    rollout.map_or(Ppm::ZERO, |rollout| {
        invariants::exposure(&world.state, rollout)
    })
}

#[test]
fn t3_a_kill_after_any_record_raises_nothing_and_ends_alike_or_cleanly_back() {
    let ttl_ms = mesh().services["checkout"].rollout.dead_man_ttl_ms;
    for course in Course::ALL {
        let journal = recorded(course).journal;
        for records in 0..=journal.len() {
            for outage_ms in [Some(0), Some(ttl_ms - 1), Some(ttl_ms), Some(60_000), None] {
                let case = format!("{course:?}, {records} records, away for {outage_ms:?}");
                let mut world = survivor(&journal, records);
                let before = exposure(&world);
                let was = world.state.latest("checkout").map(Rollout::phase);
                world.now = world.now.plus_ms(outage_ms.unwrap_or(0));
                world.apply(Event::Recovered { outage_ms }).unwrap();
                assert!(exposure(&world) <= before, "{case}: exposure rose");
                let Some(was) = was else {
                    assert_eq!(world.state.active().count(), 0, "{case}");
                    continue; // the start itself was lost: nothing is running
                };
                let dropped = outage_ms.is_none_or(|ms| ms >= ttl_ms);
                let exposed = matches!(was, Phase::Judging | Phase::Soaking);
                if exposed && dropped {
                    assert_eq!(exposure(&world), Ppm::ZERO, "{case}: not taken back");
                }
                course.run_on(&mut world);
                let expected = if exposed && dropped {
                    Phase::Reverted
                } else {
                    course.end()
                };
                assert_eq!(world.phase(), expected, "{case}");
                if expected == Phase::Reverted {
                    assert_eq!(exposure(&world), Ppm::ZERO, "{case}");
                    assert!(!world.reason().is_empty(), "{case}: no reason");
                }
            }
        }
    }
}

#[test]
fn killed_again_while_it_comes_back_nothing_rises() {
    let journal = recorded(Course::Promoted).journal;
    for records in 2..=journal.len() {
        let mut world = survivor(&journal, records);
        let before = exposure(&world);
        for outage_ms in [Some(100), Some(5_000), None, Some(100)] {
            world.now = world.now.plus_ms(outage_ms.unwrap_or(0));
            world.apply(Event::Recovered { outage_ms }).unwrap();
            assert!(exposure(&world) <= before, "{records} records");
        }
    }
}
