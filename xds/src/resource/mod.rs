//! One encoded resource: bytes that never change, a version that is their hash, and the names
//! they lead to.
//!
//! A resource is encoded once, by whoever made it, and shared by every stream (design M1). Nothing
//! here re-encodes; the known types are decoded once, to read their references. Its bytes are kept
//! once, inside of the envelope that they travel in.

mod extras;
mod fetched;
mod frame;
mod name_list;
mod places;
mod references;
mod type_url;
pub(crate) mod xdstp;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use prost::Message as _;
use xxhash_rust::xxh64::xxh64;

pub(crate) use frame::{Frame, RESOURCES, Slice, field_len, put_field, put_key, put_unresolved};
pub(crate) use name_list::NameList;
pub(crate) use places::Places;
pub use references::References;
pub use type_url::TypeUrl;

use crate::limits::{NAME_BYTES_MAX, RESOURCE_BYTES_MAX, VERSION_BYTES_MAX};

/// A resource's name, shared by all who mention it.
pub type Name = Arc<str>;

/// The hash (xxh64) of a resource's bytes; 16 hex digits on the wire.
///
/// Equal content has the equal version on every replica and after every restart (xDS protocol
/// rule C7), and short versions keep the first request after a reconnect small (rule C16).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

/// One encoded resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    type_url: TypeUrl,
    name: Name,
    version: Version,
    frame: Frame,
    /// A slice of the frame.
    body: Bytes,
    ttl: Option<Duration>,
    references: References,
    /// What few resources have, so that the others don't pay for it.
    extras: Option<Box<extras::Extras>>,
}

/// What tells two states of a resource apart for a client: its bytes, and its time to live (a
/// resource without one clears the timer, xDS protocol rule D12).
pub(crate) type Stamp = (Version, Option<Duration>);

/// Why bytes can't be a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The bytes aren't a message of the type.
    #[error("{type_url} `{name}` can't be decoded: {reason}; encode it as {url}", url = type_url.as_str())]
    Undecodable {
        /// The type that was claimed.
        type_url: TypeUrl,
        /// The name that was claimed.
        name: String,
        /// The decoder's words.
        reason: String,
    },
    /// The message names itself differently; Envoy would go by the inner name (envoy facts §3).
    #[error("{type_url} `{name}` names itself `{inner}`; the two must be equal")]
    NameDiffers {
        /// The type.
        type_url: TypeUrl,
        /// The name that was claimed.
        name: String,
        /// The name in the bytes.
        inner: String,
    },
    /// Empty, longer than [`NAME_BYTES_MAX`], or `*`, which means all.
    #[error(
        "{type_url} can't be named `{name:.60}`; a name has 1 to {NAME_BYTES_MAX} bytes and isn't `*`"
    )]
    BadName {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
    },
    /// It has the scheme `xdstp:` and can't be a name in it, or isn't written as two equal names
    /// must be, so that clients and servers would take it for different ones.
    #[error("{type_url} can't be named `{name:.200}`: {reason}")]
    BadXdstpName {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Only virtual hosts go by other names, and those are names, too (rule D14).
    #[error("{type_url} `{name}` can't go by `{alias:.60}`: {reason}")]
    BadAlias {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
        /// The other name.
        alias: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A version is shown, compared and sent back on every reconnect (rules C16, D13).
    #[error(
        "{type_url} `{name}` can't have the version `{version:.60}`; a version has 1 to {VERSION_BYTES_MAX} bytes"
    )]
    BadVersion {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
        /// The version.
        version: String,
    },
    /// More than [`RESOURCE_BYTES_MAX`].
    #[error(
        "{type_url} `{name}` has {bytes} bytes; clients take {RESOURCE_BYTES_MAX} at most; split it"
    )]
    TooLarge {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// Expiry of anything but the runtime layer breaks traffic or crashes Envoy (invariant S17).
    #[error("{type_url} `{name}` can't have a time to live; only the runtime layer (rtds) can")]
    TtlForbidden {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
    },
    /// A client can't be asked to forget at once.
    #[error("{type_url} `{name}`: a time to live must be at least 1 ms")]
    TtlTooShort {
        /// The type.
        type_url: TypeUrl,
        /// The name.
        name: String,
    },
}

// === impl Version ===

