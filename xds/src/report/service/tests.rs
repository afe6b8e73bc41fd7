use std::collections::BTreeMap;

use super::super::MAX_NAME_BYTES;
use super::*;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::data::accesslog::v3::{HttpAccessLogEntry, HttpResponseProperties};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    self, HttpAccessLogEntries, LogEntries,
};
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::google::protobuf::UInt32Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Code;
use tonic::codegen::{Service as _, http};
use tonic::transport::{Channel, Server};

use crate::report::{Source, version_gauge};

const FIRST: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/reports/envoy-1.40-metrics-first.bin"
));
const LABELS: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/reports/envoy-1.40-metrics-labels.bin"
));
const LOAD: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/reports/envoy-1.40-load.bin"
));
const LOAD_FIRST: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/reports/envoy-1.40-load-first.bin"
));

/// Both services on a socket, and a client's channel to them.
struct Wire {
    channel: Channel,
    reports: mpsc::Receiver<Report>,
    counters: Arc<IntakeCounters>,
}

impl Wire {
    async fn with_room_for(reports: usize) -> Self {
        let (queue, reports) = mpsc::channel(reports);
        let counters = Arc::new(IntakeCounters::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder()
            .add_service(MetricsIntake::new(queue.clone(), Arc::clone(&counters)).into_server())
            .add_service(
                LoadIntake::new(queue, Arc::clone(&counters), Duration::from_secs(1)).into_server(),
            );
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            channel,
            reports,
            counters,
        }
    }

    /// Sends the messages as one whole stream.
    async fn send_metrics(&self, messages: Vec<StreamMetricsMessage>) -> Result<(), Status> {
        let mut client = MetricsServiceClient::new(self.channel.clone());
        client
            .stream_metrics(stream::iter(messages))
            .await
            .map(|_| ())
    }

    /// Sends the messages as one whole stream and returns the answers up to its end.
    async fn send_loads(
        &self,
        messages: Vec<LoadStatsRequest>,
    ) -> Result<Vec<LoadStatsResponse>, Status> {
        let mut client = LoadReportingServiceClient::new(self.channel.clone());
        let mut inbound = client
            .stream_load_stats(stream::iter(messages))
            .await?
            .into_inner();
        let mut answers = Vec::new();
        while let Some(answer) = inbound.message().await? {
            answers.push(answer);
        }
        Ok(answers)
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.into(),
        cluster: "fleet".into(),
        ..Default::default()
    }
}

fn metrics_of(node: Option<Node>) -> StreamMetricsMessage {
    StreamMetricsMessage {
        identifier: node.map(|node| Identifier { node: Some(node) }),
        envoy_metrics: Vec::new(),
    }
}

fn load_of(node: Option<Node>, issued: u64) -> LoadStatsRequest {
    let locality = UpstreamLocalityStats {
        total_issued_requests: issued,
        ..Default::default()
    };
    let cluster = ClusterStats {
        cluster_name: "a".into(),
        upstream_locality_stats: vec![locality],
        ..Default::default()
    };
    LoadStatsRequest {
        node,
        cluster_stats: vec![cluster],
    }
}

#[tokio::test]
async fn a_recorded_metrics_stream_becomes_reports_of_the_node_in_its_first_message() {
    let mut wire = Wire::with_room_for(4).await;
    let messages = [FIRST, LABELS].map(|bytes| StreamMetricsMessage::decode(bytes).unwrap());
    assert!(messages[1].identifier.is_none());
    wire.send_metrics(messages.to_vec()).await.unwrap();
    for _ in 0..2 {
        let report = wire.reports.recv().await.unwrap();
        assert_eq!(
            (report.node_id.as_str(), report.cluster.as_str()),
            ("sidecar-1", "svc-a")
        );
        assert_eq!((report.source, report.faults), (Source::Metrics, 0));
        assert_eq!(
            report.versions["cluster_manager.cds.version"],
            version_gauge("cds-1")
        );
    }
    assert_eq!(
        (
            wire.counters.reports(),
            wire.counters.dropped(),
            wire.counters.faults()
        ),
        (2, 0, 0)
    );
}

#[tokio::test]
async fn a_recorded_load_stream_is_asked_for_all_clusters_once_and_becomes_reports() {
    let mut wire = Wire::with_room_for(4).await;
    let messages = [LOAD_FIRST, LOAD].map(|bytes| LoadStatsRequest::decode(bytes).unwrap());
    let answers = wire.send_loads(messages.to_vec()).await.unwrap();
    assert_eq!(answers, [load::subscription(Duration::from_secs(1), false)]);
    let report = wire.reports.recv().await.unwrap();
    assert_eq!(
        (report.node_id.as_str(), report.source),
        ("sidecar-1", Source::Load)
    );
    assert_eq!(report.upstreams["checkout/v1"].requests, 12);
    assert_eq!(wire.counters.reports(), 1, "a greeting is no report");
}

