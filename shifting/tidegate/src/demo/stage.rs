//! Everything that stands while a scenario runs: hosts, control plane, sidecars, client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;

use super::Tools;
use super::behaviour::Behaviour;
use super::child::Process;
use super::clock::Clock;
use super::error::DemoError;
use super::hosts::Hosts;
use super::load::{Load, http_client};
use super::mesh::{self, SERVICE};
use super::ports;
use super::sidecar::Sidecar;
use super::wait;
use crate::client::{Client, ClientError};

/// Hosts of the old version.
pub(super) const STABLE_HOSTS: usize = 30;
/// Hosts of the new version.
pub(super) const CANARY_HOSTS: usize = 4;
/// Time within which `serve` must answer.
const SERVE_LIMIT: Duration = Duration::from_secs(20);
/// Time within which sidecars must be in step and heard of.
const STEADY_LIMIT: Duration = Duration::from_secs(30);
/// A report that is older is not fresh; sidecars report every second.
const FRESH_MS: u64 = 3_000;

/// Everything that stands while a scenario runs. Its children are killed and its files removed
/// when it is dropped; [`Stage::tear_down`] does the same and waits for it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) client: Client,
    tools: Tools,
    xds: SocketAddr,
    api: SocketAddr,
    load: Option<Load>,
    sidecars: Vec<Sidecar>,
    control_plane: Option<Process>,
    hosts: Option<Hosts>,
    keep: bool,
    /// Last, because fields are dropped in this order and those above write into it.
    dir: tempfile::TempDir,
}

// === impl Stage ===

impl Stage {
    /// An empty stage with its directory and addresses.
    ///
    /// # Errors
    /// When there is no room for temporary files, or no free port.
    pub(super) fn new(tools: &Tools, keep: bool) -> Result<Self, DemoError> {
        let mut dir = tempfile::Builder::new()
            .prefix("tidegate-demo-")
            .tempdir()
            .map_err(DemoError::system("make a temporary directory"))?;
        dir.disable_cleanup(keep);
        let ports = ports::free(2, std::process::id())?;
        let mut addresses = ports
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let (Some(xds), Some(api)) = (addresses.next(), addresses.next()) else {
            return Err(DemoError::System {
                action: "find free ports".to_owned(),
                source: std::io::ErrorKind::AddrInUse.into(),
            });
        };
        Ok(Self {
            clock: Clock::start(),
            client: Client::new(api_uri(api)).with_timeout(Duration::from_secs(2)),
            tools: tools.clone(),
            xds,
            api,
            load: None,
            sidecars: Vec::new(),
            control_plane: None,
            hosts: None,
            keep,
            dir,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts hosts, the control plane and `count` sidecars, and waits until each sidecar
    /// serves. Gives the sidecars' listeners.
    ///
    /// # Errors
    /// When something does not start, or ends.
    pub(super) async fn set_up(
        &mut self,
        envoy: &Path,
        count: usize,
        behaviour: Behaviour,
    ) -> Result<Vec<SocketAddr>, DemoError> {
        let hosts = Hosts::start(STABLE_HOSTS, CANARY_HOSTS, behaviour, self.clock).await?;
        for name in ["mesh", "data", "logs"] {
            let path = self.dir.path().join(name);
            std::fs::create_dir(&path)
                .map_err(DemoError::system(format!("make {}", path.display())))?;
        }
        let file = self.dir.path().join("mesh/demo.yaml");
        std::fs::write(&file, mesh::yaml(&hosts.stable, &hosts.canary))
            .map_err(DemoError::system(format!("write {}", file.display())))?;
        self.hosts = Some(hosts);
        self.start_control_plane().await?;

        let (http, logs) = (http_client(), self.logs());
        for index in 0..count {
            let place = Sidecar::place(index, self.xds);
            let bootstrap = self.tools.bootstrap;
            let sidecar = Sidecar::start(envoy, &place, bootstrap, &logs, http.clone())?;
            self.sidecars.push(sidecar);
        }
        try_join_all(
            self.sidecars
                .iter_mut()
                .map(|sidecar| sidecar.ready(SERVICE)),
        )
        .await
    }

    /// Starts `serve` and waits until it answers. Also after [`Stage::kill_control_plane`]: the
    /// addresses and the journal are the same.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub(super) async fn start_control_plane(&mut self) -> Result<(), DemoError> {
        let (mesh, data) = (self.dir.path().join("mesh"), self.dir.path().join("data"));
        let (xds, api) = (self.xds.to_string(), self.api.to_string());
        let args = [
            "serve".as_ref(),
            "--mesh".as_ref(),
            mesh.as_os_str(),
            "--data".as_ref(),
            data.as_os_str(),
            "--xds".as_ref(),
            xds.as_ref(),
            "--api".as_ref(),
            api.as_ref(),
            // If this process is killed, nobody else would end it.
            "--exit-with-stdin".as_ref(),
        ];
        let log = self.logs().join("serve.log");
        let process = Process::start("the control plane", &self.tools.program, args, &log)?;
        let process = self.control_plane.insert(process);
        let client = &self.client;
        wait::until("an answer of the control plane", SERVE_LIMIT, async || {
            process.check()?;
            Ok(client
                .version()
                .await
                .map(|_| ())
                .map_err(|error| error.to_string()))
        })
        .await
    }

    /// `kill -9`. Gives the moment just before, on the scenario's clock.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) async fn kill_control_plane(&mut self) -> Result<u64, DemoError> {
        let killed_us = self.clock.now_us();
        if let Some(mut process) = self.control_plane.take() {
            process.kill().await?;
        }
        Ok(killed_us)
    }

    /// Waits until all sidecars hold what they should and have reported.
    ///
    /// # Errors
    /// When they don't in time, or a child ended.
    pub(super) async fn steady(&mut self) -> Result<(), DemoError> {
        let expected = self.sidecars.len();
        wait::until(
            "that all sidecars are in step and report",
            STEADY_LIMIT,
            async || {
                self.check()?;
                let answer = match self.client.sidecars().await {
                    Ok(answer) => answer,
                    Err(error @ ClientError::Refused { .. }) => return Err(error.into()),
                    Err(error) => return Ok(Err(error.to_string())),
                };
                let steady = answer.sidecars.iter().filter(|sidecar| {
                    sidecar.connected
                        && sidecar.view_wanted.is_some()
                        && sidecar.view_acknowledged == sidecar.view_wanted
                        && sidecar.last_report_ms.is_some_and(|ms| ms < FRESH_MS)
                });
                let steady = steady.count();
                Ok(if steady == expected {
                    Ok(())
                } else {
                    Err(format!("{steady} of {expected} are"))
                })
            },
        )
        .await
    }

    /// # Errors
    /// When a child ended that should have gone on.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        self.control_plane.iter_mut().try_for_each(Process::check)?;
        self.sidecars.iter_mut().try_for_each(Sidecar::check)
    }

