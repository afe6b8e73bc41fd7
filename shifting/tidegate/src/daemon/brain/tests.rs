use tidegate_engine::compile::ClientKind;
use tidegate_engine::rollout::{ArmCounts, Delivery, Evidence, Observation, Phase, Turn};
use tidegate_engine::units::Ppm;
use tidegate_xds::identity::{Access, AccessLimits};
use tidegate_xds::server::Settings;

use super::*;
use crate::api::Context;
use crate::daemon::past::Past;

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
ladder: [5%, 100%]
rollout: {bake: 100ms, soak: 100ms, minimum_requests: 1}
versions:
  v1: {hosts: [{address: \"127.0.0.1:1\"}]}
  v2: {hosts: [{address: \"127.0.0.1:2\"}]}
";

/// Nothing comes in but what the test sends.
fn incoming() -> (mpsc::Sender<tidegate_xds::report::Report>, Incoming) {
    let (sender, reports) = mpsc::channel(1);
    let polls = mpsc::channel(1).1;
    (sender, Incoming { reports, polls })
}

/// A brain whose mesh and journal are in `directory`.
fn brain_in(directory: &std::path::Path) -> Brain {
    let mesh = directory.join("mesh");
    std::fs::create_dir_all(&mesh).unwrap();
    std::fs::write(mesh.join("mesh.yaml"), MESH).unwrap();
    let data = directory.join("data");
    let (journal, records) = Journal::open(&data).unwrap();
    let history = History {
        journal,
        records,
        served: ServedFile::in_directory(&data),
    };
    let views = Views::default();
    Brain::new(
        history,
        Clock::starting_at(Time(0)),
        views.clone(),
        Server::new(views, Settings::default()),
        incoming().1,
        MeshDirectory::new(mesh),
    )
}

/// What the API of such a brain is made of.
pub(crate) fn context_in(directory: &std::path::Path) -> Context {
    let brain = brain_in(directory);
    let (server, clock) = (brain.server.clone(), brain.clock);
    Context {
        brain: brain.start(None).unwrap(),
        server,
        access: Access::open(AccessLimits::default()),
        clock,
    }
}

/// A brain whose rollout is at 5%, and the view of that.
fn exposed(directory: &std::path::Path) -> (Brain, String) {
    let mut brain = brain_in(directory);
    brain.recover(None).unwrap();
    brain.accept(start(Turn::Next)).unwrap();
    for _ in 0..4 {
        pass(&mut brain, 1_000);
        brain.accept(healthy(&brain)).unwrap();
        brain.last_watched = brain.clock.now();
    }
    assert_eq!(phase(&brain), Phase::Judging);
    let view = view(&brain);
    (brain, view)
}

fn healthy(brain: &Brain) -> Event {
    let run = brain.state.latest("checkout").unwrap();
    let arm = |requests: u64| ArmCounts {
        requests,
        issued: requests,
        ..ArmCounts::default()
    };
    let canary = u64::from(run.share().get()) / 1_000;
    Event::Observed(Observation {
        service: "checkout".to_owned(),
        epoch: run.epoch(),
        delivery: Delivery {
            expected: 1,
            acknowledged: 1,
            ..Delivery::default()
        },
        evidence: Evidence {
            canary: arm(canary),
            stable: arm(1_000 - canary),
            canary_fresh: Ppm::WHOLE,
            stable_fresh: Ppm::WHOLE,
            ..Evidence::default()
        },
        fleet: None,
        witness: None,
        parts: std::collections::BTreeMap::new(),
        callers: std::collections::BTreeMap::new(),
    })
}

fn pass(brain: &mut Brain, ms: u64) {
    brain.clock = Clock::starting_at(brain.clock.now().plus_ms(ms));
}

fn phase(brain: &Brain) -> Phase {
    brain.state.latest("checkout").unwrap().phase()
}

fn view(brain: &Brain) -> String {
    brain.views.id("web", ClientKind::Envoy, "s1").unwrap()
}

/// Holds the journal's file, as a visitor's shell may, until it is dropped.
fn block(directory: &std::path::Path) -> rusqlite::Connection {
    let shell = rusqlite::Connection::open(directory.join("data/journal.sqlite3")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    shell
}

fn start(turn: Turn) -> Event {
    Event::Start {
        service: "checkout".to_owned(),
        to: "v2".to_owned(),
        actor: "ann".to_owned(),
        turn,
        terms: tidegate_engine::rollout::Terms::default(),
    }
}

fn pause() -> Event {
    Event::Pause {
        service: "checkout".to_owned(),
        actor: "ann".to_owned(),
    }
}

fn abort() -> Event {
    Event::Abort {
        service: "checkout".to_owned(),
        actor: "ann".to_owned(),
        reason: String::new(),
        quarantine: false,
    }
}

#[test]
fn a_program_that_was_stopped_takes_the_canary_back_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let (mut brain, raised) = exposed(directory.path());
    let ttl_ms = brain.state.dead_man_ttl_ms().unwrap();
    pass(&mut brain, ttl_ms);
    brain.command(pause()).unwrap_err();
    assert_eq!(phase(&brain), Phase::Reverting);
    assert_ne!(view(&brain), raised);
}

#[test]
fn an_outage_of_the_journal_is_not_hidden_by_a_command_before_the_next_tick() {
    let directory = tempfile::tempdir().unwrap();
    let (mut brain, raised) = exposed(directory.path());
    let ttl_ms = brain.state.dead_man_ttl_ms().unwrap();
    let grpc = brain.views.id("web", ClientKind::Grpc, "s1");
    let blocked = block(directory.path());
    pass(&mut brain, 1_000);
    brain.tick();
    assert!(brain.trouble.is_some());
    assert_eq!(view(&brain), raised, "sidecars keep it for now");
    pass(&mut brain, ttl_ms);
    brain.tick();
    assert_ne!(view(&brain), raised);
    let grpc_later = brain.views.id("web", ClientKind::Grpc, "s1");
    assert_ne!(grpc_later, grpc, "who has no runtime layer falls back");
    drop(blocked);
    brain.command(pause()).unwrap_err();
    assert_eq!(phase(&brain), Phase::Reverting);
    assert!(brain.trouble.is_none());
    assert_ne!(view(&brain), raised);
}

#[test]
fn an_abort_that_cannot_be_recorded_lowers_the_share_and_is_recorded_later() {
    let directory = tempfile::tempdir().unwrap();
    let (mut brain, raised) = exposed(directory.path());
    let blocked = block(directory.path());
    let error = brain.command(abort()).unwrap_err();
    assert!(matches!(error, CommandError::Unrecorded(_)), "{error}");
    assert_ne!(view(&brain), raised);
    drop(blocked);
    brain.tick();
    assert_eq!(phase(&brain), Phase::Reverting);
    let reason = brain.state.status("checkout", brain.clock.now()).unwrap();
    assert_eq!(reason.revert_reason.unwrap(), "aborted by ann");
}

#[test]
fn reports_are_read_for_stable_versions_and_the_arms_of_running_rollouts() {
    let directory = tempfile::tempdir().unwrap();
    let arms = Asked::upstreams(["checkout/v1", "checkout/v2"].map(str::to_owned));
    let stable = Asked::upstreams(["checkout/v1".to_owned()]);
    let mut brain = brain_in(directory.path());
    let asked = brain.asked.subscribe();
    brain.recover(None).unwrap();
    assert_eq!(*asked.borrow(), stable);
    drop(brain);

    let (brain, _) = exposed(directory.path());
    assert_eq!(*brain.asked.subscribe().borrow(), arms);
    drop(brain);

    let mut brain = brain_in(directory.path());
    brain.recover(None).unwrap();
    assert_eq!(
        *brain.asked.subscribe().borrow(),
        arms,
        "before anybody is served"
    );
    brain.command(abort()).unwrap();
    assert_eq!(
        *brain.asked.subscribe().borrow(),
        arms,
        "a revert is watched too"
    );
    for _ in 0..20 {
        pass(&mut brain, 1_000);
        if brain.state.active().next().is_some() {
            brain.accept(healthy(&brain)).unwrap();
            brain.last_watched = brain.clock.now();
        }
    }
    assert_eq!(phase(&brain), Phase::Reverted);
    assert_eq!(*brain.asked.subscribe().borrow(), stable);
}

#[test]
fn a_mesh_that_the_journal_could_not_take_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut brain = brain_in(directory.path());
    brain.recover(None).unwrap();
    let before = brain.state.mesh().unwrap().revision();
    let blocked = block(directory.path());
    let changed = MESH.replace("99%", "98%");
    std::fs::write(directory.path().join("mesh/mesh.yaml"), changed).unwrap();
    brain.read_mesh().unwrap_err();
    drop(blocked);
    brain.tick();
    assert_ne!(brain.state.mesh().unwrap().revision(), before);
    assert_eq!(brain.mesh_refused, None);
}

#[test]
fn a_restart_without_a_writable_journal_serves_what_was_proven() {
    let directory = tempfile::tempdir().unwrap();
    let (brain, raised) = exposed(directory.path());
    let ttl_ms = brain.state.dead_man_ttl_ms().unwrap();
    let died = brain.clock.now();
    drop(brain);
    let mut brain = brain_in(directory.path());
    brain.clock = Clock::starting_at(died.plus_ms(ttl_ms));
    let blocked = block(directory.path());
    brain.recover(Some(ttl_ms)).unwrap();
    assert!(brain.trouble.is_some());
    assert_ne!(view(&brain), raised);
    drop(blocked);
    brain.tick();
    assert_eq!(phase(&brain), Phase::Reverting);
}

#[test]
fn a_commit_that_was_interrupted_is_renewed_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut brain, _) = exposed(directory.path());
    for _ in 0..20 {
        if phase(&brain) != Phase::Committing {
            pass(&mut brain, 1_000);
            brain.accept(healthy(&brain)).unwrap();
            brain.last_watched = brain.clock.now();
        }
    }
    assert_eq!(phase(&brain), Phase::Committing);
    // Somebody connected when the shares had run out.
    brain.views.lend(None);
    let ttl_ms = brain.state.dead_man_ttl_ms().unwrap();
    pass(&mut brain, ttl_ms);
    let begun = brain.clock.now();
    brain.tick();
    assert!(brain.last_watched >= begun);
    let revision = brain.journal.revision();
    pass(&mut brain, 1_000);
    brain.tick();
    assert_eq!(brain.journal.revision(), revision + 1, "one observation");
    assert!(brain.last_watched >= begun.plus_ms(1_000));
}

#[test]
fn a_start_that_waits_begins_by_itself_when_its_turn_comes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut brain, _) = exposed(directory.path());
    brain.command(abort()).unwrap();
    brain.command(start(Turn::Next)).unwrap();
    let waiting = |brain: &Brain| brain.state.queue(None, brain.clock.now()).len();
    assert_eq!((phase(&brain), waiting(&brain)), (Phase::Reverting, 1));
    for _ in 0..5 {
        pass(&mut brain, 1_000);
        if phase(&brain) == Phase::Reverting {
            brain.accept(healthy(&brain)).unwrap();
        }
        brain.last_watched = brain.clock.now();
    }
    assert_eq!(phase(&brain), Phase::Reverted);
    brain.tick();
    assert_eq!((phase(&brain), waiting(&brain)), (Phase::Preparing, 0));
    assert_eq!(brain.state.latest("checkout").unwrap().number(), 2);
}

#[test]
fn the_civil_time_is_read_for_freeze_windows_and_only_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut brain = brain_in(directory.path());
    brain.recover(None).unwrap();
    let revision = brain.journal.revision();
    brain.tick();
    assert_eq!(brain.journal.revision(), revision);
    // Frozen for all of the years that this program may see.
    let window = "{from: \"2000-01-01T00:00\", to: \"9000-01-01T00:00\", zone: UTC}";
    let frozen = MESH.replace("slo:", &format!("freeze: [{window}]\nslo:"));
    std::fs::write(directory.path().join("mesh/mesh.yaml"), frozen).unwrap();
    brain.read_mesh().unwrap();
    let unknown = brain.command(start(Turn::Next)).unwrap_err().to_string();
    assert!(unknown.contains("civil time is not known"), "{unknown}");
    brain.tick();
    let known = brain.command(start(Turn::Next)).unwrap_err().to_string();
    assert!(known.contains("2000-01-01 00:00 to 9000-01-01"), "{known}");
    // Once is enough: the engine's own time carries it on.
    let revision = brain.journal.revision();
    brain.tick();
    assert_eq!(brain.journal.revision(), revision);
    brain.command(start(Turn::Queue)).unwrap();
    assert_eq!(brain.state.latest("checkout"), None);
}

