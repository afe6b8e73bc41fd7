//! Views as bytes, so that a control plane that starts has something to serve before it can make
//! anything new (invariant S12: never empty because the state isn't loaded yet).
//!
//! The container is xDS's own `DeltaDiscoveryResponse`: any tool that reads xDS reads it. What it has
//! no field for is put so that it can't be taken for anything else: the version of a whole type is a
//! resource without a body whose alias is the type's URL; the type of an error is the type URL of an
//! empty detail; that a resource is for those who ask is an entry of its metadata. The view's id is a
//! hash of the content, which is checked on loading.
//!
//! Deliberately not here: files. Where bytes are kept, and how they are replaced without being torn,
//! is the embedder's business. Views may hold secrets; so do their bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, Resource as PbResource, ResourceError,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, Struct};
use prost::Message as _;
use tonic::Code;

use crate::error_detail::ErrorDetail;
use crate::notes::Notes;
use crate::resource::{self, Name, Resource, TypeUrl};
use crate::snapshot::{OfType, Snapshot};

/// The metadata of what is only for those who ask for it.
const ON_DEMAND: &str = "tidegate.on_demand";

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
    Resource(#[from] resource::ResourceError),
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
        let on_demand = || Metadata {
            filter_metadata: [(ON_DEMAND.to_owned(), Struct::default())].into(),
            ..Metadata::default()
        };
        let resource = |resource: &Arc<Resource>| PbResource {
            name: resource.name().to_string(),
            version: resource.version_text().to_string(),
            aliases: resource.aliases().iter().map(ToString::to_string).collect(),
            resource: Some(Any {
                type_url: resource.type_url().as_str().to_owned(),
                value: resource.body().to_vec(),
            }),
            metadata: resource.is_kept_from_wildcards().then(on_demand),
            ttl: resource.ttl().map(|ttl| PbDuration {
                seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or(0),
            }),
            ..PbResource::default()
        };
        let resources = self.type_urls().flat_map(|type_url| self.iter(type_url));
        let mut resources: Vec<PbResource> = resources.map(resource).collect();
        let mut resource_errors = Vec::new();
        for (type_url, notes) in self.notes() {
            resources.extend(notes.version.iter().map(|version| PbResource {
                version: version.to_string(),
                aliases: vec![type_url.as_str().to_owned()],
                ..PbResource::default()
            }));
            let others = notes.error_for_others.iter();
            let others = others.map(|error| (Name::from("*"), error.clone()));
            let errors = notes.errors.iter();
            let errors = errors.map(|(name, error)| (name.clone(), error.clone()));
            resource_errors.extend(errors.chain(others).map(|error| {
                let mut error = crate::wire::error(&error);
                let of = Any {
                    type_url: type_url.as_str().to_owned(),
                    value: Vec::new(),
                };
                if let Some(status) = &mut error.error_detail {
                    status.details.push(of);
                }
                error
            }));
        }
        DeltaDiscoveryResponse {
            system_version_info: self.id().to_string(),
            resources,
            resource_errors,
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
        let mut resources: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let mut notes = Notes::new();
        for error in saved.resource_errors {
            let (type_url, name, error) = read_error(error).map_err(&undecodable)?;
            let notes = notes.entry(type_url).or_default();
            if name == "*" {
                notes.error_for_others = Some(error);
            } else {
                notes.errors.insert(Arc::from(name), error);
            }
        }
        for saved in saved.resources {
            if let (None, "", [type_url]) = (&saved.resource, &*saved.name, &*saved.aliases) {
                let notes = notes.entry(TypeUrl::new(type_url)).or_default();
                notes.version = Some(Arc::from(saved.version));
                continue;
            }
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
            if !saved.aliases.is_empty() {
                resource = resource.with_aliases(saved.aliases.iter().map(String::as_str))?;
            }
            if *saved.version != *resource.version_text() {
                resource = resource.with_version(&saved.version)?;
            }
            let metadata = saved.metadata.unwrap_or_default();
            if metadata.filter_metadata.contains_key(ON_DEMAND) {
                resource = resource.on_demand();
            }
            let of_type = resources.entry(type_url).or_default();
            of_type.insert(resource.name().clone(), Arc::new(resource));
        }
        let types = resources.into_iter().map(|(type_url, by_name)| {
            let of_type = OfType::new(by_name.into_values().collect());
            (type_url, Arc::new(of_type))
        });
        let view = Self::of(types.collect(), notes);
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

/// The type and the name that an error is for.
fn read_error(error: ResourceError) -> Result<(TypeUrl, String, Arc<ErrorDetail>), String> {
    let name = error.resource_name.unwrap_or_default().name;
    let status = error.error_detail.unwrap_or_default();
    let Some(of) = status.details.first() else {
        return Err(format!("the error of `{name}` is of no type"));
    };
    let error = ErrorDetail::new(Code::from(status.code), &status.message);
    let error = error.map_err(|cause| cause.to_string())?;
    Ok((TypeUrl::new(&of.type_url), name, Arc::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assignment, cluster, route, timed_runtime, virtual_host};

    fn error(code: Code) -> ErrorDetail {
        ErrorDetail::new(code, "why").unwrap()
    }

    fn view() -> Snapshot {
        let mut builder = Snapshot::builder();
        builder
            .insert(cluster("a", 1))
            .insert(assignment("a", 1))
            .insert(route("rt", "from-the-bootstrap"))
            .insert(timed_runtime("shift", 5, Duration::from_millis(6_500)))
            .insert(cluster("b", 1).with_version("v7").unwrap().on_demand())
            .insert(assignment("b", 1).with_version("v8").unwrap())
            .insert(
                virtual_host("rt/shop", "a")
                    .with_aliases(["rt/shop.example"])
                    .unwrap()
                    .with_version("v9")
                    .unwrap(),
            )
            .insert(virtual_host("rt/cart", "a").with_aliases(["rt/c"]).unwrap())
            .error(TypeUrl::CLUSTER, "gone", error(Code::NotFound))
            .error_for_others(TypeUrl::SECRET, error(Code::PermissionDenied))
            .version(TypeUrl::CLUSTER, "of-all")
            .version(TypeUrl::LISTENER, "of-none")
            .assume(TypeUrl::CLUSTER, "from-the-bootstrap");
        builder.build().unwrap()
    }

    #[test]
    fn a_view_survives_the_round_trip() {
        let view = view();
        let read = Snapshot::from_bytes(&view.to_bytes()).unwrap();
        assert_eq!(read, view);
        assert_eq!(read.to_bytes(), view.to_bytes());
        let cluster = read.get(&TypeUrl::CLUSTER, "b").unwrap();
        assert_eq!(&*cluster.version_text(), "v7");
        assert!(cluster.is_on_demand());
        let hosts: Vec<_> = read.iter(&TypeUrl::VIRTUAL_HOST).collect();
        assert_eq!(
            hosts.iter().map(|host| host.aliases().len()).sum::<usize>(),
            2
        );
        let gone = read.error(&TypeUrl::CLUSTER, "gone").unwrap();
        assert_eq!((gone.code(), gone.message()), (Code::NotFound, "why"));
        assert!(read.error(&TypeUrl::SECRET, "any").is_some());
        assert_eq!(
            read.own_version(&TypeUrl::CLUSTER).map(|it| &**it),
            Some("of-all")
        );
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
                // What isn't read, such as a field of a number that nobody knows, changes nothing.
                Ok(read) => assert_eq!(read, view()),
            }
            flipped += 1;
        }
        assert_eq!(flipped, bytes.len());
    }
}
