//! A control plane in this process, made with the library alone, and one Envoy.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_integration::Running;
use tidegate_integration::hosts::Hosts;
use tidegate_integration::machine::{Alone, alone, free_address, runtime, wait_until};
use tidegate_integration::sidecar::http2_cluster;
use tidegate_integration::traffic::get;
use tidegate_xds::config::Reader;
use tidegate_xds::{Assign, Client, Refused, Resource, Server, Settings, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::watch;

const NODE: &str = "sidecar-1";

type View = Option<Arc<Snapshot>>;

struct SameForAll(watch::Receiver<View>);

impl Assign for SameForAll {
    fn assign(&self, _: &Client) -> Result<watch::Receiver<View>, Refused> {
        Ok(self.0.clone())
    }
}

/// An Envoy, and the library that serves it.
pub(crate) struct World {
    /// Where the Envoy takes requests.
    pub(crate) listener: SocketAddr,
    /// What answers them.
    hosts: Hosts,
    server: Server,
    views: watch::Sender<View>,
    admin: SocketAddr,
    envoy: Running,
    _directory: TempDir,
    _alone: Alone,
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// Resources as Envoy's documentation writes them.
pub(crate) fn resources(text: &str) -> Vec<Resource> {
    Reader::new()
        .read("test.yaml", text)
        .unwrap_or_else(|diagnostics| panic!("{diagnostics:#?}"))
}

fn bootstrap(xds: SocketAddr, admin: SocketAddr) -> String {
    let xds = http2_cluster("xds", xds);
    format!(
        r#"
node: {{ id: {NODE}, cluster: shop }}
admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [ {{ envoy_grpc: {{ cluster_name: xds }} }} ]
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
{xds}"#,
        admin.ip(),
        admin.port()
    )
}

// === impl World ===

impl World {
    /// Serves what `view` makes of the listener's address and the host's, and waits until the
    /// listener is there.
    pub(crate) fn start(
        envoy: &Path,
        view: impl FnOnce(SocketAddr, SocketAddr) -> Vec<Resource>,
    ) -> Self {
        let alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let (xds, admin, listener) = (free_address(), free_address(), free_address());
        let hosts = Hosts::start("v1", 1);
        let (views, receiver) = watch::channel(Some(snapshot(view(listener, hosts.addresses[0]))));
        let server = Server::new(SameForAll(receiver), Settings::default());
        let serving = server.clone();
        let socket = runtime().block_on(TcpListener::bind(xds)).unwrap();
        runtime().spawn(async move { serving.serve(socket, std::future::pending()).await });
        let file = directory.path().join("envoy.yaml");
        fs::write(&file, bootstrap(xds, admin)).unwrap();
        let mut command = Command::new(envoy);
        command
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", "warning"])
            .args(["--component-log-level", "upstream:info"]);
        let envoy = Running::start("envoy", command, &directory.path().join("envoy.log"));
        let world = Self {
            listener,
            hosts,
            server,
            views,
            admin,
            envoy,
            _directory: directory,
            _alone: alone,
        };
        wait_until(Duration::from_secs(30), "the listener", || {
            TcpStream::connect(listener).is_ok()
        });
        world
    }

    pub(crate) fn host(&self) -> SocketAddr {
        self.hosts.addresses[0]
    }

    /// Publishes another view, and waits until the Envoy has what it asked for of it.
    pub(crate) fn publish(&self, resources: Vec<Resource>) {
        let view = snapshot(resources);
        let id = view.id().clone();
        self.views.send(Some(view)).unwrap();
        wait_until(Duration::from_secs(10), "the view acknowledged", || {
            let status = self.server.client(NODE);
            status.is_some_and(|status| status.acknowledged.as_ref() == Some(&id))
        });
    }

    /// Sends one request.
    pub(crate) fn ask(&self, host: &str, cluster: &str) -> Answer {
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.listener).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-cluster: {cluster}\r\n");
        let request = format!("{head}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("no answer: {text}")),
            took: began.elapsed(),
        }
    }

    pub(crate) fn await_cluster(&self, name: &str) {
        let what = format!("cluster {name}");
        wait_until(Duration::from_secs(10), &what, || self.has_cluster(name));
    }

    /// What the Envoy wrote.
    pub(crate) fn log(&self) -> String {
        self.envoy.log()
    }

    /// Whether the Envoy has a cluster.
    pub(crate) fn has_cluster(&self, name: &str) -> bool {
        let clusters = get(&format!("http://{}/clusters", self.admin)).unwrap_or_default();
        clusters
            .lines()
            .any(|line| line.starts_with(&format!("{name}::")))
    }
}

fn snapshot(resources: Vec<Resource>) -> Arc<Snapshot> {
    let mut builder = Snapshot::builder();
    for resource in resources {
        builder.insert(resource);
    }
    Arc::new(builder.build().unwrap())
}

/// A cluster of one host.
pub(crate) fn cluster(name: &str, host: SocketAddr) -> Resource {
    let text = format!(
        r#"
'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
name: {name}
type: STATIC
connect_timeout: 1s
load_assignment:
  cluster_name: {name}
  endpoints:
  - lb_endpoints:
    - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
"#,
        host.ip(),
        host.port()
    );
    resources(&text).remove(0)
}

/// A listener whose filter fetches on demand: `odcds` and `routes` are as in its configuration.
pub(crate) fn listener(address: SocketAddr, odcds: &str, routes: &str) -> Resource {
    let text = format!(
        r#"
'@type': type.googleapis.com/envoy.config.listener.v3.Listener
name: in
address: {{ socket_address: {{ address: {}, port_value: {} }} }}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      {routes}
      http_filters:
      - name: envoy.filters.http.on_demand
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand
          {odcds}
      - name: envoy.filters.http.router
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#,
        address.ip(),
        address.port()
    );
    resources(&text).remove(0)
}
