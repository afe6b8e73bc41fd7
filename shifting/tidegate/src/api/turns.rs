//! When something may begin or go on: starts, the queue, approvals.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use tidegate_engine::rollout::{Event, RolloutStatus, subject};

use super::model::{ActRequest, CancelRequest, QueueAnswer, StartRequest, Started};
use super::server::{Answer, Body, Context, Failure, Service, actor, status};

pub(super) async fn start(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<StartRequest>,
) -> Result<(StatusCode, Json<Started>), Failure> {
    let event = Event::Start {
        service: service.clone(),
        to: request.to.clone(),
        actor: actor(request.actor)?,
        turn: request.turn.into(),
        terms: request.terms,
    };
    context.brain.command(event).await?;
    let waiting = answer(&context).queue.into_iter();
    let queued = waiting
        .filter(|entry| entry.queued.service == service)
        .find(|entry| entry.queued.to == request.to);
    if let Some(queued) = queued {
        return Ok((StatusCode::ACCEPTED, Json(Started::Queued(queued))));
    }
    let pending = context
        .brain
        .published()
        .load()
        .state
        .pending(context.clock.now());
    let declared = pending.into_iter().find(|it| subject(&it.fleet) == service);
    if let Some(pending) = declared {
        return Ok((StatusCode::ACCEPTED, Json(Started::Pending(pending))));
    }
    let Json(status) = status(&context, &service)?;
    let started = Started::Rollout(Box::new(status));
    Ok((StatusCode::CREATED, Json(started)))
}

pub(super) async fn approve(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<ActRequest>,
) -> Answer<RolloutStatus> {
    let event = Event::Approve {
        service: service.clone(),
        actor: actor(request.actor)?,
    };
    context.brain.command(event).await?;
    status(&context, &service)
}

pub(super) async fn queue(Extract(context): Extract<Context>) -> Json<QueueAnswer> {
    Json(answer(&context))
}

pub(super) async fn cancel(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<CancelRequest>,
) -> Answer<QueueAnswer> {
    let event = Event::Cancel {
        service,
        to: request.to,
        actor: actor(request.actor)?,
    };
    context.brain.command(event).await?;
    Ok(Json(answer(&context)))
}

fn answer(context: &Context) -> QueueAnswer {
    let now = context.clock.now();
    let queue = context.brain.published().load().state.queue(None, now);
    QueueAnswer { now, queue }
}
