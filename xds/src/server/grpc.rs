//! gRPC by hand, as far as discovery needs it: two kinds of methods, both bidirectional streams.
//!
//! The generated service encodes every response anew, into a buffer per stream that is then copied.
//! Here the shared bytes go to the connection as they are (design M1), and a stream that waits
//! holds no buffer.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;

use super::inbound::Inbound;
use super::scan::Fields;
use super::task::{self, Serves};
use super::{Hub, outbound};
use crate::identity::Peer;
use crate::resource::TypeUrl;
use crate::stream::Variant;

/// A service's methods: `Stream…`, `Delta…` and `Fetch…` of something.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    /// Of what, such as `Clusters`.
    pub(super) of: &'static str,
    /// The one type that it serves, if it isn't the aggregated service.
    pub(super) only: Option<TypeUrl>,
    /// Whether it exists in the state of the world's variant.
    pub(super) sotw: bool,
}

const GRPC: &str = "application/grpc";
const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Answers a call. The stream that it opens has a task of its own.
pub(super) fn answer(hub: &Arc<Hub>, methods: &Methods, request: Request<Body>) -> Response<Body> {
    if request.method() != Method::POST {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let post = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, post);
        return response;
    }
    if !is_grpc(request.headers()) {
        // The status that gRPC over HTTP/2 asks for.
        let text = "the content type isn't `application/grpc`, or its messages aren't protobuf";
        let mut response = Status::invalid_argument(text).into_http();
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    if let Err(status) = check_encoding(request.headers()) {
        return status.into_http();
    }
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    match method.strip_suffix(methods.of) {
        Some("Stream") if methods.sotw => {
            open::<DiscoveryRequest>(hub, Variant::Sotw, methods, request)
        }
        Some("Delta") => open::<DeltaDiscoveryRequest>(hub, Variant::Delta, methods, request),
        Some("Fetch") if methods.sotw && methods.only.is_some() => Status::unimplemented(
            "resources are served on streams only; use the `Stream` or `Delta` method",
        )
        .into_http(),
        _ => Status::unimplemented("the service has no such method").into_http(),
    }
}

/// Whether the call is gRPC with protobuf messages.
fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = value.and_then(|value| value.strip_prefix(GRPC.as_bytes()));
    rest.is_some_and(|rest| {
        let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
        matches!(rest.first(), None | Some(b';'))
    })
}

/// Refuses compressed requests. Responses never are: each stream would need its own.
fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    let Some(encoding) = headers.get(GRPC_ENCODING) else {
        return Ok(());
    };
    if encoding == "identity" {
        return Ok(());
    }
    let encoding = encoding.to_str().unwrap_or("something unreadable");
    let text = format!("requests can't be compressed with `{encoding:.40}`; send them as they are");
    let mut status = Status::unimplemented(text);
    let accepted = tonic::metadata::MetadataValue::from_static("identity");
    status.metadata_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
    Err(status)
}

/// Starts the task of a stream.
fn open<Q>(
    hub: &Arc<Hub>,
    variant: Variant,
    methods: &Methods,
    request: Request<Body>,
) -> Response<Body>
where
    Q: Fields,
{
    let (outlet, outbound) = outbound::channel();
    let peer = request.extensions().get::<Peer>().cloned();
    let (share, timeout) = (hub.unfinished.share(), hub.settings.request_timeout);
    let inbound = Inbound::<Q>::new(request.into_body(), share, timeout);
    let serves = Serves {
        variant,
        only: methods.only.clone(),
    };
    tokio::spawn(task::run(hub.clone(), serves, peer, inbound, outlet));
    let mut response = Response::new(Body::new(outbound));
    let content_type = HeaderValue::from_static(GRPC);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Ads, Assign, Client, Refused, Server, Settings};
    use crate::snapshot::Snapshot;

    struct Nothing;

    impl Assign for Nothing {
        fn assign(
            &self,
            _: &Client,
        ) -> Result<tokio::sync::watch::Receiver<Option<Arc<Snapshot>>>, Refused> {
            Ok(tokio::sync::watch::channel(None).1)
        }
    }

    fn call(change: impl FnOnce(&mut Request<Body>)) -> Response<Body> {
        let server = Server::new(Nothing, Settings::default());
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        let path =
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        *request.uri_mut() = path.parse().unwrap();
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(CONTENT_TYPE, grpc);
        change(&mut request);
        answer(&server.hub, &Ads::METHODS, request)
    }

    fn with_header(name: &'static str, value: &'static str) -> Response<Body> {
        call(|request| {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(name, value);
        })
    }

    #[tokio::test]
    async fn a_call_is_answered_whatever_form_its_content_type_has() {
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
        ] {
            let response = with_header("content-type", content_type);
            assert_eq!(response.status(), StatusCode::OK, "{content_type}");
            assert_eq!(response.headers()[CONTENT_TYPE], GRPC);
            assert!(!response.headers().contains_key("grpc-status"));
        }
        let response = with_header("grpc-encoding", "identity");
        assert!(!response.headers().contains_key("grpc-status"));
    }

    #[test]
    fn what_is_no_grpc_call_is_refused_in_words_of_http() {
        for content_type in [
            "application/json",
            "application/grpc+json",
            "application/grpcs",
            "",
        ] {
            let response = with_header("content-type", content_type);
            let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            assert_eq!(response.status(), unsupported, "{content_type}");
            assert_eq!(response.headers()["grpc-status"], "3");
        }
        let response = call(|request| *request.method_mut() = Method::GET);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn compression_and_unknown_methods_are_unimplemented() {
        let response = with_header("grpc-encoding", "gzip");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "12");
        assert_eq!(response.headers()["grpc-accept-encoding"], "identity");
        let unknown =
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchAggregatedResources";
        let response = call(|request| *request.uri_mut() = unknown.parse().unwrap());
        assert_eq!(response.headers()["grpc-status"], "12");
        assert_eq!(response.headers()[CONTENT_TYPE], GRPC);
    }
}
