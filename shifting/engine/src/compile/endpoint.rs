//! The hosts of a version.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::Locality;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use sha2::{Digest, Sha256};

use super::wire::{address, number, resource};
use super::{CompiledResource, type_url};
use crate::mesh::Host;

/// The assignment of a cluster: its hosts, or as many of them as take part ([`exposed_hosts`]).
///
/// Every locality has its place and a weight, also the only one: a gRPC client refuses the one
/// without a place and drops the one without a weight (envoy facts §9). The weight is the number
/// of hosts, so every host takes an equal share.
pub(super) fn assignment(cluster: &str, hosts: &[Host], limit: Option<usize>) -> CompiledResource {
    let mut zones: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    for host in exposed_hosts(hosts, limit) {
        zones.entry(&host.zone).or_default().push(host.address);
    }
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: zones
            .into_iter()
            .map(|(zone, hosts)| locality(zone, hosts))
            .collect(),
        ..ClusterLoadAssignment::default()
    };
    resource(type_url::ENDPOINTS, cluster, &assignment)
}

/// All these hosts, or the first `limit` of them in the order of a hash of their addresses.
///
/// That order is the same on every replica and after every restart, and is blind to how addresses
/// are handed out (the first hosts of a subnet often share a rack). A higher limit keeps the hosts
/// of a lower one. It knows nothing of how the hosts did before, so that the first is not the median
/// one (evidence §4.7f): what replicas have counted may differ, and their views must not.
pub fn exposed_hosts(hosts: &[Host], limit: Option<usize>) -> Vec<&Host> {
    let mut chosen: Vec<&Host> = hosts.iter().collect();
    if let Some(limit) = limit {
        chosen.sort_by_cached_key(|host| (rank(host.address), host.address));
        chosen.truncate(limit);
    }
    chosen
}

fn locality(zone: &str, mut hosts: Vec<SocketAddr>) -> LocalityLbEndpoints {
    hosts.sort();
    LocalityLbEndpoints {
        locality: Some(Locality {
            zone: zone.to_owned(),
            ..Locality::default()
        }),
        load_balancing_weight: number(u32::try_from(hosts.len()).unwrap_or(u32::MAX)),
        lb_endpoints: hosts.into_iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    }
}

fn endpoint(host: SocketAddr) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: address(host.ip(), host.port()),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

fn rank(host: SocketAddr) -> Vec<u8> {
    Sha256::digest(host.to_string()).to_vec()
}
