use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::model::{ErrorAnswer, QueueAnswer, Started};
use super::*;
use crate::daemon::context_in;
use tidegate_engine::evidence::AaState;
use tidegate_engine::rollout::{Event, Terms, Turn};

/// The status and the body of an answer to `request`, sent as it is.
async fn ask(address: std::net::SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn every_refusal_is_a_sentence_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let context = context_in(directory.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, context, std::future::pending()));
    let post = "POST /v1/rollouts/checkout HTTP/1.1\r\ncontent-type: application/json";
    let abort = "POST /v1/rollouts/checkout/abort HTTP/1.1\r\ncontent-type: application/json";
    let back = "POST /v1/rollouts/checkout/back HTTP/1.1\r\ncontent-type: application/json";
    let lift = "POST /v1/quarantine/checkout/lift HTTP/1.1\r\ncontent-type: application/json";
    let approve = "POST /v1/rollouts/checkout/approve HTTP/1.1\r\ncontent-type: application/json";
    let cancel = "POST /v1/queue/checkout/cancel HTTP/1.1\r\ncontent-type: application/json";
    let long = format!(
        "{{\"actor\": \"ann\", \"reason\": \"{}\"}}",
        "r".repeat(1_001)
    );
    for (head, body, expected) in [
        (post, "{", 400),
        (post, "{\"to\": 3}", 422),
        (post, "{\"to\": \"v2\", \"actor\": \"ann\", \"x\": 1}", 422),
        (post, "{\"to\": \"v2\", \"actor\": \" \"}", 422),
        (post, "{\"to\": \"v2\", \"actor\": \"a\\u001b[2J\"}", 422),
        (
            abort,
            "{\"actor\": \"ann\", \"reason\": \"one\\ntwo\"}",
            422,
        ),
        (abort, long.as_str(), 422),
        (back, "{\"actor\": \"ann\"}", 409),
        (back, "{\"actor\": \"ann\", \"to\": \"v9\"}", 404),
        (approve, "{\"actor\": \"ann\"}", 409),
        (cancel, "{\"actor\": \"ann\", \"to\": \"v2\"}", 409),
        (
            post,
            "{\"to\": \"v2\", \"actor\": \"ann\", \"turn\": \"unchecked\"}",
            422,
        ),
        (lift, "{\"actor\": \"ann\", \"version\": \"v2\"}", 422),
        (
            lift,
            "{\"actor\": \"ann\", \"version\": \"v2\", \"reason\": \" \"}",
            422,
        ),
        (
            lift,
            "{\"actor\": \"ann\", \"version\": \"v2\", \"reason\": \"fixed\"}",
            409,
        ),
        ("POST /v1/rollouts/checkout HTTP/1.1", "{}", 415),
        ("DELETE /v1/rollouts/checkout HTTP/1.1", "", 405),
        ("GET /v1/rollouts/%ff HTTP/1.1", "", 400),
        ("GET /v1/rollouts/nope HTTP/1.1", "", 404),
        ("GET /v1/rollouts/checkout/plan HTTP/1.1", "", 400),
        (
            "GET /v1/rollouts/checkout/plan?to=v2&rps=-1 HTTP/1.1",
            "",
            422,
        ),
        (
            "GET /v1/rollouts/checkout/plan?to=v2&rps=NaN HTTP/1.1",
            "",
            422,
        ),
        (
            "GET /v1/rollouts/checkout/plan?to=v9&rps=1 HTTP/1.1",
            "",
            404,
        ),
        ("GET /v1/aa/nope HTTP/1.1", "", 404),
        ("POST /v1/aa HTTP/1.1", "", 405),
        // Nobody reported its traffic.
        ("GET /v1/rollouts/checkout/plan?to=v2 HTTP/1.1", "", 409),
        ("GET /nope HTTP/1.1", "", 404),
    ] {
        let (status, answer) = ask(address, head, body).await;
        assert_eq!(status, expected, "{head} {body}: {answer}");
        let answer: ErrorAnswer = serde_json::from_str(&answer).unwrap();
        assert!(!answer.error.is_empty());
    }
    serving.abort();
}