impl Version {
    /// The version of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh64(bytes, 0))
    }

    /// Reads back what [`fmt::Display`] wrote. `None` for anything else, such as another control
    /// plane's version: never equal to one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ours.then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Resource ===

impl Resource {
    /// Takes a resource's bytes, in a deterministic encoding (maps sorted): the version is their
    /// hash, so that equal content must be equal bytes. They are copied, once for all streams.
    ///
    /// # Errors
    /// If the name can't be one, the bytes are too many, aren't of the type (of those that this
    /// crate knows), or name themselves differently.
    pub fn new(type_url: TypeUrl, name: &str, body: Bytes) -> Result<Self, ResourceError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name == "*" {
            return Err(ResourceError::BadName {
                type_url,
                name: name.to_owned(),
            });
        }
        if body.len() > RESOURCE_BYTES_MAX {
            let bytes = body.len();
            return Err(ResourceError::TooLarge {
                type_url,
                name: name.to_owned(),
                bytes,
            });
        }
        if let Err(reason) = xdstp::check(&type_url, name) {
            return Err(ResourceError::BadXdstpName {
                type_url,
                name: name.to_owned(),
                reason,
            });
        }
        let references = read(&type_url, name, &body)?;
        let version = Version::of(&body);
        let about = frame::About {
            name,
            version: &version.to_string(),
            aliases: &[],
            ttl: None,
        };
        let frame = Frame::new(type_url.as_str(), &about, &body);
        Ok(Self {
            type_url,
            name: Arc::from(name),
            version,
            body: frame.body().share(),
            frame,
            ttl: None,
            references,
            extras: None,
        })
    }

    /// Encodes a message and takes its bytes. The message must not hold a hash map with more than
    /// one entry: its bytes would differ from run to run.
    ///
    /// # Errors
    /// See [`Resource::new`].
    pub fn encode<M: prost::Message>(
        type_url: TypeUrl,
        name: &str,
        message: &M,
    ) -> Result<Self, ResourceError> {
        Self::new(type_url, name, Bytes::from(message.encode_to_vec()))
    }

    /// Makes the resource expire on the client unless it is renewed.
    ///
    /// # Errors
    /// For any type but the runtime layer, and for less than a millisecond.
    pub fn with_ttl(mut self, ttl: Duration) -> Result<Self, ResourceError> {
        let (type_url, name) = (self.type_url.clone(), self.name.to_string());
        if type_url != TypeUrl::RUNTIME {
            return Err(ResourceError::TtlForbidden { type_url, name });
        }
        if ttl < Duration::from_millis(1) {
            return Err(ResourceError::TtlTooShort { type_url, name });
        }
        self.ttl = Some(ttl);
        Ok(self.reframed())
    }

    /// With what it is by now in its envelope.
    fn reframed(mut self) -> Self {
        let about = frame::About {
            name: &self.name,
            version: &self.version_text(),
            aliases: self.aliases(),
            ttl: self.ttl,
        };
        self.frame = Frame::new(self.type_url.as_str(), &about, &self.body);
        self.body = self.frame.body().share();
        self
    }

    /// The type.
    pub fn type_url(&self) -> &TypeUrl {
        &self.type_url
    }

    /// The name, unique within its type.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What tells this state of the resource from every other: the hash of its bytes, and of its
    /// own version and its other names if it has such.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The bytes, as they are sent.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How long a client keeps the resource without renewal; forever when `None`.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The names that the resource leads to.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// The resource in its envelope.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    pub(crate) fn stamp(&self) -> Stamp {
        (self.version, self.ttl)
    }
}

