//! `kill -9` of the control plane, at rest and in the middle of rollouts.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate::journal::Journal;
use tidegate_engine::rollout::{Event, State};
use tidegate_integration::hosts::Hosts;
use tidegate_integration::intermediary::Intermediary;
use tidegate_integration::machine::{Random, alone, wait_until, wait_until_still};
use tidegate_integration::mesh::{Mesh, SLOW};
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Recorded, Traffic, by_status};

#[test]
fn a_restart_sends_no_unchanged_cluster_or_listener_and_fails_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let hosts = Hosts::start("v1", 4);
    Mesh::of("checkout", &[&hosts]).write(&directory.path().join("mesh"));
    let mut control_plane = ControlPlane::start(directory.path());
    let sidecar = Sidecar::start("sidecar-1", control_plane.xds, directory.path());
    control_plane.await_sidecars(1);
    let traffic = Traffic::start("checkout", &[sidecar.listener()], 100);
    let sent = control_plane.sidecars()[0]["sent"].clone();
    for kind in ["cds", "eds", "lds", "rds"] {
        assert!(sent[kind].as_u64() > Some(0), "{kind}: {sent}");
    }
    let answered = |count: usize| {
        let what = format!("{count} answers");
        let limit = Duration::from_secs(20);
        wait_until(limit, &what, || traffic.records().len() >= count);
    };
    answered(100);
    control_plane.kill();
    wait_until(Duration::from_secs(10), "Envoy to notice", || {
        sidecar.statistic("control_plane.connected_state") == Some(0)
    });
    control_plane.start_again();
    control_plane.await_sidecars(1);
    let sent = control_plane.sidecars()[0]["sent"].clone();
    for kind in ["cds", "lds"] {
        assert_eq!(sent[kind].as_u64().unwrap_or(0), 0, "{kind}: {sent}");
    }
    answered(traffic.records().len() + 100);
    let statuses = by_status(&traffic.finish());
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}

/// Fast enough for ten rollouts with two kills each; the shortest life of a share.
const HURRIED: &str = "{bake: 1s, soak: 1s, minimum_requests: 10, hold_deadline: 5m, \
    acknowledge_deadline: 10s, dead_man_ttl: 2s, advance_burn_rate: 50}";

/// The `dead_man_ttl` above, and a second.
const SHARE_LIFE_MS: u64 = 3_000;

/// One rollout of the test below.
struct Move {
    to: String,
    begin_ms: u64,
    end_ms: u64,
}

#[test]
fn t3_twenty_kills_in_the_middle_of_rollouts_never_raise_the_exposure_nor_leave_one_stuck() {
    let _alone = alone();
    let mut random = Random::seeded();
    let directory = tempfile::tempdir().unwrap();
    let (v1, v2) = (Hosts::start("v1", 20), Hosts::start("v2", 20));
    let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
    mesh.rollout = HURRIED;
    mesh.write(&directory.path().join("mesh"));
    let mut control_plane = ControlPlane::start(directory.path());
    let sidecars: Vec<Sidecar> = (1..=2)
        .map(|number| {
            let id = format!("sidecar-{number}");
            Sidecar::start(&id, control_plane.xds, directory.path())
        })
        .collect();
    control_plane.await_sidecars(2);
    let listeners: Vec<_> = sidecars.iter().map(Sidecar::listener).collect();
    let traffic = Traffic::start("checkout", &listeners, 400);
    let mut moves = Vec::new();
    let mut at = "v1";
    for _ in 0..10 {
        let to = if at == "v1" { "v2" } else { "v1" };
        let begin_ms = wall_ms(SystemTime::now());
        control_plane.json(&["rollout", "start", "checkout", to]);
        // Undisturbed it takes some 12 s: the first kill hits any phase, the second what follows.
        for range_ms in [12_000, 4_000] {
            // The moment is the test: there is no condition to wait for.
            let moment = Duration::from_millis(random.below(range_ms));
            std::thread::sleep(moment);
            let before = control_plane.rollout("checkout").unwrap();
            control_plane.kill();
            control_plane.start_again();
            println!(
                "to {to}: killed after {moment:?} at {} {}",
                before["phase"], before["rung"]
            );
        }
        let limit = Duration::from_secs(90);
        let status = control_plane.await_phase("checkout", &["committed", "reverted"], limit);
        let end_ms = wall_ms(SystemTime::now());
        println!(
            "to {to}: {} after {} ms",
            status["phase"],
            end_ms - begin_ms
        );
        moves.push(Move {
            to: to.to_owned(),
            begin_ms,
            end_ms,
        });
        if status["phase"] == "committed" {
            at = to;
        }
        control_plane.await_sidecars(2);
    }
    let records = traffic.finish();
    control_plane.kill();

    let statuses = by_status(&records);
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
    let limits = limits_of(&control_plane.data);
    at_hosts(&records, &moves, &limits);
}

