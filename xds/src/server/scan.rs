//! Looks through the bytes of a request as they arrive, and refuses it before anything is built.
//!
//! A name of no bytes takes two on the wire and 24 in memory, so that a request within its size
//! could still be many times as large once decoded. What is counted is how often a field comes, and
//! how long it is, of a request and of the error in it; what is within the fields the decoder reads.
//! Groups, which the decoder would pass over, no client sends.

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Status;

use super::unfinished::NoRoom;
use crate::identity::{Incident, Refusal};
use crate::limits::{ERROR_PARTS_MAX, NAME_BYTES_MAX, NAMES_MAX, NODE_BYTES_MAX};
use crate::stream::{Request, Violation};

/// A request that can be looked through: the numbers of its fields.
pub(super) trait Fields: prost::Message + Default + Into<Request> + 'static {
    /// The node.
    const NODE: u64;
    /// Names that will be remembered.
    const NAMES: u64;
    /// What the client rejected a response with.
    const ERROR: u64;
}

impl Fields for DeltaDiscoveryRequest {
    const NODE: u64 = 1;
    const NAMES: u64 = 3;
    const ERROR: u64 = 7;
}

impl Fields for DiscoveryRequest {
    const NODE: u64 = 2;
    const NAMES: u64 = 3;
    const ERROR: u64 = 6;
}

/// Why a request is refused before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error(transparent)]
    Node(#[from] Refusal),
    #[error("the error's details have more than {ERROR_PARTS_MAX} parts; shorten them")]
    ErrorParts,
    #[error("the request can't be decoded: its fields have no sound lengths, or are groups")]
    Unreadable,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// How far a message has been looked through.
#[derive(Debug)]
pub(super) struct Scan {
    at: At,
    /// The number that is being read.
    number: u64,
    shift: u32,
    /// What is left of the error, while it is looked through.
    error_left: Option<usize>,
    error_parts: usize,
    /// How often each field came, by its number; all others together are the first.
    counts: [usize; FIELDS],
}

/// Fields that are counted apart: more than a request has.
const FIELDS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Key,
    /// In a field's number that tells nothing.
    Varint,
    /// In the length of a field.
    Length(u64),
    /// In a field that has so many bytes left.
    Skip(usize),
}

// === impl Excess ===

impl Excess {
    /// What it is counted as.
    pub(super) fn incident(&self) -> Incident {
        match self {
            Self::Node(_) => Incident::NodeTooLarge,
            Self::NoRoom(_) => Incident::RequestsTooLarge,
            Self::Violation(_) | Self::ErrorParts | Self::Unreadable => Incident::RequestRefused,
        }
    }
}

impl From<Excess> for Status {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Node(refusal) => refusal.into(),
            Excess::Violation(violation) => super::refusal::status_of(&violation),
            Excess::NoRoom(_) => Self::resource_exhausted(excess.to_string()),
            Excess::ErrorParts => Self::invalid_argument(excess.to_string()),
            Excess::Unreadable => Self::internal(excess.to_string()),
        }
    }
}

// === impl Scan ===

impl Scan {
    /// Of a message of which nothing has arrived yet.
    pub(super) fn new() -> Self {
        Self {
            at: At::Key,
            number: 0,
            shift: 0,
            error_left: None,
            error_parts: 0,
            counts: [0; FIELDS],
        }
    }

    /// Looks at the next bytes of the message.
    pub(super) fn look<Q: Fields>(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while let Some((first, rest)) = bytes.split_first() {
            let taken = match self.at {
                At::Skip(left) => {
                    let taken = left.min(bytes.len());
                    self.at = match left - taken {
                        0 => At::Key,
                        left => At::Skip(left),
                    };
                    bytes = bytes.get(taken..).unwrap_or_default();
                    taken
                }
                At::Key | At::Varint | At::Length(_) => {
                    bytes = rest;
                    self.digit::<Q>(*first)?;
                    1
                }
            };
            self.leave_error(taken)?;
        }
        Ok(())
    }

