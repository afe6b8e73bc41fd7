//! A control plane under test: started, asked, killed and started again like an operator's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::Running;
use crate::machine::{free_address, wait_until};
use crate::program::{self, Answer};
use crate::traffic::get;

/// How long a start may take until the API answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// `tidegate serve`, with the directories and addresses that survive a restart.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where sidecars connect.
    pub xds: SocketAddr,
    /// Where operators connect.
    pub api: SocketAddr,
    /// The mesh directory.
    pub mesh: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// The process; ended between a kill and the next start.
    pub process: Running,
    log: PathBuf,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts one over the mesh in `directory`/mesh and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::start_by(directory, program::command)
    }

    /// Starts one by a command of the test's own making, which gets the arguments for
    /// `tidegate`.
    #[must_use]
    pub fn start_by(directory: &Path, command: impl Fn(&[&str]) -> Command) -> Self {
        let (xds, api) = (free_address(), free_address());
        let (mesh, data) = (directory.join("mesh"), directory.join("data"));
        let log = directory.join("tidegate.log");
        let command = command(&Self::arguments(
            &mesh.display().to_string(),
            &data.display().to_string(),
            &xds.to_string(),
            &api.to_string(),
        ));
        let process = Running::start("tidegate serve", command, &log);
        let mut control_plane = Self {
            xds,
            api,
            mesh,
            data,
            process,
            log,
        };
        control_plane.await_answer();
        control_plane
    }

    fn arguments<'a>(mesh: &'a str, data: &'a str, xds: &'a str, api: &'a str) -> [&'a str; 9] {
        [
            "serve", "--mesh", mesh, "--data", data, "--xds", xds, "--api", api,
        ]
    }

    fn await_answer(&mut self) {
        let url = format!("{}/v1/version", self.url());
        wait_until(START_LIMIT, "an answer of the control plane", || {
            let ended = self.process.finished();
            assert!(ended.is_none(), "it ended: {}", self.process.log());
            get(&url).is_some()
        });
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same directories and addresses, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process.kill();
        let command = program::command(&Self::arguments(
            &self.mesh.display().to_string(),
            &self.data.display().to_string(),
            &self.xds.to_string(),
            &self.api.to_string(),
        ));
        self.process = Running::start("tidegate serve", command, &self.log);
        self.await_answer();
    }

    /// The API's base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Runs `tidegate <arguments> --api … --json`.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let url = self.url();
        program::run(&[arguments, &["--api", &url, "--json"]].concat())
    }

    /// The same; it must succeed, and its JSON is the answer.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "tidegate {arguments:?}: {answer:?}");
        answer.json()
    }

    /// The rollout of a service as the API tells it; `None` when there is none, or no answer.
    #[must_use]
    pub fn rollout(&self, service: &str) -> Option<Value> {
        let text = get(&format!("{}/v1/rollouts/{service}", self.url()))?;
        serde_json::from_str(&text).ok()
    }

    /// The sidecars as the API tells them.
    #[must_use]
    pub fn sidecars(&self) -> Vec<Value> {
        let text = get(&format!("{}/v1/sidecars", self.url())).unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        answer["sidecars"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the rollout of `service` is in one of `phases`; its status then.
    pub fn await_phase(&self, service: &str, phases: &[&str], limit: Duration) -> Value {
        let mut last = None;
        let what = format!("{service} in phase {phases:?}");
        let started = std::time::Instant::now();
        loop {
            if let Some(status) = self.rollout(service) {
                if phases.iter().any(|phase| status["phase"] == *phase) {
                    return status;
                }
                last = Some(status);
            }
            assert!(
                started.elapsed() < limit,
                "waited {limit:?} in vain for: {what}; last seen: {last:#?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `count` sidecars are connected and hold what they should.
    pub fn await_sidecars(&self, count: usize) {
        let what = format!("{count} sidecars that are up to date");
        wait_until(Duration::from_secs(30), &what, || {
            let sidecars = self.sidecars();
            let ready = sidecars.iter().filter(|sidecar| {
                sidecar["connected"] == true
                    && !sidecar["view_wanted"].is_null()
                    && sidecar["view_wanted"] == sidecar["view_acknowledged"]
            });
            ready.count() == count
        });
    }
}
