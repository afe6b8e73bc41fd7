//! Asking Prometheus, and every way in which it may not answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use super::answer::{self, Scrapes, Unusable};

/// An answer that takes longer is an outage.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: 10,000 targets with 30 series of 10 samples.
const ANSWER_LIMIT_BYTES: usize = 128 * 1024 * 1024;
/// Samples are asked for this far back, so that a poll that fails loses none.
const WINDOW_INTERVALS: u64 = 4;
const WINDOW_LEAST_MS: u64 = 30_000;
/// Longest piece of an error that is repeated.
const ERROR_CHARS: usize = 300;

/// Why Prometheus told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// Nobody listens there, or the connection broke.
    #[error("Prometheus at {url} can't be reached: {cause}")]
    Unreachable {
        /// Where.
        url: String,
        /// The system's own words.
        cause: String,
    },
    /// It did not answer in time.
    #[error("Prometheus at {url} did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut {
        /// Where.
        url: String,
    },
    /// It refused the question.
    #[error("Prometheus at {url} refused: {error}")]
    Refused {
        /// Where.
        url: String,
        /// Its own words, truncated.
        error: String,
    },
    /// What answers there is no Prometheus.
    #[error("the answer of {url} is not understood ({detail}): is it a Prometheus?")]
    NotUnderstood {
        /// Where.
        url: String,
        /// What is wrong.
        detail: String,
    },
}

/// A client of any number of Prometheus servers. Clones share connections.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    http: Client<HttpConnector, Full<Bytes>>,
}

// === impl Questions ===

impl Questions {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_TIMEOUT));
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// The latest samples of two clusters of all sidecars.
    pub(super) async fn scrapes(
        &self,
        url: &str,
        clusters: [&str; 2],
        interval_ms: u64,
    ) -> Result<Scrapes, Outage> {
        let query = samples_of(clusters, interval_ms);
        let asked = async {
            let now = self.ask(url, "time()").await?;
            let samples = self.ask(url, &query).await?;
            Ok((now, samples))
        };
        let (now, samples) =
            tokio::time::timeout(ANSWER_TIMEOUT, asked)
                .await
                .map_err(|_| Outage::TimedOut {
                    url: url.to_owned(),
                })??;
        let unusable = |unusable| Outage::of(url, unusable);
        Ok(Scrapes {
            now_ms: answer::time(&now).map_err(unusable)?,
            series: answer::matrix(&samples).map_err(unusable)?,
        })
    }

    async fn ask(&self, url: &str, query: &str) -> Result<Bytes, Outage> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{url}/api/v1/query"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .map_err(|cause| Outage::unreachable(url, &cause))?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|cause| Outage::unreachable(url, &cause))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES)
            .collect()
            .await
            .map_err(|cause| Outage::Unreachable {
                url: url.to_owned(),
                cause: cause.to_string(),
            })?
            .to_bytes();
        // A refusal of Prometheus itself is JSON as well, and says more than its status.
        let is_json = body.first() == Some(&b'{');
        if status.is_success() || is_json {
            return Ok(body);
        }
        Err(Outage::Refused {
            url: url.to_owned(),
            error: format!("{status}"),
        })
    }
}

// === impl Outage ===

impl Outage {
    fn of(url: &str, unusable: Unusable) -> Self {
        let url = url.to_owned();
        let shortened = |text: String| text.chars().take(ERROR_CHARS).collect();
        match unusable {
            Unusable::Refused(error) => Self::Refused {
                url,
                error: shortened(error),
            },
            Unusable::NotUnderstood(detail) => Self::NotUnderstood {
                url,
                detail: shortened(detail),
            },
        }
    }

    /// The innermost cause is the one that tells: "connection refused", not "client error".
    fn unreachable(url: &str, error: &dyn std::error::Error) -> Self {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable {
            url: url.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// The raw samples of Envoy's statistics of these clusters, and whether each target is up.
pub(super) fn samples_of(clusters: [&str; 2], interval_ms: u64) -> String {
    let window_ms = (interval_ms * WINDOW_INTERVALS).max(WINDOW_LEAST_MS);
    let [canary, stable] = clusters.map(verbatim);
    format!(
        "{{__name__=~\"up|envoy_cluster_upstream_rq_(total|completed|xx|timeout|active|retry|\
         time_bucket|time_count)|envoy_cluster_retry_upstream_rq_(completed|xx)|\
         envoy_cluster_upstream_cx_connect_fail|envoy_cluster_grpc_(2|4|12|13|14|15)\",envoy_cluster_name=~\"{canary}|{stable}|\"}}[{window_ms}ms]"
    )
}

/// A regular expression that matches just this name. Names have no quotes and no backslashes.
fn verbatim(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '/' => c.to_string(),
            '^' | '"' | '\\' => "[^[:cntrl:]]".to_owned(),
            other => format!("[{other}]"),
        })
        .collect()
}
