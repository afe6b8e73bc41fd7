//! Changes of what sidecars are configured with walk the ladder over sidecars: five real Envoys of
//! one fleet, of which a step gives the new revision to as many as it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate::journal::Journal;
use tidegate_engine::rollout::{Phase, State};
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{Alone, alone, wait_for, wait_until};
use tidegate_integration::mesh::{FAST, Mesh, SLOW};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Recorded, Traffic, by_status};

/// The fleet, as commands and the API name it where they name a service.
const FLEET: &str = "fleet:shop";

const SIDECARS: usize = 5;

/// The steps, and how many sidecars each allows.
const LADDER: &str = "[1 sidecar, 40%, 100%]";
const ALLOWED: [(&str, usize); 3] = [("1 sidecar", 1), ("40%", 2), ("100%", SIDECARS)];

/// Long enough for a control plane to be killed and started on one step.
const STEADY: &str = "{bake: 6s, soak: 2s, minimum_requests: 20, hold_deadline: 60s, \
    acknowledge_deadline: 10s, dead_man_ttl: 6s, advance_burn_rate: 50}";

/// Requests a second through each sidecar.
const RATE: u32 = 30;

const LIMIT: Duration = Duration::from_secs(120);

/// A control plane and its fleet at rest, with the timeout of 15 s that a service has by default.
struct World {
    mesh: Mesh,
    hosts: Hosts,
    control_plane: ControlPlane,
    sidecars: Vec<Sidecar>,
    /// One client for each sidecar.
    clients: Vec<Traffic>,
    directory: TempDir,
    _alone: Alone,
}

/// What was seen while a rollout was followed.
#[derive(Debug, Default)]
struct Followed {
    /// The most sidecars that had the new timeout at once, by step.
    most: BTreeMap<String, usize>,
    /// The numbers of those that ever had it.
    touched: BTreeSet<usize>,
}

// === impl World ===

impl World {
    fn start(rollout: &str) -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let hosts = Hosts::start("v1", 4);
        let mut mesh = Mesh::of("checkout", &[&hosts]);
        mesh.fleet = format!("ladder: {LADDER}\nrollout: {rollout}\n");
        mesh.traffic = "{timeout: 15s}".to_owned();
        mesh.write(&directory.path().join("mesh"));
        let control_plane = ControlPlane::start(directory.path());
        let start = |number| start_sidecar(number, &control_plane, directory.path());
        let sidecars: Vec<Sidecar> = (0..SIDECARS).map(start).collect();
        control_plane.await_sidecars(SIDECARS);
        let client = |sidecar: &Sidecar| Traffic::start("checkout", &[sidecar.listener()], RATE);
        let clients = sidecars.iter().map(client).collect();
        let world = Self {
            mesh,
            hosts,
            control_plane,
            sidecars,
            clients,
            directory,
            _alone: alone,
        };
        world.await_answers(50);
        assert_eq!(world.timeouts(), ["15s"; SIDECARS]);
        assert_eq!(world.rollout(), Value::Null, "nothing has changed yet");
        world
    }

    /// Declares this timeout, as an operator would: in the file, and nothing else.
    fn declare(&mut self, timeout: &str) {
        self.mesh.traffic = format!("{{timeout: {timeout}}}");
        self.mesh.write(&self.control_plane.mesh);
    }

    fn rollout(&self) -> Value {
        self.control_plane.rollout(FLEET).unwrap_or_default()
    }

    /// The timeout in force at each Envoy, as it tells itself.
    fn timeouts(&self) -> Vec<String> {
        let of =
            |sidecar: &Sidecar| wait_for(LIMIT, "its routes", || sidecar.route_timeout("checkout"));
        self.sidecars.iter().map(of).collect()
    }

    /// When the routes of each Envoy last changed.
    fn changed_at(&self) -> Vec<String> {
        let of = |sidecar: &Sidecar| wait_for(LIMIT, "its routes", || sidecar.routes_changed_at());
        self.sidecars.iter().map(of).collect()
    }

    /// The numbers of the sidecars with this timeout.
    fn with_timeout(&self, timeout: &str) -> BTreeSet<usize> {
        let timeouts = self.timeouts();
        (0..SIDECARS)
            .filter(|number| timeouts[*number] == timeout)
            .collect()
    }

    /// Looks at every Envoy again and again until the rollout is in one of `phases`. At no look may
    /// more have the new timeout than the highest step so far allows.
    fn follow(&self, timeout: &str, phases: &[&str]) -> (Value, Followed) {
        let mut followed = Followed::default();
        let mut most_allowed = 0;
        let what = format!("{FLEET} in one of {phases:?}");
        let last = wait_for(LIMIT, &what, || {
            let before = self.rollout();
            let new = self.with_timeout(timeout);
            let after = self.rollout();
            most_allowed = most_allowed.max(allowed(&before)).max(allowed(&after));
            assert!(new.len() <= most_allowed, "{new:?} at {after:#?}");
            if let (Some(step), Some(same)) = (before["rung"].as_str(), after["rung"].as_str())
                && step == same
                && !new.is_empty()
                && before["phase"] != "committed"
            {
                let most = followed.most.entry(step.to_owned()).or_default();
                *most = new.len().max(*most);
            }
            followed.touched.extend(new);
            let over = phases.iter().any(|phase| before["phase"] == *phase);
            over.then_some(after)
        });
        (last, followed)
    }

    /// Waits until the first step is judged: one sidecar has the new timeout. Which one.
    fn await_first_step(&self, timeout: &str) -> usize {
        wait_for(LIMIT, "one sidecar with the new timeout", || {
            let status = self.rollout();
            let new = self.with_timeout(timeout);
            assert!(new.len() <= 1, "{new:?} at {status:#?}");
            let judged = status["phase"] == "judging" && status["rung"] == "1 sidecar";
            new.first().copied().filter(|_| judged)
        })
    }

    /// Waits until each client got so many more answers.
    fn await_answers(&self, count: usize) {
        let answered = || -> Vec<usize> {
            let of = |client: &Traffic| client.records().len();
            self.clients.iter().map(of).collect()
        };
        let wanted: Vec<usize> = answered().iter().map(|before| before + count).collect();
        wait_until(LIMIT, "answers through every sidecar", || {
            answered().iter().zip(&wanted).all(|(is, most)| is >= most)
        });
    }

    /// All answers, by sidecar.
    fn finish(&mut self) -> Vec<Vec<Recorded>> {
        let clients = std::mem::take(&mut self.clients);
        clients.into_iter().map(Traffic::finish).collect()
    }

    /// Resources of this kind that were sent since the control plane started, to all sidecars.
    fn sent(&self, kind: &str) -> u64 {
        let sidecars = self.control_plane.sidecars();
        let sent = |sidecar: &Value| sidecar["sent"][kind].as_u64().unwrap_or(0);
        sidecars.iter().map(sent).sum()
    }
}

