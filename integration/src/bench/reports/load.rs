//! The sidecars: streams over some connections, each with a message a second at its own moment.

use std::cell::Cell;
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::messages::{Messages, Script};

/// Between two messages of a sidecar.
const PERIOD: Duration = Duration::from_secs(1);

/// What the sidecars did so far.
#[derive(Debug, Default)]
struct Sent {
    open: Cell<u64>,
    messages: Cell<u64>,
    bytes: Cell<u64>,
    /// Messages that began more than half a period late: the server, or this process, is too slow.
    late: Cell<u64>,
    broken: Cell<u64>,
}

/// How many sidecars, and what they send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Sidecars, each with a stream.
    pub sidecars: u32,
    /// Connections that they share.
    pub connections: u32,
    /// Their messages.
    pub messages: Messages,
}

/// Sends until the standard input ends. Every line is answered with `sent`, the open streams, the
/// messages, the bytes, the late messages and the broken streams so far.
///
/// # Errors
/// If no runtime can be made.
pub fn run(server: SocketAddr, load: &Load) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (lines, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    LocalSet::new().block_on(&runtime, async move {
        let sent = Rc::new(Sent::default());
        let shared = load.messages.shared();
        let url = format!("http://{server}{}", load.messages.path());
        let mut number = 0;
        for connection in 0..load.connections {
            let client = connect(server).await?;
            let from_here = load.sidecars / load.connections
                + u32::from(connection < load.sidecars % load.connections);
            for _ in 0..from_here {
                let script = load.messages.of_sidecar(number, &shared);
                let phase = PERIOD * number / load.sidecars;
                let one = sidecar(url.clone(), client.clone(), script, phase, sent.clone());
                let counts = sent.clone();
                tokio::task::spawn_local(async move {
                    // It goes on for ever, so that its end is always a fault.
                    let fault = one.await;
                    counts.broken.set(counts.broken.get() + 1);
                    eprintln!("bench_reports: a stream ended: {fault:?}");
                });
                number += 1;
            }
        }
        while commands.recv().await.is_some() {
            let (open, messages, bytes) = (sent.open.get(), sent.messages.get(), sent.bytes.get());
            let (late, broken) = (sent.late.get(), sent.broken.get());
            println!("sent {open} {messages} {bytes} {late} {broken}");
            io::stdout().flush()?;
        }
        Ok(())
    })
}

async fn connect(server: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let handshake = h2::client::handshake(socket).await;
    let (client, connection) = handshake.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Its streams see that it broke.
        let _ = connection.await;
    });
    Ok(client)
}

async fn sidecar(
    url: String,
    client: SendRequest<Bytes>,
    script: Script,
    phase: Duration,
    sent: Rc<Sent>,
) -> Result<(), h2::Error> {
    let begin = Instant::now() + phase;
    let mut client = client.ready().await?;
    let request = http::Request::post(url)
        .version(http::Version::HTTP_2)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    // Kept: dropped, it would reset the stream.
    let (_answer, mut stream) = client.send_request(request, false)?;
    sent.open.set(sent.open.get() + 1);
    let mut ticks = tokio::time::interval_at(begin, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut message = &script.first;
    loop {
        let due = ticks.tick().await;
        if due.elapsed() > PERIOD / 2 {
            sent.late.set(sent.late.get() + 1);
        }
        for part in message {
            let size = u64::try_from(part.len()).unwrap_or(u64::MAX);
            send_whole(&mut stream, part.clone()).await?;
            sent.bytes.set(sent.bytes.get() + size);
        }
        sent.messages.set(sent.messages.get() + 1);
        message = &script.later;
    }
}

/// Hands over as much as the server takes, and waits for the rest.
async fn send_whole(stream: &mut SendStream<Bytes>, mut rest: Bytes) -> Result<(), h2::Error> {
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(capacity) = capacity else {
            return Err(h2::Reason::STREAM_CLOSED.into());
        };
        let part = rest.split_to(capacity?.min(rest.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}
