//! Bad input, and whoever sends it: it ends with a gRPC status and a sentence, it is counted, and
//! nobody else is disturbed.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tidegate_xds::identity::{Access, Incident};
use tidegate_xds::limits::{
    NAME_BYTES_MAX, NAMES_MAX, REJECTED_IN_A_ROW_MAX, REQUEST_BYTES_MAX, TYPE_URL_BYTES_MAX,
    TYPES_MAX,
};
use tonic::Code;

use crate::common::blob;
use crate::harness::*;

/// A client that does nothing wrong, and must not notice anything.
pub(crate) struct Healthy<'a> {
    client: Client<'a>,
    round: i64,
}

impl<'a> Healthy<'a> {
    pub(crate) async fn connect(running: &'a Running) -> Self {
        let mut client = Client::named(running, Mode::delta_ads(), "healthy");
        client.subscribe(&LDS, &["canary"]).await;
        assert_eq!(client.take(&LDS).await, "lds -canary");
        Self { client, round: 0 }
    }

    /// Something is published, and arrives.
    pub(crate) async fn is_served(&mut self, running: &Running) {
        self.is_served_beside(running, []).await;
    }

    /// The same, with others' resources in the view.
    async fn is_served_beside(
        &mut self,
        running: &Running,
        others: impl IntoIterator<Item = Resource>,
    ) {
        self.round += 1;
        let name = format!("a{}", self.round);
        let canary = inline_listener("canary", &name);
        let wanted = canary.body().to_vec();
        let own = [lone_cluster(&name, 1), canary];
        publish(running, &snapshot(own.into_iter().chain(others)));
        let got = self.client.next(&LDS).await;
        assert_eq!(got.resources[0].body.as_ref().unwrap().value, wanted);
        self.client.ack(&got).await;
        assert_no_panic();
    }
}

async fn start() -> (Running, Arc<Access>) {
    let settings = together();
    let access = settings.access.clone();
    (serve_with(&world(&["a", "b"], "a"), settings).await, access)
}

/// A request ends its stream, with a code and a word in its sentence; it is counted once; and the
/// healthy client is served.
async fn is_refused(
    mode: Mode,
    after: Option<&[&str]>,
    ask: impl FnOnce(&Client<'_>) -> Ask,
    wanted: (Code, &str, Incident),
) {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut client = Client::new(&running, mode);
    if let Some(names) = after {
        client.subscribe(&EDS, names).await;
        client.take(&EDS).await;
    }
    let ask = ask(&client);
    client.ask(&EDS, ask).await;
    let (code, word, incident) = wanted;
    let status = client.error(&EDS).await;
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(word), "{status:?}");
    assert_eq!(
        access.incidents().into_iter().collect::<Vec<_>>(),
        [(incident, 1)]
    );
    healthy.is_served(&running).await;
}

runs!(x10_a_first_request_without_a_node_is_refused: all);
async fn x10_a_first_request_without_a_node_is_refused(mode: Mode) {
    let nameless = |_: &Client<'_>| Ask {
        node: Some(Node::default()),
        ..Ask::of(&EDS, &["a"])
    };
    let wanted = (Code::InvalidArgument, "`node`", Incident::RequestRefused);
    is_refused(mode, None, nameless, wanted).await;
}

runs!(x11_a_node_that_changes_within_a_stream_is_refused: all);
async fn x11_a_node_that_changes_within_a_stream_is_refused(mode: Mode) {
    let other = |_: &Client<'_>| Ask {
        node: crate::common::node("somebody-else"),
        ..Ask::of(&EDS, &["b"])
    };
    let wanted = (Code::InvalidArgument, "e1", Incident::NodeChanged);
    is_refused(mode, Some(&["a"]), other, wanted).await;
}

runs!(x10_a_million_names_are_refused: delta_per_type, sotw_ads);
async fn x10_a_million_names_are_refused(mode: Mode) {
    let million = |client: &Client<'_>| Ask {
        node: client.node(&EDS),
        names: (0..1_000_000).map(|number| format!("{number:x}")).collect(),
        ..Ask::of(&EDS, &[])
    };
    let sentence = format!("more than {NAMES_MAX} resource names");
    let wanted = (
        Code::ResourceExhausted,
        &*sentence,
        Incident::RequestRefused,
    );
    is_refused(mode, None, million, wanted).await;
}