fn start_sidecar(number: usize, control_plane: &ControlPlane, directory: &Path) -> Sidecar {
    let (id, zone) = (format!("sidecar-{number}"), format!("z{}", number % 3));
    Sidecar::start_in(&zone, &id, control_plane.xds, directory, &[])
}

/// How many sidecars may have the new revision at this step; none before the first.
fn allowed(status: &Value) -> usize {
    if status["phase"] == "committed" {
        return SIDECARS;
    }
    let step = ALLOWED.iter().find(|(step, _)| status["rung"] == *step);
    step.map_or(0, |(_, allowed)| *allowed)
}

fn nothing_failed(answers: &[Vec<Recorded>]) {
    for (number, records) in answers.iter().enumerate() {
        let statuses = by_status(records);
        let all: Vec<_> = statuses.keys().collect();
        assert_eq!(all, [&200], "sidecar-{number}: {statuses:?}");
    }
}

#[test]
fn a_good_change_walks_the_ladder_over_sidecars_and_fails_nothing() {
    let mut world = World::start(FAST);
    world.declare("10s");
    let (status, followed) = world.follow("10s", &["committed", "reverted"]);
    assert_eq!(status["phase"], "committed", "{status:#?}");
    assert_eq!(status["plan"]["service"], FLEET);
    let most = ALLOWED.map(|(step, allowed)| (step.to_owned(), allowed));
    assert_eq!(followed.most, BTreeMap::from(most));
    assert_eq!(world.timeouts(), ["10s"; SIDECARS]);
    // It stays when the control plane is started again.
    world.control_plane.kill();
    world.control_plane.start_again();
    world.control_plane.await_sidecars(SIDECARS);
    assert_eq!(world.timeouts(), ["10s"; SIDECARS]);
    world.await_answers(50);
    nothing_failed(&world.finish());
}

#[test]
fn a_harmful_change_goes_back_by_itself_from_the_one_sidecar_that_had_it() {
    let mut world = World::start(FAST);
    world.hosts.delay(Duration::from_millis(60));
    world.await_answers(50);
    world.declare("20ms");
    let (status, followed) = world.follow("0.020s", &["committed", "reverted"]);
    assert_eq!(status["phase"], "reverted", "{status:#?}");
    assert_eq!(status["revert_cause"], "fault", "{status:#?}");
    assert_eq!(
        followed.most,
        BTreeMap::from([("1 sidecar".to_owned(), 1)]),
        "no step but the first"
    );
    assert_eq!(followed.touched.len(), 1, "{followed:?}");
    assert_eq!(world.timeouts(), ["15s"; SIDECARS]);

    let revision = &status["plan"]["to"];
    let list = world.control_plane.json(&["quarantine", "list"]);
    let refused = &list["quarantined"][0];
    assert_eq!(
        (&refused["service"], &refused["version"]),
        (&FLEET.into(), revision)
    );
    // The file still says it: whenever it is read, it is refused.
    for _ in 0..3 {
        world.declare("20ms");
        // Whether this counts as an error of the mesh is no matter here.
        let _ = world.control_plane.run(&["mesh", "reload"]);
        world.await_answers(50);
        let now = world.rollout();
        assert_eq!(
            (&now["number"], &now["phase"]),
            (&status["number"], &status["phase"]),
            "{now:#?}"
        );
        assert_eq!(world.timeouts(), ["15s"; SIDECARS]);
    }

    let answers = world.finish();
    for (number, records) in answers.iter().enumerate() {
        let statuses = by_status(records);
        let failed = records.iter().filter(|record| record.status != 200).count();
        if followed.touched.contains(&number) {
            let timed_out = statuses.get(&504).copied().unwrap_or(0);
            assert!(timed_out > 0 && timed_out == failed, "{statuses:?}");
        } else {
            assert_eq!(failed, 0, "sidecar-{number}: {statuses:?}");
        }
    }
}

