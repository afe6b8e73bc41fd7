//! Requests and responses of either variant.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as PbResource, ResourceError,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};

use super::owned;
use crate::TypeUrl;
use crate::common::error;

/// A request of either variant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) node: Option<Node>,
    pub(crate) type_url: String,
    /// State of the world: the whole list.
    pub(crate) names: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    pub(crate) held: BTreeMap<String, String>,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) error: Option<String>,
}

/// A response of either variant.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) type_url: TypeUrl,
    pub(crate) nonce: String,
    pub(crate) version: String,
    pub(crate) resources: Vec<GotResource>,
    pub(crate) removed: Vec<String>,
    /// The names and codes of errors in the place of resources.
    pub(crate) errors: Vec<(String, i32)>,
}

#[derive(Debug, Clone)]
pub(crate) struct GotResource {
    pub(crate) name: String,
    /// Delta only, or wrapped.
    pub(crate) version: String,
    /// Delta only, or wrapped.
    pub(crate) aliases: Vec<String>,
    /// `None` for a heartbeat.
    pub(crate) body: Option<Any>,
    pub(crate) ttl: Option<i64>,
    /// State of the world: in a `Resource` of its own.
    pub(crate) wrapped: bool,
}

/// What every named message begins with.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

// === impl Ask ===

impl Ask {
    pub(crate) fn of(type_url: &TypeUrl, names: &[&str]) -> Self {
        Self {
            type_url: type_url.as_str().to_owned(),
            names: owned(names),
            ..Self::default()
        }
    }
}

impl From<Ask> for DeltaDiscoveryRequest {
    fn from(ask: Ask) -> Self {
        Self {
            node: ask.node,
            type_url: ask.type_url,
            resource_names_subscribe: ask.names,
            resource_names_unsubscribe: ask.unsubscribe,
            initial_resource_versions: ask.held.into_iter().collect(),
            response_nonce: ask.nonce,
            error_detail: ask.error.and_then(|text| error(&text)),
            ..Self::default()
        }
    }
}

impl From<Ask> for DiscoveryRequest {
    fn from(ask: Ask) -> Self {
        Self {
            node: ask.node,
            type_url: ask.type_url,
            resource_names: ask.names,
            version_info: ask.version,
            response_nonce: ask.nonce,
            error_detail: ask.error.and_then(|text| error(&text)),
            ..Self::default()
        }
    }
}

// === impl Got ===

impl Got {
    /// Its type, `name` for what is sent, `~name` without a body, `-name` removed, `!name=code` for
    /// an error.
    pub(crate) fn brief(&self) -> String {
        let mut text = self.type_url.short_name().to_owned();
        for resource in &self.resources {
            let mark = if resource.body.is_none() { "~" } else { "" };
            text.push_str(&format!(" {mark}{}", resource.name));
        }
        for name in &self.removed {
            text.push_str(&format!(" -{name}"));
        }
        for (name, code) in &self.errors {
            text.push_str(&format!(" !{name}={code}"));
        }
        text
    }

    /// Rule C6, for every response that any test gets.
    pub(super) fn check(&self) {
        let sent = self.resources.iter().map(|resource| &resource.name);
        let names: Vec<_> = sent.chain(&self.removed).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "C6: {}", self.brief());
        let mut sent = self.resources.iter().map(|resource| &resource.name);
        let disjoint = sent.all(|name| self.errors.iter().all(|(other, _)| other != name));
        assert!(disjoint, "G10: {}", self.brief());
        for body in self.resources.iter().filter_map(|one| one.body.as_ref()) {
            assert_eq!(body.type_url, self.type_url.as_str(), "C6");
        }
    }
}

impl From<DeltaDiscoveryResponse> for Got {
    fn from(response: DeltaDiscoveryResponse) -> Self {
        let resource = |it: PbResource| GotResource {
            name: it.name,
            version: it.version,
            aliases: it.aliases,
            body: it.resource,
            ttl: it.ttl.map(|ttl| ttl.seconds),
            wrapped: false,
        };
        Self {
            type_url: TypeUrl::new(&response.type_url),
            nonce: response.nonce,
            version: response.system_version_info,
            resources: response.resources.into_iter().map(resource).collect(),
            removed: response.removed_resources,
            errors: response.resource_errors.into_iter().map(told).collect(),
        }
    }
}

impl From<DiscoveryResponse> for Got {
    fn from(response: DiscoveryResponse) -> Self {
        let resource = |any: Any| {
            if any.type_url == PbResource::type_url() {
                let wrapped = PbResource::decode(&*any.value).unwrap();
                return GotResource {
                    name: wrapped.name,
                    version: wrapped.version,
                    aliases: wrapped.aliases,
                    body: wrapped.resource,
                    ttl: wrapped.ttl.map(|ttl| ttl.seconds),
                    wrapped: true,
                };
            }
            GotResource {
                name: Named::decode(&*any.value).unwrap().name,
                version: String::new(),
                aliases: Vec::new(),
                body: Some(any),
                ttl: None,
                wrapped: false,
            }
        };
        Self {
            type_url: TypeUrl::new(&response.type_url),
            nonce: response.nonce,
            version: response.version_info,
            resources: response.resources.into_iter().map(resource).collect(),
            removed: Vec::new(),
            errors: response.resource_errors.into_iter().map(told).collect(),
        }
    }
}

fn told(error: ResourceError) -> (String, i32) {
    let name = error.resource_name.unwrap_or_default().name;
    (name, error.error_detail.unwrap_or_default().code)
}
