//! What the messages must decode to: the generated ones, built field by field.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource as PbResource,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use prost::{Message as _, Name as _};

use crate::resource::Resource;
use crate::stream::{Item, Response};

/// The message for an incremental stream.
pub(super) fn delta(response: Response, identifier: &str) -> DeltaDiscoveryResponse {
    let resource = |item: Item| PbResource {
        name: item.resource.name().to_string(),
        version: item.resource.version().to_string(),
        resource: (!item.renewal).then(|| any(&item.resource)),
        ttl: item.resource.ttl().map(duration),
        ..PbResource::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: response.version.to_string(),
        resources: response.items.into_iter().map(resource).collect(),
        type_url: response.type_url.as_str().to_owned(),
        removed_resources: response.removed.iter().map(ToString::to_string).collect(),
        nonce: response.nonce.to_string(),
        control_plane: control_plane(identifier),
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
            version: item.resource.version().to_string(),
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
        resources: response.items.into_iter().map(resource).collect(),
        type_url: response.type_url.as_str().to_owned(),
        nonce: response.nonce.to_string(),
        control_plane: control_plane(identifier),
        ..DiscoveryResponse::default()
    }
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.type_url().as_str().to_owned(),
        value: resource.body().to_vec(),
    }
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
