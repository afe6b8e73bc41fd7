//! What is remembered: the quarantine, and the way back.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use tidegate_engine::rollout::{Event, Quarantined, RolloutStatus};

use super::model::{BackRequest, LiftRequest, QuarantineAnswer};
use super::server::{Answer, Body, Context, Failure, MAX_REASON, Service, actor, status, words};

pub(super) async fn back(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<BackRequest>,
) -> Result<(StatusCode, Json<RolloutStatus>), Failure> {
    let event = Event::Back {
        service: service.clone(),
        to: request.to,
        actor: actor(request.actor)?,
    };
    context.brain.command(event).await?;
    Ok((StatusCode::CREATED, status(&context, &service)?))
}

pub(super) async fn quarantine(Extract(context): Extract<Context>) -> Json<QuarantineAnswer> {
    Json(answer(&context))
}

pub(super) async fn lift(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<LiftRequest>,
) -> Answer<QuarantineAnswer> {
    let event = Event::LiftQuarantine {
        service,
        version: request.version,
        actor: actor(request.actor)?,
        reason: words("reason", request.reason, 1, MAX_REASON)?,
    };
    context.brain.command(event).await?;
    Ok(Json(answer(&context)))
}

fn answer(context: &Context) -> QuarantineAnswer {
    let now = context.clock.now();
    let published = context.brain.published().load();
    let mut quarantined: Vec<Quarantined> = published.state.quarantined(now).cloned().collect();
    quarantined.sort_by(|a, b| (&a.service, &a.version).cmp(&(&b.service, &b.version)));
    QuarantineAnswer { now, quarantined }
}
