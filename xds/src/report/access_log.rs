//! From one `StreamAccessLogsMessage` to the requests in it that failed. Pure.
//!
//! An entry is read in place for as long as it is good: its status and its flags are looked at, and nothing more.
//! What failed is one with a status of 500 or above, with a gRPC status that blames the server (if the sidecar logs
//! `grpc-status`, see `additional_response_trailers_to_log`), or with a flag that blames the upstream or Envoy. A
//! client that left is no failure of the service, and neither are faults and delays that were injected on purpose.

use std::time::{Duration, Instant, SystemTime};

use envoy_types::pb::envoy::config::core::v3::RequestMethod;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, TcpAccessLogEntry,
};
use prost::Message as _;

use super::metrics::blames_the_server;
use super::protobuf::{Fields, Malformed, Value};
use super::{MAX_FAILED_PER_MESSAGE, MAX_NAME_BYTES};

/// A request (or a TCP connection) that failed, as a sidecar's access log told it. Texts are cut at
/// [`MAX_NAME_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRequest {
    /// The `node.id` that the stream's first message claimed.
    pub node_id: String,
    /// The `node.cluster` (fleet) that the stream's first message claimed; may be empty.
    pub cluster: String,
    /// When the message that told it had arrived.
    pub received_at: Instant,
    /// When the request began, by the sidecar's clock.
    pub started_at: Option<SystemTime>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The upstream cluster that it went to; empty if there was none.
    pub upstream_cluster: String,
    /// The host that it went to, with its port; empty if there was none.
    pub upstream_host: String,
    /// The route's name, if it has one.
    pub route: String,
    /// The status that the client got; `None` if it got none.
    pub status: Option<u32>,
    /// Why Envoy says that the status is what it is, such as `via_upstream`.
    pub details: String,
    /// Envoy's letters for what went wrong, such as `UF` and `URX`, in the order of its documentation.
    pub flags: Vec<&'static str>,
    /// How often it was tried.
    pub attempts: u32,
    /// `GET`, …; empty for TCP.
    pub method: String,
    /// The host that was asked for.
    pub authority: String,
    /// The path, without what follows a `?`: secrets may be there.
    pub path: String,
    /// `x-request-id`.
    pub request_id: String,
}

/// Flags that blame the upstream or Envoy: their field in `ResponseFlags`, and Envoy's letters for them.
const BLAMING_FLAGS: [(u32, &str); 20] = [
    (1, "LH"),
    (2, "UH"),
    (3, "UT"),
    (4, "LR"),
    (5, "UR"),
    (6, "UF"),
    (7, "UC"),
    (8, "UO"),
    (9, "NR"),
    (12, "RL"),
    (14, "RLSE"),
    (16, "URX"),
    (17, "SI"),
    (20, "UMSDR"),
    (22, "NFCF"),
    (23, "DT"),
    (24, "UPE"),
    (25, "NC"),
    (26, "OM"),
    (27, "DF"),
];

/// Reads one message, as its bytes came: at most [`MAX_FAILED_PER_MESSAGE`] requests that failed.
///
/// # Errors
/// If the bytes are no message of access logs, as far as they are looked at.
pub fn decode(
    node_id: &str,
    cluster: &str,
    message: &[u8],
    received_at: Instant,
) -> Result<Vec<FailedRequest>, Malformed> {
    let mut failed = Vec::new();
    for field in Fields::of(message) {
        let (kind @ (2 | 3), logs) = field? else {
            continue;
        };
        for field in logs.fields()? {
            let (1, entry) = field? else { continue };
            if failed.len() >= MAX_FAILED_PER_MESSAGE {
                return Ok(failed);
            }
            let http = kind == 2;
            let Some(flags) = failure(entry, http)? else {
                continue;
            };
            let empty = FailedRequest {
                node_id: node_id.to_owned(),
                cluster: cluster.to_owned(),
                received_at,
                started_at: None,
                duration: None,
                upstream_cluster: String::new(),
                upstream_host: String::new(),
                route: String::new(),
                status: None,
                details: String::new(),
                flags,
                attempts: 0,
                method: String::new(),
                authority: String::new(),
                path: String::new(),
                request_id: String::new(),
            };
            failed.push(if http {
                of_http(entry.bytes()?, empty)?
            } else {
                of_tcp(entry.bytes()?, empty)?
            });
        }
    }
    Ok(failed)
}

