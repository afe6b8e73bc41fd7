//! The services of one type each, for clients that don't aggregate.
//!
//! The same sessions as on the aggregated stream, told that they serve one type. What is on other
//! streams is unknown to them, so that nothing waits for it: additions go at once, and what the
//! view no longer has stays for a grace (xDS protocol rule O5). Prefer the aggregated service.
//!
//! Deliberately not here: the REST variants (`Fetch*`), which can neither push nor tell an ACK.

use std::sync::Arc;

use envoy_types::pb::envoy::service::cluster::v3::cluster_discovery_service_server::{
    ClusterDiscoveryService, ClusterDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::endpoint::v3::endpoint_discovery_service_server::{
    EndpointDiscoveryService, EndpointDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::{
    ExtensionConfigDiscoveryService, ExtensionConfigDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::listener::v3::listener_discovery_service_server::{
    ListenerDiscoveryService, ListenerDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::route::v3::route_discovery_service_server::{
    RouteDiscoveryService, RouteDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::route::v3::scoped_routes_discovery_service_server::{
    ScopedRoutesDiscoveryService, ScopedRoutesDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::route::v3::virtual_host_discovery_service_server::{
    VirtualHostDiscoveryService, VirtualHostDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::runtime::v3::runtime_discovery_service_server::{
    RuntimeDiscoveryService, RuntimeDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{Hub, Server, open_delta, open_sotw};
use crate::limits::REQUEST_BYTES_MAX;
use crate::resource::TypeUrl;

/// Serves one type, whichever service it is mounted as.
#[derive(Debug)]
struct PerType {
    hub: Arc<Hub>,
}

type Sotw = ReceiverStream<Result<DiscoveryResponse, Status>>;
type Delta = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

/// Both variants of a service.
macro_rules! serve {
    ($service:ident, $type_url:expr, $sotw:ident $SotwStream:ident, $delta:ident $DeltaStream:ident, $fetch:ident) => {
        #[tonic::async_trait]
        impl $service for PerType {
            type $SotwStream = Sotw;
            type $DeltaStream = Delta;

            async fn $sotw(
                &self,
                request: Request<Streaming<DiscoveryRequest>>,
            ) -> Result<Response<Sotw>, Status> {
                Ok(open_sotw(&self.hub, Some($type_url), request))
            }

            async fn $delta(
                &self,
                request: Request<Streaming<DeltaDiscoveryRequest>>,
            ) -> Result<Response<Delta>, Status> {
                Ok(open_delta(&self.hub, Some($type_url), request))
            }

            async fn $fetch(
                &self,
                _: Request<DiscoveryRequest>,
            ) -> Result<Response<DiscoveryResponse>, Status> {
                Err(no_rest())
            }
        }
    };
}

serve!(ClusterDiscoveryService, TypeUrl::CLUSTER,
    stream_clusters StreamClustersStream, delta_clusters DeltaClustersStream, fetch_clusters);
serve!(EndpointDiscoveryService, TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    stream_endpoints StreamEndpointsStream, delta_endpoints DeltaEndpointsStream, fetch_endpoints);
serve!(ListenerDiscoveryService, TypeUrl::LISTENER,
    stream_listeners StreamListenersStream, delta_listeners DeltaListenersStream, fetch_listeners);
serve!(RouteDiscoveryService, TypeUrl::ROUTE_CONFIGURATION,
    stream_routes StreamRoutesStream, delta_routes DeltaRoutesStream, fetch_routes);
serve!(ScopedRoutesDiscoveryService, TypeUrl::SCOPED_ROUTE_CONFIGURATION,
    stream_scoped_routes StreamScopedRoutesStream, delta_scoped_routes DeltaScopedRoutesStream,
    fetch_scoped_routes);
serve!(SecretDiscoveryService, TypeUrl::SECRET,
    stream_secrets StreamSecretsStream, delta_secrets DeltaSecretsStream, fetch_secrets);
serve!(RuntimeDiscoveryService, TypeUrl::RUNTIME,
    stream_runtime StreamRuntimeStream, delta_runtime DeltaRuntimeStream, fetch_runtime);
serve!(ExtensionConfigDiscoveryService, TypeUrl::EXTENSION_CONFIG,
    stream_extension_configs StreamExtensionConfigsStream,
    delta_extension_configs DeltaExtensionConfigsStream, fetch_extension_configs);

fn no_rest() -> Status {
    Status::unimplemented(
        "resources are served on streams only; use the `Stream` or `Delta` method",
    )
}

/// Mounts services with this crate's limit on requests.
macro_rules! mount {
    ($hub:expr, $routes:expr, $($server:ident),+) => {{
        let routes = $routes;
        $(let routes = routes.add_service(
            $server::new(PerType { hub: $hub.clone() })
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        );)+
        routes
    }};
}

// === impl PerType ===

/// Virtual hosts on demand exist over delta only.
#[tonic::async_trait]
impl VirtualHostDiscoveryService for PerType {
    type DeltaVirtualHostsStream = Delta;

    async fn delta_virtual_hosts(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Delta>, Status> {
        Ok(open_delta(&self.hub, Some(TypeUrl::VIRTUAL_HOST), request))
    }
}

// === impl Server ===

impl Server {
    /// All discovery services: the aggregated one and those of one type each. Mount them with
    /// [`transport`](super::transport)`().add_routes(server.routes())`, and further services
    /// after that.
    pub fn routes(&self) -> Routes {
        mount!(
            self.hub,
            Routes::new(self.ads()),
            ClusterDiscoveryServiceServer,
            EndpointDiscoveryServiceServer,
            ListenerDiscoveryServiceServer,
            RouteDiscoveryServiceServer,
            ScopedRoutesDiscoveryServiceServer,
            VirtualHostDiscoveryServiceServer,
            SecretDiscoveryServiceServer,
            RuntimeDiscoveryServiceServer,
            ExtensionConfigDiscoveryServiceServer
        )
    }
}