#[tokio::test]
async fn load_reports_are_taken_with_the_node_only_in_the_first_message_and_in_all() {
    for later in [None, Some(node("n"))] {
        let mut wire = Wire::with_room_for(4).await;
        wire.send_loads(vec![load_of(Some(node("n")), 1), load_of(later.clone(), 2)])
            .await
            .unwrap();
        let requests = [
            wire.reports.recv().await.unwrap(),
            wire.reports.recv().await.unwrap(),
        ]
        .map(|report| (report.node_id, report.upstreams["a"].requests));
        assert_eq!(requests, [("n".to_owned(), 1), ("n".to_owned(), 2)]);
    }
}

#[tokio::test]
async fn a_load_stream_stays_open_after_its_one_answer() {
    let mut wire = Wire::with_room_for(4).await;
    let (outbound, messages) = mpsc::channel(1);
    outbound
        .send(LoadStatsRequest {
            node: Some(node("n")),
            cluster_stats: Vec::new(),
        })
        .await
        .unwrap();
    let mut client = LoadReportingServiceClient::new(wire.channel.clone());
    let mut inbound = client
        .stream_load_stats(ReceiverStream::new(messages))
        .await
        .unwrap()
        .into_inner();
    assert!(inbound.message().await.unwrap().unwrap().send_all_clusters);
    for issued in 1..=3 {
        outbound.send(load_of(None, issued)).await.unwrap();
        assert_eq!(
            wire.reports.recv().await.unwrap().upstreams["a"].requests,
            issued
        );
    }
    drop(outbound);
    assert_eq!(inbound.message().await.unwrap(), None);
}

#[tokio::test]
async fn who_reports_nothing_only_once_is_idle_and_not_silent_while_its_stream_is_open() {
    for (agent, silent_when_idle) in [("gRPC C-core linux", true), ("envoy", false)] {
        let (queue, mut reports) = mpsc::channel(64);
        let interval = Duration::from_millis(20);
        let intake = LoadIntake::new(queue, Arc::default(), interval);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(intake.into_server());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let (outbound, messages) = mpsc::channel(4);
        let mut greeting = load_of(Some(node("n")), 0);
        greeting.cluster_stats.clear();
        greeting.node.as_mut().unwrap().user_agent_name = agent.to_owned();
        outbound.send(greeting).await.unwrap();
        let channel = Channel::from_shared(address).unwrap();
        let mut client = LoadReportingServiceClient::new(channel.connect().await.unwrap());
        let messages = ReceiverStream::new(messages);
        let _inbound = client.stream_load_stats(messages).await.unwrap();
        let within = async |limit: Duration, reports: &mut mpsc::Receiver<Report>| {
            let report = tokio::time::timeout(limit, reports.recv()).await;
            report.ok().flatten().map(|report| report.upstreams)
        };
        let (long, short) = (Duration::from_secs(10), 10 * interval);
        // Silence after something that happened is silence.
        outbound.send(load_of(None, 3)).await.unwrap();
        let told = within(long, &mut reports).await.unwrap();
        assert_eq!(told["a"].requests, 3);
        assert_eq!(within(short, &mut reports).await, None);
        // After nothing that happened it is more of that.
        outbound.send(load_of(None, 0)).await.unwrap();
        let told = within(long, &mut reports).await.unwrap();
        assert_eq!(told["a"].requests, 0);
        if silent_when_idle {
            for _ in 0..3 {
                let told = within(long, &mut reports).await;
                assert_eq!(told, Some(BTreeMap::new()));
            }
        } else {
            assert_eq!(within(short, &mut reports).await, None);
        }
        outbound.send(load_of(None, 1)).await.unwrap();
        while within(long, &mut reports).await.unwrap().is_empty() {}
        assert_eq!(within(short, &mut reports).await, None);
        // And with its stream it ends.
        outbound.send(load_of(None, 0)).await.unwrap();
        drop(outbound);
        while within(short, &mut reports).await.is_some() {}
        assert_eq!(within(short, &mut reports).await, None);
    }
}

