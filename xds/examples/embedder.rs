//! An embedder: a catalogue of services that counts its own revisions, published with versions of
//! its own, as users of go-control-plane do; and what becomes of it at the clients.
//!
//! `cargo run -p tidegate-xds --example embedder -- 127.0.0.1:18000`, then a line each:
//!
//! - `checkout 10.0.0.1:8080 10.0.0.2:8080` adds a service, or changes where it runs;
//! - `-checkout use basket instead` retires one, and tells those who ask for it why.
//!
//! Every resource goes out with the revision in which it changed last (`checkout-7`), and each type
//! with the newest revision of all. Who reads them back in Envoy's admin interface, or in what
//! `node-status` tools show, sees revisions and no hashes.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use tidegate_xds::server::Delivered;
use tidegate_xds::{
    Assign, Client, ErrorDetail, Refused, Resource, ResourceStatus, Server, Settings, Snapshot,
    TypeUrl,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;

type Views = watch::Receiver<Option<Arc<Snapshot>>>;

/// What is to be known everywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    revision: u64,
    services: BTreeMap<String, Service>,
    /// Services that were, and what to tell those who ask for them.
    retired: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Service {
    hosts: Vec<SocketAddr>,
    /// The revision in which it changed last.
    revision: u64,
}

/// Clients of every fleet get the same.
struct Everybody(Views);

impl Assign for Everybody {
    fn assign(&self, _: &Client) -> Result<Views, Refused> {
        Ok(self.0.clone())
    }
}

// === impl Catalogue ===

impl Catalogue {
    /// Adds a service, or changes where it runs.
    pub(crate) fn put(&mut self, name: &str, hosts: Vec<SocketAddr>) {
        self.revision += 1;
        self.retired.remove(name);
        let revision = self.revision;
        let service = Service { hosts, revision };
        self.services.insert(name.to_owned(), service);
    }

    /// Takes a service away, with a sentence for those who ask for it.
    pub(crate) fn retire(&mut self, name: &str, why: &str) {
        self.revision += 1;
        self.services.remove(name);
        self.retired.insert(name.to_owned(), why.to_owned());
    }

    /// The same as a view: a version for each resource and one for the type, and errors in the place
    /// of what was retired.
    pub(crate) fn view(&self) -> Result<Snapshot, Box<dyn Error>> {
        let type_url = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
        let mut builder = Snapshot::builder();
        for (name, service) in &self.services {
            let message = assignment(name, &service.hosts);
            let resource = Resource::encode(type_url.clone(), name, &message)?;
            builder.insert(resource.with_version(&format!("{name}-{}", service.revision))?);
        }
        for (name, why) in &self.retired {
            builder.error(
                type_url.clone(),
                name,
                ErrorDetail::new(Code::NotFound, why)?,
            );
        }
        builder.version(type_url, &format!("catalogue-{}", self.revision));
        Ok(builder.build()?)
    }

    /// Takes a line in, as people write it.
    pub(crate) fn edit(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        match name.strip_prefix('-') {
            Some(name) => self.retire(name, rest),
            None => {
                let hosts = rest.split_whitespace().map(str::parse);
                self.put(name, hosts.collect::<Result<_, _>>()?);
            }
        }
        Ok(())
    }
}

fn assignment(name: &str, hosts: &[SocketAddr]) -> ClusterLoadAssignment {
    let endpoint = |host: &SocketAddr| {
        let socket = SocketAddress {
            address: host.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(host.port().into())),
            ..SocketAddress::default()
        };
        let address = Some(Address {
            address: Some(Kind::SocketAddress(socket)),
        });
        let endpoint = Endpoint {
            address,
            ..Endpoint::default()
        };
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
            ..LbEndpoint::default()
        }
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: hosts.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    }
}

/// A server of these views.
pub(crate) fn server(views: Views) -> Server {
    Server::new(Everybody(views), Settings::default())
}

/// Where a service stands with every client, a line each.
pub(crate) fn standing(server: &Server, service: &str) -> Vec<String> {
    let line = |client: tidegate_xds::ClientStatus| {
        let id = client.client.node_id;
        let status = server.resource(&id, &TypeUrl::CLUSTER_LOAD_ASSIGNMENT, service);
        let words = match status {
            None => "isn't in its view".to_owned(),
            Some(ResourceStatus::NotSubscribed) => "isn't asked for".to_owned(),
            Some(ResourceStatus::NotSent) => "waits".to_owned(),
            Some(ResourceStatus::Sent) => "is on its way".to_owned(),
            Some(ResourceStatus::Acknowledged) => "is taken".to_owned(),
            Some(ResourceStatus::Rejected { text }) => format!("is refused: {text}"),
            Some(ResourceStatus::Expired) => "lapsed".to_owned(),
        };
        format!("{id}: {service} {words}")
    };
    server.clients().into_iter().map(line).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:18000".to_owned());
    let listener = TcpListener::bind(address).await?;
    let mut catalogue = Catalogue::default();
    let (views, receiver) = watch::channel(Some(Arc::new(catalogue.view()?)));
    let server = server(receiver);
    let mut changes = server.watch_delivery();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                match catalogue.edit(&line) {
                    Ok(()) => views.send_replace(Some(Arc::new(catalogue.view()?))),
                    Err(wrong) => { eprintln!("{line}: {wrong}"); continue }
                };
            }
            change = changes.recv() => {
                let change = change?;
                println!("{}: {:?}", change.node_id, change.what);
                if matches!(change.what, Delivered::CaughtUp(_)) {
                    let services = catalogue.services.keys();
                    let lines = services.flat_map(|name| standing(&server, name));
                    lines.for_each(|line| println!("  {line}"));
                }
            }
        }
    }
}
