//! A configuration rollout and one of a service that overlap: the table of both tells whose fault it
//! is (issue 4, item 5).

use super::*;
use crate::evidence::{Cell, Cells};

const WEB: &str = "fleet:web";

/// Parts of a thousand that fail, by cell.
#[derive(Debug, Clone, Copy, Default)]
struct Failing {
    version: u64,
    revision: u64,
    both: u64,
}

fn cell(requests: u64, failing: u64) -> Cell {
    Cell {
        requests,
        bad: requests * failing / 1_000,
        timed: requests,
        slow: 0,
    }
}

/// What both rollouts are told in a second of 10,000 requests, of which each sidecar has its part.
fn observations(world: &World, failing: Failing) -> Vec<Observation> {
    let share = |name: &str| world.state.latest(name).map_or(Ppm::ZERO, Rollout::share);
    let part = |requests: u64, share: Ppm| requests * u64::from(share.get()) / 1_000_000;
    let run = world.state.latest(WEB).unwrap();
    let exposed = SIDECARS
        .iter()
        .filter(|(id, _)| run.exposed_sidecars().includes(id))
        .count() as u64;
    let (new, old) = (2_000 * exposed, 2_000 * (5 - exposed));
    let of_new = share("checkout");
    let cells = Cells {
        neither: cell(old - part(old, of_new), 0),
        version: cell(part(old, of_new), failing.version),
        revision: cell(new - part(new, of_new), failing.revision),
        both: cell(part(new, of_new), failing.both),
    };
    let sum = |arm: &mut ArmCounts, cells: [Cell; 2]| {
        arm.requests = cells.iter().map(|it| it.requests).sum();
        arm.bad = cells.iter().map(|it| it.bad).sum();
        (arm.issued, arm.timed) = (arm.requests, arm.requests);
    };
    let mut both = Vec::new();
    if world.runs("checkout") {
        let mut of_service = world.healthy_of("checkout");
        sum(
            &mut of_service.evidence.stable,
            [cells.neither, cells.revision],
        );
        sum(&mut of_service.evidence.canary, [cells.version, cells.both]);
        both.push(of_service);
    }
    if !run.phase().is_final() {
        let mut of_fleet = healthy_fleet(run);
        sum(
            &mut of_fleet.evidence.stable,
            [cells.neither, cells.version],
        );
        sum(&mut of_fleet.evidence.canary, [cells.revision, cells.both]);
        let counted = world
            .state
            .crossed(run)
            .any(|it| it.plan.service == "checkout");
        if let Some(fleet) = of_fleet.fleet.as_mut().filter(|_| counted) {
            fleet.crossed.insert("checkout".to_owned(), cells);
        }
        both.push(of_fleet);
    }
    both
}

impl World {
    fn both(&mut self, failing: Failing) {
        self.now = self.now.plus_ms(1_000);
        for event in self.state.due(self.now) {
            self.apply(event).unwrap();
        }
        for observation in observations(self, failing) {
            self.apply(Event::Observed(observation)).unwrap();
        }
    }
}

/// The fleet's new timeout is on one sidecar, and by an operator's word `checkout` is at 5%.
fn overlapping(rules: u32) -> World {
    let mut before = mesh();
    let service = before.services.get_mut("checkout").unwrap();
    service.rollout.rules = rules;
    service.rollout.bake_ms = 600_000;
    service.ladder = vec![
        crate::mesh::Rung::Share(Ppm::of(5, 100)),
        crate::mesh::Rung::Share(Ppm::WHOLE),
    ];
    let fleet = before.fleets.get_mut("web").unwrap();
    fleet.rollout = Some(crate::mesh::RolloutPolicy {
        rules,
        bake_ms: 600_000,
        ..crate::mesh::RolloutPolicy::default()
    });
    let mut after = before.clone();
    let service = after.services.get_mut("checkout").unwrap();
    service.traffic.timeout_ms = 10_000;
    let mut world = World::new(before);
    world.apply(Event::MeshDeclared { mesh: after }).unwrap();
    for event in world.state.due(world.now) {
        world.apply(event).unwrap();
    }
    world
        .apply(Event::Start {
            service: "checkout".into(),
            to: "v2".into(),
            actor: "ann".into(),
            turn: Turn::Next,
            terms: Terms {
                overlap: true,
                ..Terms::default()
            },
        })
        .unwrap();
    let judged = |world: &World, name| world.state.latest(name).unwrap().phase() == Phase::Judging;
    for _ in 0..120 {
        if judged(&world, WEB) && judged(&world, "checkout") {
            world.both(Failing::default());
            return world;
        }
        world.both(Failing::default());
    }
    panic!("never: {:?}", world.state.statuses(world.now));
}