/// Damages the journal's first record.
fn damage(directory: &std::path::Path) {
    let shell = rusqlite::Connection::open(directory.join("data/journal.sqlite3")).unwrap();
    shell
        .execute_batch(
            "DROP TRIGGER record_is_never_changed;
             UPDATE record SET at_ms = at_ms + 1 WHERE revision = 1",
        )
        .unwrap();
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_freezes_what_was_served_last_without_its_canaries() {
    let directory = tempfile::tempdir().unwrap();
    let (brain, raised) = exposed(directory.path());
    let mesh = brain.state.mesh().cloned();
    let mut splits = brain.state.splits();
    drop(brain);
    damage(directory.path());

    let past = Past::open(&directory.path().join("data")).unwrap();
    assert!(matches!(past, Past::Frozen { .. }));
    let views = Views::default();
    let server = Server::new(views.clone(), Settings::default());
    let (reports, waiting) = incoming();
    let handle = past
        .brain(
            directory.path().join("mesh"),
            Clock::starting_at(Time(0)),
            views.clone(),
            &server,
            waiting,
        )
        .unwrap();

    let served = views.id("web", ClientKind::Envoy, "s1").unwrap();
    assert_ne!(served, raised);
    splits.values_mut().for_each(outage::take_back);
    let lowered = Views::default();
    let configurations =
        State::frozen(mesh.clone().unwrap(), &splits, BTreeMap::new()).configurations();
    lowered.publish(Views::prepare(&configurations, &splits).unwrap());
    assert_eq!(Some(served), lowered.id("web", ClientKind::Envoy, "s1"));

    for error in [
        handle.command(abort()).await.unwrap_err(),
        handle.reload().await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, CommandError::Frozen(_)), "{text}");
        assert!(
            text.contains("revision 1") && text.contains("Restore"),
            "{text}"
        );
    }
    let published = handle.published().load();
    assert_eq!(published.state.mesh(), mesh.as_ref());
    assert_eq!(published.state.stable("checkout"), Some("v1"));
    assert!(published.journal_failed.is_some());
    assert!(handle.tick());
    assert!(!reports.is_closed(), "sidecars' reports are still taken");
}

#[test]
fn without_anything_that_was_served_a_damaged_journal_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    drop(exposed(directory.path()));
    damage(directory.path());
    std::fs::remove_file(directory.path().join("data/served.json")).unwrap();
    let Err(error) = Past::open(&directory.path().join("data")) else {
        panic!("it was opened");
    };
    assert!(error.to_string().contains("revision 1"), "{error}");
}
