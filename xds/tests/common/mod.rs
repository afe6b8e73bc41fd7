//! A server on a real port, and clients that speak to it.

#![allow(dead_code, reason = "each of the test programs uses a part of this")]

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost,
};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tidegate_xds::{
    Assign, Client, ClientStatus, Refused, Resource, Server, Settings, Snapshot, TypeUrl,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Longer than anything here may take, short enough to fail a hanging test.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type View = Option<Arc<Snapshot>>;

struct SameForAll(watch::Receiver<View>);

impl Assign for SameForAll {
    fn assign(&self, client: &Client) -> Result<watch::Receiver<View>, Refused> {
        if client.node_id == "stranger" {
            return Err(Refused {
                reason: "`stranger` is in no fleet".to_owned(),
            });
        }
        Ok(self.0.clone())
    }
}

pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) views: watch::Sender<View>,
    address: String,
}

pub(crate) async fn start(view: Snapshot) -> Running {
    start_with(view, together()).await
}

/// Settings that don't isolate what is unproven, for the tests of everything else.
pub(crate) fn together() -> Settings {
    let mut settings = Settings::default();
    settings.session.one_doubt_per_response = false;
    settings
}

pub(crate) async fn start_with(view: Snapshot, settings: Settings) -> Running {
    let (views, receiver) = watch::channel(Some(Arc::new(view)));
    let server = Server::new(SameForAll(receiver), settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve(listener, std::future::pending())
            .await
            .unwrap()
    });
    Running {
        server,
        views,
        address,
    }
}

impl Running {
    pub(crate) fn publish(&self, view: Snapshot) -> String {
        let id = view.id().to_string();
        self.views.send(Some(Arc::new(view))).unwrap();
        id
    }

    /// `http://` and where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until a client's status is as wished.
    pub(crate) async fn until(
        &self,
        node: &str,
        wished: impl Fn(&ClientStatus) -> bool,
    ) -> ClientStatus {
        let mut changes = self.server.changed();
        let wait = async {
            loop {
                if let Some(status) = self.server.client(node).filter(|status| wished(status)) {
                    return status;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never as wished: {:?}", self.server.client(node)))
    }

    async fn client(&self) -> AggregatedDiscoveryServiceClient<tonic::transport::Channel> {
        AggregatedDiscoveryServiceClient::connect(self.address.clone())
            .await
            .unwrap()
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        let endpoint = tonic::transport::Endpoint::from_shared(self.address.clone());
        endpoint.unwrap().connect().await.unwrap()
    }

    /// A stream of any method, such as `/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters`.
    pub(crate) async fn call<Q, R>(&self, path: &str) -> Stream<Q, R>
    where
        Q: prost::Message + Send + 'static,
        R: prost::Message + Default + Send + 'static,
    {
        let (requests, outbound) = mpsc::channel(16);
        let mut client = tonic::client::Grpc::new(self.channel().await);
        client.ready().await.unwrap();
        let outbound = tonic::Request::new(ReceiverStream::new(outbound));
        let codec = tonic_prost::ProstCodec::<Q, R>::default();
        let call = client
            .streaming(outbound, path.parse().unwrap(), codec)
            .await;
        Stream {
            requests,
            responses: call.unwrap().into_inner(),
        }
    }

    pub(crate) async fn delta(&self) -> Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
        let (requests, outbound) = mpsc::channel(16);
        let mut client = self.client().await;
        let call = client
            .delta_aggregated_resources(ReceiverStream::new(outbound))
            .await;
        Stream {
            requests,
            responses: call.unwrap().into_inner(),
        }
    }

    pub(crate) async fn sotw(&self) -> Stream<DiscoveryRequest, DiscoveryResponse> {
        let (requests, outbound) = mpsc::channel(16);
        let mut client = self.client().await;
        let call = client
            .stream_aggregated_resources(ReceiverStream::new(outbound))
            .await;
        Stream {
            requests,
            responses: call.unwrap().into_inner(),
        }
    }
}

pub(crate) struct Stream<Q, R> {
    requests: mpsc::Sender<Q>,
    responses: Streaming<R>,
}

impl<Q: std::fmt::Debug, R> Stream<Q, R> {
    pub(crate) async fn send(&self, request: Q) {
        // The server may have ended the stream already; what it answers tells.
        let _ = self.requests.send(request).await;
    }

    /// The next response.
    pub(crate) async fn next(&mut self) -> R {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        next.expect("a response in time")
            .expect("no error")
            .expect("an open stream")
    }

    /// Closes the sending side. Everything that comes until the stream ends, which must be
    /// without an error.
    pub(crate) async fn rest(mut self) -> Vec<R> {
        drop(self.requests);
        let mut rest = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
            match next.expect("an end in time").expect("no error") {
                Some(response) => rest.push(response),
                None => return rest,
            }
        }
    }

    /// How the stream ends.
    pub(crate) async fn error(&mut self) -> Status {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        next.expect("an end in time").err().expect("an error")
    }
}

pub(crate) fn node(id: &str) -> Option<Node> {
    Some(Node {
        id: id.to_owned(),
        user_agent_name: "envoy".to_owned(),
        ..Node::default()
    })
}

pub(crate) fn error(text: &str) -> Option<RpcStatus> {
    Some(RpcStatus {
        code: 13,
        message: text.to_owned(),
        ..RpcStatus::default()
    })
}

pub(crate) fn delta_ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

pub(crate) fn cluster(name: &str, content: i64) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        connect_timeout: Some(PbDuration {
            seconds: content,
            nanos: 0,
        }),
        ..Default::default()
    };
    Resource::encode(TypeUrl::CLUSTER, name, &cluster).unwrap()
}

pub(crate) fn route(name: &str, cluster: &str) -> Resource {
    let specifier = Some(ClusterSpecifier::Cluster(cluster.to_owned()));
    let action = RouteAction {
        cluster_specifier: specifier,
        ..Default::default()
    };
    let route = Route {
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "vh".to_owned(),
        routes: vec![route],
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..Default::default()
    };
    Resource::encode(TypeUrl::ROUTE_CONFIGURATION, name, &routes).unwrap()
}

pub(crate) fn runtime(name: &str, ttl: Duration) -> Resource {
    let runtime = Runtime {
        name: name.to_owned(),
        layer: None,
    };
    Resource::encode(TypeUrl::RUNTIME, name, &runtime)
        .unwrap()
        .with_ttl(ttl)
        .unwrap()
}

/// Of a type that the library doesn't know.
pub(crate) fn blob(type_url: &str, bytes: usize) -> Resource {
    Resource::new(TypeUrl::new(type_url), "blob", vec![0; bytes].into()).unwrap()
}

pub(crate) fn snapshot(resources: impl IntoIterator<Item = Resource>) -> Snapshot {
    let mut builder = Snapshot::builder();
    for resource in resources {
        builder.insert(resource);
    }
    builder.build().unwrap()
}
