//! Bad input: refused before anything is sent, and the running configuration is untouched.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{alone, free_address, wait_for, wait_until, wait_until_still};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::program;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Traffic, by_status, get};

/// A control plane, its hosts and its sidecar at rest.
struct World {
    v1: Hosts,
    v2: Hosts,
    mesh: Mesh,
    control_plane: ControlPlane,
    sidecar: Sidecar,
    _directory: TempDir,
}

impl World {
    fn start(change: impl FnOnce(&mut Mesh)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (v1, v2) = (Hosts::start("v1", 8), Hosts::start("v2", 2));
        let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
        change(&mut mesh);
        mesh.write(&directory.path().join("mesh"));
        let control_plane = ControlPlane::start(directory.path());
        let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
        Self {
            v1,
            v2,
            mesh,
            control_plane,
            sidecar,
            _directory: directory,
        }
    }

    fn mesh_answer(&self) -> Value {
        let text = get(&format!("{}/v1/mesh", self.control_plane.url())).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// What was sent to the sidecar so far, heartbeats aside.
    fn sent(&self) -> Value {
        self.control_plane.sidecars()[0]["sent"].clone()
    }
}

/// Two mistakes, in two files.
fn spoil(mesh: &Path) {
    for (file, right, wrong) in [
        ("fleets.yaml", "address: 127.0.0.1", "adress: 127.0.0.1"),
        ("services.yaml", "success: 99%", "success: 199%"),
    ] {
        let path = mesh.join(file);
        let text = fs::read_to_string(&path).unwrap();
        let spoilt = text.replace(right, wrong);
        assert_ne!(spoilt, text);
        fs::write(&path, spoilt).unwrap();
    }
}

fn names_both_mistakes(text: &str) {
    for words in ["fleets.yaml:3:", "adress", "services.yaml:", "199%"] {
        assert!(text.contains(words), "`{words}` is missing in: {text}");
    }
}

#[test]
fn a_bad_mesh_is_refused_at_start_with_all_its_errors() {
    let directory = tempfile::tempdir().unwrap();
    let (mesh, data) = (directory.path().join("mesh"), directory.path().join("data"));
    let hosts = Hosts::start("v1", 1);
    Mesh::of("checkout", &[&hosts]).write(&mesh);
    let mesh_text = mesh.display().to_string();
    let good = program::run(&["mesh", "check", &mesh_text]);
    assert_eq!(good.code, 0, "{good:?}");

    spoil(&mesh);
    let checked = program::run(&["mesh", "check", &mesh_text]);
    assert!(checked.code > 0, "{checked:?}");
    names_both_mistakes(&format!("{}{}", checked.stdout, checked.stderr));

    let (xds, api) = (free_address().to_string(), free_address().to_string());
    let data = data.display().to_string();
    let served = program::run(&[
        "serve", "--mesh", &mesh_text, "--data", &data, "--xds", &xds, "--api", &api,
    ]);
    assert!(served.code > 0, "{served:?}");
    names_both_mistakes(&format!("{}{}", served.stdout, served.stderr));
}

#[test]
fn a_bad_mesh_on_reload_is_refused_and_the_running_one_untouched() {
    let _alone = alone();
    let world = World::start(|_| {});
    world.control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[world.sidecar.listener()], 50);
    let (before, sent) = (world.mesh_answer(), world.sent());
    assert_eq!(before["refused"], Value::Null);

    spoil(&world.control_plane.mesh);
    world.control_plane.process.signal("HUP");
    let refused = wait_for(Duration::from_secs(10), "the refusal", || {
        let answer = world.mesh_answer();
        answer["refused"].as_str().map(|_| answer.clone())
    });
    names_both_mistakes(refused["refused"].as_str().unwrap());
    assert_eq!(refused["revision"], before["revision"]);

    // A service in use without hosts, and a fleet without listeners.
    let mut emptied = world.mesh.clone();
    emptied.versions[0].1.clear();
    for change in [emptied.clone(), {
        let mut without_stable = world.mesh.clone();
        without_stable.versions.remove(0);
        without_stable
    }] {
        change.write(&world.control_plane.mesh);
        let last = world.mesh_answer()["refused"].clone();
        world.control_plane.process.signal("HUP");
        wait_until(Duration::from_secs(10), "another refusal", || {
            let answer = world.mesh_answer();
            answer["refused"].is_string() && answer["refused"] != last
        });
        assert_eq!(world.mesh_answer()["revision"], before["revision"]);
    }
    assert_eq!(world.sent(), sent, "nothing was sent");

    world.mesh.write(&world.control_plane.mesh);
    world.control_plane.process.signal("HUP");
    wait_until(Duration::from_secs(10), "the good mesh in force", || {
        world.mesh_answer()["refused"].is_null()
    });
    assert_eq!(world.mesh_answer()["revision"], before["revision"]);
    wait_until(Duration::from_secs(20), "100 answers", || {
        traffic.records().len() >= 100
    });
    let statuses = by_status(&traffic.finish());
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    assert_eq!(world.v2.served(), 0);
    assert!(world.v1.served() >= 100);
}