#[test]
fn t3_a_kill_while_it_reverts_leaves_it_reverting_and_raises_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (v1, v2) = (Hosts::start("v1", 4), Hosts::start("v2", 2));
    let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
    mesh.rollout = SLOW;
    mesh.ladder = "[30%, 100%]";
    mesh.write(&directory.path().join("mesh"));
    let mut control_plane = ControlPlane::start(directory.path());
    // The revert is not over before everyone has it, and one of two does not get it.
    let between = Intermediary::start(control_plane.xds);
    let sidecars = [control_plane.xds, between.address].map(|xds| {
        let id = format!("sidecar-{}", xds.port());
        Sidecar::start(&id, xds, directory.path())
    });
    control_plane.await_sidecars(2);
    let listeners = sidecars.each_ref().map(Sidecar::listener);
    let traffic = Traffic::start("checkout", &listeners, 100);
    control_plane.json(&["rollout", "start", "checkout", "v2"]);
    let limit = Duration::from_secs(60);
    wait_until(limit, "50 requests on v2", || v2.served() >= 50);
    between.withhold_configuration(true);
    v2.fail(50);
    let status = control_plane.await_phase("checkout", &["reverting"], limit);
    let reason = status["revert_reason"].clone();
    for _ in 0..3 {
        control_plane.kill();
        control_plane.start_again();
        let status = control_plane.rollout("checkout").unwrap();
        assert_eq!(status["phase"], "reverting", "{status:#}");
        assert_eq!(status["revert_reason"], reason, "{status:#}");
        assert_eq!(status["share_wanted"], 0, "{status:#}");
    }
    // Who does not hear of it lets the share run out by itself.
    let quiet = Duration::from_secs(3);
    wait_until_still(limit, quiet, "v2, without requests", || v2.served());
    between.withhold_configuration(false);
    let status = control_plane.await_phase("checkout", &["reverted", "committed"], limit);
    assert_eq!(status["phase"], "reverted", "{status:#}");
    control_plane.await_sidecars(2);
    let served = v2.served();
    let answered = traffic.records().len();
    wait_until(limit, "200 more answers", || {
        traffic.records().len() >= answered + 200
    });
    assert_eq!(v2.served(), served);
    let records = traffic.finish();
    let elsewhere = |record: &&Recorded| record.status != 200 && record.version != "v2";
    assert_eq!(records.iter().find(elsewhere).map(|it| it.status), None);

    control_plane.kill();
    let limits = limits_of(&control_plane.data);
    let shares: Vec<u32> = limits
        .iter()
        .map(|(_, canary)| canary.as_ref().map_or(0, |(_, share)| *share))
        .collect();
    let peak = shares.iter().rposition(|share| *share > 0).unwrap();
    assert!(shares[peak + 1..].len() > 3, "{shares:?}");
    let rises = shares.windows(2).filter(|pair| pair[1] > pair[0]);
    assert_eq!(rises.count(), 1, "only the one step up: {shares:?}");
}

