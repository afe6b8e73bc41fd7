//! Who calls whom, as declared and as sidecars were seen doing.

use axum::Json;
use axum::extract::State as Extract;

use super::model::GraphAnswer;
use super::server::Context;

pub(super) async fn graph(Extract(context): Extract<Context>) -> Json<GraphAnswer> {
    let now = context.clock.now();
    let state = &context.brain.published().load().state;
    Json(GraphAnswer {
        now,
        calls: state.call_graph(now),
        unobserved: state.fleets_beside_nothing(),
    })
}
