//! From a [`Response`] to the bytes of a gRPC message.
//!
//! A message is a head of its own, with what differs from stream to stream (the nonce), and a body
//! that is shared: a slice of the resource itself, or one concatenation for all streams that get
//! the same (see [`batch`]). The fields of a message may come in any order, so that head and body
//! together are a `DeltaDiscoveryResponse` or a `DiscoveryResponse`. What they decode to is compared
//! with the generated messages in this module's tests.

mod batch;
mod errors;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::Resource as PbResource;
use prost::Name as _;

use crate::limits::COPIED_BYTES_MAX;
use crate::resource::{RESOURCES, Slice, field_len, put_field, put_key, put_unresolved};
use crate::stream::{Item, Response, Variant};
use batch::Batches;
pub(crate) use errors::error;

/// Fields of both responses.
const VERSION: u8 = 1;
const TYPE_URL: u8 = 4;
const NONCE: u8 = 5;

/// Fields of `DeltaDiscoveryResponse`.
const DELTA_REMOVED: u8 = 6;
const DELTA_CONTROL_PLANE: u8 = 7;

/// Field of `DiscoveryResponse`.
const SOTW_CONTROL_PLANE: u8 = 6;

/// Field of `ControlPlane`.
const IDENTIFIER: u8 = 1;

/// Fields of `google.protobuf.Any`.
const ANY_TYPE_URL: u8 = 1;
const ANY_VALUE: u8 = 2;

/// gRPC's prefix: a flag for compression, and the length.
const PREFIX_BYTES: usize = 5;

/// A gRPC message in two pieces, to be sent in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framed {
    /// gRPC's prefix and what is this stream's own. Never empty.
    pub(crate) head: Bytes,
    /// The rest, shared with the resources and with other streams. May be empty.
    pub(crate) body: Bytes,
}

/// The response is beyond what gRPC's prefix can tell: 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a response of {bytes} bytes is more than a gRPC message can hold")]
pub(crate) struct Oversize {
    bytes: usize,
}

/// Makes messages. One for all streams of a server.
#[derive(Debug)]
pub(crate) struct Framer {
    /// `ControlPlane`, encoded.
    control_plane: Vec<u8>,
    batches: Batches,
}

/// What one item adds to a message.
struct Part<'a> {
    /// Key and lengths that the shared bytes lack.
    before: Vec<u8>,
    shared: Slice<'a>,
}

// === impl Framer ===

impl Framer {
    pub(crate) fn new(identifier: &str) -> Self {
        let mut control_plane = Vec::new();
        put_field(&mut control_plane, IDENTIFIER, identifier.as_bytes());
        Self {
            control_plane,
            batches: Batches::default(),
        }
    }

    /// The message for a response.
    pub(crate) fn frame(&self, response: Response) -> Result<Framed, Oversize> {
        let variant = response.variant;
        let nonce = response.nonce.to_string();
        let control_plane = match variant {
            Variant::Delta => DELTA_CONTROL_PLANE,
            Variant::Sotw => SOTW_CONTROL_PLANE,
        };
        let fields = [
            (VERSION, response.version.as_bytes()),
            (TYPE_URL, response.type_url.as_str().as_bytes()),
            (NONCE, nonce.as_bytes()),
            (control_plane, self.control_plane.as_slice()),
        ];
        let own: usize = fields.iter().map(|(_, text)| field_len(text.len())).sum();
        // A state-of-the-world response has no such field, and never any of them.
        let removed = response
            .removed
            .iter()
            .filter(|_| variant == Variant::Delta);
        let names: usize = removed.clone().map(|name| field_len(name.len())).sum();
        let mut rare = Vec::new();
        errors::put(&mut rare, &response.errors, variant);
        for alias in &response.unresolved {
            put_unresolved(&mut rare, alias);
        }
        let content = Content::of(response.items, variant, &self.batches);
        let (in_head, in_body) = content.len();
        let total = own + names + rare.len() + in_head + in_body;
        let length = u32::try_from(total).map_err(|_| Oversize { bytes: total })?;
        let mut head = Vec::with_capacity(PREFIX_BYTES + own + names + rare.len() + in_head);
        head.push(0);
        head.extend_from_slice(&length.to_be_bytes());
        for (number, text) in fields {
            put_field(&mut head, number, text);
        }
        for name in removed {
            put_field(&mut head, DELTA_REMOVED, name.as_bytes());
        }
        head.extend_from_slice(&rare);
        let body = content.finish(variant, &mut head);
        Ok(Framed {
            head: head.into(),
            body,
        })
    }
}

/// The resources of a message.
enum Content {
    /// So few bytes that copying them is cheaper than sending them on their own; how many.
    Copied(Arc<[Item]>, usize),
    /// What goes before the body, and the body.
    Shared(Vec<u8>, Bytes),
}

// === impl Content ===

impl Content {
    fn of(items: Arc<[Item]>, variant: Variant, batches: &Batches) -> Self {
        let len = items.iter().map(|item| Part::of(item, variant).len()).sum();
        match &*items {
            _ if len <= COPIED_BYTES_MAX => Self::Copied(items, len),
            [item] => {
                let part = Part::of(item, variant);
                Self::Shared(part.before, part.shared.share())
            }
            _ => Self::Shared(Vec::new(), batches.get(items, variant, len)),
        }
    }

    /// How much of it goes into the head, and how much into the body.
    fn len(&self) -> (usize, usize) {
        match self {
            Self::Copied(_, len) => (*len, 0),
            Self::Shared(before, body) => (before.len(), body.len()),
        }
    }

    /// Writes what goes into the head; the rest is the body.
    fn finish(self, variant: Variant, head: &mut Vec<u8>) -> Bytes {
        match self {
            Self::Copied(items, _) => {
                for item in items.iter() {
                    Part::of(item, variant).write(head);
                }
                Bytes::new()
            }
            Self::Shared(before, body) => {
                head.extend_from_slice(&before);
                body
            }
        }
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    /// What an item adds to a message of a protocol.
    fn of(item: &'a Item, variant: Variant) -> Self {
        let frame = item.resource.frame();
        let mut before = Vec::new();
        let shared = match variant {
            Variant::Delta if item.renewal => {
                let shared = frame.without_body();
                put_key(&mut before, RESOURCES, shared.len());
                shared
            }
            Variant::Delta => frame.delta(),
            Variant::Sotw if item.wrapped => {
                let shared = frame.message();
                let url = PbResource::type_url();
                let any = field_len(url.len()) + field_len(shared.len());
                put_key(&mut before, RESOURCES, any);
                put_field(&mut before, ANY_TYPE_URL, url.as_bytes());
                put_key(&mut before, ANY_VALUE, shared.len());
                shared
            }
            Variant::Sotw => frame.sotw(),
        };
        Self { before, shared }
    }

    fn len(&self) -> usize {
        self.before.len() + self.shared.len()
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.before);
        self.shared.write(to);
    }
}
