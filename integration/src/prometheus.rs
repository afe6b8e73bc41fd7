//! A real Prometheus, from Debian's package `prometheus`, that scrapes sidecars.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Running;
use crate::machine::{free_address, wait_until};
use crate::traffic::get;

/// How long a start may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running Prometheus. Its data survive a restart.
#[derive(Debug)]
pub struct Prometheus {
    /// Where it answers.
    pub address: SocketAddr,
    /// The process; ended between a kill and the next start.
    pub process: Running,
    directory: PathBuf,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes these admin interfaces every second. Its files go to `directory`.
    ///
    /// # Panics
    /// When there is none on the PATH, or it does not answer.
    #[must_use]
    pub fn start(directory: &Path, targets: &[SocketAddr]) -> Self {
        let directory = directory.join("prometheus");
        fs::create_dir_all(&directory).unwrap();
        let targets: Vec<String> = targets
            .iter()
            .map(|target| format!("\"{target}\""))
            .collect();
        let configuration = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: envoy\n  metrics_path: /stats/prometheus\n  static_configs:\n  \
             - targets: [{}]\n",
            targets.join(", ")
        );
        fs::write(directory.join("prometheus.yml"), configuration).unwrap();
        let address = free_address();
        let mut prometheus = Self {
            address,
            process: Self::spawn(&directory, address),
            directory,
        };
        prometheus.await_answer();
        prometheus
    }

    fn spawn(directory: &Path, address: SocketAddr) -> Running {
        let mut command = Command::new("prometheus");
        command
            .arg(format!(
                "--config.file={}",
                directory.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        Running::start(
            "prometheus (of Debian's package `prometheus`)",
            command,
            &directory.join("prometheus.log"),
        )
    }

    fn await_answer(&mut self) {
        let url = format!("{}/-/ready", self.url());
        wait_until(START_LIMIT, "an answer of Prometheus", || {
            let ended = self.process.finished();
            assert!(ended.is_none(), "it ended: {}", self.process.log());
            get(&url).is_some()
        });
    }

    /// Its base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same address, with the same data, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.directory, self.address);
        self.await_answer();
    }
}