#[tokio::test]
async fn a_first_message_without_a_usable_node_is_refused_with_a_sentence() {
    let wire = Wire::with_room_for(4).await;
    let long = node(&"x".repeat(MAX_NAME_BYTES + 1));
    let cases = [
        (None, "must say its node"),
        (Some(node("")), "node.id is empty"),
        (Some(long), "at most 512 bytes"),
    ];
    for (node, sentence) in cases {
        let metrics = wire
            .send_metrics(vec![metrics_of(node.clone())])
            .await
            .unwrap_err();
        let load = wire.send_loads(vec![load_of(node, 1)]).await.unwrap_err();
        for status in [metrics, load] {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(sentence), "{status}");
        }
    }
    assert_eq!((wire.counters.refused(), wire.counters.reports()), (6, 0));
}

#[tokio::test]
async fn a_stream_can_not_change_its_node() {
    let wire = Wire::with_room_for(4).await;
    let metrics = vec![metrics_of(Some(node("n"))), metrics_of(Some(node("other")))];
    let loads = vec![load_of(Some(node("n")), 1), load_of(Some(node("other")), 1)];
    for status in [
        wire.send_metrics(metrics).await.unwrap_err(),
        wire.send_loads(loads).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("it was n"), "{status}");
    }
    assert_eq!((wire.counters.refused(), wire.counters.reports()), (2, 2));
}

#[tokio::test]
async fn a_full_queue_drops_reports_and_counts_them_and_the_stream_goes_on() {
    let mut wire = Wire::with_room_for(2).await;
    let mut messages = vec![metrics_of(Some(node("n")))];
    messages.resize_with(500, || metrics_of(None));
    wire.send_metrics(messages).await.unwrap();
    assert_eq!(
        (wire.counters.reports(), wire.counters.dropped()),
        (500, 498)
    );
    assert!(wire.reports.recv().await.is_some());
    wire.send_metrics(vec![metrics_of(Some(node("n")))])
        .await
        .unwrap();
    assert_eq!(
        (wire.counters.reports(), wire.counters.dropped()),
        (501, 498)
    );
}

#[tokio::test]
async fn a_client_that_never_reads_is_read_on_and_nothing_piles_up() {
    let wire = Wire::with_room_for(1).await;
    let mut messages = vec![load_of(Some(node("n")), 1)];
    messages.resize_with(5_000, || load_of(None, 1));
    let (sent, mut all_sent) = mpsc::channel::<()>(1);
    // The stream drops `sent` once the transport took its last message, which it does only as we read on.
    let messages = stream::iter(messages).chain(stream::once(async move {
        drop(sent);
        load_of(None, 1)
    }));
    let mut client = LoadReportingServiceClient::new(wire.channel.clone());
    let unread = client.stream_load_stats(messages).await.unwrap();
    assert_eq!(all_sent.recv().await, None);
    let mut inbound = unread.into_inner();
    while inbound.message().await.unwrap().is_some() {}
    assert_eq!(
        (wire.counters.reports(), wire.counters.dropped()),
        (5_001, 5_000)
    );
}

