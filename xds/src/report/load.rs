//! From one `LoadStatsRequest` to a [`Report`], and the answer that makes a client report. Pure.
//!
//! Load reports know issued, succeeded, failed and in flight per cluster and locality, and an Envoy's also per
//! host, where asked. To an Envoy failed is: 5xx, timeout, reset, refused connection, and the six gRPC statuses
//! that blame the server; 4xx is success; a client that left is neither (envoy facts §5b). To a gRPC client it
//! is every status but OK. There is no latency and no version in them.
//!
//! Requests that a client's own limits dropped are counted apart, for only one kind of client counts them as
//! failed, too ([`UpstreamSample::dropped`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsResponse;
use envoy_types::pb::google::protobuf;

use super::asked::Asked;
use super::protobuf::{Fields, Malformed, Value};
use super::{
    HostSample, MAX_COUNT, MAX_ENTRIES, MAX_NAME_BYTES, Report, ServerGauges, Source,
    UpstreamSample,
};

/// The answer to a stream's first message: report all clusters, at this interval (capped at a day), and perhaps
/// each host of theirs.
#[must_use]
pub fn subscription(interval: Duration, by_host: bool) -> LoadStatsResponse {
    let interval = interval.min(Duration::from_secs(24 * 60 * 60));
    LoadStatsResponse {
        clusters: Vec::new(),
        send_all_clusters: true,
        load_reporting_interval: Some(protobuf::Duration {
            seconds: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(interval.subsec_nanos()).unwrap_or(0),
        }),
        report_endpoint_granularity: by_host,
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

/// Whether a message says that nothing happened and nothing is in flight, in any cluster: gRPC's C core is
/// silent after such a report until something happens.
///
/// # Errors
/// If the bytes are no message.
pub fn is_idle(message: &[u8]) -> Result<bool, Malformed> {
    for field in Fields::of(message) {
        let (2, stats) = field? else { continue };
        for field in stats.fields()? {
            match field? {
                (2, locality) => {
                    for field in locality.fields()? {
                        if let (2 | 3 | 4 | 8, count) = field?
                            && count.varint()? > 0
                        {
                            return Ok(false);
                        }
                    }
                }
                (3, dropped) if dropped.varint()? > 0 => return Ok(false),
                _ => {}
            }
        }
    }
    Ok(true)
}

/// The report that a client does not send because nothing happened.
pub(super) fn nothing(node_id: &str, cluster: &str, at: Instant) -> Report {
    Report {
        node_id: node_id.to_owned(),
        cluster: cluster.to_owned(),
        source: Source::Load,
        received_at: at,
        upstreams: BTreeMap::new(),
        versions: BTreeMap::new(),
        server: ServerGauges::default(),
        faults: 0,
    }
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
        upstreams: upstreams
            .into_iter()
            .filter_map(|(name, sample)| Some((name, sample?)))
            .collect(),
        faults,
        ..nothing(node_id, cluster, received_at)
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
        let locality = match field? {
            (2, locality) => locality,
            (3, count) => {
                sample.dropped = count.varint()?;
                continue;
            }
            _ => continue,
        };
        let (mut good, mut active, mut bad, mut issued) = (0, 0, 0, 0);
        let mut hosts = BTreeMap::new();
        for field in locality.fields()? {
            match field? {
                (2, count) => good = count.varint()?,
                (3, count) => active = count.varint()?,
                (4, count) => bad = count.varint()?,
                (7, host) => {
                    let Some((address, counts)) = read_host(host)? else {
                        continue;
                    };
                    if counts.completed > MAX_COUNT || hosts.len() >= MAX_ENTRIES {
                        return Ok(None);
                    }
                    add_host(&mut hosts, address, counts);
                }
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
            hosts,
            ..UpstreamSample::default()
        };
        sample = added(sample, &locality);
    }
    let absurd = sample.dropped > MAX_COUNT;
    Ok((!absurd).then_some(sample))
}

/// One host's address and counts; `None` when it has no IP address, and so can't be told from others.
fn read_host(host: Value<'_>) -> Result<Option<(SocketAddr, HostSample)>, Malformed> {
    let (mut address, mut good, mut bad) = (None, 0_u64, 0_u64);
    for field in host.fields()? {
        match field? {
            (1, value) => address = read_address(value)?,
            (2, count) => good = count.varint()?,
            (4, count) => bad = count.varint()?,
            _ => {}
        }
    }
    let counts = HostSample {
        completed: good.saturating_add(bad),
        failed: bad,
    };
    Ok(address.map(|address| (address, counts)))
}

/// An `Address` that is a socket address with an IP and a port.
fn read_address(address: Value<'_>) -> Result<Option<SocketAddr>, Malformed> {
    let (mut ip, mut port) = (None, 0);
    for field in address.fields()? {
        let (1, socket) = field? else { continue };
        for field in socket.fields()? {
            match field? {
                (2, text) => ip = text.text()?.parse::<IpAddr>().ok(),
                (3, number) => port = number.varint()?,
                _ => {}
            }
        }
    }
    let port = u16::try_from(port).ok();
    Ok(ip.zip(port).map(SocketAddr::from))
}

fn add_host(hosts: &mut BTreeMap<SocketAddr, HostSample>, address: SocketAddr, more: HostSample) {
    let sum = hosts.entry(address).or_default();
    sum.completed = sum.completed.saturating_add(more.completed);
    sum.failed = sum.failed.saturating_add(more.failed);
}

fn added(mut sum: UpstreamSample, more: &UpstreamSample) -> UpstreamSample {
    sum.requests = sum.requests.saturating_add(more.requests);
    sum.completed = sum.completed.saturating_add(more.completed);
    sum.dropped = sum.dropped.saturating_add(more.dropped);
    for (address, counts) in &more.hosts {
        add_host(&mut sum.hosts, *address, *counts);
    }
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