/// What the journal allowed from a moment on: the moment, the version on its way up, and its
/// share in parts per million.
type Limits = Vec<(u64, Option<(String, u32)>)>;

/// Folds the journal and checks every step of it: no share above its rung's, no rung left out, and
/// no rise by a recovery.
fn limits_of(data: &Path) -> Limits {
    let (_journal, records) = Journal::open(data).unwrap();
    let mut state = State::default();
    let mut limits = Limits::new();
    let mut last_share = 0;
    let mut last_rung: Option<(u64, usize)> = None;
    for record in records {
        let (next, _) = state.apply(&record.event, record.at).unwrap();
        state = next;
        let canary = state
            .splits()
            .remove("checkout")
            .and_then(|split| split.canary);
        let share = canary.as_ref().map_or(0, |canary| canary.share.get());
        let status = state.status("checkout", record.at);
        if let Some(status) = &status {
            let rungs = &status.plan.rungs;
            let rung = rungs.iter().position(|rung| *rung.name == *status.rung);
            let allowed = rung.map_or(0, |rung| rungs[rung].share.get());
            assert!(
                share <= allowed,
                "{share} ppm at {}: {status:#?}",
                status.rung
            );
            if let Some(rung) = rung {
                let next = match last_rung {
                    Some((number, last)) if number == status.number => last + 1,
                    _ => 0,
                };
                assert!(rung <= next, "a rung was left out: {status:#?}");
                last_rung = Some((status.number, rung));
            }
        }
        if matches!(record.event, Event::Recovered { .. }) {
            assert!(
                share <= last_share,
                "a recovery raised the share: {status:#?}"
            );
        }
        last_share = share;
        limits.push((record.wall_ms, canary.map(|canary| (canary.version, share))));
    }
    limits
}

/// In every second of every rollout: no more requests on the new version than its rungs then
/// allowed.
fn at_hosts(records: &[Recorded], moves: &[Move], limits: &Limits) {
    let (instant, wall) = (Instant::now(), wall_ms(SystemTime::now()));
    let sent_ms = |record: &Recorded| {
        wall - u64::try_from(instant.duration_since(record.sent).as_millis()).unwrap()
    };
    let mut judged = 0;
    for moved in moves {
        for second in (moved.begin_ms..moved.end_ms).step_by(1_000) {
            let window: Vec<_> = records
                .iter()
                .filter(|record| (second..second + 1_000).contains(&sent_ms(record)))
                .collect();
            // A share that was taken back in the journal may live on at the sidecars for its life
            // without renewal, when the kill came before the sending.
            let since = second.saturating_sub(SHARE_LIFE_MS);
            let before = limits.iter().rfind(|(at, _)| *at < since).into_iter();
            let within = limits
                .iter()
                .filter(|(at, _)| (since..second + 1_100).contains(at));
            let allowed = before
                .chain(within)
                .map(|(_, canary)| match canary {
                    Some((version, share)) if *version == moved.to => *share,
                    _ => 0,
                })
                .max()
                .unwrap_or(0);
            // After the commit there is no canary: the new version is the stable one.
            let committed = limits.iter().any(|(at, canary)| {
                (moved.begin_ms..second + 1_100).contains(at)
                    && matches!(canary, Some((version, 1_000_000)) if *version == moved.to)
            });
            if committed {
                break;
            }
            let count = window.iter().filter(|r| r.version == moved.to).count();
            let count = f64::from(u32::try_from(count).unwrap());
            let total = f64::from(u32::try_from(window.len()).unwrap());
            let expected = total * f64::from(allowed) / 1_000_000.0;
            let bound = expected + 5.0 * expected.sqrt() + if allowed == 0 { 0.0 } else { 3.0 };
            assert!(
                count <= bound,
                "{count} of {total} requests on {} at {allowed} ppm, {} ms into its rollout",
                moved.to,
                second - moved.begin_ms
            );
            judged += 1;
        }
    }
    assert!(judged >= 20, "only {judged} seconds were judged");
}

fn wall_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
