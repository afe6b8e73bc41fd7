//! The secure listener: accepts, shakes hands within a deadline, and proves identities.
//!
//! A loop of its own, because tonic's can neither reload certificates nor bound a handshake. A
//! handshake that stalls holds up nobody: when there are too many, the oldest one goes, and a
//! healthy one is over in milliseconds.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::access::{Access, ConnectionPass};
use super::certificates::{Proven, Tls, Unproven};
use super::farewell::Farewell;
use super::peer::Peer;
use super::refusal::Incident;
use crate::limits::{FIRST_BYTES_TIMEOUT, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX};

/// Connections that wait to be taken by the server.
const WAITING: usize = 64;

/// After an error of `accept`, such as too many open files: it would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often an open connection's certificate is looked at, at least: clocks can be set.
const EXPIRY_LOOK: Duration = Duration::from_secs(3_600);

/// A connection's first bytes: `PRI * HTTP/2.0`, two line feeds, `SM`, two line feeds.
const PREFACE_BYTES: usize = 24;

/// The secure connections of a listener. Ends accepting when dropped.
#[derive(Debug)]
pub struct SecureIncoming {
    connections: mpsc::Receiver<Connection>,
}

/// A connection whose peer is known. It ends when the peer's certificate expires, or when it says
/// nothing within [`FIRST_BYTES_TIMEOUT`].
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    alarm: Pin<Box<Sleep>>,
    /// Bytes read, up to the preface's.
    said: usize,
    farewell: Farewell,
    pass: ConnectionPass,
}

/// Handshakes under way, oldest first.
#[derive(Debug, Default)]
struct Handshakes {
    last: u64,
    under_way: BTreeMap<u64, Option<AbortHandle>>,
}

/// Accepts connections with mTLS; the server's router is to be served with them. `access` should
/// be the one of the services on it.
pub fn secure_incoming(
    listener: TcpListener,
    tls: Arc<Tls>,
    access: Arc<Access>,
) -> SecureIncoming {
    let (sender, connections) = mpsc::channel(WAITING);
    tokio::spawn(accept(listener, tls, access, sender));
    SecureIncoming { connections }
}

async fn accept(
    listener: TcpListener,
    tls: Arc<Tls>,
    access: Arc<Access>,
    connections: mpsc::Sender<Connection>,
) {
    let handshakes = Arc::new(Mutex::new(Handshakes::default()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let number = begin(&handshakes, &access);
        let (tls, access, connections) =
            (Arc::clone(&tls), Arc::clone(&access), connections.clone());
        let shaking = Arc::clone(&handshakes);
        let task = tokio::spawn(async move {
            let connection = greet(stream, address, &tls, &access).await;
            end(&shaking, number);
            if let Some(connection) = connection {
                // Without a receiver the server has stopped.
                let _ = connections.send(connection).await;
            }
        });
        let mut handshakes = handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless it is over already.
        if let Some(slot) = handshakes.under_way.get_mut(&number) {
            *slot = Some(task.abort_handle());
        }
    }
}

fn begin(handshakes: &Mutex<Handshakes>, access: &Access) -> u64 {
    let mut handshakes = handshakes.lock().unwrap_or_else(PoisonError::into_inner);
    if handshakes.under_way.len() >= HANDSHAKES_MAX
        && let Some((_, oldest)) = handshakes.under_way.pop_first()
    {
        access.note(Incident::HandshakeDisplaced);
        if let Some(oldest) = oldest {
            oldest.abort();
        }
    }
    handshakes.last += 1;
    let number = handshakes.last;
    handshakes.under_way.insert(number, None);
    number
}

fn end(handshakes: &Mutex<Handshakes>, number: u64) {
    let mut handshakes = handshakes.lock().unwrap_or_else(PoisonError::into_inner);
    handshakes.under_way.remove(&number);
}

/// A connection with a proven peer that may stay, or the reason in the log and a count.
async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    tls: &Tls,
    access: &Arc<Access>,
) -> Option<Connection> {
    // Requests and responses are small and wait for each other; without it they'd wait 40 ms.
    let _ = stream.set_nodelay(true);
    let now = std::time::Instant::now;
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            if access.note_stranger(Incident::HandshakeFailed, now()) {
                tracing::warn!(%address, %error, "refused a connection: its handshake failed");
            }
            return None;
        }
        Err(_) => {
            if access.note_stranger(Incident::HandshakeSlow, now()) {
                tracing::warn!(%address, "refused a connection: its handshake took too long");
            }
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let proven = match certificate.ok_or(Unproven::Missing).and_then(Proven::by) {
        Ok(proven) => proven,
        Err(reason) => {
            if access.note_stranger(Incident::IdentityUnusable, now()) {
                tracing::warn!(%address, %reason, "refused a connection");
            }
            return None;
        }
    };
    let pass = match access.connect(&proven.id) {
        Ok(pass) => pass,
        Err(reason) => {
            tracing::warn!(%address, %reason, "refused a connection");
            return None;
        }
    };
    let peer = Peer {
        id: proven.id,
        expires_at: proven.expires_at,
        address,
    };
    tracing::debug!(%address, identity = %peer.id, "secure connection opened");
    Some(Connection {
        stream,
        peer,
        alarm: Box::pin(tokio::time::sleep(FIRST_BYTES_TIMEOUT)),
        said: 0,
        farewell: Farewell::default(),
        pass,
    })
}

// === impl SecureIncoming ===

impl Stream for SecureIncoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|next| next.map(Ok))
    }
}

// === impl Connection ===

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Looks whether the connection must end, and arms the alarm for the next look.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let (identity, address) = (&self.peer.id, self.peer.address);
            if self.said < PREFACE_BYTES {
                self.pass.note(Incident::ConnectionMute);
                tracing::warn!(%address, %identity, "closed a connection that said nothing");
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = self.peer.expires_at.duration_since(SystemTime::now());
            let Some(left) = left.ok().filter(|left| !left.is_zero()) else {
                self.pass.note(Incident::CertificateExpired);
                tracing::warn!(%address, %identity, "closed a connection: its certificate expired");
                return Err(io::ErrorKind::ConnectionAborted.into());
            };
            let next = Instant::now() + left.min(EXPIRY_LOOK);
            self.alarm.as_mut().reset(next);
        }
        Ok(())
    }

    /// Takes note of what was written, and counts what ends the connection.
    fn wrote(&mut self, bytes: &[u8]) {
        if let Some(incident) = self.farewell.look(bytes) {
            self.pass.note(incident);
            let (identity, address) = (&self.peer.id, self.peer.address);
            tracing::warn!(%address, %identity, %incident, "ended a connection");
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_alarm(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.said < PREFACE_BYTES {
            self.said += buffer.filled().len().saturating_sub(before);
            if self.said >= PREFACE_BYTES {
                // From now on it is about the certificate.
                self.alarm.as_mut().reset(Instant::now());
                self.poll_alarm(context)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.wrote(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let (part, _) = slice.split_at(left.min(slice.len()));
            left -= part.len();
            self.wrote(part);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
