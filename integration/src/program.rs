//! The program `tidegate`, built once and run like an operator runs it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The executable, built with the profile of the running test.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build)
}

/// `tidegate` with these arguments, not yet started.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(path());
    command.args(arguments);
    command
}

/// Runs `tidegate` with these arguments to its end.
#[must_use]
pub fn run(arguments: &[&str]) -> Answer {
    Answer::of(&command(arguments).output().unwrap())
}

/// Runs `tidegate` with these arguments, which must succeed and print JSON.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn json(arguments: &[&str]) -> Value {
    let answer = run(arguments);
    assert_eq!(answer.code, 0, "tidegate {arguments:?}: {answer:?}");
    answer.json()
}

// === impl Answer ===

impl Answer {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|cause| panic!("no JSON ({cause}): {self:?}"))
    }
}

/// All members, not only the program's package: with the features of a `cargo test --workspace`
/// nothing has to be compiled a second time.
fn build() -> PathBuf {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut build = Command::new(cargo);
    build
        .current_dir(root)
        .args(["build", "--workspace", "--bin", "tidegate"])
        .arg("--message-format=json-render-diagnostics")
        .args(["--profile", &profile()]);
    let output = build.output().unwrap();
    assert!(
        output.status.success(),
        "the program does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tidegate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}

/// From `target/<profile>/deps/<test>`.
fn profile() -> String {
    let test = env::current_exe().unwrap();
    let directory = test.ancestors().nth(2).and_then(Path::file_name);
    match directory.and_then(|name| name.to_str()) {
        Some("debug") | None => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}
