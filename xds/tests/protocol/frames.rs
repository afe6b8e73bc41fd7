//! gRPC itself, frame by frame: what a generated client hides, and what somebody may send who isn't
//! one.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost::encoding::encode_varint;
use tidegate_xds::identity::{Access, Incident};
use tidegate_xds::limits::LARGE_REQUEST_BYTES;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::*;
use crate::hostile::Healthy;

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CLUSTERS: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";
const GRPC: &str = "application/grpc";

/// A call whose frames are written and read one by one.
struct Call {
    frames: mpsc::Sender<Frames>,
    response: Response<Incoming>,
    /// What was read and isn't a whole message yet.
    read: Vec<u8>,
    trailers: Option<HeaderMap>,
}

type Frames = Result<Frame<Bytes>, Infallible>;

/// Where it leads, and what calls are made on.
type Connection = (String, SendRequest<StreamBody<ReceiverStream<Frames>>>);

/// How a call ended.
#[derive(Debug)]
struct End {
    code: Code,
    sentence: String,
}

/// A gRPC message: not compressed, its length, its bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn wish(type_url: &TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    let ask = Ask {
        node: crate::common::node("e1"),
        ..Ask::of(type_url, names)
    };
    ask.into()
}

async fn connect(running: &Running) -> Connection {
    let address = running.address().trim_start_matches("http://").to_owned();
    let tcp = TcpStream::connect(&address).await.unwrap();
    let (executor, io) = (TokioExecutor::new(), TokioIo::new(tcp));
    let handshake = hyper::client::conn::http2::handshake(executor, io);
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    (address, sender)
}

async fn start() -> (Running, std::sync::Arc<Access>) {
    let settings = together();
    let access = settings.access.clone();
    (serve_with(&world(&["a"], "a"), settings).await, access)
}

// === impl Call ===

impl Call {
    async fn open(running: &Running, path: &str) -> Self {
        Self::with(running, Method::POST, path, &[("content-type", GRPC)]).await
    }

    async fn with(running: &Running, method: Method, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::on(&connect(running).await, method, path, headers).await
    }

    /// One of several on a connection.
    async fn on(
        connection: &Connection,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let (address, mut sender) = connection.clone();
        let (frames, body) = mpsc::channel(16);
        let uri = format!("http://{address}{path}");
        let mut request = http::Request::builder().method(method).uri(uri);
        request = request.header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(StreamBody::new(ReceiverStream::new(body)));
        let response = sender.send_request(request.unwrap());
        let response = tokio::time::timeout(PATIENCE, response).await;
        Self {
            frames,
            response: response.expect("headers in time").unwrap(),
            read: Vec::new(),
            trailers: None,
        }
    }

    /// One DATA frame.
    async fn data(&self, bytes: impl Into<Bytes>) {
        // The server may have ended the stream already; how it ends tells.
        let _ = self.frames.send(Ok(Frame::data(bytes.into()))).await;
    }

    fn half_close(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.frames = closed;
    }

    /// Reads until there is a whole message, or the end.
    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = self.read.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let message = self.read[5..5 + length].to_vec();
                    self.read.drain(..5 + length);
                    return Some(message);
                }
            }
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame()).await;
            let frame = frame.expect("a frame in time")?.expect("an orderly end");
            match frame.into_data() {
                Ok(mut data) => self.read.extend(data.copy_to_bytes(data.remaining())),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    async fn answer(&mut self) -> Got {
        let message = self.message().await.expect("an answer");
        DeltaDiscoveryResponse::decode(&*message).unwrap().into()
    }

    /// The status, after whatever messages; it must come, and in time.
    async fn end(&mut self) -> End {
        assert_eq!(self.response.status(), StatusCode::OK);
        let headers = self.response.headers().clone();
        let content_type = headers["content-type"].to_str().unwrap();
        assert!(content_type.starts_with(GRPC), "{content_type}");
        while self.message().await.is_some() {}
        assert!(self.read.is_empty(), "half a message");
        // Without any message they may be in the one and only header.
        let trailers = self.trailers.as_ref().unwrap_or(&headers);
        let text = |name: &str| {
            let value = trailers.get(name).map(|value| value.to_str().unwrap());
            value.map(str::to_owned)
        };
        let code = text("grpc-status").expect("a status");
        End {
            code: Code::from_i32(code.parse().unwrap()),
            sentence: decoded(&text("grpc-message").unwrap_or_default()),
        }
    }
}

