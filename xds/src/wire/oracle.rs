//! What the messages must decode to: the generated ones, built field by field.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource as PbResource,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use prost::{Message as _, Name as _};

use super::error;
use crate::resource::{Name, Resource};
use crate::stream::{Item, Response};

/// The message for an incremental stream.
pub(super) fn delta(response: Response, identifier: &str) -> DeltaDiscoveryResponse {
    let resource = |item: Item| PbResource {
        name: item.resource.name().to_string(),
        version: item.resource.version_text().to_string(),
        aliases: aliases(&item.resource),
        resource: (!item.renewal).then(|| any(&item.resource)),
        ttl: item.resource.ttl().map(duration),
        ..PbResource::default()
    };
    let unresolved = |name: Name| PbResource {
        name: name.to_string(),
        aliases: vec![name.to_string()],
        ..PbResource::default()
    };
    let unresolved = response.unresolved.into_iter().map(unresolved);
    let items = response.items.iter().cloned().map(resource);
    DeltaDiscoveryResponse {
        system_version_info: response.version.to_string(),
        resources: unresolved.chain(items).collect(),
        type_url: response.type_url.as_str().to_owned(),
        removed_resources: response.removed.iter().map(ToString::to_string).collect(),
        nonce: response.nonce.to_string(),
        control_plane: control_plane(identifier),
        resource_errors: response.errors.iter().map(error).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// The message for a state-of-the-world stream.
pub(super) fn sotw(response: Response, identifier: &str) -> DiscoveryResponse {
    let resource = |item: Item| {
        if !item.wrapped {
            return any(&item.resource);
        }
        let wrapper = PbResource {
            name: item.resource.name().to_string(),
            version: item.resource.version_text().to_string(),
            aliases: aliases(&item.resource),
            resource: Some(any(&item.resource)),
            ttl: item.resource.ttl().map(duration),
            ..PbResource::default()
        };
        Any {
            type_url: PbResource::type_url(),
            value: wrapper.encode_to_vec(),
        }
    };
    DiscoveryResponse {
        version_info: response.version.to_string(),
        resources: response.items.iter().cloned().map(resource).collect(),
        type_url: response.type_url.as_str().to_owned(),
        nonce: response.nonce.to_string(),
        control_plane: control_plane(identifier),
        resource_errors: response.errors.iter().map(error).collect(),
        ..DiscoveryResponse::default()
    }
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.type_url().as_str().to_owned(),
        value: resource.body().to_vec(),
    }
}

fn aliases(resource: &Resource) -> Vec<String> {
    resource.aliases().iter().map(ToString::to_string).collect()
}

fn duration(ttl: Duration) -> PbDuration {
    // A time to live beyond 292 billion years is as good as that.
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    PbDuration {
        seconds,
        nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or(0),
    }
}

fn control_plane(identifier: &str) -> Option<ControlPlane> {
    Some(ControlPlane {
        identifier: identifier.to_owned(),
    })
}