    pub(super) fn start_load(&mut self, targets: Vec<SocketAddr>, rate: u32) {
        self.load = Some(Load::start(targets, SERVICE, rate, self.clock));
    }

    pub(super) fn load(&self) -> Option<&Load> {
        self.load.as_ref()
    }

    /// The client, to stop it.
    pub(super) fn take_load(&mut self) -> Option<Load> {
        self.load.take()
    }

    pub(super) fn hosts(&self) -> Option<&Hosts> {
        self.hosts.as_ref()
    }

    /// The children's last words, for an error.
    pub(super) fn tails(&self) -> String {
        let tails = self.control_plane.iter().map(Process::tail);
        let tails: Vec<_> = tails
            .chain(self.sidecars.iter().map(Sidecar::tail))
            .collect();
        tails.join("\n")
    }

    /// Ends everything, waits until it has ended, and removes the files (unless they are kept).
    ///
    /// # Errors
    /// When something is left behind.
    pub(super) async fn tear_down(mut self) -> Result<(), DemoError> {
        // The client first: it would only see failures from here on. Everything is tried, and
        // the first failure told.
        self.load = None;
        let mut result = Ok(());
        for sidecar in &mut self.sidecars {
            result = result.and(sidecar.kill().await);
        }
        if let Some(process) = &mut self.control_plane {
            result = result.and(process.kill().await);
        }
        self.hosts = None;
        if self.keep {
            let _ = self.dir.keep();
            return result;
        }
        let path = self.dir.path().to_owned();
        let action = format!("remove {}", path.display());
        let removed = self.dir.close().map_err(DemoError::system(action));
        result.and(removed)
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }
}

fn api_uri(api: SocketAddr) -> http::Uri {
    http::Uri::builder()
        .scheme("http")
        .authority(api.to_string())
        .path_and_query("/")
        .build()
        .unwrap_or_default()
}