/// `grpc-message` is percent-encoded.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_orderly_call_ends_with_the_status_ok_in_its_trailers() {
    let (running, access) = start().await;
    let mut call = Call::open(&running, ADS).await;
    call.data(framed(&wish(&CDS, &[]).encode_to_vec())).await;
    assert_eq!(call.answer().await.brief(), "cds a");
    call.half_close();
    let end = call.end().await;
    assert_eq!(end.code, Code::Ok, "{end:?}");
    assert!(call.trailers.is_some(), "not in its headers");
    assert!(access.incidents().is_empty());
}

#[tokio::test]
async fn a_call_without_a_message_ends_in_order_too() {
    let (running, access) = start().await;
    for path in [ADS, CLUSTERS] {
        let mut call = Call::open(&running, path).await;
        call.half_close();
        assert_eq!(call.end().await.code, Code::Ok);
    }
    assert!(access.incidents().is_empty());
    assert!(running.server.clients().is_empty());
}

#[tokio::test]
async fn several_messages_in_one_frame_are_several_messages() {
    let (running, _) = start().await;
    let mut call = Call::open(&running, ADS).await;
    let three = [wish(&CDS, &[]), wish(&EDS, &["a", "nope"]), wish(&LDS, &[])];
    let three: Vec<u8> = three
        .iter()
        .flat_map(|message| framed(&message.encode_to_vec()))
        .collect();
    call.data(three).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(call.answer().await.brief());
    }
    assert_eq!(seen, ["cds a", "eds a", "lds l"]);
}

