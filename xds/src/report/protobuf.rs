//! Protobuf's wire format, read in place: no allocation, and nothing is looked at that nobody asks for.
//!
//! Reports are read a few thousand times a second, and most of each is of no interest here. A whole decoding
//! would first copy every name and number of it to the heap.

/// The fields of one message, in the order in which they were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// What a field holds, as far as the wire tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Bytes that are no message, or not of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not valid protobuf of its type")]
pub struct Malformed;

/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The text or message of the next field, if that begins with `key` in one byte. Otherwise nothing is
    /// taken.
    #[inline]
    pub(super) fn bytes_if(&mut self, key: u8) -> Option<&'a [u8]> {
        let mut after = self.behind(key)?;
        let length = usize::try_from(after.varint().ok()?).ok()?;
        let bytes = after.cut(length).ok()?;
        *self = after;
        Some(bytes)
    }

    /// The number of the next field, if that begins with `key` in one byte. Otherwise nothing is taken.
    #[inline]
    pub(super) fn varint_if(&mut self, key: u8) -> Option<u64> {
        let mut after = self.behind(key)?;
        let value = after.varint().ok()?;
        *self = after;
        Some(value)
    }

    #[inline]
    fn behind(&self, key: u8) -> Option<Self> {
        let (first, rest) = self.rest.split_first()?;
        (*first == key).then_some(Self { rest })
    }

    #[inline]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.cut(length)?)
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            // Groups are gone since proto3; 6 and 7 never were.
            _ => return Err(Malformed),
        };
        if tag == 0 {
            return Err(Malformed);
        }
        Ok((tag, value))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            // Most are short.
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (place, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(place + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    #[inline]
    fn cut(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        self.cut(LENGTH)?.try_into().map_err(|_| Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(super) fn fields(self) -> Result<Fields<'a>, Malformed> {
        Ok(Fields::of(self.bytes()?))
    }

    pub(super) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed),
        }
    }

    pub(super) fn double(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed),
        }
    }
}

/// The one field with this tag, which may be missing but not come twice: what is said twice could be read in
/// two ways, and this is asked for where a claim is checked.
pub(super) fn single(message: &[u8], tag: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    for field in Fields::of(message) {
        if let (of, value) = field?
            && of == tag
            && found.replace(value.bytes()?).is_some()
        {
            return Err(Malformed);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::io::prometheus::client::{Bucket, Counter};
    use prost::Message as _;

    use super::*;

    #[test]
    fn fields_are_what_was_encoded() {
        let bucket = Bucket {
            cumulative_count: Some(u64::MAX),
            upper_bound: Some(2.5),
            ..Bucket::default()
        };
        let bytes = bucket.encode_to_vec();
        let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [
                (1, Value::Varint(u64::MAX)),
                (2, Value::Fixed64(2.5_f64.to_bits()))
            ]
        );
        assert_eq!(fields[0].1.varint(), Ok(u64::MAX));
        assert_eq!(fields[1].1.double(), Ok(2.5));
        assert_eq!(fields[1].1.text(), Err(Malformed));
    }

    #[test]
    fn every_prefix_of_a_message_is_whole_or_malformed_and_ends() {
        let bytes = Counter {
            value: Some(1.0),
            ..Counter::default()
        }
        .encode_to_vec();
        for length in 0..=bytes.len() {
            let fields: Result<Vec<_>, _> = Fields::of(&bytes[..length]).collect();
            let whole = length == 0 || length == bytes.len();
            assert_eq!(fields.is_ok(), whole, "{length}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_endless_varints_groups_and_tag_0_are_malformed() {
        for bytes in [
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0xff; 12],
            &[0x0b, 0x0c],
            &[0x00, 0x01],
            &[0x0d, 1, 2, 3],
        ] {
            let fields: Result<Vec<_>, _> = Fields::of(bytes).collect();
            assert_eq!(fields.err(), Some(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_said_twice_is_malformed() {
        assert_eq!(single(&[0x0a, 1, 7], 1), Ok(Some(&[7][..])));
        assert_eq!(single(&[0x12, 1, 7], 1), Ok(None));
        assert_eq!(single(&[0x0a, 1, 7, 0x0a, 1, 7], 1), Err(Malformed));
    }
}
