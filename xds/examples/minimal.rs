//! A whole control plane: one view for everybody, from Envoy resources that are built in code.
//!
//! `cargo run -p tidegate-xds --example minimal -- 127.0.0.1:18000 127.0.0.1:8080` serves a
//! listener on 127.0.0.1:15001 whose requests go to 127.0.0.1:8080.

use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::{Message as _, Name as _};
use tidegate_xds::{Assign, Client, Refused, Resource, Server, Settings, Snapshot, TypeUrl};
use tokio::sync::watch;

type Views = watch::Receiver<Option<Arc<Snapshot>>>;

struct SameForAll(Views);

impl Assign for SameForAll {
    fn assign(&self, client: &Client) -> Result<Views, Refused> {
        println!(
            "{} ({:?} {}) connected",
            client.node_id, client.kind, client.version
        );
        Ok(self.0.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let listener = tokio::net::TcpListener::bind(address("127.0.0.1:18000")).await?;
    let view = Arc::new(view(address("127.0.0.1:8080").parse()?)?);
    println!("view {}", view.id());
    // Whoever holds the sender changes what clients have: `views.send(Some(next))`.
    let (_views, receiver) = watch::channel(Some(view));
    let server = Server::new(SameForAll(receiver), Settings::default());
    let mut changes = server.changed();
    let watched = server.clone();
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            for client in watched.clients() {
                let (id, rejections) = (client.client.node_id, client.rejections.len());
                println!("{id} has {:?}, rejects {rejections}", client.acknowledged);
            }
        }
    });
    let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    Ok(server.serve(listener, shutdown).await?)
}

fn view(upstream: SocketAddr) -> Result<Snapshot, Box<dyn std::error::Error>> {
    let endpoint = Endpoint {
        address: Some(socket(upstream)),
        ..Default::default()
    };
    let identifier = Some(HostIdentifier::Endpoint(endpoint));
    let host = LbEndpoint {
        host_identifier: identifier,
        ..Default::default()
    };
    let hosts = LocalityLbEndpoints {
        lb_endpoints: vec![host],
        ..Default::default()
    };
    let cluster = Cluster {
        name: "upstream".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        connect_timeout: Some(Duration {
            seconds: 1,
            nanos: 0,
        }),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: "upstream".to_owned(),
            endpoints: vec![hosts],
            ..Default::default()
        }),
        ..Default::default()
    };
    let proxy = TcpProxy {
        stat_prefix: "in".to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster("upstream".to_owned())),
        ..Default::default()
    };
    let config = Any {
        type_url: TcpProxy::type_url(),
        value: proxy.encode_to_vec(),
    };
    let config = Some(ConfigType::TypedConfig(config));
    let filter = Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: config,
    };
    let listener = Listener {
        name: "in".to_owned(),
        address: Some(socket(SocketAddr::from(([127, 0, 0, 1], 15001)))),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut builder = Snapshot::builder();
    builder.insert(Resource::encode(TypeUrl::CLUSTER, "upstream", &cluster)?);
    builder.insert(Resource::encode(TypeUrl::LISTENER, "in", &listener)?);
    Ok(builder.build()?)
}

fn socket(address: SocketAddr) -> Address {
    let port = Some(PortSpecifier::PortValue(u32::from(address.port())));
    let address = address.ip().to_string();
    let socket = SocketAddress {
        address,
        port_specifier: port,
        ..Default::default()
    };
    Address {
        address: Some(Kind::SocketAddress(socket)),
    }
}
