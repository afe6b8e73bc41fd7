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

use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsResponse;
use envoy_types::pb::google::protobuf;

use super::asked::Asked;
use super::protobuf::{Fields, Malformed, Value};
use super::{MAX_COUNT, MAX_ENTRIES, MAX_NAME_BYTES, Report, ServerGauges, Source, UpstreamSample};

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

/// Whether a message says nothing of any cluster: a client greets before it has anything to report.
///
/// # Errors
/// If the bytes are no message.
pub fn is_greeting(message: &[u8]) -> Result<bool, Malformed> {
    for field in Fields::of(message) {
        if let (2, _) = field? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads one `LoadStatsRequest`, as its bytes came. `node_id` and `cluster` are those of the stream's first
/// message.
///
/// # Errors
/// If the bytes are no load report, as far as they are looked at.
pub fn decode(
    node_id: &str,
    cluster: &str,
    message: &[u8],
    asked: &Asked,
    received_at: Instant,
) -> Result<Report, Malformed> {
    let mut upstreams: BTreeMap<String, Option<UpstreamSample>> = BTreeMap::new();
    let mut faults = 0_u64;
    for field in Fields::of(message) {
        let (2, stats) = field? else { continue };
        let name = name_of(stats)?;
        if !asked.covers(name) {
            continue;
        }
        let full = upstreams.len() >= MAX_ENTRIES && !upstreams.contains_key(name);
        if full || name.is_empty() || name.len() > MAX_NAME_BYTES {
            faults = faults.saturating_add(1);
            continue;
        }
        let reading = read(stats)?;
        if reading.is_none() {
            faults = faults.saturating_add(1);
        }
        // One cluster may come several times, once for each name that it has at its endpoint service.
        upstreams
            .entry(name.to_owned())
            .and_modify(|sum| {
                *sum = sum
                    .take()
                    .zip(reading.clone())
                    .map(|(sum, more)| added(sum, &more))
            })
            .or_insert(reading);
    }
    Ok(Report {
        node_id: node_id.to_owned(),
        cluster: cluster.to_owned(),
        source: Source::Load,
        received_at,
        upstreams: upstreams
            .into_iter()
            .filter_map(|(name, sample)| Some((name, sample?)))
            .collect(),
        versions: BTreeMap::new(),
        server: ServerGauges::default(),
        faults,
    })
}

fn name_of(stats: Value<'_>) -> Result<&str, Malformed> {
    let mut name = "";
    for field in stats.fields()? {
        if let (1, text) = field? {
            name = text.text()?;
        }
    }
    Ok(name)
}

/// All localities of a cluster together; `None` if one of the numbers is absurd.
fn read(stats: Value<'_>) -> Result<Option<UpstreamSample>, Malformed> {
    let mut sample = UpstreamSample {
        active: Some(0),
        ..UpstreamSample::default()
    };
    for field in stats.fields()? {
        let (2, locality) = field? else { continue };
        let (mut good, mut active, mut bad, mut issued) = (0, 0, 0, 0);
        for field in locality.fields()? {
            match field? {
                (2, count) => good = count.varint()?,
                (3, count) => active = count.varint()?,
                (4, count) => bad = count.varint()?,
                (8, count) => issued = count.varint()?,
                _ => {}
            }
        }
        if [good, bad, issued, active]
            .iter()
            .any(|count| *count > MAX_COUNT)
        {
            return Ok(None);
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
    Ok(Some(sample))
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
