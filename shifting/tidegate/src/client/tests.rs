use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::*;
use crate::api::model::RequestedTurn;

async fn serve(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(format!("http://{address}").parse().unwrap())
}

fn refusal(status: StatusCode, text: &str) -> (StatusCode, Json<ErrorAnswer>) {
    (
        status,
        Json(ErrorAnswer {
            error: text.to_owned(),
        }),
    )
}

#[tokio::test]
async fn an_answer_arrives_typed() {
    let client = serve(Router::new().route(
        "/v1/version",
        get(|| async {
            Json(VersionAnswer {
                version: "0.1.0".into(),
                revision: "abc".into(),
            })
        }),
    ))
    .await;
    assert_eq!(client.version().await.unwrap().revision, "abc");
}

#[tokio::test]
async fn a_refusal_keeps_the_servers_words_and_status() {
    let client = serve(Router::new().route(
        "/v1/rollouts/checkout",
        post(|| async { refusal(StatusCode::CONFLICT, "a rollout of `checkout` is running") }),
    ))
    .await;
    let request = StartRequest {
        to: "v2".into(),
        actor: "ann".into(),
        turn: RequestedTurn::Next,
        terms: tidegate_engine::rollout::Terms::default(),
    };
    let error = client.start("checkout", &request).await.unwrap_err();
    assert_eq!(error.to_string(), "a rollout of `checkout` is running");
    assert_eq!(error.status(), Some(StatusCode::CONFLICT));
}

#[tokio::test]
async fn no_rollout_yet_is_not_an_error() {
    let client = serve(Router::new().route(
        "/v1/rollouts/{service}",
        get(|| async { refusal(StatusCode::NOT_FOUND, "no rollout of `checkout`") }),
    ))
    .await;
    assert!(client.rollout("checkout").await.unwrap().is_none());
}

#[tokio::test]
async fn a_service_name_arrives_as_typed() {
    let client = serve(Router::new().route(
        "/v1/rollouts/{service}/abort",
        post(
            |Path(service): Path<String>, Json(body): Json<AbortRequest>| async move {
                refusal(
                    StatusCode::NOT_FOUND,
                    &format!("{service} by {}: {}", body.actor, body.reason),
                )
            },
        ),
    ))
    .await;
    let request = AbortRequest {
        actor: "ann".into(),
        reason: "bad".into(),
        quarantine: false,
    };
    let error = client.abort("a b/../é?x", &request).await.unwrap_err();
    assert_eq!(error.to_string(), "a b/../é?x by ann: bad");
}

#[tokio::test]
async fn nobody_listening_says_what_to_do() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(format!("http://{address}/").parse().unwrap());
    assert_eq!(
        client.mesh().await.unwrap_err().to_string(),
        format!(
            "cannot reach the control plane at http://{address}: \
             is `tidegate serve` running? (--api, $TIDEGATE_API)"
        )
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(format!("http://{address}").parse().unwrap())
        .with_timeout(Duration::from_millis(50));
    let error = client.reload().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_of_another_program_is_named_as_such() {
    let client = serve(
        Router::new()
            .route("/v1/mesh", get(|| async { "hello" }))
            .fallback(|| async { (StatusCode::NOT_FOUND, "<html>not here</html>") }),
    )
    .await;
    let mesh = client.mesh().await.unwrap_err().to_string();
    assert!(mesh.contains("GET /v1/mesh is not understood"), "{mesh}");
    let sidecars = client.sidecars().await.unwrap_err().to_string();
    assert!(sidecars.contains("status 404 Not Found"), "{sidecars}");
}

#[tokio::test]
async fn an_address_that_is_not_plain_http_is_refused_before_anything_is_sent() {
    for address in ["https://127.0.0.1:1", "127.0.0.1:1", "/v1"] {
        let error = Client::new(address.parse().unwrap())
            .version()
            .await
            .unwrap_err();
        assert!(
            matches!(error, ClientError::BadAddress { .. }),
            "{address}: {error}"
        );
    }
}

#[tokio::test]
async fn a_a_is_asked_for_one_service_or_for_all() {
    let answer = |now| {
        Json(AaAnswer {
            now: tidegate_engine::time::Time(now),
            services: Vec::new(),
        })
    };
    let one = move |Path(name): Path<String>| async move { answer(name.len() as u64) };
    let client = serve(
        Router::new()
            .route("/v1/aa", get(move || async move { answer(0) }))
            .route("/v1/aa/{service}", get(one)),
    )
    .await;
    assert_eq!(client.aa(None).await.unwrap().now.0, 0);
    assert_eq!(client.aa(Some("a/b c")).await.unwrap().now.0, 5);
}

#[test]
fn a_name_of_dots_is_not_a_step_of_the_path() {
    assert_eq!(escape_segment(".."), "%2E%2E");
    assert_eq!(escape_segment("a.b-c_1"), "a.b-c_1");
}
