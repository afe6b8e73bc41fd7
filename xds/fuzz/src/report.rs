//! The numbers that sidecars send.

use std::time::Instant;

use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use prost::Message as _;
use tidegate_xds::report::{MAX_BUCKETS, MAX_ENTRIES, MAX_NAME_BYTES, Report, load, metrics};

/// Decodes a message of either service.
pub fn report(input: &[u8]) {
    let now = Instant::now();
    if let Ok(message) = StreamMetricsMessage::decode(input) {
        check(&metrics::decode(
            "node",
            "fleet",
            &message.envoy_metrics,
            now,
        ));
    }
    if let Ok(message) = LoadStatsRequest::decode(input) {
        check(&load::decode("node", "fleet", &message.cluster_stats, now));
    }
}

/// What an embedder may rely on.
fn check(report: &Report) {
    assert!(report.upstreams.len() <= MAX_ENTRIES && report.versions.len() <= MAX_ENTRIES);
    for (name, sample) in &report.upstreams {
        assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
        let _ = sample.failed_responses();
        let Some(latency) = &sample.latency else {
            continue;
        };
        assert!(latency.buckets.len() <= MAX_BUCKETS);
        assert!(latency.sum_ms.is_finite() && latency.sum_ms >= 0.0);
        for pair in latency.buckets.windows(2) {
            assert!(pair[0].0 < pair[1].0, "edges rise");
            assert!(pair[0].1 <= pair[1].1, "counts are cumulative");
        }
        for (edge, count) in &latency.buckets {
            assert!(edge.is_finite() && *count <= latency.count);
        }
    }
}
