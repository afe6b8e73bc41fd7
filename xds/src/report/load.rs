//! From one `LoadStatsRequest` to a [`Report`], and the answer that makes a client report. Pure.
//!
//! Load reports know issued, succeeded, failed and in flight per cluster and locality. Failed is: 5xx, timeout,
//! reset, refused connection, and the six gRPC statuses that blame the server; 4xx is success; a client that
//! left is neither (envoy facts §5b). There is no latency and no version in them, and per-endpoint detail is
//! not read here.
//!
//! Requests dropped by the client's own overload protection reached no upstream, and are nobody's failure here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::endpoint::v3::ClusterStats;
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsResponse;
use envoy_types::pb::google::protobuf;

use super::{MAX_COUNT, MAX_ENTRIES, MAX_NAME_BYTES, Report, Source, UpstreamSample};

/// The answer to a stream's first message: report all clusters, at this interval (capped at a day).
#[must_use]
pub fn subscription(interval: Duration) -> LoadStatsResponse {
    let interval = interval.min(Duration::from_secs(24 * 60 * 60));
    LoadStatsResponse {
        clusters: Vec::new(),
        send_all_clusters: true,
        load_reporting_interval: Some(protobuf::Duration {
            seconds: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(interval.subsec_nanos()).unwrap_or(0),
        }),
        report_endpoint_granularity: false,
    }
}

/// Reads one report's clusters. `node_id` and `cluster` are those of the stream's first message.
#[must_use]
pub fn decode(
    node_id: &str,
    cluster: &str,
    clusters: &[ClusterStats],
    received_at: Instant,
) -> Report {
    let mut upstreams: BTreeMap<String, Option<UpstreamSample>> = BTreeMap::new();
    let mut faults = 0_u64;
    for stats in clusters {
        let name = &stats.cluster_name;
        let full = upstreams.len() >= MAX_ENTRIES && !upstreams.contains_key(name);
        if full || name.is_empty() || name.len() > MAX_NAME_BYTES {
            faults = faults.saturating_add(1);
            continue;
        }
        let reading = read(stats);
        if reading.is_none() {
            faults = faults.saturating_add(1);
        }
        // One cluster may come several times, once for each name that it has at its endpoint service.
        upstreams
            .entry(name.clone())
            .and_modify(|sum| {
                *sum = sum
                    .take()
                    .zip(reading.clone())
                    .map(|(sum, more)| added(sum, &more))
            })
            .or_insert(reading);
    }
    Report {
        node_id: node_id.to_owned(),
        cluster: cluster.to_owned(),
        source: Source::Load,
        received_at,
        upstreams: upstreams
            .into_iter()
            .filter_map(|(name, sample)| Some((name, sample?)))
            .collect(),
        versions: BTreeMap::new(),
        faults,
    }
}

/// All localities of a cluster together; `None` if one of the numbers is absurd.
fn read(stats: &ClusterStats) -> Option<UpstreamSample> {
    let mut sample = UpstreamSample {
        active: Some(0),
        ..UpstreamSample::default()
    };
    for locality in &stats.upstream_locality_stats {
        let (good, bad) = (
            locality.total_successful_requests,
            locality.total_error_requests,
        );
        let (issued, active) = (
            locality.total_issued_requests,
            locality.total_requests_in_progress,
        );
        if [good, bad, issued, active]
            .iter()
            .any(|count| *count > MAX_COUNT)
        {
            return None;
        }
        let locality = UpstreamSample {
            requests: issued,
            completed: good.saturating_add(bad),
            responses: [good, 0, 0, bad],
            active: Some(active),
            ..UpstreamSample::default()
        };
        sample = added(sample, &locality);
    }
    Some(sample)
}

fn added(mut sum: UpstreamSample, more: &UpstreamSample) -> UpstreamSample {
    sum.requests = sum.requests.saturating_add(more.requests);
    sum.completed = sum.completed.saturating_add(more.completed);
    for (sum, more) in sum.responses.iter_mut().zip(more.responses) {
        *sum = sum.saturating_add(more);
    }
    sum.active = sum
        .active
        .zip(more.active)
        .map(|(sum, more)| sum.saturating_add(more));
    sum
}

#[cfg(test)]
mod tests;
