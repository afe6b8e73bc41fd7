//! Clients that mean harm, with a valid certificate or without, frame by frame.

use std::time::Duration;

use tidegate_xds::identity::{AccessLimits, Incident};
use tidegate_xds::limits::{
    FRAME_BYTES_MAX, HANDSHAKES_MAX, HEADER_LIST_BYTES_MAX, KEEPALIVE_TIMEOUT,
    STREAMS_PER_CONNECTION_MAX,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{blob, cluster, snapshot};
use crate::world::{Healthy, PATIENCE, World, closed, policy, wish};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// `PROTOCOL_ERROR`, `ENHANCE_YOUR_CALM` (RFC 9113, section 7).
const BROKEN_OFF: [u32; 2] = [1, 11];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header, written out: no table, no Huffman (RFC 7541, section 6.2.2). Below 127 bytes each.
fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| {
        u8::try_from(text.len())
            .ok()
            .filter(|length| *length < 127)
            .unwrap()
    };
    let mut header = vec![0, length(name)];
    header.extend(name.as_bytes());
    header.push(length(value));
    header.extend(value.as_bytes());
    header
}

fn call() -> Vec<u8> {
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "cp"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .iter()
    .flat_map(|(name, value)| header(name, value))
    .collect()
}

/// Writes until the other side has enough of it, reading meanwhile; the code of its GOAWAY.
async fn flood<S>(stream: S, mut next: impl FnMut(u32) -> Vec<u8> + Send + 'static) -> Option<u32>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        if write.write_all(&begin).await.is_err() {
            return;
        }
        for round in 0..1_000_000 {
            if write.write_all(&next(round)).await.is_err() {
                return;
            }
        }
    });
    let code = tokio::time::timeout(PATIENCE, goaway(&mut read)).await;
    writing.abort();
    code.expect("the connection is closed in time")
}

/// Reads frames until the connection ends; the code of the GOAWAY, if there was one.
async fn goaway(read: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    let mut code = None;
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            let bytes: [u8; 4] = payload[4..8].try_into().unwrap();
            code = Some(u32::from_be_bytes(bytes)).filter(|code| *code != 0);
            if code.is_some() {
                break;
            }
        }
    }
    code
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |round| {
        // Many in one write, so that they come before any is served.
        (0..100)
            .flat_map(|i| {
                let id = (round * 100 + i) * 2 + 1;
                let open = frame(HEADERS, END_HEADERS, id, &call());
                [open, frame(RESET, 0, id, &8_u32.to_be_bytes())].concat()
            })
            .collect()
    })
    .await;
    assert_eq!(code, Some(11), "ENHANCE_YOUR_CALM");
    world.await_count(Incident::Http2Resets, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn headers_without_an_end_end_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |round| match round {
        0 => frame(HEADERS, 0, 1, &call()),
        _ => frame(
            CONTINUATION,
            0,
            1,
            &header("x-more", &"y".repeat(100)).repeat(100),
        ),
    })
    .await;
    assert!(
        code.is_some_and(|code| BROKEN_OFF.contains(&code)),
        "{code:?}"
    );
    world.await_count(Incident::Http2Headers, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn empty_data_frames_without_end_end_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, &call()),
        _ => frame(DATA, 0, 1, &[]).repeat(1_000),
    })
    .await;
    assert_eq!(code, Some(11), "ENHANCE_YOUR_CALM");
    world.await_count(Incident::Http2EmptyData, 1).await;
    healthy.is_served(&world).await;
}

/// The library answers each, and reads on only when that is written: it takes what it is sent, no
/// faster than the client reads, and nobody else notices.
#[tokio::test]
async fn pings_and_settings_without_end_starve_nobody() {
    for kind in [PING, SETTINGS] {
        let world = World::start().await;
        let mut healthy = Healthy::connect(&world).await;
        let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
        let payload: &[u8] = if kind == PING { &[7; 8] } else { &[] };
        let flooding = tokio::spawn(flood(stream, move |_| {
            frame(kind, 0, 0, payload).repeat(1_000)
        }));
        for _ in 0..5 {
            healthy.is_served(&world).await;
        }
        flooding.abort();
    }
}

