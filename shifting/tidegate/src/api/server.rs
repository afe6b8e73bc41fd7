//! Answers the table in [`super::model`]. Reads come from what the brain published; only
//! commands go to the brain itself.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{
    DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State as Extract,
};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use tidegate_engine::mesh::Mesh;
use tidegate_engine::rollout::{Decision, Event, Preview, Refusal, RolloutStatus, Waiting};
use tidegate_xds::identity::Access;
use tidegate_xds::server::{ClientKind, ClientStatus, Server};
use tokio::net::TcpListener;

use super::model::{
    AbortRequest, ActRequest, ErrorAnswer, MeshAnswer, RejectionStatus, RolloutsAnswer,
    SidecarStatus, SidecarsAnswer, VersionAnswer,
};
use super::{a_a, graph, memory, turns};
use crate::clock::{Clock, millis};
use crate::daemon::{BrainHandle, CommandError, Published, SidecarHealth};

/// Largest request body, bytes: commands are a few words.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// A mesh is the one large thing that is sent: 10,000 services of a dozen hosts each.
const MAX_MESH_BYTES: usize = 32 * 1024 * 1024;

/// Longest name of an actor and longest reason, characters: they are kept in the journal and
/// shown on one line.
const MAX_ACTOR: usize = 100;
pub(super) const MAX_REASON: usize = 1_000;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Context {
    /// Takes commands, publishes the state.
    pub brain: BrainHandle,
    /// Knows the sidecars.
    pub server: Server,
    /// Knows who was refused.
    pub access: Arc<Access>,
    /// For "how long ago".
    pub clock: Clock,
}

/// A failure with the HTTP status that tells programs what kind it is.
pub(super) struct Failure(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorAnswer { error: self.1 })).into_response()
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let status = match &error {
            CommandError::Refused(
                Refusal::UnknownService { .. }
                | Refusal::UnknownFleet { .. }
                | Refusal::UnknownVersion { .. },
            ) => StatusCode::NOT_FOUND,
            CommandError::Refused(Refusal::Guard(_))
            | CommandError::Views(_)
            | CommandError::Source(_) => StatusCode::UNPROCESSABLE_ENTITY,
            CommandError::Refused(_) => StatusCode::CONFLICT,
            CommandError::Journal(_)
            | CommandError::Unrecorded(_)
            | CommandError::Frozen(_)
            | CommandError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// A JSON body, whose refusal is JSON as well.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(refused) => Err(Failure(refused.status(), refused.body_text())),
        }
    }
}

/// The service that the path names.
pub(super) struct Service(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(service)) => Ok(Self(service)),
            Err(refused) => Err(Failure(refused.status(), refused.body_text())),
        }
    }
}

