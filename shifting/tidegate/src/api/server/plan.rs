//! `GET /v1/rollouts/{service}/plan`: what a rollout would do and be able to see.

use axum::extract::{FromRequestParts, Query, State as Extract};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tidegate_engine::compile::cluster_name;
use tidegate_engine::plan::{Traffic, outlook};

use super::{Answer, Context, Failure, Service};
use crate::api::model::{PlanAnswer, PlanQuery};
use crate::daemon::CommandError;

/// More than this is a slip of the pen, not a service's traffic.
const RPS_MAX: f64 = 1e9;

/// What is asked about, whose refusal is JSON as well.
pub(super) struct Asked(PlanQuery);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(refused) => Err(Failure(refused.status(), refused.body_text())),
        }
    }
}

pub(super) async fn plan(
    Extract(context): Extract<Context>,
    Service(service): Service,
    Asked(query): Asked,
) -> Answer<PlanAnswer> {
    let within = |value: Option<f64>, most: f64| value.is_none_or(|v| (0.0..=most).contains(&v));
    if !within(query.rps, RPS_MAX) || !within(query.error_rate, 1.0) {
        let text = "`rps` is at least 0 and `error_rate` is from 0 to 1".to_owned();
        return Err(Failure(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let published = context.brain.published().load();
    let plan = published
        .state
        .plan(&service, &query.to)
        .map_err(CommandError::Refused)?;
    let measured = published.traffic.get(&cluster_name(&service, &plan.from));
    let allowed = 1.0 - plan.slo.success.fraction();
    let (traffic, measured) = match (query.rps, measured) {
        (Some(rps), _) => {
            let error_rate = query.error_rate.unwrap_or(allowed);
            (Traffic { rps, error_rate }, false)
        }
        (None, Some(measured)) => {
            let error_rate = query.error_rate.unwrap_or(measured.error_rate);
            (
                Traffic {
                    error_rate,
                    ..*measured
                },
                query.error_rate.is_none(),
            )
        }
        (None, None) => {
            let text = format!(
                "no sidecar reported requests to `{service}` in the last minute: say how many it \
                 has with --rps"
            );
            return Err(Failure(StatusCode::CONFLICT, text));
        }
    };
    Ok(axum::Json(PlanAnswer {
        outlook: outlook(&plan, traffic),
        plan,
        measured,
    }))
}
