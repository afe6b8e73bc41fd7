//! The services of one type each, for clients that don't aggregate.
//!
//! The same sessions as on the aggregated stream, told that they serve one type. What is on other
//! streams is unknown to them, so that nothing waits for it: additions go at once, and what the
//! view no longer has stays for a grace (xDS protocol rule O5). Prefer the aggregated service.
//!
//! Deliberately not here: the REST variants (`Fetch*`), which can neither push nor tell an ACK.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;

use super::grpc::{Methods, answer};
use super::{Hub, Server};
use crate::resource::TypeUrl;

/// What a service of one type is.
trait OneType: Send + Sync + 'static {
    const SERVICE: &'static str;
    const METHODS: Methods;
}

/// Serves one type.
struct PerType<T> {
    hub: Arc<Hub>,
    of: PhantomData<fn() -> T>,
}

/// A service of one type, in both variants or over delta only.
macro_rules! services {
    ($($marker:ident: $service:literal, $of:literal, $only:expr, sotw: $sotw:literal;)+) => {
        $(
            struct $marker;
            impl OneType for $marker {
                const SERVICE: &'static str = concat!("envoy.service.", $service);
                const METHODS: Methods = Methods { of: $of, only: Some($only), sotw: $sotw };
            }
        )+

        impl Server {
            /// All discovery services: the aggregated one and those of one type each. Mount them with
            /// [`transport`](super::transport)`().add_routes(server.routes())`, and further services
            /// after that.
            pub fn routes(&self) -> Routes {
                let routes = Routes::new(self.ads());
                $(let routes = routes.add_service(PerType::<$marker>::new(&self.hub));)+
                routes
            }
        }
    };
}

services! {
    Clusters: "cluster.v3.ClusterDiscoveryService", "Clusters", TypeUrl::CLUSTER, sotw: true;
    Endpoints: "endpoint.v3.EndpointDiscoveryService", "Endpoints",
        TypeUrl::CLUSTER_LOAD_ASSIGNMENT, sotw: true;
    Listeners: "listener.v3.ListenerDiscoveryService", "Listeners", TypeUrl::LISTENER, sotw: true;
    Routers: "route.v3.RouteDiscoveryService", "Routes", TypeUrl::ROUTE_CONFIGURATION, sotw: true;
    Scopes: "route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes",
        TypeUrl::SCOPED_ROUTE_CONFIGURATION, sotw: true;
    // On demand, which exists over delta only.
    VirtualHosts: "route.v3.VirtualHostDiscoveryService", "VirtualHosts",
        TypeUrl::VIRTUAL_HOST, sotw: false;
    Secrets: "secret.v3.SecretDiscoveryService", "Secrets", TypeUrl::SECRET, sotw: true;
    Runtimes: "runtime.v3.RuntimeDiscoveryService", "Runtime", TypeUrl::RUNTIME, sotw: true;
    Extensions: "extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs",
        TypeUrl::EXTENSION_CONFIG, sotw: true;
}

// === impl PerType ===

impl<T> PerType<T> {
    fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::clone(hub),
            of: PhantomData,
        }
    }
}

impl<T> Clone for PerType<T> {
    fn clone(&self) -> Self {
        Self::new(&self.hub)
    }
}

impl<T: OneType> NamedService for PerType<T> {
    const NAME: &'static str = T::SERVICE;
}

impl<T: OneType> Service<Request<Body>> for PerType<T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(answer(&self.hub, &T::METHODS, request)))
    }
}
