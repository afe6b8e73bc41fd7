//! A client of the operators' API ([`crate::api::model`]), for the command line and the demo.
//!
//! Every failure is a sentence that says what to do next; what the server itself answered is
//! passed through unchanged, with its status. Requests have a time limit and answers a size
//! limit. There are no retries of commands: whether to ask again is the caller's decision.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{Preview, RolloutStatus};

use crate::api::model::{
    AaAnswer, AbortRequest, ActRequest, BackRequest, CancelRequest, ErrorAnswer, GraphAnswer,
    LiftRequest, MeshAnswer, PlanAnswer, PlanQuery, QuarantineAnswer, QueueAnswer, RolloutsAnswer,
    SidecarsAnswer, StartRequest, Started, VersionAnswer,
};

/// Time within which the control plane must have answered a request in full.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which a connection must be open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is read. 10,000 sidecars with a rejection each fit several times.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Speaks to one control plane. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: Uri,
    timeout: Duration,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base address cannot be used.
    #[error(
        "`{address}` is not the address of a control plane: \
         give http://host:port (--api, $TIDEGATE_API)"
    )]
    BadAddress {
        /// What was given.
        address: String,
    },
    /// Nobody listens there, or the connection broke.
    #[error(
        "cannot reach the control plane at {address}: \
         is `tidegate serve` running? (--api, $TIDEGATE_API)"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It accepted the connection and did not answer.
    #[error(
        "the control plane at {address} did not answer within {seconds} s; \
         the request may still take effect: look at `tidegate rollout status`"
    )]
    TimedOut {
        /// Where it is.
        address: String,
        /// The limit.
        seconds: u64,
    },
    /// It refused. The text is its own.
    #[error("{message}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The server's sentences.
        message: String,
    },
    /// The answer is not what this program expects.
    #[error(
        "the answer of {address} to {request} is not understood ({detail}): \
         is it a tidegate of another version? see `tidegate version`"
    )]
    NotUnderstood {
        /// Where it is.
        address: String,
        /// Method and path.
        request: String,
        /// What is wrong with it.
        detail: String,
    },
}

// === impl Client ===

impl Client {
    /// A client of the control plane at `base`, such as `http://127.0.0.1:18001`. Nothing is
    /// sent yet, and an unusable `base` is reported by the first request.
    #[must_use]
    pub fn new(base: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        Self {
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
            base,
            timeout: ANSWER_TIMEOUT,
        }
    }

    /// The same client with another limit on the time of a whole answer (default 10 s).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Which program answers.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all methods.
    pub async fn version(&self) -> Result<VersionAnswer, ClientError> {
        self.get("/v1/version").await
    }

