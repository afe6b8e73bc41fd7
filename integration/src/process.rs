//! A child process that does not outlive its test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::machine::wait_for;

/// A running child; killed when dropped. What it writes goes to a file, which is printed when the
/// test fails.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
    finished: Option<ExitStatus>,
}

// === impl Running ===

impl Running {
    /// Starts `command`, with its standard output and error appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|cause| panic!("{}: {cause}", command.get_program().display()));
        Self {
            child,
            name: name.to_owned(),
            log: log.to_owned(),
            finished: None,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn finished(&mut self) -> Option<ExitStatus> {
        if self.finished.is_none() {
            self.finished = self.child.try_wait().unwrap();
        }
        self.finished
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(limit, &what, || self.finished())
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        if self.finished().is_none() {
            self.child.kill().unwrap();
            self.finished = Some(self.child.wait().unwrap());
        }
    }

    /// Sends it a signal such as `TERM`, `HUP`, `STOP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill -s {signal} {}", self.id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let by_itself = self.finished();
        if by_itself.is_none() {
            // It may end in between; then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(60);
            println!("--- {} ({by_itself:?}) wrote last:", self.name);
            println!("{}", lines[last..].join("\n"));
        }
    }
}