runs!(x10_a_name_of_10_mebibytes_is_refused: all);
async fn x10_a_name_of_10_mebibytes_is_refused(mode: Mode) {
    let long = |client: &Client<'_>| Ask {
        node: client.node(&EDS),
        names: vec!["x".repeat(10 << 20)],
        ..Ask::of(&EDS, &[])
    };
    let sentence = format!("{NAME_BYTES_MAX} bytes for a name");
    let wanted = (Code::InvalidArgument, &*sentence, Incident::RequestRefused);
    is_refused(mode, None, long, wanted).await;
}

runs!(x10_a_node_of_10_mebibytes_is_refused: all);
async fn x10_a_node_of_10_mebibytes_is_refused(mode: Mode) {
    let large = |client: &Client<'_>| {
        let mut node = client.node(&EDS).unwrap();
        node.user_agent_name = "x".repeat(10 << 20);
        Ask {
            node: Some(node),
            ..Ask::of(&EDS, &["a"])
        }
    };
    let wanted = (
        Code::ResourceExhausted,
        "the node has",
        Incident::NodeTooLarge,
    );
    is_refused(mode, None, large, wanted).await;
}

runs!(x10_a_request_beyond_the_limit_is_refused: all);
async fn x10_a_request_beyond_the_limit_is_refused(mode: Mode) {
    let huge = |_: &Client<'_>| Ask {
        names: vec!["x".repeat(REQUEST_BYTES_MAX + 1)],
        ..Ask::of(&EDS, &[])
    };
    let wanted = (Code::OutOfRange, "the limit is", Incident::RequestRefused);
    is_refused(mode, Some(&["a"]), huge, wanted).await;
}

runs!(x10_types_without_end_are_refused: aggregated);
async fn x10_types_without_end_are_refused(mode: Mode) {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut client = Client::new(&running, mode);
    for number in 0..=TYPES_MAX {
        let type_url = TypeUrl::new(&format!("type.googleapis.com/acme.T{number}"));
        client.subscribe(&type_url, &[]).await;
    }
    let refused = client.error(&EDS).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("resource types"), "{refused:?}");
    let mut client = Client::named(&running, mode, "e2");
    let long = TypeUrl::new(&"x".repeat(TYPE_URL_BYTES_MAX + 1));
    client.subscribe(&long, &[]).await;
    assert_eq!(client.error(&EDS).await.code(), Code::InvalidArgument);
    assert_eq!(access.incidents()[&Incident::RequestRefused], 2);
    healthy.is_served(&running).await;
}

runs!(x10_foreign_nonces_and_errors_without_a_response_change_nothing: all);
async fn x10_foreign_nonces_and_errors_without_a_response_change_nothing(mode: Mode) {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut other = Client::named(&running, mode, "e2");
    other.subscribe(&EDS, &["a", "b"]).await;
    let foreign = other.next(&EDS).await;
    other.ack(&foreign).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &["a"]).await;
    client.take(&EDS).await;
    for nonce in [&*foreign.nonce, "0", "\u{1f980}", &"9".repeat(100_000)] {
        let ask = Ask {
            nonce: format!("{nonce}0"),
            version: "x".repeat(100_000),
            error: Some("no".to_owned()),
            ..Ask::of(&EDS, mode.either(&[], &["a"]))
        };
        client.ask(&EDS, ask).await;
    }
    let id = client.id(&EDS);
    client.ends_quietly().await;
    assert!(running.server.client(&id).unwrap().rejections.is_empty());
    assert!(access.incidents().is_empty());
    healthy.is_served(&running).await;
}

#[tokio::test]
async fn x10_an_error_with_a_malformed_detail_is_an_error() {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut stream = running.delta().await;
    let request = |ask: Ask| DeltaDiscoveryRequest::from(ask);
    let node = crate::common::node("e1");
    stream
        .send(request(Ask {
            node,
            ..Ask::of(&EDS, &["a"])
        }))
        .await;
    let got = Got::from(stream.next().await);
    let malformed = Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        value: vec![0xff; 1000],
    };
    let nack = DeltaDiscoveryRequest {
        error_detail: Some(RpcStatus {
            code: i32::MIN,
            message: "no".to_owned(),
            details: vec![malformed; 3],
        }),
        ..request(Ask {
            nonce: got.nonce,
            ..Ask::of(&EDS, &[])
        })
    };
    stream.send(nack).await;
    let status = running.until("e1", |status| !status.rejections.is_empty());
    assert_eq!(&*status.await.rejections[0].text, "no");
    assert!(access.incidents().is_empty());
    healthy.is_served(&running).await;
}

