//! The demo's sidecars: real Envoys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use serde::Deserialize;

use super::child::Process;
use super::error::{BoxError, DemoError};
use super::load::HttpClient;
use super::mesh::{FLEET, zone};
use super::wait;

/// Largest answer of an admin endpoint that is read.
const ADMIN_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Time within which a request to an admin endpoint or a probe must be answered.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time within which an Envoy must open its admin port.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Time within which it must have its configuration and serve.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What a sidecar's bootstrap must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarPlace {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub fleet: String,
    /// `node.locality.zone`.
    pub zone: String,
    /// The control plane.
    pub xds: SocketAddr,
    /// Where the admin interface listens; port 0.
    pub admin: SocketAddr,
}

/// A running Envoy.
#[derive(Debug)]
pub(super) struct Sidecar {
    id: String,
    process: Process,
    admin_file: PathBuf,
    http: HttpClient,
}

// === impl Sidecar ===

impl Sidecar {
    /// The place of the `index`th sidecar.
    pub(super) fn place(index: usize, xds: SocketAddr) -> SidecarPlace {
        SidecarPlace {
            id: format!("sidecar-{}", index + 1),
            fleet: FLEET.to_owned(),
            zone: zone(index).to_owned(),
            xds,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    /// Starts an Envoy at `place`; its files go into `dir`.
    ///
    /// # Errors
    /// When the bootstrap or the process can't be made.
    pub(super) fn start(
        envoy: &Path,
        place: &SidecarPlace,
        bootstrap: impl FnOnce(&SidecarPlace) -> Result<String, BoxError>,
        dir: &Path,
        http: HttpClient,
    ) -> Result<Self, DemoError> {
        let id = place.id.clone();
        let text = bootstrap(place).map_err(|source| DemoError::Bootstrap {
            sidecar: id.clone(),
            source,
        })?;
        let config = dir.join(format!("{id}.yaml"));
        std::fs::write(&config, text)
            .map_err(DemoError::system(format!("write {}", config.display())))?;
        let admin_file = dir.join(format!("{id}.admin"));
        let args = [
            "--config-path".as_ref(),
            config.as_os_str(),
            "--admin-address-path".as_ref(),
            admin_file.as_os_str(),
            "--concurrency".as_ref(),
            "1".as_ref(),
            "--disable-hot-restart".as_ref(),
            "--log-level".as_ref(),
            "warning".as_ref(),
        ];
        let process = Process::start(&id, envoy, args, &dir.join(format!("{id}.log")))?;
        Ok(Self {
            id,
            process,
            admin_file,
            http,
        })
    }

    /// Waits until it serves the service called `host` and gives the address where.
    ///
    /// # Errors
    /// When it ends, or does not serve in time.
    pub(super) async fn ready(&mut self, host: &str) -> Result<SocketAddr, DemoError> {
        let what = format!("{}'s admin interface", self.id);
        let admin = wait::until(&what, START_LIMIT, async || {
            self.process.check()?;
            // Written in one go, but the file may be seen before its content.
            let text = std::fs::read_to_string(&self.admin_file).unwrap_or_default();
            Ok(text
                .trim()
                .parse::<SocketAddr>()
                .map_err(|_| "no address yet".to_owned()))
        })
        .await?;
        let what = format!("a listener of {} from the control plane", self.id);
        let listener = wait::until(&what, READY_LIMIT, async || {
            self.process.check()?;
            let answer = get(&self.http, admin, "/listeners?format=json", None).await;
            Ok(answer.and_then(|(_, body)| listener_address(&body)))
        })
        .await?;
        let what = format!("a first answer of `{host}` through {}", self.id);
        wait::until(&what, READY_LIMIT, async || {
            self.process.check()?;
            Ok(match get(&self.http, listener, "/", Some(host)).await {
                Ok((StatusCode::OK, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
                Err(error) => Err(error),
            })
        })
        .await?;
        Ok(listener)
    }

    /// # Errors
    /// When it ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        self.process.check()
    }

    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        self.process.kill().await
    }

    pub(super) fn tail(&self) -> String {
        self.process.tail()
    }
}

/// A small request; failures in words, because callers ask again.
async fn get(
    http: &HttpClient,
    address: SocketAddr,
    path: &str,
    host: Option<&str>,
) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::get(format!("http://{address}{path}"));
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    let request = request
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = http
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ADMIN_LIMIT_BYTES)
            .collect()
            .await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(PROBE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err("no answer".to_owned()))
}

#[derive(Deserialize)]
struct Listeners {
    #[serde(default)]
    listener_statuses: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    local_address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: std::net::IpAddr,
    /// Left out while the listener is not bound.
    #[serde(default)]
    port_value: u16,
}

/// The first bound listener of Envoy's `/listeners?format=json`.
fn listener_address(body: &[u8]) -> Result<SocketAddr, String> {
    let listeners: Listeners = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    listeners
        .listener_statuses
        .into_iter()
        .filter_map(|listener| listener.local_address?.socket_address)
        .find(|address| address.port_value != 0)
        .map(|address| SocketAddr::new(address.address, address.port_value))
        .ok_or_else(|| "no bound listener".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_listener_is_read_from_envoys_own_answer() {
        let body = br#"{"listener_statuses":[
            {"name":"api"},
            {"name":"cold","local_address":{"socket_address":{"address":"127.0.0.1"}}},
            {"name":"web","local_address":{"socket_address":{"address":"127.0.0.1","port_value":40123}}}]}"#;
        assert_eq!(
            listener_address(body),
            Ok(SocketAddr::from(([127, 0, 0, 1], 40_123)))
        );
        assert_eq!(listener_address(b"{}"), Err("no bound listener".to_owned()));
        assert!(listener_address(b"<html>").is_err());
    }
}
