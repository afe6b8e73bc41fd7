//! A load report as an Envoy sends it: all 61 KB of its node in each, then what each cluster carried.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::google::protobuf::Duration;
use prost::Message as _;

use crate::bench::wire;

/// Load reports of a sidecar: every one the same.
#[derive(Debug, Clone)]
pub struct LoadReports {
    clusters: Vec<ClusterStats>,
}

/// A frame's part of its own; behind it all frames are the same.
const OWN_BYTES: usize = 32;

// === impl LoadReports ===

impl LoadReports {
    /// Of a sidecar with upstream clusters of these names.
    pub fn of(clusters: impl Iterator<Item = String>) -> Self {
        Self {
            clusters: clusters.map(of_cluster).collect(),
        }
    }

    /// A report in its frame.
    #[must_use]
    pub fn framed(&self, node_id: &str, extensions: u32) -> Bytes {
        let message = LoadStatsRequest {
            node: Node::decode(wire::node(node_id, extensions)).ok(),
            cluster_stats: self.clusters.clone(),
        };
        wire::framed(&message.encode_to_vec())
    }

    /// The same in two parts, the second one shared by all sidecars with ids of the same length.
    #[must_use]
    pub fn parted(&self, node_id: &str, extensions: u32, shared: &Bytes) -> [Bytes; 2] {
        let frame = self.framed(node_id, extensions);
        let (own, rest) = (frame.slice(..OWN_BYTES), frame.slice(OWN_BYTES..));
        let shared = shared.slice(OWN_BYTES..);
        assert_eq!(rest, shared, "frames differ in the node's id alone");
        [Bytes::copy_from_slice(&own), shared]
    }
}

fn of_cluster(cluster_name: String) -> ClusterStats {
    let locality = Locality {
        region: "region-1".to_owned(),
        zone: "zone-1a".to_owned(),
        ..Locality::default()
    };
    let stats = UpstreamLocalityStats {
        locality: Some(locality),
        total_successful_requests: 16,
        total_requests_in_progress: 2,
        total_error_requests: 1,
        total_issued_requests: 17,
        ..UpstreamLocalityStats::default()
    };
    ClusterStats {
        cluster_service_name: cluster_name.clone(),
        cluster_name,
        upstream_locality_stats: vec![stats],
        load_report_interval: Some(Duration {
            seconds: 1,
            nanos: 1_000_000,
        }),
        ..ClusterStats::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidegate_xds::report::{Asked, load};

    use super::*;

    #[test]
    fn the_intake_understands_all_of_it_and_two_parts_are_the_whole() {
        let reports = LoadReports::of((0..20).map(|number| format!("service-{number:03}/v1")));
        let shared = reports.framed("sidecar-00000", 516);
        let [own, rest] = reports.parted("sidecar-00007", 516, &shared);
        let frame = [own, rest].concat();
        assert_eq!(frame, reports.framed("sidecar-00007", 516));
        let (message, asked) = (&frame[5..], Asked::everything());
        let report = load::decode("node", "fleet", message, &asked, Instant::now()).unwrap();
        assert_eq!((report.faults, report.upstreams.len()), (0, 20));
        let node = LoadStatsRequest::decode(message).unwrap().node.unwrap();
        assert_eq!((&*node.id, node.extensions.len()), ("sidecar-00007", 516));
    }
}