/// The blaming flags of an entry that failed; `None` if it didn't.
fn failure(entry: Value<'_>, http: bool) -> Result<Option<Vec<&'static str>>, Malformed> {
    let (mut bad, mut flags) = (false, Vec::new());
    for field in entry.fields()? {
        match field? {
            (1, common) => {
                for field in common.fields()? {
                    if let (16, set) = field? {
                        flags = blaming(set)?;
                    }
                }
            }
            (4, response) if http => {
                for field in response.fields()? {
                    match field? {
                        // Status 0 is Envoy's for "none", as for a client that left before there was one.
                        (1, code) => bad |= wrapped_number(code)? >= 500,
                        // Headers that were asked for, and trailers.
                        (4 | 5, header) => bad |= is_grpc_failure(header)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok((bad || !flags.is_empty()).then_some(flags))
}

fn blaming(set: Value<'_>) -> Result<Vec<&'static str>, Malformed> {
    let mut flags = Vec::new();
    for field in set.fields()? {
        if let (tag, Value::Varint(1)) = field? {
            let blaming = BLAMING_FLAGS.iter().find(|(of, _)| *of == tag);
            flags.extend(blaming.map(|(_, letters)| letters));
        }
    }
    Ok(flags)
}

/// Whether an entry of a map of headers is a `grpc-status` that blames the server.
fn is_grpc_failure(header: Value<'_>) -> Result<bool, Malformed> {
    let (mut name, mut value) = ("", "");
    for field in header.fields()? {
        match field? {
            (1, text) => name = text.text()?,
            (2, text) => value = text.text()?,
            _ => {}
        }
    }
    Ok(name == "grpc-status" && blames_the_server(value))
}

/// The value of a `UInt32Value`.
fn wrapped_number(value: Value<'_>) -> Result<u64, Malformed> {
    let mut number = 0;
    for field in value.fields()? {
        if let (1, value) = field? {
            number = value.varint()?;
        }
    }
    Ok(number)
}

fn of_http(entry: &[u8], empty: FailedRequest) -> Result<FailedRequest, Malformed> {
    let entry = HttpAccessLogEntry::decode(entry).map_err(|_| Malformed)?;
    let request = entry.request.unwrap_or_default();
    let response = entry.response.unwrap_or_default();
    let status = response.response_code.map(|code| code.value);
    let path = request.path.split('?').next().unwrap_or_default();
    let method = match RequestMethod::try_from(request.request_method).unwrap_or_default() {
        RequestMethod::MethodUnspecified => "",
        method => method.as_str_name(),
    };
    Ok(FailedRequest {
        status: status.filter(|status| *status != 0),
        details: cut(response.response_code_details),
        method: method.to_owned(),
        authority: cut(request.authority),
        path: cut(path.to_owned()),
        request_id: cut(request.request_id),
        ..of_common(entry.common_properties.unwrap_or_default(), empty)
    })
}

fn of_tcp(entry: &[u8], empty: FailedRequest) -> Result<FailedRequest, Malformed> {
    let entry = TcpAccessLogEntry::decode(entry).map_err(|_| Malformed)?;
    Ok(of_common(
        entry.common_properties.unwrap_or_default(),
        empty,
    ))
}

fn of_common(common: AccessLogCommon, empty: FailedRequest) -> FailedRequest {
    let host = common.upstream_remote_address.and_then(|host| host.address);
    let duration = common.duration.or(common.time_to_last_downstream_tx_byte);
    FailedRequest {
        started_at: common.start_time.and_then(|start| {
            SystemTime::UNIX_EPOCH.checked_add(span(start.seconds, start.nanos)?)
        }),
        duration: duration.and_then(|duration| span(duration.seconds, duration.nanos)),
        upstream_cluster: cut(common.upstream_cluster),
        upstream_host: cut(host.map(host_and_port).unwrap_or_default()),
        route: cut(common.route_name),
        details: cut(common.connection_termination_details),
        attempts: common.upstream_request_attempt_count,
        ..empty
    }
}

/// `None` if it is negative or none.
fn span(seconds: i64, nanoseconds: i32) -> Option<Duration> {
    let (seconds, nanoseconds) = (
        u64::try_from(seconds).ok()?,
        u32::try_from(nanoseconds).ok()?,
    );
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()))
}

fn host_and_port(address: Address) -> String {
    match address {
        Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address,
        },
        Address::Pipe(pipe) => pipe.path,
        Address::EnvoyInternalAddress(_) => "internal".to_owned(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_NAME_BYTES {
        let mut end = MAX_NAME_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests;
