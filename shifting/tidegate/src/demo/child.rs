//! Child processes: their logs in files, their ends noticed, their lives never longer than ours.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, ChildStdin, Command};

use super::error::DemoError;
use crate::show;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;
/// Bytes of a log that are read for its tail.
const TAIL_BYTES: u64 = 16 * 1024;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Open as long as we live: a child that watches it ends with us, even if we are killed.
    _stdin: Option<ChildStdin>,
}

// === impl Process ===

impl Process {
    /// Starts `program`; what it says is appended to `log`. In a process group of its own: a
    /// Ctrl-C on the terminal is for the demo, which ends its children in its own order.
    ///
    /// # Errors
    /// When the program or the log can't be opened.
    pub(super) fn start(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
    ) -> Result<Self, DemoError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let cannot_open = || DemoError::system(format!("open {}", log.display()));
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(open().map_err(cannot_open())?)
            .stderr(open().map_err(cannot_open())?)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(DemoError::system(format!(
                "start {name} ({})",
                program.display()
            )))?;
        let stdin = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            _stdin: stdin,
        })
    }

    /// # Errors
    /// When it ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        let ended = self
            .child
            .try_wait()
            .map_err(DemoError::system(format!("look after {}", self.name)))?;
        ended.map_or(Ok(()), |status| {
            Err(DemoError::Exited {
                name: self.name.clone(),
                status: describe(status),
                log: None,
                tail: self.tail(),
            })
        })
    }

    /// Sends `SIGKILL` and waits until it is gone. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        self.child
            .kill()
            .await
            .map_err(DemoError::system(format!("kill {}", self.name)))
    }

    /// The end of its log, indented under its name.
    pub(super) fn tail(&self) -> String {
        let lines = tail(&self.log).unwrap_or_else(|error| vec![format!("(no log: {error})")]);
        let lines: Vec<_> = lines.iter().map(|line| format!("    {line}")).collect();
        format!("  {}:\n{}", self.name, lines.join("\n"))
    }
}

fn tail(log: &Path) -> std::io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(show::clean).collect();
    Ok(lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default()
        .to_vec())
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::wait;

    fn sh(script: &str, log: &Path) -> Process {
        Process::start("the child", Path::new("/bin/sh"), ["-c", script], log).unwrap()
    }

    #[tokio::test]
    async fn an_early_end_is_reported_with_the_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sh(
            "echo cannot open the port >&2; exit 3",
            &dir.path().join("log"),
        );
        let error = wait::until("the end", Duration::from_secs(10), async || {
            Ok(child.check().err().ok_or_else(|| "running".to_owned()))
        })
        .await
        .unwrap();
        let text = error.to_string();
        assert!(
            text.starts_with("the child ended early (exit status: 3)"),
            "{text}"
        );
        assert!(text.contains("cannot open the port"), "{text}");
    }

    #[tokio::test]
    async fn a_killed_child_is_gone_when_kill_returns() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sh("exec sleep 1000", &dir.path().join("log"));
        child.check().unwrap();
        child.kill().await.unwrap();
        assert!(child.check().is_err());
        child.kill().await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_watches_its_stdin_ends_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sh("cat; exit 7", &dir.path().join("log"));
        child._stdin = None;
        let status = tokio::time::timeout(Duration::from_secs(10), child.child.wait());
        assert_eq!(status.await.unwrap().unwrap().code(), Some(7));
    }
}