/// Serves the API until `stop` resolves; requests under way are finished.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), std::io::Error> {
    let router = Router::new()
        .route("/v1/version", get(version))
        .route("/v1/sidecars", get(sidecars))
        .route("/v1/rollouts", get(rollouts))
        .route("/v1/rollouts/{service}", get(rollout).post(turns::start))
        .route("/v1/rollouts/{service}/plan", get(plan::plan))
        .route("/v1/rollouts/{service}/pause", post(pause))
        .route("/v1/rollouts/{service}/resume", post(resume))
        .route("/v1/rollouts/{service}/abort", post(abort))
        .route("/v1/rollouts/{service}/back", post(memory::back))
        .route("/v1/rollouts/{service}/approve", post(turns::approve))
        .route("/v1/queue", get(turns::queue))
        .route("/v1/queue/{service}/cancel", post(turns::cancel))
        .route("/v1/quarantine", get(memory::quarantine))
        .route("/v1/quarantine/{service}/lift", post(memory::lift))
        .route("/v1/aa", get(a_a::all))
        .route("/v1/aa/{service}", get(a_a::one))
        .route("/v1/mesh", get(mesh))
        .route("/v1/mesh/graph", get(graph::graph))
        .route(
            "/v1/mesh/plan",
            post(preview).layer(DefaultBodyLimit::max(MAX_MESH_BYTES)),
        )
        .route("/v1/mesh/reload", post(reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(context);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

async fn unknown(uri: Uri) -> Failure {
    Failure(
        StatusCode::NOT_FOUND,
        format!("no such path: {}; the API begins at /v1", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let text = format!("{} does not answer {method}", uri.path());
    Failure(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// What a person wrote about a command: one line, not too long.
pub(super) fn words(
    what: &str,
    text: String,
    least: usize,
    most: usize,
) -> Result<String, Failure> {
    let length = text.trim().chars().count();
    if (least..=most).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Failure(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("`{what}` has {least} to {most} characters on one line"),
    ))
}

pub(super) fn actor(text: String) -> Result<String, Failure> {
    words("actor", text, 1, MAX_ACTOR)
}

async fn version(Extract(context): Extract<Context>) -> Json<VersionAnswer> {
    let published = context.brain.published().load();
    Json(VersionAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(&published),
    })
}

async fn sidecars(Extract(context): Extract<Context>) -> Json<SidecarsAnswer> {
    let (instant, now) = (Instant::now(), context.clock.now());
    let published = context.brain.published().load_full();
    let sidecars = context.server.clients().into_iter().map(|client| {
        let id = &client.client.node_id;
        let last_report = published.last_reports.get(id);
        let health = published.health.of(id).unwrap_or_default();
        let last_report_ms = last_report.map(|at| now.since_ms(*at));
        sidecar(&client, instant, last_report_ms, health)
    });
    let incidents = context.access.incidents().into_iter();
    Json(SidecarsAnswer {
        sidecars: sidecars.collect(),
        incidents: incidents
            .map(|(incident, count)| (incident.to_string(), count))
            .collect(),
    })
}

async fn rollouts(Extract(context): Extract<Context>) -> Json<RolloutsAnswer> {
    let published = context.brain.published().load();
    let rollouts = published.state.statuses(context.clock.now());
    let rollouts = rollouts
        .into_iter()
        .map(|status| shown(status, &published))
        .collect();
    let pending = published.state.pending(context.clock.now());
    Json(RolloutsAnswer { rollouts, pending })
}

async fn rollout(
    Extract(context): Extract<Context>,
    Service(service): Service,
) -> Answer<RolloutStatus> {
    status(&context, &service)
}

async fn pause(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<ActRequest>,
) -> Answer<RolloutStatus> {
    let event = Event::Pause {
        service: service.clone(),
        actor: actor(request.actor)?,
    };
    context.brain.command(event).await?;
    status(&context, &service)
}

async fn resume(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<ActRequest>,
) -> Answer<RolloutStatus> {
    let event = Event::Resume {
        service: service.clone(),
        actor: actor(request.actor)?,
    };
    context.brain.command(event).await?;
    status(&context, &service)
}

async fn abort(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<AbortRequest>,
) -> Answer<RolloutStatus> {
    let event = Event::Abort {
        service: service.clone(),
        actor: actor(request.actor)?,
        reason: words("reason", request.reason, 0, MAX_REASON)?,
        quarantine: request.quarantine,
    };
    context.brain.command(event).await?;
    status(&context, &service)
}

async fn mesh(Extract(context): Extract<Context>) -> Json<MeshAnswer> {
    Json(mesh_answer(&context))
}

/// What declaring a mesh would lead to.
async fn preview(Extract(context): Extract<Context>, Body(mesh): Body<Mesh>) -> Answer<Preview> {
    let published = context.brain.published().load();
    let preview = published.state.preview(&mesh, context.clock.now());
    Ok(Json(preview.map_err(CommandError::Refused)?))
}

async fn reload(Extract(context): Extract<Context>) -> Answer<MeshAnswer> {
    context.brain.reload().await?;
    Ok(Json(mesh_answer(&context)))
}

pub(super) fn status(context: &Context, service: &str) -> Answer<RolloutStatus> {
    let published = context.brain.published().load();
    match published.state.status(service, context.clock.now()) {
        Some(status) => Ok(Json(shown(status, &published))),
        None => {
            let text = format!("no rollout of `{service}` is known");
            Err(Failure(StatusCode::NOT_FOUND, text))
        }
    }
}

/// A journal that can't be written stops every step; the state can't know, so it is said here.
fn shown(mut status: RolloutStatus, published: &Published) -> RolloutStatus {
    if let Some(failed) = &published.journal_failed
        && !status.phase.is_final()
    {
        let meanwhile = match &status.plan.configuration {
            None => "the canary falls back to stable when its share runs out",
            Some(_) => "each sidecar keeps the revision that it has",
        };
        status.decision = Decision::Wait(Waiting {
            kind: "journal".to_owned(),
            reason: format!(
                "the journal cannot be written: {failed}; no step is taken, and {meanwhile}"
            )
            .into(),
            owner: "operator".to_owned(),
            until: None,
            clock_stopped: true,
            overdue: false,
            command: "do what the reason says; nothing else can end this".to_owned(),
        });
    }
    status
}

fn revision(published: &Published) -> String {
    published
        .state
        .mesh()
        .map(Mesh::revision)
        .unwrap_or_default()
}

fn mesh_answer(context: &Context) -> MeshAnswer {
    let published = context.brain.published().load();
    let fleets = published
        .state
        .mesh()
        .map(|mesh| mesh.fleets.keys().cloned().collect());
    let splits = published.state.splits();
    MeshAnswer {
        revision: revision(&published),
        fleets: fleets.unwrap_or_default(),
        services: splits
            .into_iter()
            .map(|(service, split)| (service, split.stable))
            .collect(),
        refused: published.mesh_refused.clone(),
        pending: published.state.pending(context.clock.now()),
    }
}

fn sidecar(
    status: &ClientStatus,
    now: Instant,
    last_report_ms: Option<u64>,
    health: SidecarHealth,
) -> SidecarStatus {
    let ago = |then: Instant| millis(now.saturating_duration_since(then));
    let kind = match status.client.kind {
        ClientKind::Envoy => "envoy",
        ClientKind::Grpc => "grpc",
        ClientKind::Other => "other",
    };
    let rejected = status.rejections.iter().map(|rejection| RejectionStatus {
        kind: rejection.type_url.short_name().to_owned(),
        names: rejection.names.iter().map(ToString::to_string).collect(),
        text: rejection.text.to_string(),
    });
    let sent: BTreeMap<String, u64> = status
        .sent
        .iter()
        .map(|(type_url, counts)| (type_url.short_name().to_owned(), counts.resources))
        .collect();
    SidecarStatus {
        id: status.client.node_id.clone(),
        fleet: status.client.cluster.clone(),
        zone: status.client.zone.clone(),
        kind: kind.to_owned(),
        version: status.client.version.clone(),
        connected: status.connected,
        streams: status.streams,
        since_ms: ago(status.since),
        view_wanted: status.wanted.as_ref().map(ToString::to_string),
        view_acknowledged: status.acknowledged.as_ref().map(ToString::to_string),
        view_applied: status.applied.as_ref().map(ToString::to_string),
        suspect: status
            .suspect
            .as_ref()
            .map(|suspect| suspect.sentence.clone()),
        behind_ms: status.behind_since.map(ago),
        rejected: rejected.collect(),
        last_report_ms,
        connections: status.connections,
        restarts: health.restarts,
        memory_bytes: health.memory_bytes,
        sent,
    }
}
