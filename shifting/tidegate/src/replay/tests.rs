use std::collections::BTreeMap;
use std::path::Path;

use tidegate_engine::mesh::{self, Mesh, SourceFile};
use tidegate_engine::rollout::{
    ArmCounts, ArmHealth, Delivery, Evidence, FleetHealth, FleetObservation, Observation, Phase,
    Turn, order,
};
use tidegate_engine::units::Ppm;

use super::*;
use crate::journal::{Entry, Journal};

fn mesh(policy: &str) -> Mesh {
    let text = format!(
        "
kind: fleet
name: web
listener: {{address: 127.0.0.1, port: 0}}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {{success: 99%}}
ladder: [5%, 100%]
rollout: {policy}
versions:
  v1: {{hosts: [{{address: \"127.0.0.1:1\"}}]}}
  v2: {{hosts: [{{address: \"127.0.0.1:2\"}}]}}
"
    );
    let file = SourceFile {
        path: "mesh.yaml".to_owned(),
        text,
    };
    mesh::read(&[file]).unwrap()
}

/// A control plane without sidecars: everything it accepts goes to the journal with what was
/// decided.
struct Recorder {
    journal: Journal,
    state: State,
    now: u64,
}

// === impl Recorder ===

impl Recorder {
    fn new(dir: &Path) -> Self {
        let (journal, _) = Journal::open(dir).unwrap();
        let mut recorder = Self {
            journal,
            state: State::default(),
            now: 0,
        };
        recorder.accept(Event::MeshAccepted {
            mesh: mesh("{bake: 20s, soak: 20s}"),
        });
        recorder.accept(Event::Start {
            service: "checkout".to_owned(),
            to: "v2".to_owned(),
            actor: "ann".to_owned(),
            turn: Turn::Next,
            terms: tidegate_engine::rollout::Terms::default(),
        });
        recorder
    }

    fn accept(&mut self, event: Event) {
        let at = Time(self.now);
        let (next, effects) = self.state.apply(&event, at).unwrap();
        let entry = Entry {
            at,
            wall_ms: 1_700_000_000_000 + self.now,
            decided: Some(Decided::new(&event, &next, &effects)),
            event,
        };
        let revision = self.journal.revision();
        self.journal.append(revision, &[entry]).unwrap();
        self.state = next;
    }

    fn phase(&self) -> Phase {
        self.state.latest("checkout").unwrap().phase()
    }

    /// One second at 1,000 requests/s, of which the canary fails `failing` per mille.
    fn tick(&mut self, failing: u64) {
        self.now += 1_000;
        let run = self.state.latest("checkout").unwrap();
        let canary = u64::from(run.share().get()) / 1_000;
        let arm = |requests: u64, bad: u64| ArmCounts {
            requests,
            bad,
            timed: requests,
            issued: requests,
            ..ArmCounts::default()
        };
        let observation = Observation {
            service: "checkout".to_owned(),
            epoch: run.epoch(),
            delivery: Delivery {
                expected: 1,
                acknowledged: 1,
                ..Delivery::default()
            },
            evidence: Evidence {
                canary: arm(canary, canary * failing / 1_000),
                stable: arm(1_000 - canary, 0),
                canary_fresh: Ppm::WHOLE,
                stable_fresh: Ppm::WHOLE,
                ..Evidence::default()
            },
            fleet: None,
            witness: None,
            parts: BTreeMap::new(),
            callers: BTreeMap::new(),
        };
        self.accept(Event::Observed(observation));
    }

    /// To the rollout's end.
    fn finish(&mut self, failing: u64) -> Phase {
        for _ in 0..600 {
            if self.phase().is_final() {
                return self.phase();
            }
            self.tick(failing);
        }
        panic!("stuck: {:?}", self.state.status("checkout", Time(self.now)));
    }
}

fn recorded(failing: u64) -> (tempfile::TempDir, Phase) {
    let dir = tempfile::tempdir().unwrap();
    let phase = Recorder::new(dir.path()).finish(failing);
    (dir, phase)
}

#[test]
fn what_was_recorded_is_decided_again_to_the_bit() {
    for (failing, end) in [(0, Phase::Committed), (500, Phase::Reverted)] {
        let (dir, phase) = recorded(failing);
        assert_eq!(phase, end);
        let replay = replay(dir.path(), None, None).unwrap();
        assert!(replay.differences.is_empty(), "{:?}", replay.differences);
        assert_eq!(replay.compared, replay.records);
        assert!(replay.damage.is_none());
        let last = replay.story.last().unwrap();
        assert_eq!(last.rollout.phase, end);
        let phases: Vec<Phase> = replay.story.iter().map(|c| c.rollout.phase).collect();
        assert!(phases.contains(&Phase::Judging), "{phases:?}");
    }
}

#[test]
fn a_decision_that_is_taken_otherwise_now_is_named_by_its_record() {
    let (dir, _) = recorded(500);
    let copy = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(copy.path()).unwrap();
    let mut entries = Vec::new();
    journal::read::<JournalError>(dir.path(), |stored| {
        let mut decided: Decided =
            serde_json::from_str(stored.decided.as_deref().unwrap()).unwrap();
        if stored.revision == 4 {
            decided.rollouts[0].fingerprint = "0000000000000000".to_owned();
        }
        if stored.revision == 5 {
            decided.rollouts[0].share = Ppm::WHOLE;
        }
        entries.push(Entry {
            at: stored.at,
            wall_ms: stored.wall_ms,
            event: stored.parsed(dir.path())?.event,
            decided: Some(decided),
        });
        Ok(())
    })
    .unwrap();
    journal.append(0, &entries).unwrap();
    drop(journal);
    let replay = replay(copy.path(), None, None).unwrap();
    assert_eq!(replay.differing, 2);
    let found: Vec<(u64, &str)> = replay
        .differences
        .iter()
        .map(|difference| (difference.revision, difference.what.as_str()))
        .collect();
    assert_eq!(found[0].0, 4);
    assert!(found[0].1.contains("fingerprint"), "{found:?}");
    assert_eq!(found[1].0, 5);
    assert!(found[1].1.contains("share 100%"), "{found:?}");
}

#[test]
fn the_same_settings_change_nothing() {
    for failing in [0, 500] {
        let (dir, end) = recorded(failing);
        let same = mesh("{bake: 20s, soak: 20s}");
        let replay = replay(dir.path(), None, Some(&same)).unwrap();
        let [what_if] = replay.what_if.as_slice() else {
            panic!("{:?}", replay.what_if);
        };
        assert!(
            matches!(&what_if.outcome, Outcome::Same { place } if *place == end.to_string()),
            "{what_if:?}"
        );
    }
}

#[test]
fn a_longer_bake_parts_where_the_shorter_one_went_on() {
    let (dir, _) = recorded(0);
    let patient = mesh("{bake: 60s, soak: 20s}");
    let replay = replay(dir.path(), Some("checkout"), Some(&patient)).unwrap();
    let Outcome::Parted {
        was,
        would,
        after_ms,
        canary,
    } = &replay.what_if[0].outcome
    else {
        panic!("{:?}", replay.what_if);
    };
    assert_eq!(
        (was.place.as_str(), would.place.as_str()),
        ("judging 100%", "judging 5%")
    );
    assert_eq!(would.decision.kind(), "bake");
    assert!(*after_ms >= 20_000, "{after_ms}");
    assert!(canary.requests > 500);
}

#[test]
fn a_service_that_the_other_mesh_lacks_is_said() {
    let (dir, _) = recorded(0);
    let replay = replay(dir.path(), None, Some(&Mesh::default())).unwrap();
    assert!(
        matches!(&replay.what_if[0].outcome, Outcome::Refused { why } if why.contains("checkout")),
        "{:?}",
        replay.what_if
    );
}

#[test]
fn an_outage_in_the_middle_is_replayed_like_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(dir.path());
    (0..12).for_each(|_| recorder.tick(0));
    recorder.now += 60_000;
    recorder.accept(Event::Recovered {
        outage_ms: Some(60_000),
    });
    assert_eq!(recorder.phase(), Phase::Reverting);
    assert_eq!(recorder.finish(0), Phase::Reverted);
    drop(recorder);
    let replay = replay(dir.path(), None, None).unwrap();
    assert_eq!((replay.differing, replay.compared), (0, replay.records));
}

#[test]
fn a_journal_is_replayed_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(dir.path());
    for _ in 0..3 {
        recorder.tick(0);
        let replay = replay(dir.path(), None, None).unwrap();
        assert_eq!(replay.records, recorder.journal.revision());
        assert_eq!(replay.differing, 0);
    }
}

#[test]
fn a_place_without_a_journal_is_an_error_that_says_what_to_name() {
    let dir = tempfile::tempdir().unwrap();
    let error = replay(dir.path(), None, None).unwrap_err();
    assert!(error.to_string().contains("--data"), "{error}");
}

const WEB: &str = "fleet:web";

/// `patience` is the fleet's bake and `timeout` what its sidecars are configured with.
fn fleet_mesh(patience: &str, timeout: &str) -> Mesh {
    let text = format!(
        "
kind: fleet
name: web
listener: {{address: 127.0.0.1, port: 0}}
rollout: {{bake: {patience}, soak: 20s}}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {{success: 99%}}
traffic: {{timeout: {timeout}}}
versions: {{v1: {{hosts: [{{address: \"127.0.0.1:1\"}}]}}}}
"
    );
    let path = "mesh.yaml".to_owned();
    mesh::read(&[SourceFile { path, text }]).unwrap()
}

impl Recorder {
    /// One second of five healthy sidecars with 100 requests each.
    fn second_of_the_fleet(&mut self) {
        self.now += 1_000;
        for event in self.state.due(Time(self.now)) {
            self.accept(event);
        }
        let run = self.state.latest(WEB).unwrap();
        let sidecars = ["a", "b", "c", "d", "e"].map(|id| (id, "z1"));
        let exposed = run.exposed_sidecars();
        let ordered = order(&run.plan().to, sidecars);
        let (new, old): (Vec<&str>, Vec<&str>) =
            ordered.into_iter().partition(|id| exposed.includes(id));
        let arm = |sidecars: &[&str]| ArmCounts {
            requests: 100 * sidecars.len() as u64,
            timed: 100 * sidecars.len() as u64,
            issued: 100 * sidecars.len() as u64,
            ..ArmCounts::default()
        };
        let health = |sidecars: &[&str]| ArmHealth {
            sidecars: sidecars.len() as u64,
            ..ArmHealth::default()
        };
        let observation = Observation {
            service: WEB.to_owned(),
            epoch: run.epoch(),
            delivery: Delivery {
                expected: 5,
                acknowledged: 5,
                ..Delivery::default()
            },
            evidence: Evidence {
                canary: arm(&new),
                stable: arm(&old),
                canary_fresh: Ppm::WHOLE,
                stable_fresh: Ppm::WHOLE,
                ..Evidence::default()
            },
            fleet: Some(Box::new(FleetObservation {
                next: old.iter().map(|id| (*id).to_owned()).collect(),
                health: FleetHealth {
                    canary: health(&new),
                    stable: health(&old),
                },
                crossed: BTreeMap::new(),
            })),
            witness: None,
            parts: BTreeMap::new(),
            callers: BTreeMap::new(),
        };
        self.accept(Event::Observed(observation));
    }
}

#[test]
fn a_fleets_configuration_is_tried_with_other_waits_too() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let mut recorder = Recorder {
        journal,
        state: State::default(),
        now: 0,
    };
    for timeout in ["15s", "10s"] {
        recorder.accept(Event::MeshDeclared {
            mesh: fleet_mesh("20s", timeout),
        });
    }
    let end = |recorder: &Recorder| Some(recorder.state.latest(WEB)?.phase());
    for _ in 0..600 {
        if end(&recorder).is_some_and(Phase::is_final) {
            break;
        }
        recorder.second_of_the_fleet();
    }
    assert_eq!(end(&recorder), Some(Phase::Committed));
    drop(recorder);

    let what_if = |settings: &Mesh| {
        let mut replay = replay(dir.path(), Some(WEB), Some(settings)).unwrap();
        assert_eq!(replay.what_if.len(), 1, "{:?}", replay.what_if);
        replay.what_if.remove(0).outcome
    };
    let same = what_if(&fleet_mesh("20s", "1s"));
    assert!(
        matches!(&same, Outcome::Same { place } if place == "committed"),
        "{same:?}"
    );
    let Outcome::Parted { was, would, .. } = what_if(&fleet_mesh("60s", "10s")) else {
        panic!("a longer bake changed nothing");
    };
    assert_eq!(would.place, "judging 1 sidecar");
    assert_eq!(would.decision.kind(), "bake");
    assert_ne!(was.place, would.place);
    let refused = what_if(&Mesh::default());
    assert!(
        matches!(&refused, Outcome::Refused { why } if why.contains("no fleet `web`")),
        "{refused:?}"
    );
}
