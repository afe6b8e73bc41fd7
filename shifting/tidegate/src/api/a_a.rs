//! How far alpha is kept on each service's own traffic.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;

use super::model::AaAnswer;
use super::server::{Answer, Context, Failure, Service};

pub(super) async fn all(Extract(context): Extract<Context>) -> Json<AaAnswer> {
    Json(answer(&context, |_| true))
}

pub(super) async fn one(
    Extract(context): Extract<Context>,
    Service(service): Service,
) -> Answer<AaAnswer> {
    let answer = answer(&context, |name| name == service);
    if answer.services.is_empty() {
        let text = format!("no service `{service}` is in the mesh in force, or it is new");
        return Err(Failure(StatusCode::NOT_FOUND, text));
    }
    Ok(Json(answer))
}

fn answer(context: &Context, wanted: impl Fn(&str) -> bool) -> AaAnswer {
    let published = context.brain.published().load();
    let services = published.a_a.iter();
    AaAnswer {
        now: context.clock.now(),
        services: services
            .filter(|status| wanted(&status.service))
            .cloned()
            .collect(),
    }
}
