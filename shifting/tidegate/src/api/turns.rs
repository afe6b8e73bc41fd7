//! When something may begin or go on: starts, the queue, approvals.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use tidegate_engine::rollout::{Event, Refusal, RolloutStatus, fleet_of, subject};

use super::model::{ActRequest, CancelRequest, QueueAnswer, RequestedTurn, StartRequest, Started};
use super::server::{Answer, Body, Context, Failure, Service, actor, status};
use crate::daemon::CommandError;

pub(super) async fn start(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Body(request): Body<StartRequest>,
) -> Result<(StatusCode, Json<Started>), Failure> {
    if fleet_of(&service).is_some() {
        of_a_fleet(&service, &request)?;
    }
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

/// A fleet's configuration begins by itself when nothing holds what it touches: what a start of a
/// service may ask for has no meaning there, and is not to be dropped in silence.
fn of_a_fleet(fleet: &str, request: &StartRequest) -> Result<(), CommandError> {
    let why = if !request.terms.after.is_empty() {
        "a fleet's configuration can't be told to follow another rollout; start it, or declare it, when \
         that one is committed"
    } else if request.terms.overlap {
        "a fleet's configuration waits for the rollouts of the services that it touches; abort them, or \
         start the service's with --overlap while this one runs"
    } else if matches!(request.turn, RequestedTurn::Supersede) {
        "a fleet's configuration is superseded by declaring another one; to take back what runs: \
         `tidegate rollout abort`"
    } else {
        return Ok(());
    };
    Err(CommandError::Refused(Refusal::NotNow {
        service: fleet.to_owned(),
        why: why.to_owned(),
    }))
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

#[cfg(test)]
mod tests {
    use tidegate_engine::rollout::Terms;

    use super::*;

    #[test]
    fn what_only_services_may_ask_for_is_refused_for_a_fleet_and_not_dropped() {
        let request = |turn, terms| StartRequest {
            to: "0123456789abcdef".to_owned(),
            actor: "ann".to_owned(),
            turn,
            terms,
        };
        for turn in [RequestedTurn::Next, RequestedTurn::Queue] {
            of_a_fleet("fleet:web", &request(turn, Terms::default())).unwrap();
        }
        let after = Terms {
            after: vec!["payments@v2".parse().unwrap()],
            ..Terms::default()
        };
        let overlap = Terms {
            overlap: true,
            ..Terms::default()
        };
        for (turn, terms, told) in [
            (RequestedTurn::Next, after, "can't be told to follow"),
            (RequestedTurn::Queue, overlap, "waits for the rollouts"),
            (
                RequestedTurn::Supersede,
                Terms::default(),
                "tidegate rollout abort",
            ),
        ] {
            let refused = of_a_fleet("fleet:web", &request(turn, terms)).unwrap_err();
            assert!(refused.to_string().contains(told), "{refused}");
        }
    }
}
