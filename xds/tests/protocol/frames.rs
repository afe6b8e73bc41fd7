//! gRPC itself, frame by frame: what a generated client hides, and what somebody may send who isn't
//! one.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tidegate_xds::identity::{Access, Incident};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::*;
use crate::hostile::Healthy;

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CLUSTERS: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";
const GRPC: &str = "application/grpc";
const PATIENCE: Duration = Duration::from_secs(60);

/// A call whose frames are written and read one by one.
struct Call {
    frames: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    response: Response<Incoming>,
    /// What was read and isn't a whole message yet.
    read: Vec<u8>,
    trailers: Option<HeaderMap>,
}

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
        let address = running.address().trim_start_matches("http://").to_owned();
        let tcp = TcpStream::connect(&address).await.unwrap();
        let (executor, io) = (TokioExecutor::new(), TokioIo::new(tcp));
        let handshake = hyper::client::conn::http2::handshake(executor, io);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
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