    /// One more byte of a number.
    fn digit<Q: Fields>(&mut self, byte: u8) -> Result<(), Excess> {
        self.number |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return match self.shift > 63 {
                true => Err(Excess::Unreadable),
                false => Ok(()),
            };
        }
        let number = std::mem::take(&mut self.number);
        self.shift = 0;
        self.at = match (self.at, number & 7) {
            (At::Key, wire_type) => {
                let field = number >> 3;
                self.count::<Q>(field)?;
                match wire_type {
                    0 => At::Varint,
                    1 => At::Skip(8),
                    2 => At::Length(field),
                    5 => At::Skip(4),
                    _ => return Err(Excess::Unreadable),
                }
            }
            (At::Length(field), _) => self.enter::<Q>(field, number)?,
            _ => At::Key,
        };
        Ok(())
    }

    fn count<Q: Fields>(&mut self, field: u64) -> Result<(), Excess> {
        if self.error_left.is_some() {
            self.error_parts += 1;
            return match self.error_parts > ERROR_PARTS_MAX {
                true => Err(Excess::ErrorParts),
                false => Ok(()),
            };
        }
        let place = usize::try_from(field).ok().filter(|field| *field < FIELDS);
        if let Some(count) = self.counts.get_mut(place.unwrap_or(0)) {
            *count += 1;
            if *count > NAMES_MAX {
                return Err(Violation::TooManyNames.into());
            }
        }
        Ok(())
    }

    /// A field with a length begins.
    fn enter<Q: Fields>(&mut self, field: u64, length: u64) -> Result<At, Excess> {
        let length = usize::try_from(length).map_err(|_| Excess::Unreadable)?;
        if self.error_left.is_none() {
            if field == Q::NAMES && length > NAME_BYTES_MAX {
                return Err(Violation::TooLong.into());
            }
            if field == Q::NODE && length > NODE_BYTES_MAX {
                return Err(Refusal::NodeTooLarge { bytes: length }.into());
            }
            if field == Q::ERROR && length > 0 {
                // The byte that is being looked at is not of it.
                self.error_left = Some(length + 1);
                return Ok(At::Key);
            }
        }
        Ok(match length {
            0 => At::Key,
            _ => At::Skip(length),
        })
    }

    /// Counts what is left of the error, which ends where one of its fields does.
    fn leave_error(&mut self, taken: usize) -> Result<(), Excess> {
        let Some(left) = self.error_left else {
            return Ok(());
        };
        self.error_left = match left.checked_sub(taken) {
            Some(0) if self.at == At::Key && self.shift == 0 => None,
            Some(0) | None => return Err(Excess::Unreadable),
            left => left,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::google::protobuf::Any;
    use envoy_types::pb::google::rpc::Status as RpcStatus;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    /// Looks at it in pieces of this size.
    fn look<Q: Fields>(request: &Q, piece: usize) -> Result<At, Excess> {
        let mut scan = Scan::new();
        for piece in request.encode_to_vec().chunks(piece) {
            scan.look::<Q>(piece)?;
        }
        assert_eq!(scan.error_left, None);
        Ok(scan.at)
    }

    fn node(bytes: usize) -> Option<Node> {
        Some(Node {
            id: "x".repeat(bytes),
            ..Node::default()
        })
    }

    fn error(details: usize) -> Option<RpcStatus> {
        Some(RpcStatus {
            code: 13,
            message: "no".to_owned(),
            details: vec![Any::default(); details],
        })
    }

    fn delta(names: Vec<String>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: node(1),
            resource_names_subscribe: names,
            ..Default::default()
        }
    }

    fn sotw(resource_names: Vec<String>) -> DiscoveryRequest {
        DiscoveryRequest {
            node: node(1),
            resource_names,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_refused_and_what_is_at_it_is_not() {
        let long = |more| vec!["x".repeat(NAME_BYTES_MAX + more)];
        let many = |more| vec![String::new(); NAMES_MAX + more];
        let too_long = Err(Excess::Violation(Violation::TooLong));
        let too_many = Err(Excess::Violation(Violation::TooManyNames));
        for piece in [1, 7, 16 * 1024] {
            assert_eq!(look(&delta(long(0)), piece), Ok(At::Key));
            assert_eq!(look(&sotw(long(0)), piece), Ok(At::Key));
            assert_eq!(look(&delta(long(1)), piece), too_long);
            assert_eq!(look(&sotw(long(1)), piece), too_long);
            assert_eq!(look(&delta(many(0)), piece), Ok(At::Key));
            assert_eq!(look(&delta(many(1)), piece), too_many);
            assert_eq!(look(&sotw(many(1)), piece), too_many);
            let drops = DeltaDiscoveryRequest {
                resource_names_unsubscribe: many(1),
                ..delta(Vec::new())
            };
            assert_eq!(look(&drops, piece), too_many);
            let error = |error_detail| DeltaDiscoveryRequest {
                error_detail,
                ..delta(long(0))
            };
            // The code and the message are parts as well.
            let most = ERROR_PARTS_MAX - 2;
            assert_eq!(look(&error(self::error(most)), piece), Ok(At::Key));
            let more = look(&error(self::error(most + 1)), piece);
            assert_eq!(more, Err(Excess::ErrorParts));
            let large = DeltaDiscoveryRequest {
                node: node(NODE_BYTES_MAX),
                ..Default::default()
            };
            let bytes = large.node.as_ref().unwrap().encoded_len();
            let refusal = Refusal::NodeTooLarge { bytes };
            assert_eq!(look(&large, piece), Err(Excess::Node(refusal)));
        }
    }

    #[test]
    fn a_refusal_comes_with_the_byte_that_is_too_much() {
        let request = delta(vec!["x".repeat(10 << 20)]).encode_to_vec();
        let mut scan = Scan::new();
        let refused = scan.look::<DeltaDiscoveryRequest>(&request[..16]);
        assert_eq!(refused, Err(Excess::Violation(Violation::TooLong)));
    }

    #[test]
    fn what_is_no_message_or_a_group_is_refused() {
        // A group; a key without an end; a length without one; an error that ends within a field.
        let bad: [&[u8]; 4] = [
            &[0x0b, 0x0c],
            &[0xff; 12],
            &[
                0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
            &[0x3a, 0x02, 0x12, 0x05, 1, 1],
        ];
        for bytes in bad {
            let mut scan = Scan::new();
            let looked = scan.look::<DeltaDiscoveryRequest>(bytes);
            assert_eq!(looked, Err(Excess::Unreadable), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_looked_through_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1..20_usize,
        ) {
            let (mut whole, mut pieces) = (Scan::new(), Scan::new());
            let at_once = whole.look::<DeltaDiscoveryRequest>(&bytes);
            let in_pieces = bytes
                .chunks(piece)
                .try_for_each(|piece| pieces.look::<DeltaDiscoveryRequest>(piece));
            prop_assert_eq!(&at_once, &in_pieces);
            // Where a refused one was left is nobody's business.
            prop_assert!(at_once.is_err() || whole.at == pieces.at);
        }

        #[test]
        fn what_decodes_is_never_lost(
            names in proptest::collection::vec("[a-z]{0,40}", 0..8),
            details in 0..5_usize,
            nonce in "[0-9]{0,300}",
        ) {
            let request = DeltaDiscoveryRequest {
                resource_names_unsubscribe: names.clone(),
                response_nonce: nonce,
                error_detail: error(details),
                ..delta(names)
            };
            prop_assert_eq!(look(&request, 3), Ok(At::Key));
        }
    }
}