#[tokio::test]
async fn faults_are_counted_and_handed_on() {
    let mut wire = Wire::with_room_for(2).await;
    wire.send_loads(vec![load_of(Some(node("n")), u64::MAX)])
        .await
        .unwrap();
    let report = wire.reports.recv().await.unwrap();
    assert_eq!(
        (
            report.faults,
            wire.counters.faults(),
            report.upstreams.len()
        ),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn messages_beyond_the_size_limit_end_the_stream() {
    let wire = Wire::with_room_for(2).await;
    let huge = |limit: usize| Node {
        user_agent_name: "x".repeat(limit),
        ..node("n")
    };
    let metrics = wire
        .send_metrics(vec![metrics_of(Some(huge(MAX_METRICS_MESSAGE_BYTES)))])
        .await
        .unwrap_err();
    let load = wire
        .send_loads(vec![load_of(Some(huge(MAX_LOAD_MESSAGE_BYTES)), 1)])
        .await
        .unwrap_err();
    assert_eq!([metrics.code(), load.code()], [Code::OutOfRange; 2]);
    assert_eq!((wire.counters.refused(), wire.counters.reports()), (2, 0));
}

#[tokio::test]
async fn open_streams_end_with_unavailable_as_soon_as_nobody_wants_reports() {
    let mut wire = Wire::with_room_for(4).await;
    let (metrics, metrics_messages) = mpsc::channel(1);
    metrics.send(metrics_of(Some(node("n")))).await.unwrap();
    let (loads, load_messages) = mpsc::channel(1);
    loads.send(load_of(Some(node("n")), 1)).await.unwrap();
    let mut metrics_client = MetricsServiceClient::new(wire.channel.clone());
    let metrics_stream = tokio::spawn(async move {
        metrics_client
            .stream_metrics(ReceiverStream::new(metrics_messages))
            .await
    });
    let mut load_client = LoadReportingServiceClient::new(wire.channel.clone());
    let mut load_stream = load_client
        .stream_load_stats(ReceiverStream::new(load_messages))
        .await
        .unwrap()
        .into_inner();
    assert!(load_stream.message().await.unwrap().is_some());
    assert!(wire.reports.recv().await.is_some() && wire.reports.recv().await.is_some());
    drop(wire.reports);
    assert_eq!(
        metrics_stream.await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        load_stream.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(wire.counters.refused(), 0);
}

/// With the clock paused, the deadline is over as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_stream_that_says_nothing_is_ended_at_the_deadline() {
    let wire = Wire::with_room_for(1).await;
    let status = MetricsServiceClient::new(wire.channel.clone())
        .stream_metrics(stream::pending())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let status = LoadReportingServiceClient::new(wire.channel.clone())
        .stream_load_stats(stream::pending())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(wire.counters.refused(), 2);
}

#[tokio::test]
async fn a_stream_that_ends_before_it_said_anything_is_no_error() {
    let wire = Wire::with_room_for(1).await;
    wire.send_metrics(Vec::new()).await.unwrap();
    assert_eq!(wire.send_loads(Vec::new()).await.unwrap(), []);
    assert_eq!((wire.counters.reports(), wire.counters.refused()), (0, 0));
}

#[tokio::test]
async fn only_what_is_asked_for_is_read_and_a_question_can_change_while_a_stream_is_open() {
    let (queue, mut reports) = mpsc::channel(4);
    let (question, asked) = watch::channel(Asked::upstreams(["checkout/v1".to_owned()]));
    let intake = MetricsIntake::new(queue, Arc::default()).asked(asked);
    let mut client = MetricsServiceClient::new(connected(intake.into_server()).await);
    let (outbound, messages) = mpsc::channel(1);
    let answer =
        tokio::spawn(async move { client.stream_metrics(ReceiverStream::new(messages)).await });
    let [first, labels] = [FIRST, LABELS].map(|bytes| StreamMetricsMessage::decode(bytes).unwrap());
    outbound.send(first).await.unwrap();
    reports.recv().await.unwrap();
    outbound.send(labels.clone()).await.unwrap();
    let report = reports.recv().await.unwrap();
    assert_eq!(report.upstreams.keys().collect::<Vec<_>>(), ["checkout/v1"]);
    assert!(!report.versions.is_empty());
    question.send_replace(Asked::everything());
    outbound.send(labels).await.unwrap();
    assert!(reports.recv().await.unwrap().upstreams.len() > 1);
    drop(outbound);
    assert!(answer.await.unwrap().is_ok());
}

#[tokio::test]
async fn failed_requests_of_access_logs_are_handed_over_with_their_node() {
    let (queue, mut failed) = mpsc::channel(4);
    let counters = Arc::<IntakeCounters>::default();
    let intake = AccessLogIntake::new(queue, Arc::clone(&counters));
    let mut client = AccessLogServiceClient::new(connected(intake.into_server()).await);
    let entry = |status| HttpAccessLogEntry {
        response: Some(HttpResponseProperties {
            response_code: Some(UInt32Value { value: status }),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    };
    let message = |node: Option<Node>, status| StreamAccessLogsMessage {
        identifier: node.map(|node| stream_access_logs_message::Identifier {
            node: Some(node),
            log_name: "failures".into(),
        }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries {
            log_entry: vec![entry(200), entry(status)],
        })),
    };
    let messages = [message(Some(node("n")), 500), message(None, 503)];
    client
        .stream_access_logs(stream::iter(messages))
        .await
        .unwrap();
    for status in [500, 503] {
        let request = failed.recv().await.unwrap();
        assert_eq!(
            (request.node_id.as_str(), request.status),
            ("n", Some(status))
        );
    }
    let refused = client
        .stream_access_logs(stream::iter([message(None, 500)]))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!((counters.reports(), counters.refused()), (2, 1));
}

#[tokio::test]
async fn another_method_is_unimplemented() {
    let intake = MetricsIntake::new(mpsc::channel(1).0, Arc::default());
    let mut service = intake.into_server();
    let request = http::Request::post("/envoy.service.metrics.v3.MetricsService/Other");
    let request = request.body(tonic::body::Body::empty()).unwrap();
    let answer = service.call(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
}

/// A channel to a server with this one service.
async fn connected<I: Intake>(server: IntakeServer<I>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Server::builder().add_service(server);
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}
