//! One mutant is built and tested.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::list::Mutant;
use crate::scratch::Scratch;

/// What hangs is caught: after this and twice what all tests take otherwise. The test harness names
/// a test that runs for longer than a minute.
const DEADLINE: Duration = Duration::from_secs(65);

/// The same where nobody knows how long tests take.
const DEADLINE_QUICK: Duration = Duration::from_secs(300);

/// Kibibytes of memory that tests may take: a loop without an end may grow.
const MEMORY_KIB: &str = "4000000";

/// Built twenty times as fast as with optimization, and the few tests of a mutant run fast enough.
const SETTINGS: [&str; 2] = [
    "profile.dev.package.tidegate-engine.opt-level=0",
    "profile.dev.debug=false",
];

/// The tests of the engine as it is end within this, also on a busy machine.
const UNMUTATED: Duration = Duration::from_secs(1_800);

/// Random cases are the same in every run, so that what is caught by one is caught again.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This test failed, one of those that are meant to notice.
    Caught(String),
    /// This test failed, another one.
    CaughtElsewhere(String),
    /// The tests did not end; this one was running, as far as is known.
    Hung(String),
    /// The tests' program ended by itself.
    Crashed(String),
    /// All tests passed.
    Survived,
    /// The list is wrong.
    Faulty(String),
}

/// The tests of the engine as it is.
#[derive(Debug)]
pub(crate) struct Tests {
    /// All of them.
    pub(crate) names: Vec<String>,
    /// How long all of them take; `None` when only those are run that are meant to notice.
    pub(crate) took: Option<Duration>,
}

/// How tests ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed(String),
    Hung(String),
    Crashed(String),
}

// === impl Outcome ===

impl Outcome {
    /// For the table.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Outcome::Caught(_) => "caught",
            Outcome::CaughtElsewhere(_) => "caught, elsewhere",
            Outcome::Hung(_) => "caught, hangs",
            Outcome::Crashed(_) => "caught, crashes",
            Outcome::Survived => "SURVIVED",
            Outcome::Faulty(_) => "FAULTY",
        }
    }

    /// The test that noticed, or what else there is to say.
    pub(crate) fn by(&self) -> &str {
        match self {
            Outcome::Caught(by)
            | Outcome::CaughtElsewhere(by)
            | Outcome::Hung(by)
            | Outcome::Crashed(by)
            | Outcome::Faulty(by) => by,
            Outcome::Survived => "",
        }
    }

    pub(crate) fn is_caught(&self) -> bool {
        !matches!(self, Outcome::Survived | Outcome::Faulty(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.word(), self.by())
    }
}

// === impl Tests ===

impl Tests {
    /// Builds and runs the tests of the copy; an error when they don't pass. `quick`: they are not
    /// run.
    pub(crate) fn unmutated(scratch: &Scratch, quick: bool) -> Result<Self, String> {
        let program = build(scratch)?;
        let listed = Command::new(&program)
            .arg("--list")
            .output()
            .map_err(|cause| cause.to_string())?;
        let names = String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect();
        if quick {
            return Ok(Self { names, took: None });
        }
        let begun = Instant::now();
        match run(scratch, &program, "", UNMUTATED)? {
            End::Passed => Ok(Self {
                names,
                took: Some(begun.elapsed()),
            }),
            other => Err(format!("the tests of the engine as it is: {other:?}")),
        }
    }

    fn deadline(&self) -> Duration {
        self.took.map_or(DEADLINE_QUICK, |took| DEADLINE + 2 * took)
    }
}

/// Puts the mutant into the copy, tests it, and takes it out again.
///
/// # Errors
/// When nothing could be tested at all.
pub(crate) fn try_one(
    scratch: &Scratch,
    tests: &Tests,
    mutant: &Mutant,
) -> Result<Outcome, String> {
    if !tests.names.iter().any(|name| name.contains(&mutant.tests)) {
        let why = format!("no test is called `{}`", mutant.tests);
        return Ok(Outcome::Faulty(why));
    }
    let path = scratch.source(&mutant.file);
    let text = |cause: std::io::Error| format!("{}: {cause}", path.display());
    let source = fs::read_to_string(&path).map_err(text)?;
    let mutated = match mutant.apply(&source) {
        Ok(mutated) => mutated,
        Err(why) => return Ok(Outcome::Faulty(why)),
    };
    fs::write(&path, mutated).map_err(text)?;
    let outcome = judge(scratch, tests, mutant);
    fs::write(&path, source).map_err(text)?;
    outcome
}

