//! What is served in the benchmark, byte for byte the same by every server: clusters, an assignment
//! for each, a few listeners. Whoever knows an index and a generation knows the bytes.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Locality, SocketAddress,
};
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

/// Endpoints of each assignment.
pub const ENDPOINTS: u32 = 10;

/// Listeners of every world.
pub const LISTENERS: u32 = 10;

/// The types of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// `Cluster`
    Cluster = 0,
    /// `ClusterLoadAssignment`
    Assignment = 1,
    /// `Listener`
    Listener = 2,
}

/// How many clusters (and assignments) there are.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Clusters, and as many assignments; at most 10,000.
    pub clusters: u32,
}

// === impl Type ===

impl Type {
    /// In the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Assignment, Self::Listener];

    /// Of requests, responses and resources.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Assignment => {
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        }
    }

    /// The inverse of [`url`](Self::url).
    #[must_use]
    pub fn of_url(url: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.url().as_bytes() == url)
    }

    /// Its letter in the file of resources.
    fn letter(self) -> u8 {
        match self {
            Self::Cluster => b'c',
            Self::Assignment => b'e',
            Self::Listener => b'l',
        }
    }

    /// Whether both are the same message, whatever the order of their fields.
    #[must_use]
    pub fn same(self, one: &[u8], other: &[u8]) -> bool {
        fn equal<M: prost::Message + Default + PartialEq>(one: &[u8], other: &[u8]) -> bool {
            matches!((M::decode(one), M::decode(other)), (Ok(a), Ok(b)) if a == b)
        }
        match self {
            Self::Cluster => equal::<Cluster>(one, other),
            Self::Assignment => equal::<ClusterLoadAssignment>(one, other),
            Self::Listener => equal::<Listener>(one, other),
        }
    }
}

// === impl World ===

impl World {
    /// Resources of a type.
    #[must_use]
    pub fn count(self, of: Type) -> u32 {
        match of {
            Type::Cluster | Type::Assignment => self.clusters,
            Type::Listener => LISTENERS,
        }
    }

    /// A resource's name.
    #[must_use]
    pub fn name(self, of: Type, index: u32) -> String {
        match of {
            Type::Cluster | Type::Assignment => format!("cluster-{index:04}"),
            Type::Listener => format!("listener-{index:04}"),
        }
    }

    /// The inverse of [`name`](Self::name).
    #[must_use]
    pub fn index(self, of: Type, name: &[u8]) -> Option<u32> {
        let prefix: &[u8] = match of {
            Type::Cluster | Type::Assignment => b"cluster-",
            Type::Listener => b"listener-",
        };
        let digits = name.strip_prefix(prefix).filter(|rest| rest.len() == 4)?;
        let index = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (index < self.count(of)).then_some(index)
    }

    /// A resource's bytes. Only assignments have more than one generation; all have the same size.
    #[must_use]
    pub fn body(self, of: Type, index: u32, generation: u32) -> Bytes {
        let name = self.name(of, index);
        let bytes = match of {
            Type::Cluster => cluster(name).encode_to_vec(),
            Type::Assignment => assignment(name, index, generation).encode_to_vec(),
            Type::Listener => {
                listener(name, self.name(Type::Cluster, index), index).encode_to_vec()
            }
        };
        Bytes::from(bytes)
    }

    /// Writes the file that servers read, with this generation of one assignment.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(self, path: &Path, changed: u32, generation: u32) -> io::Result<()> {
        let mut out = Vec::new();
        for of in Type::ALL {
            for index in 0..self.count(of) {
                let changed = of == Type::Assignment && index == changed;
                let body = self.body(of, index, if changed { generation } else { 0 });
                out.push(of.letter());
                out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
                out.extend_from_slice(&body);
            }
        }
        fs::write(path, out)
    }
}

/// Reads what [`World::write`] wrote.
///
/// # Errors
/// If the file can't be read, or is something else.
pub fn read(path: &Path) -> io::Result<Vec<(Type, Bytes)>> {
    let mut rest = Bytes::from(fs::read(path)?);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let head = rest.split_to(5);
        let of = Type::ALL.into_iter().find(|t| t.letter() == head[0]);
        let of = of.ok_or_else(|| io::Error::other("a resource of an unknown type"))?;
        let size = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        out.push((of, rest.split_to(usize::try_from(size).unwrap())));
    }
    Ok(out)
}

fn cluster(name: String) -> Cluster {
    Cluster {
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource {
                resource_api_version: ApiVersion::V3 as i32,
                config_source_specifier: Some(ConfigSourceSpecifier::Ads(
                    AggregatedConfigSource {},
                )),
                ..Default::default()
            }),
            ..Default::default()
        }),
        connect_timeout: Some(Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    }
}

fn assignment(cluster_name: String, index: u32, generation: u32) -> ClusterLoadAssignment {
    // Always two bytes as a varint, so that every generation has the same size.
    let port = 8_000 + generation % 8_000;
    let host = |number| {
        let address = format!("10.{}.{}.{number}", index / 256, index % 256);
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(socket(address, port)),
                ..Default::default()
            })),
            ..Default::default()
        }
    };
    ClusterLoadAssignment {
        cluster_name,
        endpoints: vec![LocalityLbEndpoints {
            locality: Some(Locality {
                region: "region".to_owned(),
                zone: "zone".to_owned(),
                ..Default::default()
            }),
            lb_endpoints: (1..=ENDPOINTS).map(host).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn listener(name: String, cluster: String, index: u32) -> Listener {
    let proxy = TcpProxy {
        stat_prefix: name.clone(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        ..Default::default()
    };
    Listener {
        name,
        address: Some(socket("127.0.0.1".to_owned(), 10_000 + index)),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.tcp_proxy".to_owned(),
                config_type: Some(ConfigType::TypedConfig(Any {
                    type_url: TcpProxy::type_url(),
                    value: proxy.encode_to_vec(),
                })),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn socket(address: String, port: u32) -> Address {
    Address {
        address: Some(Kind::SocketAddress(SocketAddress {
            address,
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}
