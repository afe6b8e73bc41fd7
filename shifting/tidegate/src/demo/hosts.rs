//! The hosts of both versions: tiny HTTP servers in this process, on ephemeral ports.
//!
//! They are where truth is measured: every request is entered in the [`Ledger`] when it arrives,
//! with what the host is going to do to it. Sidecars' own numbers and the control plane's are
//! then compared with that.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::behaviour::{Answer, Behaviour, Draws, Fault};
use super::clock::Clock;
use super::error::DemoError;

/// Says which of the client's requests this is; 0 and none are not measured.
pub(super) const REQUEST_HEADER: &str = "x-demo-request";
/// Says which version answered.
pub(super) const VERSION_HEADER: &str = "x-version";

/// The old version or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arm {
    Stable,
    Canary,
}

/// A request that arrived at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The client's number of it.
    pub(super) request: u64,
    /// On the scenario's clock.
    pub(super) arrived_us: u64,
    pub(super) arm: Arm,
    pub(super) fault: Option<Fault>,
}

/// What the hosts saw, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: Mutex<Vec<Seen>>,
}

/// All hosts; dropping it closes them.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) stable: Vec<SocketAddr>,
    pub(super) canary: Vec<SocketAddr>,
    pub(super) ledger: Arc<Ledger>,
    _tasks: JoinSet<()>,
}

/// What one host's connections share.
struct Host {
    arm: Arm,
    behaviour: Behaviour,
    draws: Mutex<Draws>,
    clock: Clock,
    ledger: Arc<Ledger>,
    /// Set when a host is gone already: only one leaves.
    left: Arc<AtomicBool>,
    leave: watch::Sender<bool>,
}

// === impl Hosts ===

impl Hosts {
    /// Starts `stable` healthy hosts of the old version and `canary` hosts of the new one that
    /// behave as told.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) async fn start(
        stable: usize,
        canary: usize,
        behaviour: Behaviour,
        clock: Clock,
    ) -> Result<Self, DemoError> {
        let mut hosts = Self {
            stable: Vec::with_capacity(stable),
            canary: Vec::with_capacity(canary),
            ledger: Arc::default(),
            _tasks: JoinSet::new(),
        };
        let left = Arc::new(AtomicBool::new(false));
        for number in 0..stable + canary {
            let (arm, behaviour) = if number < stable {
                (Arm::Stable, Behaviour::Healthy)
            } else {
                (Arm::Canary, behaviour)
            };
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .map_err(DemoError::system("open a port for a host"))?;
            let address = listener
                .local_addr()
                .map_err(DemoError::system("read the port of a host"))?;
            match arm {
                Arm::Stable => hosts.stable.push(address),
                Arm::Canary => hosts.canary.push(address),
            }
            let host = Arc::new(Host {
                arm,
                behaviour,
                draws: Mutex::new(Draws::seeded(number as u64)),
                clock,
                ledger: Arc::clone(&hosts.ledger),
                left: Arc::clone(&left),
                leave: watch::Sender::new(false),
            });
            hosts._tasks.spawn(accept(listener, host));
        }
        Ok(hosts)
    }
}

/// Serves until the host leaves; then the listener and all connections are closed at once.
async fn accept(listener: TcpListener, host: Arc<Host>) {
    let mut leave = host.leave.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = leave.changed() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let host = Arc::clone(&host);
                    connections.spawn(async move {
                        let service = service_fn(move |request| answer(Arc::clone(&host), request));
                        // A peer that breaks its connection is the peer's affair.
                        let _ = auto::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
                // Out of descriptors: the next accept would fail as well, at full speed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn answer(
    host: Arc<Host>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let draw = host
        .draws
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .next();
    let mut answer = host.behaviour.answer(draw);
    if answer == Answer::Leave && host.left.swap(true, Ordering::SeqCst) {
        answer = Behaviour::Healthy.answer(draw);
    }
    host.ledger.enter(&host, &request, answer);
    match answer {
        Answer::Fine(time) | Answer::Late(time) => {
            tokio::time::sleep(time).await;
            Ok(host.response(StatusCode::OK))
        }
        Answer::Failed(time) => {
            tokio::time::sleep(time).await;
            Ok(host.response(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Answer::Leave => {
            host.leave.send_replace(true);
            std::future::pending().await
        }
        Answer::Never => std::future::pending().await,
    }
}

// === impl Host ===

impl Host {
    fn response(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let version = self.arm.version();
        let mut response = Response::new(Full::new(Bytes::from_static(version.as_bytes())));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(VERSION_HEADER, http::HeaderValue::from_static(version));
        response
    }
}

// === impl Arm ===

impl Arm {
    /// The version's name in the demo's mesh.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Stable => "v1",
            Self::Canary => "v2",
        }
    }

    pub(super) fn of_version(version: &[u8]) -> Option<Self> {
        [Self::Stable, Self::Canary]
            .into_iter()
            .find(|arm| arm.version().as_bytes() == version)
    }
}

// === impl Ledger ===

impl Ledger {
    fn enter(&self, host: &Host, request: &Request<Incoming>, answer: Answer) {
        let number = request
            .headers()
            .get(REQUEST_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(0);
        if number == 0 {
            return;
        }
        let mut seen = self.lock();
        seen.push(Seen {
            request: number,
            arrived_us: host.clock.now_us(),
            arm: host.arm,
            fault: answer.fault(),
        });
    }

    /// Everything so far.
    pub(super) fn all(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    /// Requests of (stable, canary) that arrived at `from_us` or later.
    pub(super) fn since(&self, from_us: u64) -> (u64, u64) {
        let seen = self.lock();
        let recent = seen
            .iter()
            .rev()
            .take_while(|seen| seen.arrived_us >= from_us);
        recent.fold((0, 0), |(stable, canary), seen| match seen.arm {
            Arm::Stable => (stable + 1, canary),
            Arm::Canary => (stable, canary + 1),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