    /// Who is connected, and what they hold.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sidecars(&self) -> Result<SidecarsAnswer, ClientError> {
        self.get("/v1/sidecars").await
    }

    /// The latest rollout of each service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rollouts(&self) -> Result<RolloutsAnswer, ClientError> {
        self.get("/v1/rollouts").await
    }

    /// The latest rollout of `service`; `None` when it never had one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rollout(&self, service: &str) -> Result<Option<RolloutStatus>, ClientError> {
        match self.get(&rollout_path(service, "")).await {
            Ok(status) => Ok(Some(status)),
            Err(ClientError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a rollout of `service` would do and be able to see; changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal has status 404 (no such service or version) or 409 (it could
    /// not begin, or its traffic is not known).
    pub async fn plan(&self, service: &str, query: &PlanQuery) -> Result<PlanAnswer, ClientError> {
        let mut path = rollout_path(service, "/plan?to=");
        path.push_str(&escape_segment(&query.to));
        for (name, value) in [("rps", query.rps), ("error_rate", query.error_rate)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={value}"));
            }
        }
        self.get(&path).await
    }

    /// Asks to move the traffic of `service` to another version; it begins, or waits for its turn.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal has status 404 (no such service or version) or 409 (it is
    /// under way or there already, quarantined, or frozen).
    pub async fn start(
        &self,
        service: &str,
        request: &StartRequest,
    ) -> Result<Started, ClientError> {
        self.post(&rollout_path(service, ""), Some(request)).await
    }

    /// Stops the clock of the rollout of `service`; the exposure stays.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pause(
        &self,
        service: &str,
        request: &ActRequest,
    ) -> Result<RolloutStatus, ClientError> {
        self.post(&rollout_path(service, "/pause"), Some(request))
            .await
    }

    /// Lets a paused or overdue rollout of `service` go on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(
        &self,
        service: &str,
        request: &ActRequest,
    ) -> Result<RolloutStatus, ClientError> {
        self.post(&rollout_path(service, "/resume"), Some(request))
            .await
    }

    /// Takes the canary of `service` back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn abort(
        &self,
        service: &str,
        request: &AbortRequest,
    ) -> Result<RolloutStatus, ClientError> {
        self.post(&rollout_path(service, "/abort"), Some(request))
            .await
    }

    /// Asks to go back to an earlier version of `service`.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal has status 404 or 409, as of [`Client::start`].
    pub async fn back(
        &self,
        service: &str,
        request: &BackRequest,
    ) -> Result<RolloutStatus, ClientError> {
        self.post(&rollout_path(service, "/back"), Some(request))
            .await
    }

    /// Lets the rollout of `service` leave a rung whose gate asks for an approval.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve(
        &self,
        service: &str,
        request: &ActRequest,
    ) -> Result<RolloutStatus, ClientError> {
        self.post(&rollout_path(service, "/approve"), Some(request))
            .await
    }

    /// The starts that wait for their turn.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn queue(&self) -> Result<QueueAnswer, ClientError> {
        self.get("/v1/queue").await
    }

    /// Takes a start out of the queue of `service`; answers what still waits.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(
        &self,
        service: &str,
        request: &CancelRequest,
    ) -> Result<QueueAnswer, ClientError> {
        let path = format!("/v1/queue/{}/cancel", escape_segment(service));
        self.post(&path, Some(request)).await
    }

    /// How often two halves of one version would have been told apart: of `service`, or of all.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal has status 404 (no such service).
    pub async fn aa(&self, service: Option<&str>) -> Result<AaAnswer, ClientError> {
        match service {
            Some(service) => {
                self.get(&format!("/v1/aa/{}", escape_segment(service)))
                    .await
            }
            None => self.get("/v1/aa").await,
        }
    }

    /// Who calls whom, as declared and as observed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn graph(&self) -> Result<GraphAnswer, ClientError> {
        self.get("/v1/mesh/graph").await
    }

    /// What is in quarantine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn quarantine(&self) -> Result<QuarantineAnswer, ClientError> {
        self.get("/v1/quarantine").await
    }

    /// Allows a quarantined version of `service` again; answers what is left in quarantine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lift(
        &self,
        service: &str,
        request: &LiftRequest,
    ) -> Result<QuarantineAnswer, ClientError> {
        let path = format!("/v1/quarantine/{}/lift", escape_segment(service));
        self.post(&path, Some(request)).await
    }

    /// The mesh in force.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn mesh(&self) -> Result<MeshAnswer, ClientError> {
        self.get("/v1/mesh").await
    }

    /// What declaring a mesh would lead to.
    ///
    /// # Errors
    /// See [`ClientError`]; a mesh that would be refused has status 422.
    pub async fn preview(&self, mesh: &Mesh) -> Result<Preview, ClientError> {
        self.post("/v1/mesh/plan", Some(mesh)).await
    }

    /// Reads the mesh directory again.
    ///
    /// # Errors
    /// See [`ClientError`]; a refused mesh has status 422 and the message lists all its errors.
    pub async fn reload(&self) -> Result<MeshAnswer, ClientError> {
        self.post::<(), _>("/v1/mesh/reload", None).await
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.ask::<(), A>(Method::GET, path, None).await
    }

    async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Q>,
    ) -> Result<A, ClientError> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Q>,
    ) -> Result<A, ClientError> {
        let name = format!("{method} {path}");
        let request = self.request(method, path, body)?;
        let (status, bytes) = tokio::time::timeout(self.timeout, self.exchange(request, &name))
            .await
            .map_err(|_| ClientError::TimedOut {
                address: self.address(),
                seconds: self.timeout.as_secs(),
            })??;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| self.not_understood(&name, error.to_string()));
        }
        match serde_json::from_slice::<ErrorAnswer>(&bytes) {
            Ok(answer) => Err(ClientError::Refused {
                status,
                message: answer.error,
            }),
            Err(_) => Err(self.not_understood(&name, format!("status {status}"))),
        }
    }

    fn request<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Q>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let bad_address = || ClientError::BadAddress {
            address: self.base.to_string(),
        };
        // Plain HTTP only: an `https` base would otherwise be spoken to in clear text.
        if self.base.scheme_str() != Some("http") {
            return Err(bad_address());
        }
        let uri: Uri = format!("{}{path}", self.address())
            .parse()
            .map_err(|_| bad_address())?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::ACCEPT, "application/json");
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body)
                    .map_err(|error| self.not_understood(path, error.to_string()))?
            }
            None => Vec::new(),
        };
        request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|_| bad_address())
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        name: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| self.unreachable(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES);
        match body.collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(self.not_understood(name, format!("more than {ANSWER_LIMIT_BYTES} bytes")))
            }
            Err(error) => Err(self.unreachable(error)),
        }
    }

    /// The base without a trailing slash, as people wrote it.
    fn address(&self) -> String {
        self.base.to_string().trim_end_matches('/').to_owned()
    }

    fn unreachable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Unreachable {
            address: self.address(),
            source,
        }
    }

    fn not_understood(&self, request: &str, detail: String) -> ClientError {
        ClientError::NotUnderstood {
            address: self.address(),
            request: request.to_owned(),
            detail,
        }
    }
}

// === impl ClientError ===

impl ClientError {
    /// The status that the control plane answered with, if it answered in its own words.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn rollout_path(service: &str, verb: &str) -> String {
    format!("/v1/rollouts/{}{verb}", escape_segment(service))
}

/// A path segment that arrives as it was typed, whatever was typed.
fn escape_segment(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            // Dots alone would be folded away as path steps by proxies on the way.
            b'.' if !segment.trim_matches('.').is_empty() => escaped.push('.'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
