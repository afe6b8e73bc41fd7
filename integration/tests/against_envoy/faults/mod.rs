//! The faults of evidence §6b, each injected into a running control plane and real Envoys. Which
//! tests show which of them is a table in this package's README.

mod delivery;
mod silence;
mod together;
mod unready;

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::intermediary::Intermediary;
use tidegate_integration::machine::{Alone, alone, wait_for};
use tidegate_integration::mesh::Mesh;
use tidegate_integration::serve::ControlPlane;
use tidegate_integration::sidecar::Sidecar;
use tidegate_integration::traffic::{Recorded, Traffic, by_status};

const LIMIT: Duration = Duration::from_secs(90);

/// Requests a second through each sidecar.
const RATE: u32 = 40;

/// One service, and sidecars that reach their control plane through somebody each.
pub(super) struct World {
    pub(super) mesh: Mesh,
    _v1: Hosts,
    pub(super) v2: Hosts,
    pub(super) control_plane: ControlPlane,
    pub(super) between: Vec<Intermediary>,
    pub(super) sidecars: Vec<Sidecar>,
    traffic: Option<Traffic>,
    _directory: TempDir,
    _alone: Alone,
}

// === impl World ===

impl World {
    /// `sidecar-1` and so on, with traffic; `change` is made to the mesh before.
    pub(super) fn start(sidecars: usize, change: impl FnOnce(&mut Mesh)) -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let (v1, v2) = (Hosts::start("v1", 4), Hosts::start("v2", 2));
        let mut mesh = Mesh::of("checkout", &[&v1, &v2]);
        change(&mut mesh);
        mesh.write(&directory.path().join("mesh"));
        let control_plane = ControlPlane::start(directory.path());
        let between: Vec<Intermediary> = (0..sidecars)
            .map(|_| Intermediary::start(control_plane.xds))
            .collect();
        let start = |(number, between): (usize, &Intermediary)| {
            let id = format!("sidecar-{}", number + 1);
            Sidecar::start(&id, between.address, directory.path())
        };
        let sidecars: Vec<Sidecar> = between.iter().enumerate().map(start).collect();
        control_plane.await_sidecars(sidecars.len());
        let listeners: Vec<_> = sidecars.iter().map(Sidecar::listener).collect();
        let rate = RATE * u32::try_from(listeners.len()).unwrap();
        let traffic = Traffic::start("checkout", &listeners, rate);
        Self {
            mesh,
            _v1: v1,
            v2,
            control_plane,
            between,
            sidecars,
            traffic: Some(traffic),
            _directory: directory,
            _alone: alone,
        }
    }

    pub(super) fn begin(&self) {
        self.control_plane
            .json(&["rollout", "start", "checkout", "v2"]);
    }

    pub(super) fn status(&self) -> Value {
        status(&self.control_plane, "checkout")
    }

    pub(super) fn await_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        await_status(&self.control_plane, "checkout", what, wanted)
    }

    /// Waits until a rung is judged and nothing about it is doubtful.
    pub(super) fn await_judged(&self, rung: &str) -> Value {
        self.await_status(&format!("{rung} judged"), |status| {
            assert!(status["revert_reason"].is_null(), "{status:#}");
            status["rung"] == rung && is_judged(status)
        })
    }

    /// All requests so far and what is in flight; no more are sent.
    pub(super) fn finish(&mut self) -> Vec<Recorded> {
        self.traffic.take().map(Traffic::finish).unwrap_or_default()
    }
}

/// The rollout of a service, which there is.
fn status(control_plane: &ControlPlane, service: &str) -> Value {
    wait_for(LIMIT, "an answer", || control_plane.rollout(service))
}

/// Waits until the rollout of a service is as wanted.
fn await_status(
    control_plane: &ControlPlane,
    service: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let started = Instant::now();
    loop {
        let status = status(control_plane, service);
        if wanted(&status) {
            return status;
        }
        assert!(
            started.elapsed() < LIMIT,
            "waited {LIMIT:?} in vain for: {service}: {what}; last seen: {status:#}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Its clock runs.
fn is_judged(status: &Value) -> bool {
    status["phase"] == "judging" && status["decision"]["clock_stopped"] == false
}

/// The decision of the latest tick is a hold of this kind, which stops the clock.
fn is_held(status: &Value, kind: &str) -> bool {
    let decision = &status["decision"];
    decision["kind"] == kind && decision["clock_stopped"] == true
}

/// Neither further nor back.
fn stays(status: &Value, rung: &str) {
    assert_eq!(
        (&status["phase"], &status["rung"]),
        (&"judging".into(), &rung.into()),
        "{status:#}"
    );
}

fn text<'a>(status: &'a Value, field: &str) -> &'a str {
    let text = status[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {status:#}"))
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

fn nothing_failed(records: &[Recorded]) {
    let statuses = by_status(records);
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "{statuses:?}");
}
