//! Upstream hosts: tiny HTTP servers that answer with the name of their version and count.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::machine::runtime;
use crate::traffic::{HttpClient, ask, client};

/// The response header that names the version that answered.
pub const VERSION_HEADER: &str = "x-version";

/// Nobody should ask for it: hosts answer 500.
const NONSENSE: &str = "/nonsense";

/// Some hosts of one version. They stop when this is dropped.
#[derive(Debug)]
pub struct Hosts {
    /// What they answer.
    pub version: String,
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    behaviour: Arc<Behaviour>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Behaviour {
    served: AtomicU64,
    failing_percent: AtomicU32,
    delay_ms: AtomicU64,
    calls: OnceLock<Call>,
    calls_wrongly: AtomicBool,
}

/// What these hosts need of another service for each answer.
#[derive(Debug)]
struct Call {
    service: String,
    sidecar: SocketAddr,
    client: HttpClient,
}

// === impl Hosts ===

impl Hosts {
    /// Starts `count` hosts. They speak HTTP/1.1 and, with prior knowledge, HTTP/2.
    #[must_use]
    pub fn start(version: &str, count: usize) -> Self {
        let behaviour = Arc::new(Behaviour::default());
        let mut addresses = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..count {
            let listener = runtime()
                .block_on(TcpListener::bind(("127.0.0.1", 0)))
                .unwrap();
            addresses.push(listener.local_addr().unwrap());
            tasks.push(runtime().spawn(accept(
                listener,
                version.to_owned(),
                Arc::clone(&behaviour),
            )));
        }
        Self {
            version: version.to_owned(),
            addresses,
            behaviour,
            tasks,
        }
    }

    /// Requests that reached these hosts.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.behaviour.served.load(Ordering::Relaxed)
    }

    /// From now on, answer this share of requests with 500.
    pub fn fail(&self, percent: u32) {
        self.behaviour
            .failing_percent
            .store(percent, Ordering::Relaxed);
    }

    /// From now on, wait so long before each answer.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.behaviour.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// From now on, ask this service through the sidecar first, and answer 500 when that fails.
    ///
    /// # Panics
    /// When they call one already.
    pub fn call(&self, service: &str, sidecar: SocketAddr) {
        let call = Call {
            service: service.to_owned(),
            sidecar,
            client: client(),
        };
        self.behaviour.calls.set(call).unwrap();
    }

    /// From now on, ask the service that they call for what it answers with 500.
    pub fn call_wrongly(&self) {
        self.behaviour.calls_wrongly.store(true, Ordering::Relaxed);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, version: String, behaviour: Arc<Behaviour>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (version, behaviour) = (version.clone(), Arc::clone(&behaviour));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let is_nonsense = request.uri().path() == NONSENSE;
                answer(version.clone(), Arc::clone(&behaviour), is_nonsense)
            });
            // A client that goes away is no fault of the host.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    version: String,
    behaviour: Arc<Behaviour>,
    is_nonsense: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = behaviour.served.fetch_add(1, Ordering::Relaxed);
    let delay_ms = behaviour.delay_ms.load(Ordering::Relaxed);
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    // Spread over every hundred requests: 37 has no factor in common with 100.
    let failing = u64::from(behaviour.failing_percent.load(Ordering::Relaxed));
    let depends = match behaviour.calls.get() {
        Some(call) => {
            let wrongly = behaviour.calls_wrongly.load(Ordering::Relaxed);
            call.succeeds(if wrongly { NONSENSE } else { "/" }).await
        }
        None => true,
    };
    let status = if is_nonsense || !depends || number.wrapping_mul(37) % 100 < failing {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let mut response = Response::new(Full::new(Bytes::from(version.clone())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(VERSION_HEADER, version.parse().unwrap());
    Ok(response)
}

// === impl Call ===

impl Call {
    async fn succeeds(&self, path: &str) -> bool {
        let request = Request::get(format!("http://{}{path}", self.sidecar))
            .header("host", &self.service)
            .body(Empty::new())
            .unwrap();
        let answer = ask(self.client.clone(), request).await;
        answer.is_some_and(|answer| answer.status == 200)
    }
}
