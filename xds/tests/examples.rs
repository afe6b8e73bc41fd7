//! The examples work: a client gets what they serve.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/embedder.rs"]
mod embedder;
#[cfg(feature = "config")]
#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../examples/minimal.rs"]
mod minimal;

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use tidegate_xds::TypeUrl;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Longer than anything here may take, short enough to fail a hanging test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A delta client.
struct Peer {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

// === impl Peer ===

impl Peer {
    async fn connect(listener: std::net::SocketAddr) -> Self {
        let (requests, outbound) = mpsc::channel(16);
        let address = format!("http://{listener}");
        let mut client = AggregatedDiscoveryServiceClient::connect(address)
            .await
            .unwrap();
        let call = client.delta_aggregated_resources(ReceiverStream::new(outbound));
        let responses = call.await.unwrap().into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn subscribe(&self, type_url: &TypeUrl, names: &[&str]) {
        let node = Node {
            id: "peer-1".to_owned(),
            ..Node::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: type_url.as_str().to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Acknowledges the next response.
    async fn take(&mut self) -> DeltaDiscoveryResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let response = next.expect("a response in time").unwrap().unwrap();
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(ack).await.unwrap();
        response
    }
}

#[cfg(feature = "config")]
#[tokio::test]
async fn minimal_serves_a_file_and_follows_it() {
    let cluster = |name: &str, timeout: u32| {
        format!(
            "- {{ '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: {name}, \
             connect_timeout: {timeout}s }}\n"
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, cluster("a", 1)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let path = file.clone();
    let serving = async move {
        minimal::run(listener, path)
            .await
            .map_err(|cause| cause.to_string())
    };
    tokio::spawn(serving);
    let mut peer = Peer::connect(address).await;
    peer.subscribe(&TypeUrl::CLUSTER, &["*"]).await;
    let first = peer.take().await;
    assert_eq!(first.resources[0].name, "a");
    // A file with a mistake changes nothing; the next good one does.
    std::fs::write(&file, "- { '@type': nonsense }\n").unwrap();
    std::fs::write(&file, cluster("a", 1) + &cluster("b", 2)).unwrap();
    let second = peer.take().await;
    assert_eq!(second.resources[0].name, "b");
    assert_eq!(
        (second.resources.len(), second.removed_resources.len()),
        (1, 0)
    );
}

#[tokio::test]
async fn embedder_publishes_its_own_versions_and_errors_and_reads_where_they_stand() {
    const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
    let mut catalogue = embedder::Catalogue::default();
    catalogue.edit("checkout 10.0.0.1:8080").unwrap();
    catalogue.edit("basket 10.0.0.2:8080").unwrap();
    assert!(catalogue.edit("basket nowhere").is_err());
    let (views, receiver) = watch::channel(Some(Arc::new(catalogue.view().unwrap())));
    let server = embedder::server(receiver);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let mut peer = Peer::connect(address).await;
    peer.subscribe(&EDS, &["checkout", "basket"]).await;
    let first = peer.take().await;
    assert_eq!(first.system_version_info, "catalogue-2");
    let versions: Vec<&str> = first.resources.iter().map(|it| &*it.version).collect();
    assert_eq!(versions, ["basket-2", "checkout-1"]);
    let mut changes = server.changed();
    let taken = async {
        while embedder::standing(&server, "checkout") != ["peer-1: checkout is taken"] {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, taken)
        .await
        .expect("delivery is told");

    catalogue.edit("-checkout use basket instead").unwrap();
    views
        .send(Some(Arc::new(catalogue.view().unwrap())))
        .unwrap();
    let removal = peer.take().await;
    assert_eq!(removal.removed_resources, ["checkout"]);
    assert_eq!(removal.system_version_info, "catalogue-3");
    let told = peer.take().await.resource_errors.remove(0);
    assert_eq!(told.resource_name.unwrap().name, "checkout");
    assert_eq!(told.error_detail.unwrap().message, "use basket instead");
    assert_eq!(
        embedder::standing(&server, "checkout"),
        ["peer-1: checkout isn't in its view"]
    );
}
