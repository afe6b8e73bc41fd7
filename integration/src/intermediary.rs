//! Between one sidecar and its control plane: passes everything on until it is told to keep
//! configuration back, to lose reports, or to spoil what comes next.
//!
//! The sidecar at its end is a real one. Its streams stay open and its keepalives are answered, so
//! that nothing looks wrong from either side but what is withheld.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use prost::Message;
use tidegate_engine::compile::type_url;
use tidegate_xds::server::incoming;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::machine::runtime;

/// Messages on their way in one direction.
const QUEUE: usize = 64;

/// One sidecar connects here instead of to its control plane.
#[derive(Debug)]
pub struct Intermediary {
    /// Where it connects.
    pub address: SocketAddr,
    orders: Arc<Orders>,
    task: JoinHandle<()>,
}

/// What is to be done with what passes.
#[derive(Debug)]
struct Orders {
    control_plane: SocketAddr,
    withhold_configuration: watch::Sender<bool>,
    lose_reports: AtomicBool,
    spoil_runtime_layer: AtomicBool,
}

#[derive(Debug, Clone)]
struct Passing(Arc<Orders>);

// === impl Intermediary ===

impl Intermediary {
    /// Passes everything on to the control plane at this address, whenever it is there.
    #[must_use]
    pub fn start(control_plane: SocketAddr) -> Self {
        let orders = Arc::new(Orders {
            control_plane,
            withhold_configuration: watch::Sender::new(false),
            lose_reports: AtomicBool::new(false),
            spoil_runtime_layer: AtomicBool::new(false),
        });
        let listener = runtime()
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let passing = Passing(Arc::clone(&orders));
        let serving = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(passing.clone()))
            .add_service(MetricsServiceServer::new(passing))
            .serve_with_incoming(incoming(listener));
        let task = runtime().spawn(async move { serving.await.unwrap() });
        Self {
            address,
            orders,
            task,
        }
    }

    /// Whether responses are kept back; those that were come in their order afterwards.
    pub fn withhold_configuration(&self, withhold: bool) {
        self.orders.withhold_configuration.send_replace(withhold);
    }

    /// Whether reports are lost. The first one of a stream, which says whose it is, never is.
    pub fn lose_reports(&self, lose: bool) {
        self.orders.lose_reports.store(lose, Ordering::SeqCst);
    }

    /// The next runtime layer will have a name inside that it has not outside, which Envoy rejects.
    pub fn spoil_next_runtime_layer(&self) {
        self.orders
            .spoil_runtime_layer
            .store(true, Ordering::SeqCst);
    }

    /// Whether that was done.
    #[must_use]
    pub fn has_spoilt(&self) -> bool {
        !self.orders.spoil_runtime_layer.load(Ordering::SeqCst)
    }
}

impl Drop for Intermediary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Orders ===

impl Orders {
    fn upstream(&self) -> String {
        format!("http://{}", self.control_plane)
    }

    fn spoil(&self, response: &mut DeltaDiscoveryResponse) {
        if response.type_url != type_url::RUNTIME {
            return;
        }
        // A heartbeat has no body.
        let bodies = response.resources.iter_mut();
        for body in bodies.filter_map(|resource| resource.resource.as_mut()) {
            if self.spoil_runtime_layer.swap(false, Ordering::SeqCst) {
                let mut layer = Runtime::decode(&*body.value).unwrap();
                layer.name.push_str("-of-another");
                body.value = layer.encode_to_vec();
            }
        }
    }
}

#[async_trait]
impl AggregatedDiscoveryService for Passing {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the bootstrap asks for delta"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut control_plane =
            connected(AggregatedDiscoveryServiceClient::connect(self.0.upstream()).await)?;
        let requests = pass_on(request.into_inner(), |_| true);
        let responses = control_plane.delta_aggregated_resources(requests).await?;
        let (down, passed) = mpsc::channel(QUEUE);
        tokio::spawn(answer(Arc::clone(&self.0), responses.into_inner(), down));
        Ok(Response::new(ReceiverStream::new(passed)))
    }
}

/// Passes responses on; their end ends the sidecar's stream even while they are withheld.
async fn answer(
    orders: Arc<Orders>,
    mut responses: Streaming<DeltaDiscoveryResponse>,
    down: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) {
    let mut withheld = orders.withhold_configuration.subscribe();
    let mut kept: VecDeque<DeltaDiscoveryResponse> = VecDeque::new();
    loop {
        let released = async { withheld.wait_for(|withheld| !withheld).await.is_ok() };
        let next = tokio::select! {
            response = responses.message() => Some(response),
            _ = released, if !kept.is_empty() => None,
        };
        match next {
            Some(Ok(Some(response))) => kept.push_back(response),
            Some(Ok(None)) => return,
            Some(Err(status)) => {
                // Without a sidecar there is nobody to tell.
                let _ = down.send(Err(status)).await;
                return;
            }
            None => {}
        }
        while !*withheld.borrow()
            && let Some(mut response) = kept.pop_front()
        {
            orders.spoil(&mut response);
            if down.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl MetricsService for Passing {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let mut control_plane = connected(MetricsServiceClient::connect(self.0.upstream()).await)?;
        let orders = Arc::clone(&self.0);
        let reports = pass_on(
            request.into_inner(),
            move |message: &StreamMetricsMessage| {
                message.identifier.is_some() || !orders.lose_reports.load(Ordering::SeqCst)
            },
        );
        control_plane.stream_metrics(reports).await
    }
}

/// What a sidecar sends, as far as it is `wanted`.
fn pass_on<T: Send + 'static>(
    mut stream: Streaming<T>,
    wanted: impl Fn(&T) -> bool + Send + 'static,
) -> ReceiverStream<T> {
    let (up, passed) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            if wanted(&message) && up.send(message).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(passed)
}

fn connected<T>(client: Result<T, tonic::transport::Error>) -> Result<T, Status> {
    client.map_err(|cause| Status::unavailable(cause.to_string()))
}
