use envoy_types::pb::envoy::config::core::v3::{Address as PbAddress, SocketAddress};
use envoy_types::pb::envoy::data::accesslog::v3::{
    HttpRequestProperties, HttpResponseProperties, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, LogEntries, TcpAccessLogEntries,
};
use envoy_types::pb::google::protobuf;

use super::*;

fn common(flags: ResponseFlags) -> AccessLogCommon {
    AccessLogCommon {
        upstream_cluster: "checkout/v2".into(),
        response_flags: Some(flags),
        upstream_remote_address: Some(PbAddress {
            address: Some(Address::SocketAddress(SocketAddress {
                address: "127.0.0.1".into(),
                port_specifier: Some(PortSpecifier::PortValue(8080)),
                ..SocketAddress::default()
            })),
        }),
        start_time: Some(protobuf::Timestamp {
            seconds: 5,
            nanos: 7,
        }),
        duration: Some(protobuf::Duration {
            seconds: 0,
            nanos: 3_000_000,
        }),
        upstream_request_attempt_count: 2,
        ..AccessLogCommon::default()
    }
}

fn entry(status: u32, flags: ResponseFlags) -> HttpAccessLogEntry {
    HttpAccessLogEntry {
        common_properties: Some(common(flags)),
        request: Some(HttpRequestProperties {
            request_method: RequestMethod::Post.into(),
            authority: "checkout".into(),
            path: "/pay?card=4111".into(),
            request_id: "r-1".into(),
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(protobuf::UInt32Value { value: status }),
            response_code_details: "via_upstream".into(),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    }
}

fn read(log_entry: Vec<HttpAccessLogEntry>) -> Vec<FailedRequest> {
    let logs = HttpAccessLogEntries { log_entry };
    read_logs(LogEntries::HttpLogs(logs))
}

fn read_logs(logs: LogEntries) -> Vec<FailedRequest> {
    let message = StreamAccessLogsMessage {
        identifier: None,
        log_entries: Some(logs),
    };
    decode("sidecar-1", "web", &message.encode_to_vec(), Instant::now()).unwrap()
}

#[test]
fn a_failed_request_is_told_whole_but_without_its_query() {
    let flags = ResponseFlags {
        upstream_connection_failure: true,
        upstream_retry_limit_exceeded: true,
        ..ResponseFlags::default()
    };
    let failed = read(vec![
        entry(200, ResponseFlags::default()),
        entry(503, flags),
    ]);
    let [request] = &failed[..] else {
        panic!("{failed:?}");
    };
    let start = SystemTime::UNIX_EPOCH + Duration::new(5, 7);
    let expected = FailedRequest {
        node_id: "sidecar-1".into(),
        cluster: "web".into(),
        received_at: request.received_at,
        started_at: Some(start),
        duration: Some(Duration::from_millis(3)),
        upstream_cluster: "checkout/v2".into(),
        upstream_host: "127.0.0.1:8080".into(),
        route: String::new(),
        status: Some(503),
        details: "via_upstream".into(),
        flags: vec!["UF", "URX"],
        attempts: 2,
        method: "POST".into(),
        authority: "checkout".into(),
        path: "/pay".into(),
        request_id: "r-1".into(),
    };
    assert_eq!(*request, expected);
}

#[test]
fn clients_that_left_and_injected_faults_are_no_failures() {
    let flags = ResponseFlags {
        downstream_connection_termination: true,
        delay_injected: true,
        fault_injected: true,
        ..ResponseFlags::default()
    };
    assert_eq!(read(vec![entry(0, flags), entry(404, flags)]), []);
    let timeout = ResponseFlags {
        upstream_request_timeout: true,
        ..ResponseFlags::default()
    };
    let failed = read(vec![entry(0, timeout)]);
    assert_eq!(
        (failed[0].status, &failed[0].flags[..]),
        (None, &["UT"][..])
    );
}

#[test]
fn a_grpc_status_that_blames_the_server_is_a_failure() {
    let with_status = |status: &str| {
        let mut entry = entry(200, ResponseFlags::default());
        let response = entry.response.as_mut().unwrap();
        let trailers = &mut response.response_trailers;
        trailers.insert("grpc-status".into(), status.into());
        entry
    };
    assert_eq!(read(vec![with_status("0"), with_status("5")]), []);
    assert_eq!(read(vec![with_status("14")]).len(), 1);
}

#[test]
fn every_blaming_flag_is_told_by_envoys_letters() {
    for (tag, letters) in BLAMING_FLAGS {
        // One bool field alone: its key, and 1.
        let mut bytes = Vec::new();
        prost::encoding::bool::encode(tag, &true, &mut bytes);
        let flags = ResponseFlags::decode(&bytes[..]).unwrap();
        let failed = read(vec![entry(200, flags)]);
        assert_eq!(failed[0].flags, [letters], "{tag}");
    }
}

#[test]
fn tcp_connections_that_failed_are_told() {
    let flags = ResponseFlags {
        no_healthy_upstream: true,
        ..ResponseFlags::default()
    };
    let good = TcpAccessLogEntry {
        common_properties: Some(common(ResponseFlags::default())),
        connection_properties: None,
    };
    let bad = TcpAccessLogEntry {
        common_properties: Some(common(flags)),
        connection_properties: None,
    };
    let logs = TcpAccessLogEntries {
        log_entry: vec![good, bad],
    };
    let failed = read_logs(LogEntries::TcpLogs(logs));
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].flags, ["UH"]);
    assert_eq!(failed[0].upstream_cluster, "checkout/v2");
}

#[test]
fn an_outage_is_read_up_to_a_bound_and_texts_are_cut() {
    let mut bad = entry(500, ResponseFlags::default());
    bad.request.as_mut().unwrap().path = format!("/{}", "ä".repeat(MAX_NAME_BYTES));
    let failed = read(vec![bad; MAX_FAILED_PER_MESSAGE + 5]);
    assert_eq!(failed.len(), MAX_FAILED_PER_MESSAGE);
    assert!(failed[0].path.len() <= MAX_NAME_BYTES);
}

#[test]
fn garbage_is_malformed() {
    let read = |bytes: &[u8]| decode("n", "c", bytes, Instant::now());
    assert_eq!(read(&[0x12, 0x02, 0x0a, 0x09]), Err(Malformed));
    assert_eq!(read(&[]), Ok(Vec::new()));
}
