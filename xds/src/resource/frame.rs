//! A resource as it goes over the wire: encoded once, in one piece of memory that every stream of
//! either protocol sends slices of.
//!
//! ```text
//! resources ─ name ─ version ─ ttl ─ resource ─ type_url ─ value
//! │           │                      │                     └ the body
//! │           │                      └ state of the world: `DiscoveryResponse.resources`
//! │           └ state of the world with a time to live: the wrapper's bytes
//! └ incremental: `DeltaDiscoveryResponse.resources`
//! ```
//!
//! This works because each of these ends where the body ends, because the fields of a message may
//! come in any order, and because `DiscoveryResponse.resources` and `Resource.resource` are both
//! an `Any` with the number 2.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use prost::Message as _;

/// Fields of `envoy.service.discovery.v3.Resource`.
const VERSION: u8 = 1;
const RESOURCE: u8 = 2;
const NAME: u8 = 3;
const TTL: u8 = 6;

/// Fields of `google.protobuf.Any`.
const TYPE_URL: u8 = 1;
const VALUE: u8 = 2;

/// `resources`, in responses of both protocols.
pub(crate) const RESOURCES: u8 = 2;

/// A part of a [`Frame`], not yet shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice<'a> {
    of: &'a Bytes,
    from: usize,
    to: usize,
}

/// One encoded resource, envelope included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    bytes: Bytes,
    /// Where the message `Resource` begins, behind its key and length.
    message: usize,
    /// Where its field `resource` begins, key included.
    any: usize,
    /// Where the body begins.
    body: usize,
}

// === impl Frame ===

impl Frame {
    pub(super) fn new(
        type_url: &str,
        name: &str,
        version: &str,
        ttl: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let ttl = ttl.map(|ttl| duration(ttl).encode_to_vec());
        let any = field_len(type_url.len()) + field_len(body.len());
        let about = field_len(name.len())
            + field_len(version.len())
            + ttl.as_ref().map_or(0, |ttl| field_len(ttl.len()));
        let message = about + field_len(any);
        let mut bytes = Vec::with_capacity(field_len(message));
        put_key(&mut bytes, RESOURCES, message);
        let message_at = bytes.len();
        put_field(&mut bytes, NAME, name.as_bytes());
        put_field(&mut bytes, VERSION, version.as_bytes());
        if let Some(ttl) = ttl {
            put_field(&mut bytes, TTL, &ttl);
        }
        let any_at = bytes.len();
        put_key(&mut bytes, RESOURCE, any);
        put_field(&mut bytes, TYPE_URL, type_url.as_bytes());
        put_key(&mut bytes, VALUE, body.len());
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        Self {
            bytes: bytes.into(),
            message: message_at,
            any: any_at,
            body: body_at,
        }
    }

    /// The field `resources` of a `DeltaDiscoveryResponse`, key included.
    pub(crate) fn delta(&self) -> Slice<'_> {
        self.slice(0, self.bytes.len())
    }

    /// The field `resources` of a `DiscoveryResponse`, key included.
    pub(crate) fn sotw(&self) -> Slice<'_> {
        self.slice(self.any, self.bytes.len())
    }

    /// The message `Resource`, without a key.
    pub(crate) fn message(&self) -> Slice<'_> {
        self.slice(self.message, self.bytes.len())
    }

    /// The message `Resource` without its body: name, version and time to live.
    pub(crate) fn without_body(&self) -> Slice<'_> {
        self.slice(self.message, self.any)
    }

    pub(super) fn body(&self) -> Slice<'_> {
        self.slice(self.body, self.bytes.len())
    }

    fn slice(&self, from: usize, to: usize) -> Slice<'_> {
        let of = &self.bytes;
        Slice { of, from, to }
    }
}

// === impl Slice ===

impl Slice<'_> {
    pub(crate) fn len(self) -> usize {
        self.to - self.from
    }

    /// Shares the bytes.
    pub(crate) fn share(self) -> Bytes {
        self.of.slice(self.from..self.to)
    }

    /// Copies the bytes.
    pub(crate) fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.of.get(self.from..self.to).unwrap_or_default());
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

/// What a length-delimited field takes, bytes. Field numbers up to 15 have a key of one byte.
pub(crate) fn field_len(content: usize) -> usize {
    1 + prost::length_delimiter_len(content) + content
}

/// Writes the key and length of a length-delimited field.
pub(crate) fn put_key(to: &mut Vec<u8>, number: u8, mut content: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    to.push(number << 3 | LENGTH_DELIMITED);
    while content >= 0x80 {
        to.push((content & 0x7f) as u8 | 0x80);
        content >>= 7;
    }
    to.push(content as u8);
}

/// Writes a length-delimited field.
pub(crate) fn put_field(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_key(to, number, content.len());
    to.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource,
    };

    use super::*;

    /// Lengths around those where a length takes one byte more.
    const LENGTHS: [usize; 6] = [0, 1, 100, 127, 128, 17_000];

    #[test]
    fn every_slice_is_what_it_is_taken_for_and_the_body_exists_once() {
        for length in LENGTHS {
            for ttl in [None, Some(Duration::from_millis(1_500))] {
                let (name, body) = ("n".repeat(1 + length % 400), vec![7; length]);
                let frame = Frame::new("acme/Thing", &name, "v1", ttl, &body);
                let delta = DeltaDiscoveryResponse::decode(frame.delta().share()).unwrap();
                let sotw = DiscoveryResponse::decode(frame.sotw().share()).unwrap();
                let message = Resource::decode(frame.message().share()).unwrap();
                assert_eq!(delta.resources, std::slice::from_ref(&message));
                assert_eq!(message.resource.as_ref(), sotw.resources.first());
                let any = message.resource.clone().unwrap();
                assert_eq!((any.type_url.as_str(), any.value), ("acme/Thing", body));
                assert_eq!((message.name.as_str(), &*message.version), (&*name, "v1"));
                let seconds = message.ttl.map(|ttl| (ttl.seconds, ttl.nanos));
                assert_eq!(seconds, ttl.map(|_| (1, 500_000_000)));
                let renewal = Resource::decode(frame.without_body().share()).unwrap();
                let bare = Resource {
                    resource: None,
                    ..message
                };
                assert_eq!(renewal, bare);
                for slice in [frame.body(), frame.sotw(), frame.message()] {
                    let end = slice.share().as_ptr_range().end;
                    assert_eq!(end, frame.bytes.as_ptr_range().end);
                }
            }
        }
    }
}
