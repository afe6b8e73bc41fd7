//! Views as bytes, so that a control plane that starts has something to serve before it can make
//! anything new (invariant S12: never empty because the state isn't loaded yet).
//!
//! The container is xDS's own `DeltaDiscoveryResponse`: any tool that reads xDS reads it. The
//! view's id is a hash of the content, which is checked on loading.
//!
//! Deliberately not here: files. Where bytes are kept, and how they are replaced without being torn,
//! is the embedder's business. Views may hold secrets; so do their bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, Resource as PbResource,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use prost::Message as _;

use crate::resource::{Resource, ResourceError, TypeUrl};
use crate::snapshot::Snapshot;

/// Why bytes aren't a view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not written by [`Snapshot::to_bytes`], or cut.
    #[error("the saved view can't be decoded: {reason}; delete it and publish anew")]
    Undecodable {
        /// The decoder's words.
        reason: String,
    },
    /// A resource in it isn't one.
    #[error("the saved view holds a resource that is none: {0}; delete it and publish anew")]
    Resource(#[from] ResourceError),
    /// The content isn't what was saved.
    #[error("the saved view says that it is `{said}`, and is `{is}`; delete it and publish anew")]
    IdDiffers {
        /// The id that was saved.
        said: String,
        /// The id of the content.
        is: String,
    },
}

// === impl Snapshot ===

impl Snapshot {
    /// The view as bytes, equal for equal views.
    pub fn to_bytes(&self) -> Vec<u8> {
        let resource = |resource: &Arc<Resource>| PbResource {
            name: resource.name().to_string(),
            version: resource.version().to_string(),
            resource: Some(Any {
                type_url: resource.type_url().as_str().to_owned(),
                value: resource.body().to_vec(),
            }),
            ttl: resource.ttl().map(|ttl| PbDuration {
                seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or(0),
            }),
            ..PbResource::default()
        };
        let resources = self.type_urls().flat_map(|type_url| self.iter(type_url));
        DeltaDiscoveryResponse {
            system_version_info: self.id().to_string(),
            resources: resources.map(resource).collect(),
            ..DeltaDiscoveryResponse::default()
        }
        .encode_to_vec()
    }

    /// Reads back what [`to_bytes`](Self::to_bytes) wrote. References aren't checked again: the
    /// content is the one that was.
    ///
    /// # Errors
    /// If the bytes are damaged or of somebody else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let undecodable = |reason: String| LoadError::Undecodable { reason };
        let saved = DeltaDiscoveryResponse::decode(bytes)
            .map_err(|cause| undecodable(cause.to_string()))?;
        let mut resources = BTreeMap::new();
        for saved in saved.resources {
            let any = saved
                .resource
                .ok_or_else(|| undecodable(format!("`{}` has no body", saved.name)))?;
            let type_url = TypeUrl::new(&any.type_url);
            let mut resource = Resource::new(type_url.clone(), &saved.name, any.value.into())?;
            if let Some(ttl) = saved.ttl {
                let seconds = u64::try_from(ttl.seconds).unwrap_or(0);
                let nanos = u32::try_from(ttl.nanos).unwrap_or(0);
                resource = resource.with_ttl(Duration::new(seconds, nanos))?;
            }
            resources.insert((type_url, resource.name().clone()), Arc::new(resource));
        }
        let view = Self::of(resources);
        if **view.id() == *saved.system_version_info {
            Ok(view)
        } else {
            Err(LoadError::IdDiffers {
                said: saved.system_version_info,
                is: view.id().to_string(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assignment, cluster, route, timed_runtime};

    fn view() -> Snapshot {
        let mut builder = Snapshot::builder();
        builder
            .insert(cluster("a", 1))
            .insert(assignment("a", 1))
            .insert(route("rt", "from-the-bootstrap"))
            .insert(timed_runtime("shift", 5, Duration::from_millis(6_500)))
            .assume(TypeUrl::CLUSTER, "from-the-bootstrap");
        builder.build().unwrap()
    }

    #[test]
    fn a_view_survives_the_round_trip() {
        let view = view();
        let read = Snapshot::from_bytes(&view.to_bytes()).unwrap();
        assert_eq!(read, view);
        assert_eq!(read.to_bytes(), view.to_bytes());
    }

    #[test]
    fn damaged_bytes_are_refused_with_a_remedy() {
        let bytes = view().to_bytes();
        for end in 0..bytes.len() {
            assert!(Snapshot::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut flipped = 0;
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            match Snapshot::from_bytes(&damaged) {
                Err(error) => assert!(error.to_string().contains("publish anew")),
                // Versions aren't read but computed; a flip there changes nothing.
                Ok(read) => assert_eq!(read, view()),
            }
            flipped += 1;
        }
        assert_eq!(flipped, bytes.len());
    }
}