runs!(x10_a_stream_that_never_reads_is_closed: aggregated);
async fn x10_a_stream_that_never_reads_is_closed(mode: Mode) {
    let mut settings = together();
    settings.blocked_max = Duration::from_millis(200);
    let access = settings.access.clone();
    let types: Vec<String> = (0..8).map(|number| format!("acme/{number}")).collect();
    let blobs = || types.iter().map(|type_url| blob(type_url, 1 << 20));
    let running = serve_with(&snapshot(blobs()), settings).await;
    let mut healthy = Healthy::connect(&running).await;
    let mut deaf = Client::named(&running, mode, "deaf");
    for type_url in &types {
        deaf.subscribe(&TypeUrl::new(type_url), &["blob"]).await;
    }
    running.until("deaf", |status| status.connected).await;
    while running.server.client("deaf").unwrap().connected {
        healthy.is_served_beside(&running, blobs()).await;
    }
    assert_eq!(access.incidents()[&Incident::StreamBlocked], 1);
    healthy.is_served(&running).await;
    drop(deaf);
}

runs!(x10_a_request_of_10_mebibytes_within_the_limits_is_answered: all);
async fn x10_a_request_of_10_mebibytes_within_the_limits_is_answered(mode: Mode) {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut client = Client::new(&running, mode);
    let long = "x".repeat(NAME_BYTES_MAX - 8);
    let names = (0..(10 << 20) / NAME_BYTES_MAX).map(|number| format!("{long}{number:08}"));
    let names: Vec<String> = names.chain(["a".to_owned()]).collect();
    let count = names.len();
    let ask = Ask {
        node: client.node(&EDS),
        names,
        ..Ask::of(&EDS, &[])
    };
    client.ask(&EDS, ask).await;
    healthy
        .is_served_beside(&running, [assignment("a", 1)])
        .await;
    // The client takes no message above 4 MiB, so that the names that don't exist come in pieces.
    let got = client.next(&EDS).await;
    assert_eq!(got.resources[0].name, "a");
    client.ack(&got).await;
    let mut removed = 0;
    while mode.is_delta() && removed < count - 1 {
        let got = client.next(&EDS).await;
        removed += got.removed.len();
        client.ack(&got).await;
    }
    healthy
        .is_served_beside(&running, [assignment("a", 1)])
        .await;
    assert!(access.incidents().is_empty());
}

runs!(x10_names_without_end_to_drop_are_refused: delta);
async fn x10_names_without_end_to_drop_are_refused(mode: Mode) {
    let million = |_: &Client<'_>| Ask {
        unsubscribe: vec![String::new(); 1_000_000],
        ..Ask::of(&EDS, &[])
    };
    let wanted = (
        Code::ResourceExhausted,
        "resource names",
        Incident::RequestRefused,
    );
    is_refused(mode, Some(&["a"]), million, wanted).await;
}

#[tokio::test]
async fn x10_an_error_with_a_million_details_is_refused() {
    let (running, access) = start().await;
    let mut healthy = Healthy::connect(&running).await;
    let mut stream = running.delta().await;
    let details = vec![Any::default(); 1_000_000];
    let error = RpcStatus {
        details,
        ..RpcStatus::default()
    };
    stream
        .send(DeltaDiscoveryRequest {
            node: crate::common::node("e1"),
            error_detail: Some(error),
            ..DeltaDiscoveryRequest::from(Ask::of(&EDS, &["a"]))
        })
        .await;
    let status = stream.error().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("details"), "{status:?}");
    assert_eq!(access.incidents()[&Incident::RequestRefused], 1);
    healthy.is_served(&running).await;
}

runs!(x8_a_client_that_rejects_everything_gets_each_content_once_and_nobody_waits: all);
async fn x8_a_client_that_rejects_everything_gets_each_content_once_and_nobody_waits(mode: Mode) {
    // A few more than are tried at once.
    let count = REJECTED_IN_A_ROW_MAX as usize + 4;
    let names: Vec<String> = (0..count).map(|number| format!("a{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of = |content: u32| snapshot(names.iter().map(|name| assignment(name, content)));
    let running = serve_with(&of(1), together()).await;
    let mut client = Client::new(&running, mode);
    client.subscribe(&EDS, &names).await;
    let mut alone = std::collections::BTreeSet::new();
    while alone.len() < count {
        let got = client.next(&EDS).await;
        if let [one] = &got.resources[..] {
            assert!(alone.insert(one.name.clone()), "{} again", one.name);
        }
        client.nack(&got, "no").await;
    }
    // What is better is taken at once, all together.
    publish(&running, &of(2));
    let got = client.next(&EDS).await;
    assert_eq!(got.resources.len(), count);
    client.ack(&got).await;
    let id = client.id(&EDS);
    running
        .until(&id, |status| status.rejections.is_empty())
        .await;
    client.ends_quietly().await;
    assert_no_panic();
}
