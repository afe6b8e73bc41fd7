//! The commands that Envoy 1.40 has, and what each takes.

use super::{Wrong, arguments};

/// A check of what stands between the parentheses.
pub(super) type Rule = fn(&str) -> Result<(), Wrong>;

/// What may follow a command's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Argument(Rule),
    ArgumentAndLength(Rule),
}

/// By name.
pub(super) fn command(name: &str) -> Option<Takes> {
    let with = WITH_ARGUMENTS.iter().find(|(known, _)| *known == name);
    match with {
        Some((_, takes)) => Some(*takes),
        None => BARE.contains(&name).then_some(Takes::Nothing),
    }
}

/// All there are.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    let with = WITH_ARGUMENTS.iter().map(|(name, _)| *name);
    with.chain(BARE.iter().copied())
}

const WITH_ARGUMENTS: [(&str, Takes); 37] = [
    ("CEL", Takes::ArgumentAndLength(arguments::expression)),
    ("CLUSTER_METADATA", Takes::Argument(arguments::something)),
    ("COALESCE", Takes::ArgumentAndLength(arguments::something)),
    (
        "COMMON_DURATION",
        Takes::Argument(arguments::common_duration),
    ),
    (
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
    (
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
    (
        "DOWNSTREAM_PEER_CERT_V_END",
        Takes::Argument(arguments::time),
    ),
    (
        "DOWNSTREAM_PEER_CERT_V_START",
        Takes::Argument(arguments::time),
    ),
    (
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
    (
        "DYNAMIC_METADATA",
        Takes::ArgumentAndLength(arguments::something),
    ),
    ("EMIT_TIME", Takes::Argument(arguments::time)),
    ("EMIT_TIME_LOCAL", Takes::Argument(arguments::time)),
    (
        "ENVIRONMENT",
        Takes::ArgumentAndLength(arguments::something),
    ),
    (
        "FILTER_STATE",
        Takes::ArgumentAndLength(arguments::filter_state),
    ),
    ("GRPC_STATUS", Takes::Argument(arguments::grpc_status)),
    ("METADATA", Takes::ArgumentAndLength(arguments::metadata)),
    ("PATH", Takes::ArgumentAndLength(arguments::path)),
    (
        "QUERY_PARAM",
        Takes::ArgumentAndLength(arguments::something),
    ),
    (
        "QUERY_PARAMS",
        Takes::ArgumentAndLength(arguments::query_parameters),
    ),
    ("REQ", Takes::ArgumentAndLength(arguments::header)),
    (
        "REQUESTED_SERVER_NAME",
        Takes::Argument(arguments::server_name),
    ),
    (
        "REQUEST_HEADER",
        Takes::ArgumentAndLength(arguments::header),
    ),
    ("RESP", Takes::ArgumentAndLength(arguments::header)),
    (
        "RESPONSE_CODE_DETAILS",
        Takes::Argument(arguments::anything),
    ),
    (
        "RESPONSE_HEADER",
        Takes::ArgumentAndLength(arguments::header),
    ),
    (
        "RESPONSE_TRAILER",
        Takes::ArgumentAndLength(arguments::header),
    ),
    ("START_TIME", Takes::Argument(arguments::time)),
    ("START_TIME_LOCAL", Takes::Argument(arguments::time)),
    (
        "STREAM_INFO_REQ",
        Takes::ArgumentAndLength(arguments::header),
    ),
    ("TRAILER", Takes::ArgumentAndLength(arguments::header)),
    (
        "UPSTREAM_FILTER_STATE",
        Takes::ArgumentAndLength(arguments::filter_state),
    ),
    (
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
    ("UPSTREAM_METADATA", Takes::Argument(arguments::something)),
    ("UPSTREAM_PEER_CERT_V_END", Takes::Argument(arguments::time)),
    (
        "UPSTREAM_PEER_CERT_V_START",
        Takes::Argument(arguments::time),
    ),
    (
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Takes::Argument(arguments::anything),
    ),
];

const BARE: [&str; 125] = [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LISTENER_NAME",
    "LOCAL_REPLY_BODY",
    "PACKETS_RETRANSMITTED",
    "PROTOCOL",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "ROUTE_RESOLUTION_COUNT",
    "ROUTE_RESOLUTION_TIME_US",
    "SPAN_ID",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];