#[tokio::test]
async fn a_message_in_many_frames_is_one_message() {
    let (running, _) = start().await;
    for path in [ADS, CLUSTERS] {
        let mut call = Call::open(&running, path).await;
        // Its last byte comes with the first of the next one.
        let first = framed(&wish(&CDS, &["a"]).encode_to_vec());
        let second = framed(&wish(&CDS, &["nope"]).encode_to_vec());
        for byte in &first[..first.len() - 1] {
            call.data(vec![*byte]).await;
        }
        call.data(vec![]).await;
        let (last, next) = (first[first.len() - 1], second[0]);
        call.data(vec![last, next]).await;
        let got = call.answer().await;
        assert_eq!(got.brief(), "cds a");
        let ack: DeltaDiscoveryRequest = Ask {
            nonce: got.nonce,
            ..Ask::of(&CDS, &[])
        }
        .into();
        call.data(second[1..].to_vec()).await;
        call.data(framed(&ack.encode_to_vec())).await;
        assert_eq!(call.answer().await.brief(), "cds -nope");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_ends_the_call_with_a_sentence_in_the_trailers() {
    let (running, access) = start().await;
    for path in [ADS, CLUSTERS] {
        let mut call = Call::open(&running, path).await;
        // An empty message is a message: one without a node.
        call.data(framed(&[])).await;
        let end = call.end().await;
        assert_eq!(end.code, Code::InvalidArgument);
        assert!(end.sentence.contains("must carry `node`"), "{end:?}");
    }
    assert_eq!(access.incidents()[&Incident::RequestRefused], 2);
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_call_with_a_status_and_are_counted() {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    // A field of an impossible kind, a length beyond the end, a name that isn't UTF-8.
    let malformed: [&[u8]; 3] = [&[0x0f], &[0x0a, 0x7f, 1], &[0x12, 2, 0xff, 0xfe]];
    let mut count = 0;
    for bytes in malformed {
        // As the first message, and after a good one.
        for good in [false, true] {
            for path in [ADS, CLUSTERS] {
                let mut call = Call::open(&running, path).await;
                if good {
                    call.data(framed(&wish(&CDS, &[]).encode_to_vec())).await;
                    assert_eq!(call.answer().await.brief(), "cds a");
                }
                call.data(framed(bytes)).await;
                let end = call.end().await;
                assert_eq!(end.code, Code::Internal, "{end:?}");
                assert!(end.sentence.contains("decode"), "{end:?}");
                count += 1;
                assert_eq!(access.incidents()[&Incident::RequestRefused], count);
            }
        }
    }
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn messages_that_are_framed_wrongly_end_the_call_with_a_status_and_are_counted() {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let good = wish(&CDS, &[]).encode_to_vec();
    let mut compressed = framed(&good);
    compressed[0] = 1;
    let mut unknown = framed(&good);
    unknown[0] = 7;
    let cases: [(&str, Vec<u8>, &[Code]); 4] = [
        (
            "compressed, without saying how",
            compressed,
            &[Code::Internal, Code::Unimplemented],
        ),
        ("an impossible flag", unknown, &[Code::Internal]),
        (
            "4 GiB, as it says",
            vec![0, 0xff, 0xff, 0xff, 0xff],
            &[Code::OutOfRange, Code::ResourceExhausted],
        ),
        (
            "half a message, and the end",
            framed(&good)[..8].to_vec(),
            &[Code::Internal, Code::Unknown],
        ),
    ];
    for (at, (what, bytes, codes)) in cases.into_iter().enumerate() {
        let mut call = Call::open(&running, ADS).await;
        call.data(bytes).await;
        if what.starts_with("half") {
            call.half_close();
        }
        let end = call.end().await;
        assert!(codes.contains(&end.code), "{what}: {end:?}");
        assert!(!end.sentence.is_empty(), "{what}: {end:?}");
        let counted = access.incidents()[&Incident::RequestRefused];
        assert_eq!(counted, at as u64 + 1, "{what}");
    }
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn what_is_no_method_here_is_unimplemented() {
    let (running, _) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    for path in [
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/Nope",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/Nope",
        "/acme.Nope/Stream",
        "/",
    ] {
        let end = Call::open(&running, path).await.end().await;
        assert_eq!(end.code, Code::Unimplemented, "{path}");
    }
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn a_call_that_is_no_grpc_is_refused() {
    let (running, _) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let headers: [&[(&str, &str)]; 3] = [
        &[("content-type", "application/json")],
        &[("content-type", "text/plain")],
        &[],
    ];
    for headers in headers {
        let mut call = Call::with(&running, Method::POST, ADS, headers).await;
        if call.response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let end = call.end().await;
            assert_ne!(end.code, Code::Ok, "{headers:?}");
            assert!(end.sentence.contains("content type"), "{end:?}");
        }
    }
    // Compressed in a way that nobody here knows.
    let encoded = [("content-type", GRPC), ("grpc-encoding", "acme-zip")];
    let mut call = Call::with(&running, Method::POST, ADS, &encoded).await;
    let end = call.end().await;
    assert_eq!(end.code, Code::Unimplemented, "{end:?}");
    assert!(end.sentence.contains("acme-zip"), "{end:?}");
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn a_call_that_is_reset_is_forgotten() {
    let (running, _) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut call = Call::open(&running, ADS).await;
    call.data(framed(&wish(&CDS, &[]).encode_to_vec())).await;
    assert_eq!(call.answer().await.brief(), "cds a");
    drop(call);
    running.until("e1", |status| !status.connected).await;
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn streams_of_one_connection_are_served_and_end_apart() {
    let (running, _) = start().await;
    let connection = connect(&running).await;
    let grpc = [("content-type", GRPC)];
    let mut calls = Vec::new();
    for path in [ADS, CLUSTERS, CLUSTERS, ADS] {
        let call = Call::on(&connection, Method::POST, path, &grpc).await;
        calls.push(call);
    }
    for (call, id) in calls.iter_mut().zip(["e1", "e2", "e3", "e4"]) {
        let wish = DeltaDiscoveryRequest {
            node: crate::common::node(id),
            ..wish(&CDS, &[])
        };
        call.data(framed(&wish.encode_to_vec())).await;
        let got = call.answer().await;
        assert_eq!(got.brief(), "cds a");
        let ack: DeltaDiscoveryRequest = Ask {
            nonce: got.nonce,
            ..Ask::of(&CDS, &[])
        }
        .into();
        call.data(framed(&ack.encode_to_vec())).await;
    }
    // One is refused, one is reset, one is closed in order; the last has all that comes.
    calls[0].data(framed(&[0x0f])).await;
    assert_eq!(calls[0].end().await.code, Code::Internal);
    drop(calls.remove(1));
    running.until("e2", |status| !status.connected).await;
    calls[1].half_close();
    assert_eq!(calls[1].end().await.code, Code::Ok);
    running.until("e3", |status| !status.connected).await;
    publish(&running, &world(&["a", "b"], "a"));
    assert_eq!(calls[2].answer().await.brief(), "cds b");
}

/// A large request that says nothing, in two parts.
fn large() -> (Vec<u8>, Vec<u8>) {
    let length = 2 * LARGE_REQUEST_BYTES;
    // One field that nobody knows: its number and kind, its length in three bytes.
    let mut message = vec![15 << 3 | 2];
    encode_varint(length as u64 - 4, &mut message);
    assert_eq!(message.len(), 4);
    message.resize(length, 0);
    let mut first = framed(&message);
    let second = first.split_off(LARGE_REQUEST_BYTES + 16 * 1024);
    (first, second)
}

async fn send(call: &Call, bytes: &[u8]) {
    for piece in bytes.chunks(16 * 1024) {
        call.data(piece.to_vec()).await;
    }
}

#[tokio::test]
async fn halves_of_large_requests_are_bounded_in_all_and_the_others_go_on() {
    const KEPT: usize = 3;
    let (first, second) = large();
    let mut settings = together();
    // Large ones may have half of it.
    settings.unfinished_bytes_max = 2 * KEPT * (first.len() + second.len());
    let access = settings.access.clone();
    let running = serve_with(&world(&["a"], "a"), settings).await;
    let mut healthy = Healthy::connect(&running).await;
    let mut halves = Vec::new();
    for _ in 0..=KEPT {
        let call = Call::open(&running, ADS).await;
        send(&call, &first).await;
        halves.push(call);
    }
    // One of them has no room, whichever came last.
    let ends = halves.iter_mut().map(|half| Box::pin(half.end()));
    let (end, which, _) = futures::future::select_all(ends).await;
    assert_eq!(end.code, Code::ResourceExhausted, "{end:?}");
    assert!(end.sentence.contains("no room for more"), "{end:?}");
    halves.remove(which);
    healthy.is_served(&running).await;
    // What isn't large has room, in however many parts it comes.
    let mut call = Call::open(&running, ADS).await;
    for byte in framed(&wish(&CDS, &[]).encode_to_vec()) {
        call.data(vec![byte]).await;
    }
    assert_eq!(call.answer().await.brief(), "cds a1");
    // As soon as one is read, so has another large one.
    for _ in 0..2 * KEPT {
        let mut half = halves.remove(0);
        send(&half, &second).await;
        let end = half.end().await;
        assert_eq!(end.code, Code::InvalidArgument, "no node: {end:?}");
        let call = Call::open(&running, ADS).await;
        send(&call, &first).await;
        halves.push(call);
    }
    let counted: Vec<_> = access.incidents().into_iter().collect();
    let wanted = [
        (Incident::RequestRefused, 2 * KEPT as u64),
        (Incident::RequestsTooLarge, 1),
    ];
    assert_eq!(counted, wanted);
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn a_request_whose_rest_does_not_come_in_time_ends_its_stream_alone() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let (half, _) = large();
    let mut settings = together();
    settings.request_timeout = TIMEOUT;
    let access = settings.access.clone();
    let running = serve_with(&world(&["a"], "a"), settings).await;
    let mut healthy = Healthy::connect(&running).await;
    healthy.is_served(&running).await;
    let whole = framed(&wish(&CDS, &[]).encode_to_vec());
    let (head, rest) = whole.split_at(whole.len() / 2);
    let begun_and_left = [&whole[..3], head, &half].map(|begun| {
        [false, true].map(|served_before| {
            let (running, whole) = (&running, &whole);
            async move {
                let mut call = Call::open(running, ADS).await;
                if served_before {
                    call.data(whole.clone()).await;
                    assert_eq!(call.answer().await.brief(), "cds a1");
                }
                let began = Instant::now();
                send(&call, begun).await;
                let end = call.end().await;
                assert!(began.elapsed() >= TIMEOUT, "{:?}", began.elapsed());
                assert_eq!(end.code, Code::DeadlineExceeded, "{end:?}");
                assert!(end.sentence.contains("whole within 1 s"), "{end:?}");
            }
        })
    });
    // It came in parts as well, and says nothing more for longer than a request may take.
    let mut idle = Call::open(&running, ADS).await;
    idle.data(head.to_vec()).await;
    idle.data(rest.to_vec()).await;
    let got = idle.answer().await;
    assert_eq!(got.brief(), "cds a1");
    let ack = Ask {
        nonce: got.nonce,
        ..Ask::of(&CDS, &[])
    };
    let ack = DeltaDiscoveryRequest::from(ack);
    idle.data(framed(&ack.encode_to_vec())).await;
    futures::future::join_all(begun_and_left.into_iter().flatten()).await;
    let counted: Vec<_> = access.incidents().into_iter().collect();
    assert_eq!(counted, [(Incident::RequestUnfinished, 6)]);
    healthy.is_served(&running).await;
    assert_eq!(idle.answer().await.brief(), "cds a2");
}
