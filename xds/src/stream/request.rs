//! A request of either protocol, as far as both need it.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::bulk::Claims;

/// A request of either protocol.
#[derive(Debug, Clone)]
pub enum Request {
    /// Of an incremental stream.
    Delta(DeltaDiscoveryRequest),
    /// Of a state-of-the-world stream.
    Sotw(DiscoveryRequest),
}

// === impl Request ===

impl Request {
    /// The client; only the first request of a stream has to carry it (rule C1).
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Delta(request) => request.node.as_ref(),
            Self::Sotw(request) => request.node.as_ref(),
        }
    }

    pub(super) fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::Sotw(request) => &request.type_url,
        }
    }

    /// Every name that would be remembered.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        let (lists, claims) = match self {
            Self::Delta(request) => (
                &request.resource_names_subscribe,
                Some(&request.initial_resource_versions),
            ),
            Self::Sotw(request) => (&request.resource_names, None),
        };
        lists
            .iter()
            .chain(claims.into_iter().flat_map(|claims| claims.keys()))
    }

    /// How many resources the client says that it holds.
    pub(super) fn claims(&self) -> usize {
        match self {
            Self::Delta(request) => request.initial_resource_versions.len(),
            Self::Sotw(_) => 0,
        }
    }

    /// Takes out what the client says that it holds.
    pub(super) fn take_claims(&mut self) -> Option<Box<Claims>> {
        let claims = match self {
            Self::Delta(request) => std::mem::take(&mut request.initial_resource_versions),
            Self::Sotw(_) => return None,
        };
        (!claims.is_empty()).then(|| Box::new(claims))
    }

    /// Whether it refuses a response (rule C11).
    pub(crate) fn is_rejection(&self) -> bool {
        match self {
            Self::Delta(request) => request.error_detail.is_some(),
            Self::Sotw(request) => request.error_detail.is_some(),
        }
    }

    /// Whether the client holds something of an earlier stream.
    pub(super) fn is_reconnect(&self) -> bool {
        match self {
            Self::Delta(request) => !request.initial_resource_versions.is_empty(),
            Self::Sotw(request) => !request.version_info.is_empty(),
        }
    }
}

impl From<DeltaDiscoveryRequest> for Request {
    fn from(request: DeltaDiscoveryRequest) -> Self {
        Self::Delta(request)
    }
}

impl From<DiscoveryRequest> for Request {
    fn from(request: DiscoveryRequest) -> Self {
        Self::Sotw(request)
    }
}