/// Decodes a known type, compares its name and reads its references.
fn read(type_url: &TypeUrl, name: &str, body: &[u8]) -> Result<References, ResourceError> {
    let undecodable = |error: prost::DecodeError| ResourceError::Undecodable {
        type_url: type_url.clone(),
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let (inner, references) = if *type_url == TypeUrl::CLUSTER {
        let cluster = Cluster::decode(body).map_err(undecodable)?;
        let references = References::of_cluster(&cluster).map_err(undecodable)?;
        (cluster.name, references)
    } else if *type_url == TypeUrl::CLUSTER_LOAD_ASSIGNMENT {
        let assignment = ClusterLoadAssignment::decode(body).map_err(undecodable)?;
        (assignment.cluster_name, References::default())
    } else if *type_url == TypeUrl::LISTENER {
        let listener = Listener::decode(body).map_err(undecodable)?;
        let references = References::of_listener(&listener).map_err(undecodable)?;
        (listener.name, references)
    } else if *type_url == TypeUrl::ROUTE_CONFIGURATION {
        let routes = RouteConfiguration::decode(body).map_err(undecodable)?;
        let references = References::of_route_configuration(&routes);
        (routes.name, references)
    } else if *type_url == TypeUrl::VIRTUAL_HOST {
        // Envoy removes a virtual host by its inner name.
        let host = VirtualHost::decode(body).map_err(undecodable)?;
        let references = References::of_virtual_host(&host);
        (host.name, references)
    } else if *type_url == TypeUrl::RUNTIME {
        let runtime = Runtime::decode(body).map_err(undecodable)?;
        (runtime.name, References::default())
    } else {
        return Ok(References::default());
    };
    if inner == name {
        Ok(references)
    } else {
        Err(ResourceError::NameDiffers {
            type_url: type_url.clone(),
            name: name.to_owned(),
            inner,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn equal_bytes_have_the_equal_version_of_16_hex_digits() {
        let (a, b) = (testing::cluster("a", 1), testing::cluster("a", 1));
        assert_eq!(a.version(), b.version());
        assert_ne!(a.version(), testing::cluster("a", 2).version());
        let text = a.version().to_string();
        assert_eq!(text.len(), 16);
        assert_eq!(Version::parse(&text), Some(a.version()));
        assert_eq!(Version::parse("17"), None);
        assert_eq!(Version::parse("+00000000000000a"), None);
    }

    #[test]
    fn references_are_read_from_routes_listeners_and_clusters() {
        let route = testing::weighted_route("rt", &[("a", 95), ("b", 5)]);
        let clusters: Vec<&str> = route.references().clusters.iter().map(|n| &**n).collect();
        assert_eq!(clusters, ["a", "b"]);
        assert!(
            testing::listener("l", "rt")
                .references()
                .routes
                .contains("rt")
        );
        assert!(
            testing::api_listener("l", "rt")
                .references()
                .routes
                .contains("rt")
        );
        assert!(
            testing::inline_listener("l", "a")
                .references()
                .clusters
                .contains("a")
        );
        assert_eq!(
            testing::cluster("a", 1).references().assignment.as_deref(),
            Some("a")
        );
        assert_eq!(testing::static_cluster("s").references().assignment, None);
    }

    #[test]
    fn a_resource_that_names_itself_differently_is_refused() {
        let body = testing::cluster("inner", 1).body().clone();
        let error = Resource::new(TypeUrl::CLUSTER, "outer", body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cds `outer` names itself `inner`; the two must be equal"
        );
    }

    #[test]
    fn bytes_of_another_type_bad_names_and_oversize_are_refused() {
        let undecodable = Resource::new(TypeUrl::CLUSTER, "a", Bytes::from_static(&[0xff; 9]));
        assert!(matches!(
            undecodable,
            Err(ResourceError::Undecodable { .. })
        ));
        for name in ["", "*", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let refused = Resource::new(TypeUrl::new("acme/Thing"), name, Bytes::new());
            assert!(
                matches!(refused, Err(ResourceError::BadName { .. })),
                "{name:.20}"
            );
        }
        let large = Bytes::from(vec![0; RESOURCE_BYTES_MAX + 1]);
        let refused = Resource::new(TypeUrl::new("acme/Thing"), "a", large);
        assert!(matches!(refused, Err(ResourceError::TooLarge { .. })));
    }

    #[test]
    fn s17_only_the_runtime_layer_may_expire() {
        let ttl = Duration::from_secs(6);
        assert_eq!(
            testing::runtime("shift", 5).with_ttl(ttl).unwrap().ttl(),
            Some(ttl)
        );
        for resource in [
            testing::cluster("a", 1),
            testing::assignment("a", 1),
            testing::listener("l", "rt"),
            testing::route("rt", "a"),
        ] {
            let refused = resource.with_ttl(ttl).unwrap_err();
            assert!(matches!(refused, ResourceError::TtlForbidden { .. }));
        }
        let refused = testing::runtime("shift", 5)
            .with_ttl(Duration::ZERO)
            .unwrap_err();
        assert!(matches!(refused, ResourceError::TtlTooShort { .. }));
    }
}
