//! `GET /v1/rollouts/{service}/plan`: what a rollout would do and be able to see.

use axum::extract::{FromRequestParts, Query, State as Extract};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tidegate_engine::compile::cluster_name;
use tidegate_engine::plan::{Traffic, in_fleet, outlook};

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
    let judged_by = match &plan.configuration {
        None => vec![cluster_name(&service, &plan.from)],
        Some(change) => {
            let stable = |service| published.state.stable(service);
            let touched = change.touched.iter();
            touched
                .filter_map(|service| Some(cluster_name(service, stable(service)?)))
                .collect()
        }
    };
    let measured = together(judged_by.iter().filter_map(|it| published.traffic.get(it)));
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
                    ..measured
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
    let outlook = match &plan.configuration {
        None => outlook(&plan, traffic),
        Some(change) => {
            let clients = context.server.clients().into_iter();
            let sidecars = clients
                .filter(|status| status.connected && status.client.cluster == change.fleet)
                .count();
            let sidecars = u32::try_from(sidecars).unwrap_or(u32::MAX);
            outlook(&in_fleet(&plan, sidecars), traffic)
        }
    };
    Ok(axum::Json(PlanAnswer {
        outlook,
        plan,
        measured,
    }))
}

/// The traffic of several clusters; `None` without any.
fn together<'a>(clusters: impl Iterator<Item = &'a Traffic>) -> Option<Traffic> {
    let sums = clusters.fold(None, |sum: Option<(f64, f64)>, traffic| {
        let (rps, failing) = sum.unwrap_or_default();
        Some((
            rps + traffic.rps,
            failing + traffic.rps * traffic.error_rate,
        ))
    });
    sums.map(|(rps, failing)| Traffic {
        rps,
        error_rate: if rps > 0.0 { failing / rps } else { 0.0 },
    })
}
