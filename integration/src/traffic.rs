//! Clients: requests at a steady rate through sidecars, every response on record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinHandle;

use crate::hosts::VERSION_HEADER;
use crate::machine::runtime;

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered.
    pub answered: Instant,
    /// The HTTP status; 0 when the connection failed or nothing came in time.
    pub status: u16,
    /// The version that answered; empty when a sidecar answered itself.
    pub version: String,
    /// The sidecar's own words when it did, such as `no healthy upstream`.
    pub words: String,
}

/// Requests that go on until this is stopped or dropped.
#[derive(Debug)]
pub struct Traffic {
    records: Arc<Mutex<Vec<Recorded>>>,
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// A second.
    pub rate: u32,
    /// Whether each goes over a connection of its own, or over as few as will do.
    pub new_connections: bool,
    /// So many may be unanswered; the next one waits, and the rate falls. Without a bound a machine
    /// that is too slow for the rate piles requests up until somebody refuses them.
    pub unanswered_max: usize,
}

pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(20);

// === impl Load ===

impl Load {
    /// At this rate whatever happens.
    #[must_use]
    pub fn steady(rate: u32) -> Self {
        Self {
            rate,
            new_connections: false,
            unanswered_max: usize::MAX,
        }
    }
}

// === impl Traffic ===

impl Traffic {
    /// Sends `rate` requests a second for `service`, in turn through `sidecars`.
    #[must_use]
    pub fn start(service: &str, sidecars: &[SocketAddr], rate: u32) -> Self {
        Self::start_load(service, sidecars, Load::steady(rate))
    }

    /// The same by another load.
    #[must_use]
    pub fn start_load(service: &str, sidecars: &[SocketAddr], load: Load) -> Self {
        let records = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let task = runtime().spawn(send(
            service.to_owned(),
            sidecars.to_vec(),
            load,
            Arc::clone(&records),
            Arc::clone(&stop),
        ));
        Self {
            records,
            stop,
            task: Some(task),
        }
    }

    /// What was answered so far.
    #[must_use]
    pub fn records(&self) -> Vec<Recorded> {
        self.records.lock().unwrap().clone()
    }

    /// Stops sending, waits for what is in flight, and gives all records, in the order of their
    /// sending.
    #[must_use]
    pub fn finish(mut self) -> Vec<Recorded> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            runtime().block_on(task).unwrap();
        }
        let mut records = self.records();
        records.sort_by_key(|record| record.sent);
        records
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Requests by status.
#[must_use]
pub fn by_status(records: &[Recorded]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.status).or_default() += 1;
    }
    counts
}

/// The share of requests that `version` answered; 0 without requests.
#[must_use]
pub fn share(records: &[Recorded], version: &str) -> f64 {
    let its = records.iter().filter(|r| r.version == version).count();
    let count = |n: usize| f64::from(u32::try_from(n).unwrap());
    count(its) / count(records.len().max(1))
}

async fn send(
    service: String,
    sidecars: Vec<SocketAddr>,
    load: Load,
    records: Arc<Mutex<Vec<Recorded>>>,
    stop: Arc<AtomicBool>,
) {
    let idle_max = if load.new_connections { 0 } else { usize::MAX };
    let client: HttpClient = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(idle_max)
        .build_http();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / load.rate);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut flights = tokio::task::JoinSet::new();
    for sidecar in sidecars.iter().cycle() {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let request = Request::get(format!("http://{sidecar}/"))
            .header("host", &service)
            .body(Empty::new())
            .unwrap();
        let (client, records) = (client.clone(), Arc::clone(&records));
        flights.spawn(async move {
            let sent = Instant::now();
            let answer = tokio::time::timeout(LIMIT, ask(client, request))
                .await
                .ok()
                .flatten()
                .unwrap_or_default();
            let record = Recorded {
                sent,
                answered: Instant::now(),
                status: answer.status,
                version: answer.version,
                words: answer.words,
            };
            records.lock().unwrap().push(record);
        });
        while flights.try_join_next().is_some() {}
        while flights.len() >= load.unanswered_max {
            flights.join_next().await;
        }
    }
    flights.join_all().await;
}

/// An answer; the default is none.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    version: String,
    words: String,
}

/// A client that keeps its connections.
pub(crate) fn client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn ask(client: HttpClient, request: Request<Empty<Bytes>>) -> Option<Answer> {
    let response = client.request(request).await.ok()?;
    let status = response.status().as_u16();
    let version = response
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let by_sidecar = version.is_empty();
    let words = by_sidecar.then(|| String::from_utf8_lossy(&body).into_owned());
    Some(Answer {
        status,
        version,
        words: words.unwrap_or_default(),
    })
}

/// The body of a GET; `None` when there is no answer with status 200.
#[must_use]
pub fn get(url: &str) -> Option<String> {
    fetch(Request::get(url).body(Empty::new()).unwrap())
}

/// The body that a POST of nothing is answered with; `None` when the status is not 200.
#[must_use]
pub fn post(url: &str) -> Option<String> {
    fetch(Request::post(url).body(Empty::new()).unwrap())
}

fn fetch(request: Request<Empty<Bytes>>) -> Option<String> {
    runtime().block_on(async {
        let asked = tokio::time::timeout(Duration::from_secs(5), client().request(request));
        let response = asked.await.ok()?.ok()?;
        if response.status() != 200 {
            return None;
        }
        let body = response.into_body().collect().await.ok()?.to_bytes();
        String::from_utf8(body.to_vec()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Hosts;
    use crate::machine::wait_until;

    #[test]
    fn every_request_is_on_record_with_its_version_and_status() {
        let (v1, v2) = (Hosts::start("v1", 2), Hosts::start("v2", 1));
        v2.fail(50);
        let addresses = [&v1.addresses[..], &v2.addresses[..]].concat();
        let traffic = Traffic::start("checkout", &addresses, 600);
        wait_until(Duration::from_secs(20), "300 requests", || {
            v1.served() + v2.served() >= 300
        });
        let records = traffic.finish();
        let served = v1.served() + v2.served();
        assert_eq!(records.len(), usize::try_from(served).unwrap());
        // In turn: a third of them, give or take the turn that was not finished.
        assert!((share(&records, "v2") - 1.0 / 3.0).abs() < 0.01);
        let failed = by_status(&records)[&500];
        let half = usize::try_from(v2.served() / 2).unwrap();
        assert!(failed.abs_diff(half) <= 1, "{failed} of {}", v2.served());
        assert!(records.iter().all(|r| r.status == 200 || r.version == "v2"));
    }

    #[test]
    fn a_connection_that_fails_is_on_record_too() {
        let traffic = Traffic::start("checkout", &[crate::machine::free_address()], 100);
        wait_until(Duration::from_secs(5), "a record", || {
            !traffic.records().is_empty()
        });
        let records = traffic.finish();
        assert!(records.iter().all(|record| record.status == 0));
    }
}
