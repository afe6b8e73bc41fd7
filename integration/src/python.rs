//! gRPC's own xDS client, from PyPI: proxyless clients, and plain servers for them to reach.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::machine::wait_for;

/// The client library that the tests speak for.
const GRPCIO: &str = "grpcio==1.85.1";

/// A Python with gRPC in it, made once per machine.
///
/// # Panics
/// When there is no Python 3 with `venv`, or PyPI can't be reached.
pub fn interpreter() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .expect("$XDG_CACHE_HOME or $HOME is set")
            .join("tidegate");
        fs::create_dir_all(&cache).unwrap();
        let place = cache.join(format!("python-{}", GRPCIO.replace("==", "-")));
        let lock = File::create(place.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let python = place.join("bin").join("python3");
        let ready = place.join("ready");
        if !ready.exists() {
            // A virtual environment knows its own place, so it is not built elsewhere and renamed.
            if place.exists() {
                fs::remove_dir_all(&place).unwrap();
            }
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&place));
            succeed(
                Command::new(&python)
                    .args(["-m", "pip", "install", "--quiet", "--no-input"])
                    .args([
                        "--disable-pip-version-check",
                        "--only-binary",
                        ":all:",
                        GRPCIO,
                    ]),
            );
            fs::write(&ready, GRPCIO).unwrap();
        }
        python
    })
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A script of `integration/python` that prints a JSON value a line. Killed when dropped.
#[derive(Debug)]
pub struct Script {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

// === impl Script ===

impl Script {
    /// Starts `integration/python/<name>`.
    #[must_use]
    pub fn start(name: &str, arguments: &[String], environment: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("python")
            .join(name);
        let mut child = Command::new(interpreter())
            .arg(script)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let sink = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    sink.lock().unwrap().push(value);
                }
            }
        });
        Self { child, lines }
    }

    /// What it printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// Its first line.
    #[must_use]
    pub fn first_line(&self) -> Value {
        wait_for(Duration::from_secs(30), "the script's first line", || {
            self.lines().first().cloned()
        })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `count` plain gRPC servers of a version; they answer with its name.
#[must_use]
pub fn grpc_servers(version: &str, count: usize) -> (Script, Vec<SocketAddr>) {
    failing_grpc_servers(version, count, 0)
}

/// The same; this percentage of the calls end with UNAVAILABLE.
#[must_use]
pub fn failing_grpc_servers(
    version: &str,
    count: usize,
    percent: u32,
) -> (Script, Vec<SocketAddr>) {
    let arguments = [version.to_owned(), count.to_string(), percent.to_string()];
    let script = Script::start("grpc_servers.py", &arguments, &[]);
    let ports = script.first_line();
    let addresses = ports["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            SocketAddr::from((
                [127, 0, 0, 1],
                u16::try_from(port.as_u64().unwrap()).unwrap(),
            ))
        })
        .collect();
    (script, addresses)
}

/// The `node.id` of proxyless clients.
pub const GRPC_NODE: &str = "grpc-1";

/// Starts a proxyless client of `xds:///<service>` for each of these, all in one process, that calls
/// each `rate` times a second. It prints a line a second for each:
/// `{"service": "checkout", "counts": {"v1": 190, "v2": 10}, "errors": {"UNAVAILABLE": 1}}`.
#[must_use]
pub fn grpc_client(services: &[&str], rate: u32, xds: SocketAddr, directory: &Path) -> Script {
    grpc_client_that_ends(GRPC_NODE, services, (rate, 0), xds, directory)
}

/// The same with this `node.id`, which makes so many calls to each and then none, but stays there;
/// with 0 it goes on for ever.
#[must_use]
pub fn grpc_client_that_ends(
    node: &str,
    services: &[&str],
    (rate, calls): (u32, u32),
    xds: SocketAddr,
    directory: &Path,
) -> Script {
    let bootstrap = serde_json::json!({
        "xds_servers": [{
            "server_uri": xds.to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {"id": node, "cluster": "shop", "locality": {"zone": "z1"}},
    });
    let file = directory.join(format!("{node}.json"));
    fs::write(&file, bootstrap.to_string()).unwrap();
    let mut arguments = vec![rate.to_string(), calls.to_string()];
    arguments.extend(services.iter().map(ToString::to_string));
    Script::start(
        "grpc_client.py",
        &arguments,
        &[("GRPC_XDS_BOOTSTRAP", file.to_str().unwrap())],
    )
}
