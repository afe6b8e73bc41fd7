//! The client: sends at a fixed rate whatever happens (open loop) and records every response.
//!
//! A client that waits for answers before it sends more would hide a hanging canary from the
//! very numbers that are to show it. What is in flight is bounded all the same: by the rate times
//! the time limit of a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::clock::Clock;
use super::hosts::{Arm, REQUEST_HEADER, VERSION_HEADER};

/// After this time a request counts as failed.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type HttpClient = legacy::Client<HttpConnector, Empty<Bytes>>;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) request: u64,
    /// When it was due, on the scenario's clock: a late start counts as waiting.
    pub(super) due_us: u64,
    pub(super) ended_us: u64,
    pub(super) result: Result<u16, Failure>,
    /// The version that answered, if one did.
    pub(super) arm: Option<Arm>,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// None within [`REQUEST_TIMEOUT`].
    Timeout,
    /// The connection could not be opened or broke.
    Connection,
}

/// Requests so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) non_200: u64,
}

/// A running client. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    http: HttpClient,
    targets: Vec<SocketAddr>,
    host: String,
    clock: Clock,
    sent: AtomicU64,
    non_200: AtomicU64,
    answered: Mutex<Vec<Answered>>,
}

/// A client that keeps its connections.
pub(super) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}

// === impl Load ===

impl Load {
    /// Sends `rate` requests a second for `host`, in turn to each of `targets`.
    pub(super) fn start(targets: Vec<SocketAddr>, host: &str, rate: u32, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            http: http_client(),
            targets,
            host: host.to_owned(),
            clock,
            sent: AtomicU64::new(0),
            non_200: AtomicU64::new(0),
            answered: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(generate(Arc::clone(&shared), rate.max(1), stopped));
        Self { shared, stop, task }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            answered: self.shared.lock().len() as u64,
            sent: self.shared.sent.load(Ordering::Relaxed),
            non_200: self.shared.non_200.load(Ordering::Relaxed),
        }
    }

    /// Sends no more, waits for what is in flight (at most [`REQUEST_TIMEOUT`]) and gives the
    /// records.
    pub(super) async fn stop(mut self) -> Vec<Answered> {
        self.stop.send_replace(true);
        // The task ends by itself: every request has a time limit. It can't have panicked
        // without its records being complete up to then.
        let _ = (&mut self.task).await;
        std::mem::take(&mut *self.shared.lock())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn generate(shared: Arc<Shared>, rate: u32, mut stopped: watch::Receiver<bool>) {
    let begin_us = shared.clock.now_us();
    let mut requests = JoinSet::new();
    let mut number: u64 = 0;
    loop {
        let due_us = begin_us + number * 1_000_000 / u64::from(rate);
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = requests.join_next() => {}
            // Late wake-ups are caught up with: everything that is due by now is sent.
            () = tokio::time::sleep_until(shared.clock.at(due_us)) => {
                number += 1;
                shared.sent.fetch_add(1, Ordering::Relaxed);
                requests.spawn(send(Arc::clone(&shared), number, due_us));
            }
        }
    }
    while requests.join_next().await.is_some() {}
}

async fn send(shared: Arc<Shared>, number: u64, due_us: u64) {
    let (result, arm) = match tokio::time::timeout(REQUEST_TIMEOUT, shared.exchange(number)).await {
        Ok(Ok((status, arm))) => (Ok(status), arm),
        Ok(Err(failure)) => (Err(failure), None),
        Err(_) => (Err(Failure::Timeout), None),
    };
    if result != Ok(200) {
        shared.non_200.fetch_add(1, Ordering::Relaxed);
    }
    let ended_us = shared.clock.now_us();
    shared.lock().push(Answered {
        request: number,
        due_us,
        ended_us,
        result,
        arm,
    });
}

// === impl Shared ===

impl Shared {
    async fn exchange(&self, number: u64) -> Result<(u16, Option<Arm>), Failure> {
        let targets = self.targets.len().max(1) as u64;
        let target = usize::try_from(number % targets)
            .ok()
            .and_then(|index| self.targets.get(index))
            .ok_or(Failure::Connection)?;
        let request = Request::get(format!("http://{target}/"))
            .header(header::HOST, &self.host)
            .header(REQUEST_HEADER, number)
            .body(Empty::new())
            .map_err(|_| Failure::Connection)?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|_| Failure::Connection)?;
        let status = response.status().as_u16();
        let arm = response
            .headers()
            .get(VERSION_HEADER)
            .and_then(|version| Arm::of_version(version.as_bytes()));
        // A response that breaks off half-way is none.
        response
            .into_body()
            .collect()
            .await
            .map_err(|_| Failure::Connection)?;
        Ok((status, arm))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Answered>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