#[test]
fn t16_a_crash_of_the_one_sidecar_that_has_it_takes_it_back() {
    let mut world = World::start(SLOW);
    world.declare("10s");
    let crashed = world.await_first_step("10s");
    world.sidecars[crashed].process.kill();
    world.sidecars[crashed] = start_sidecar(crashed, &world.control_plane, world.directory.path());
    let phases = ["reverted", "committed"];
    let status = world.control_plane.await_phase(FLEET, &phases, LIMIT);
    assert_eq!(status["phase"], "reverted", "{status:#?}");
    let reason = status["revert_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("crash"), "{reason}");
    assert_eq!(world.timeouts(), ["15s"; SIDECARS]);
    // Requests to the one that crashed had nobody to take them.
    let mut answers = world.finish();
    answers.remove(crashed);
    nothing_failed(&answers);
}

#[test]
fn a_kill_on_the_first_step_fails_nothing_and_the_same_sidecar_keeps_the_candidate() {
    let mut world = World::start(STEADY);
    world.declare("10s");
    let candidate = world.await_first_step("10s");
    let changed = world.changed_at();
    world.control_plane.kill();
    wait_until(LIMIT, "all Envoys to notice", || {
        let state = |sidecar: &Sidecar| sidecar.statistic("control_plane.connected_state");
        world.sidecars.iter().all(|it| state(it) == Some(0))
    });
    world.await_answers(50);
    let alone = BTreeSet::from([candidate]);
    assert_eq!(
        world.with_timeout("10s"),
        alone,
        "configuration has no time to live"
    );
    world.control_plane.start_again();
    world.control_plane.await_sidecars(SIDECARS);
    let sent = ["cds", "lds"].map(|kind| world.sent(kind));
    // Routes are asked for by name, and so are sent again: the same bytes to each.
    assert_eq!(world.changed_at(), changed);
    assert_eq!(world.with_timeout("10s"), alone);
    let status = world.rollout();
    assert_eq!(status["rung"], "1 sidecar", "{status:#?}");
    assert_eq!(sent, [0; 2], "no unchanged cluster or listener");

    let (status, followed) = world.follow("10s", &["committed", "reverted"]);
    assert_eq!(status["phase"], "committed", "{status:#?}");
    assert_eq!(followed.most["100%"], SIDECARS);
    assert_eq!(world.timeouts(), ["10s"; SIDECARS]);
    nothing_failed(&world.finish());
}

#[test]
fn a_second_change_begins_when_the_first_is_taken_back() {
    let mut world = World::start(SLOW);
    world.declare("10s");
    world.await_first_step("10s");
    let first = world.rollout();
    world.declare("12s");
    wait_until(LIMIT, "one sidecar with the newer timeout", || {
        let timeouts: BTreeSet<String> = world.timeouts().into_iter().collect();
        let (old, new) = (timeouts.contains("10s"), timeouts.contains("12s"));
        assert!(!(old && new), "both changes at once");
        new
    });
    world.await_first_step("12s");
    let second = world.rollout();
    assert_ne!(first["number"], second["number"]);
    assert_eq!(first["plan"]["from"], second["plan"]["from"]);
    world.await_answers(50);
    assert_eq!(world.with_timeout("15s").len(), SIDECARS - 1);
    nothing_failed(&world.finish());

    world.control_plane.kill();
    let ends = ends_of(&world.control_plane.data);
    assert_eq!(ends[0], Phase::Reverted, "{ends:?}");
}

/// In which phase each rollout of the fleet was when the next one began, or at the end.
fn ends_of(data: &Path) -> Vec<Phase> {
    let (_journal, records) = Journal::open(data).unwrap();
    let mut state = State::default();
    let mut phases: BTreeMap<u64, Phase> = BTreeMap::new();
    for record in records {
        (state, _) = state.apply(&record.event, record.at).unwrap();
        if let Some(status) = state.status(FLEET, record.at) {
            phases.insert(status.number, status.phase);
        }
    }
    phases.into_values().collect()
}