#[tokio::test]
async fn a_start_that_has_to_wait_is_answered_as_such_and_can_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let context = context_in(directory.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, context, std::future::pending()));
    let post = |path: &str| format!("POST /v1/{path} HTTP/1.1\r\ncontent-type: application/json");
    let start = post("rollouts/checkout");
    let body = "{\"to\": \"v2\", \"actor\": \"ann\"}";
    let (status, answer) = ask(address, &start, body).await;
    assert_eq!(status, 201, "{answer}");
    let Started::Rollout(rollout) = serde_json::from_str(&answer).unwrap() else {
        panic!("{answer}");
    };
    assert_eq!(rollout.plan.to, "v2");
    let abort = post("rollouts/checkout/abort");
    let (status, answer) = ask(address, &abort, "{\"actor\": \"ann\"}").await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(address, &start, body).await;
    assert_eq!(status, 202, "{answer}");
    let Started::Queued(queued) = serde_json::from_str(&answer).unwrap() else {
        panic!("{answer}");
    };
    assert_eq!(queued.command, "tidegate rollout cancel checkout v2");
    let (_, answer) = ask(address, "GET /v1/queue HTTP/1.1", "").await;
    let answer: QueueAnswer = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer.queue.len(), 1);
    let (status, answer) = ask(address, &post("queue/checkout/cancel"), body).await;
    assert_eq!(status, 200, "{answer}");
    let answer: QueueAnswer = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer.queue, []);
    serving.abort();
}

#[tokio::test]
async fn a_a_is_answered_for_all_services_and_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let context = context_in(directory.path());
    // The trials are made at the first tick, which a command brings.
    let start = Event::Start {
        service: "checkout".into(),
        to: "v2".into(),
        actor: "ann".into(),
        turn: Turn::Next,
        terms: Terms::default(),
    };
    context.brain.command(start).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, context, std::future::pending()));
    // A second command is taken after the first one's tick, and publishes what that found.
    let abort = "POST /v1/rollouts/checkout/abort HTTP/1.1\r\ncontent-type: application/json";
    let (status, answer) = ask(address, abort, "{\"actor\": \"ann\"}").await;
    assert_eq!(status, 200, "{answer}");
    for path in ["aa", "aa/checkout"] {
        let (status, answer) = ask(address, &format!("GET /v1/{path} HTTP/1.1"), "").await;
        assert_eq!(status, 200, "{answer}");
        let answer: super::model::AaAnswer = serde_json::from_str(&answer).unwrap();
        let [checkout] = answer.services.as_slice() else {
            panic!("{answer:?}");
        };
        assert_eq!(
            (checkout.service.as_str(), checkout.trials),
            ("checkout", 0)
        );
        assert_eq!(checkout.state, AaState::TooFew, "no sidecar is connected");
    }
    serving.abort();
}

#[tokio::test]
async fn the_call_graph_is_answered_with_the_fleets_that_nobody_placed() {
    let directory = tempfile::tempdir().unwrap();
    let context = context_in(directory.path());
    let now = context.clock.now();
    let calls = [("web".to_owned(), ["checkout".to_owned()].into())];
    // Nobody says beside which service it stands: that is nobody's call.
    let seen = Event::CallsSeen {
        calls: calls.into(),
    };
    context.brain.command(seen).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, context, std::future::pending()));
    let (status, answer) = ask(address, "GET /v1/mesh/graph HTTP/1.1", "").await;
    assert_eq!(status, 200, "{answer}");
    let answer: super::model::GraphAnswer = serde_json::from_str(&answer).unwrap();
    assert!(answer.now >= now);
    assert_eq!(
        (answer.calls, answer.unobserved),
        (Vec::new(), vec!["web".to_owned()])
    );
    serving.abort();
}

#[tokio::test]
async fn a_plan_for_given_traffic_says_what_each_step_sees() {
    let directory = tempfile::tempdir().unwrap();
    let context = context_in(directory.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, context, std::future::pending()));
    let head = "GET /v1/rollouts/checkout/plan?to=v2&rps=200 HTTP/1.1";
    let (status, answer) = ask(address, head, "").await;
    assert_eq!(status, 200, "{answer}");
    let answer: super::model::PlanAnswer = serde_json::from_str(&answer).unwrap();
    assert!(!answer.measured);
    assert_eq!(answer.outlook.steps.len(), answer.plan.rungs.len());
    let allowed = 1.0 - answer.plan.slo.success.fraction();
    assert!((answer.outlook.traffic.error_rate - allowed).abs() < 1e-9);
    serving.abort();
}