#[tokio::test]
async fn a_header_list_beyond_the_limit_is_refused() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let mut stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let count = HEADER_LIST_BYTES_MAX as usize / 100 + 1;
    let padding = header("x-padding", &"y".repeat(100)).repeat(count);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(frame(HEADERS, 0, 1, &call()));
    let mut parts = padding.chunks(8_192).peekable();
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        bytes.extend(frame(CONTINUATION, last, 1, part));
    }
    stream.write_all(&bytes).await.unwrap();
    // Either 431 and a reset of the stream, or the end of the connection; never a response.
    let refused = async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            assert_ne!(head[3], DATA);
            if head[3] == RESET || head[3] == GOAWAY || head[3] == HEADERS {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("an answer in time");
    assert!(world.server.client("e1").is_none());
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn requests_that_are_malformed_again_and_again_end_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |round| {
        // What is about the connection has no place in HTTP/2 (RFC 9113, section 8.2.2).
        let malformed = [call(), header("connection", "close")].concat();
        frame(HEADERS, END_HEADERS, round * 2 + 1, &malformed)
    })
    .await;
    assert_eq!(code, Some(11), "ENHANCE_YOUR_CALM");
    world.await_count(Incident::Http2MalformedCalls, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn headers_that_cannot_be_read_end_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |round| {
        // Names must be in lower case (RFC 9113, section 8.2.1).
        let unreadable = [call(), header("X-Upper", "y")].concat();
        frame(HEADERS, END_HEADERS, round * 2 + 1, &unreadable)
    })
    .await;
    assert_eq!(code, Some(1), "PROTOCOL_ERROR");
    world.await_count(Incident::Http2Broken, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_connection() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let code = flood(stream, |_| {
        frame(DATA, 0, 1, &vec![0; FRAME_BYTES_MAX as usize + 1])
    })
    .await;
    assert_eq!(code, Some(6), "FRAME_SIZE_ERROR");
    world.await_count(Incident::Http2Broken, 1).await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn calls_beyond_the_limit_of_a_connection_are_refused_one_by_one() {
    // So that all of them stay open, waiting for their first message.
    let limits = AccessLimits {
        ads_streams_per_identity: usize::MAX,
        ..AccessLimits::default()
    };
    let world = World::start_with(policy(), limits, |_| {}).await;
    let mut healthy = Healthy::connect(&world).await;
    let mut stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for i in 0..=STREAMS_PER_CONNECTION_MAX {
        bytes.extend(frame(HEADERS, END_HEADERS, i * 2 + 1, &call()));
    }
    stream.write_all(&bytes).await.unwrap();
    let last = STREAMS_PER_CONNECTION_MAX * 2 + 1;
    let refused = async {
        let mut head = [0; 9];
        loop {
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == RESET && id == last {
                return u32::from_be_bytes(payload.try_into().unwrap());
            }
        }
    };
    let code = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(code, 7, "REFUSED_STREAM");
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn c15_a_peer_that_answers_no_ping_is_taken_for_dead() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let mut stream = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&begin).await.unwrap();
    let since = std::time::Instant::now();
    closed(&mut stream).await;
    assert!(since.elapsed() >= KEEPALIVE_TIMEOUT);
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_closed_at_every_stage() {
    let world = World::start_impatient().await;
    let mut healthy = Healthy::connect(&world).await;
    // Never begins the handshake; never begins HTTP/2; never sends a request.
    let mut tcp = TcpStream::connect(world.address).await.unwrap();
    let mut tls = world.tls(Some(&world.ca.sidecar("e1"))).await.unwrap();
    let channel = world.channel(&world.ca.sidecar("e2")).await.unwrap();
    let mut stream = crate::world::open(channel).await.unwrap();
    healthy.is_served(&world).await;
    let end = stream.end().await;
    assert_eq!(end.code(), tonic::Code::DeadlineExceeded);
    assert!(end.message().contains("node"), "{}", end.message());
    closed(&mut tcp).await;
    closed(&mut tls).await;
    assert_eq!(world.count(Incident::HandshakeSlow), 1);
    assert_eq!(world.count(Incident::ConnectionMute), 1);
    assert_eq!(world.count(Incident::StreamMute), 1);
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn handshakes_that_stall_give_way_to_newcomers() {
    let world = World::start().await;
    let mut healthy = Healthy::connect(&world).await;
    let mut stalled = Vec::new();
    for _ in 0..=HANDSHAKES_MAX {
        stalled.push(TcpStream::connect(world.address).await.unwrap());
    }
    world.await_count(Incident::HandshakeDisplaced, 1).await;
    let mut newcomer = world.sidecar("e1").await;
    newcomer.taken().await;
    healthy.is_served(&world).await;
}

#[tokio::test]
async fn a_stream_that_never_reads_is_closed_and_the_others_get_their_views() {
    let world = World::start_impatient().await;
    let mut healthy = Healthy::connect(&world).await;
    let channel = world.channel(&world.ca.sidecar("deaf")).await.unwrap();
    let deaf = crate::world::open(channel).await.unwrap();
    let types: Vec<String> = (0..8).map(|i| format!("acme/{i}")).collect();
    for type_url in &types {
        let mut request = wish("deaf");
        request.type_url.clone_from(type_url);
        request.resource_names_subscribe = vec!["blob".to_owned()];
        deaf.send(request).await;
    }
    let blobs = types.iter().map(|type_url| blob(type_url, 1024 * 1024));
    world.publish(snapshot(blobs.chain([cluster("a", 1)])));
    world.await_count(Incident::StreamBlocked, 1).await;
    healthy.is_served(&world).await;
    let gone = tokio::time::timeout(Duration::from_secs(20), async {
        let mut changes = world.server.changed();
        while world
            .server
            .client("deaf")
            .is_some_and(|deaf| deaf.connected)
        {
            changes.changed().await.unwrap();
        }
    });
    gone.await.expect("the stream is gone");
}