#[test]
fn a_second_start_is_refused_naming_the_first() {
    let _alone = alone();
    let world = World::start(|mesh| mesh.rollout = SLOW);
    world.control_plane.await_sidecars(1);
    world
        .control_plane
        .json(&["rollout", "start", "checkout", "v2"]);
    let second = world
        .control_plane
        .run(&["rollout", "start", "checkout", "v2"]);
    assert!(second.code > 0, "{second:?}");
    let text = format!("{}{}", second.stdout, second.stderr);
    for words in ["checkout", "v1", "v2", "rollout abort"] {
        assert!(text.contains(words), "`{words}` is missing in: {text}");
    }
    for (service, version, words) in [
        ("chekout", "v2", "no service `chekout`"),
        ("checkout", "v3", "no version `v3`"),
    ] {
        let refused = world
            .control_plane
            .run(&["rollout", "start", service, version]);
        let text = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code > 0 && text.contains(words), "{refused:?}");
    }
    let status = world.control_plane.rollout("checkout").unwrap();
    assert_eq!(status["number"], 1);
    assert_eq!(status["plan"]["to"], "v2");
}

#[test]
fn a_journal_that_cannot_be_written_stops_every_step_and_says_so() {
    let _alone = alone();
    let world = World::start(|_| {});
    world.control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[world.sidecar.listener()], 200);
    world
        .control_plane
        .json(&["rollout", "start", "checkout", "v2"]);
    wait_until(Duration::from_secs(20), "requests on v2", || {
        world.v2.served() > 0
    });
    // Another writer's open transaction: every append fails until it ends.
    let path = world.control_plane.data.join("journal.sqlite3");
    let intruder = rusqlite::Connection::open(path).unwrap();
    intruder.busy_timeout(Duration::from_secs(5)).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let records = |connection: &rusqlite::Connection| -> i64 {
        connection
            .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
            .unwrap()
    };
    let (rung, before) = {
        let status = world.control_plane.rollout("checkout").unwrap();
        (status["rung"].clone(), records(&intruder))
    };
    let said = wait_for(Duration::from_secs(10), "the trouble in the status", || {
        let status = world.control_plane.rollout("checkout")?;
        (status["decision"]["kind"] == "journal").then_some(status)
    });
    let reason = said["decision"]["reason"].as_str().unwrap();
    assert!(reason.contains("journal.sqlite3"), "{reason}");
    let command = world.control_plane.run(&["rollout", "pause", "checkout"]);
    assert!(command.code > 0, "{command:?}");
    let text = format!("{}{}", command.stdout, command.stderr);
    assert!(text.contains("journal"), "{text}");

    // A share that nobody renews lives for 6 s; meanwhile the bake of 2 s ends without a step.
    let limit = Duration::from_secs(30);
    wait_until_still(
        limit,
        Duration::from_secs(3),
        "v2, without requests",
        || world.v2.served(),
    );
    let status = world.control_plane.rollout("checkout").unwrap();
    assert_eq!(status["rung"], rung, "{status:#?}");
    assert_eq!(records(&intruder), before);
    intruder.execute_batch("ROLLBACK").unwrap();
    drop(intruder);

    let limit = Duration::from_secs(60);
    world
        .control_plane
        .await_phase("checkout", &["committed", "reverted"], limit);
    let statuses = by_status(&traffic.finish());
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}

#[test]
fn a_rejection_is_shown_with_the_sidecar_and_its_own_words() {
    let _alone = alone();
    let taken = TcpListener::bind(free_address()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let world = World::start(|mesh| mesh.listener_port = port);
    let words = "Address already in use";
    let sidecar = wait_for(Duration::from_secs(20), "a rejection", || {
        world.control_plane.sidecars().into_iter().find(|sidecar| {
            let rejected = sidecar["rejected"].as_array();
            rejected.is_some_and(|rejected| !rejected.is_empty())
        })
    });
    assert_eq!(sidecar["id"], "sidecar-1");
    assert_eq!(sidecar["rejected"][0]["kind"], "lds");
    let text = sidecar["rejected"][0]["text"].as_str().unwrap();
    assert!(text.contains(words), "{text}");
    // People see it as well, without JSON.
    let url = world.control_plane.url();
    let shown = program::run(&["sidecars", "--api", &url]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("sidecar-1") && shown.stdout.contains(words));
    // No hot loop: the same bytes are not sent again and again.
    let limit = Duration::from_secs(10);
    wait_until_still(limit, Duration::from_secs(2), "what is sent", || {
        world.sent()
    });
}

#[test]
fn t16_a_change_that_a_sidecar_rejects_is_taken_back_and_its_listener_serves_on() {
    let _alone = alone();
    let mut world = World::start(|_| {});
    world.control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[world.sidecar.listener()], 200);
    // A port that somebody has: Envoy rejects the listener.
    let taken = TcpListener::bind(free_address()).unwrap();
    world.mesh.listener_port = taken.local_addr().unwrap().port();
    world.mesh.write(&world.control_plane.mesh);
    world.control_plane.process.signal("HUP");
    let limit = Duration::from_secs(60);
    let status = world
        .control_plane
        .await_phase("fleet:shop", &["reverted", "committed"], limit);
    assert_eq!(status["phase"], "reverted", "{status:#?}");
    let reason = status["revert_reason"].as_str().unwrap();
    for words in ["sidecar-1", "Address already in use"] {
        assert!(reason.contains(words), "`{words}` is missing in: {reason}");
    }
    // It has what it had, and it stays so although the file still says otherwise.
    world.control_plane.await_sidecars(1);
    let answered = traffic.records().len();
    wait_until(limit, "200 more answers", || {
        traffic.records().len() >= answered + 200
    });
    let again = world.control_plane.rollout("fleet:shop").unwrap();
    assert_eq!(again["number"], status["number"], "{again:#?}");
    let statuses = by_status(&traffic.finish());
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}