fn judge(scratch: &Scratch, tests: &Tests, mutant: &Mutant) -> Result<Outcome, String> {
    let program = match build(scratch) {
        Ok(program) => program,
        Err(why) => return Ok(Outcome::Faulty(why)),
    };
    let first = run(scratch, &program, &mutant.tests, tests.deadline())?;
    let (end, elsewhere) = match first {
        End::Passed if tests.took.is_some() => {
            (run(scratch, &program, "", tests.deadline())?, true)
        }
        other => (other, false),
    };
    Ok(match end {
        End::Passed => Outcome::Survived,
        End::Failed(by) if elsewhere => Outcome::CaughtElsewhere(by),
        End::Failed(by) => Outcome::Caught(by),
        End::Hung(by) => Outcome::Hung(by),
        End::Crashed(by) => Outcome::Crashed(by),
    })
}

/// Builds the library's tests; the program that runs them, or what the compiler says.
fn build(scratch: &Scratch) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["test", "--package", "tidegate-engine", "--lib", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(SETTINGS.iter().flat_map(|setting| ["--config", setting]))
        .current_dir(scratch.engine())
        .env("CARGO_TARGET_DIR", scratch.builds())
        .env("CARGO_INCREMENTAL", "1")
        .output()
        .map_err(|cause| format!("cargo: {cause}"))?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let first = said.lines().skip_while(|line| !line.starts_with("error"));
        let first: Vec<&str> = first.take(6).collect();
        return Err(format!("it does not compile: {}", first.join("\n")));
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tidegate_engine")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no program for the tests".to_owned())
}

/// Runs the tests whose names contain `filter`, until the first of them fails.
fn run(scratch: &Scratch, program: &Path, filter: &str, deadline: Duration) -> Result<End, String> {
    let text = |cause: std::io::Error| cause.to_string();
    let output = scratch.output();
    let file = File::create(&output).map_err(text)?;
    let mut tests = Command::new("sh")
        .args([
            "-c",
            "ulimit -v \"$1\"; shift; exec \"$@\"",
            "sh",
            MEMORY_KIB,
        ])
        .arg(program)
        .arg(filter)
        .env(SEED.0, SEED.1)
        .current_dir(scratch.engine())
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .map_err(text)?;
    let begun = Instant::now();
    let end = loop {
        // Asked before its output is read, so that nothing of the output is missed.
        let ended = tests.try_wait().map_err(text)?;
        let said = String::from_utf8_lossy(&fs::read(&output).map_err(text)?).into_owned();
        if let Some(test) = first_with(&said, " ... FAILED") {
            break End::Failed(test);
        }
        match ended {
            Some(status) if status.success() => break End::Passed,
            Some(status) => break End::Crashed(status.to_string()),
            None if begun.elapsed() > deadline => {
                let test = first_with(&said, " has been running for over 60 seconds");
                break End::Hung(test.unwrap_or_default());
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    // It may have ended by now; then there is nothing to end.
    let _ = tests.kill();
    tests.wait().map_err(text)?;
    Ok(end)
}

/// The test of the first line `test NAME{sign}`.
fn first_with(said: &str, sign: &str) -> Option<String> {
    said.lines()
        .filter_map(|line| line.strip_prefix("test "))
        .find_map(|line| line.strip_suffix(sign))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_that_failed_is_named() {
        let said = "running 2 tests\ntest a::b ... ok\ntest c has been running for over 60 \
                    seconds\ntest d::e ... FAILED\ntest f ... FAILED\n";
        assert_eq!(first_with(said, " ... FAILED"), Some("d::e".to_owned()));
        let sign = " has been running for over 60 seconds";
        assert_eq!(first_with(said, sign), Some("c".to_owned()));
        assert_eq!(first_with("test a ... ok", " ... FAILED"), None);
    }
}