/// Whose doing it was that it went back; `None` when it did not.
fn cause(world: &World, name: &str) -> Option<Cause> {
    let run = world.state.latest(name).unwrap();
    run.reverted.as_ref().map(|reverted| reverted.cause)
}

fn after_two_minutes(rules: u32, failing: Failing) -> World {
    let mut world = overlapping(rules);
    for _ in 0..120 {
        world.both(failing);
    }
    world
}

const ALONE: Option<Cause> = Some(Cause::Fault);
const SHARED: Option<Cause> = Some(Cause::Shared);

#[test]
fn a_bad_revision_is_blamed_and_the_version_beside_it_goes_on() {
    let failing = Failing {
        revision: 200,
        both: 200,
        ..Failing::default()
    };
    let world = after_two_minutes(4, failing);
    assert_eq!(
        (cause(&world, WEB), cause(&world, "checkout")),
        (ALONE, None)
    );
    assert_eq!(world.state.quarantined(world.now).count(), 1);
    assert_eq!(world.phase(), Phase::Judging);
}

#[test]
fn a_bad_version_is_blamed_and_the_revision_beside_it_goes_on() {
    let failing = Failing {
        version: 200,
        both: 200,
        ..Failing::default()
    };
    let world = after_two_minutes(4, failing);
    assert_eq!(
        (cause(&world, WEB), cause(&world, "checkout")),
        (None, ALONE)
    );
}

/// Until rules 4 neither would have been blamed.
#[test]
fn both_are_blamed_when_both_are_worse_without_the_other() {
    let failing = Failing {
        version: 200,
        revision: 200,
        both: 360,
    };
    for (rules, expected) in [(3, SHARED), (4, ALONE)] {
        let world = after_two_minutes(rules, failing);
        for name in [WEB, "checkout"] {
            assert_eq!(cause(&world, name), expected, "{name} by rules {rules}");
        }
    }
}

#[test]
fn what_fails_only_where_both_meet_goes_back_and_is_not_blamed() {
    let failing = Failing {
        both: 900,
        ..Failing::default()
    };
    let world = after_two_minutes(4, failing);
    for name in [WEB, "checkout"] {
        assert_eq!(cause(&world, name), SHARED, "{name}");
    }
    assert_eq!(world.state.quarantined(world.now).count(), 0);
    let pages = world.pages().join("\n");
    assert!(pages.contains("where both meet only"), "{pages}");
}

/// The version's margin is off by the revision's fault: the new version happens to get its requests
/// through the sidecar that has it.
#[test]
fn a_margin_that_is_off_by_the_others_fault_holds_and_is_counted_anew() {
    let mut world = overlapping(4);
    let failing = Failing {
        revision: 100,
        both: 100,
        ..Failing::default()
    };
    for second in 0..72 {
        if second == 12 {
            assert!(world.run().battery.regressed().is_some());
            assert_eq!(world.phase(), Phase::Judging);
        }
        world.now = world.now.plus_ms(1_000);
        for mut observation in observations(&world, failing) {
            let exposed = world.state.latest(WEB).unwrap().phase() == Phase::Judging;
            let told = world.state.rival_at_fault(world.run()).is_some();
            let canary = &mut observation.evidence.canary;
            if observation.service == "checkout" {
                canary.bad = if told && exposed {
                    canary.requests / 2
                } else {
                    0
                };
            } else if second < 12 {
                canary.bad = 0; // its own margin is late
            }
            world.apply(Event::Observed(observation)).unwrap();
        }
    }
    assert_eq!(
        (cause(&world, WEB), cause(&world, "checkout")),
        (ALONE, None)
    );
    assert!(world.run().battery.suspected().is_none());
}

#[test]
fn nothing_advances_beside_what_is_at_fault() {
    let mut world = overlapping(4);
    let failing = Failing {
        revision: 200,
        both: 200,
        ..Failing::default()
    };
    for _ in 0..60 {
        world.both(failing);
        if world.state.rival_at_fault(world.run()).is_some() {
            break;
        }
    }
    world.both(failing);
    let waiting = world.waiting();
    assert_eq!(waiting.kind, "overlap");
    assert!(waiting.reason.to_string().contains("`fleet:web`"));
}

#[test]
fn without_an_overlap_no_cells_are_counted() {
    let world = overlapping(4);
    let run = world.state.latest(WEB).unwrap();
    assert_eq!(world.state.crossed(run).count(), 1);
    let earlier = overlapping(3);
    let run = earlier.state.latest(WEB).unwrap();
    assert_eq!(earlier.state.crossed(run).count(), 0);
    let text = serde_json::to_string(&earlier.state).unwrap();
    assert!(!text.contains("tables") && !text.contains("excused"));
}
