//! gRPC frames and discovery messages by hand: requests as bytes, responses walked over without
//! building a message, so that thousands of clients cost little beside the server under test.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

/// What a client reads of a response, of either variant.
#[derive(Debug, Default, Clone)]
pub struct Parsed {
    /// The type of all resources.
    pub type_url: Bytes,
    /// To be named by the answer.
    pub nonce: Bytes,
    /// `version_info` or `system_version_info`.
    pub version: Bytes,
    /// Only in incremental responses.
    pub removed: Vec<Bytes>,
    /// In the order of the response.
    pub resources: Vec<ParsedResource>,
}

/// A resource of a response. State of the world gives neither name nor version.
#[derive(Debug, Default, Clone)]
pub struct ParsedResource {
    /// Its name.
    pub name: Bytes,
    /// Its version.
    pub version: Bytes,
    /// The message itself.
    pub body: Bytes,
}

/// The bytes are no discovery response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Builds a request in its frame.
#[derive(Debug)]
pub struct Request {
    out: BytesMut,
    incremental: bool,
}

// === impl Malformed ===

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a response that is no discovery response")
    }
}

// === impl Request ===

impl Request {
    /// `DeltaDiscoveryRequest`
    #[must_use]
    pub fn delta(type_url: &str) -> Self {
        let mut request = Self::new(true);
        request.field(2, type_url.as_bytes());
        request
    }

    /// `DiscoveryRequest`
    #[must_use]
    pub fn sotw(type_url: &str) -> Self {
        let mut request = Self::new(false);
        request.field(4, type_url.as_bytes());
        request
    }

    fn new(incremental: bool) -> Self {
        // The frame's head: not compressed; the length comes last.
        let out = BytesMut::from(&[0_u8; 5][..]);
        Self { out, incremental }
    }

    /// The node, already encoded.
    #[must_use]
    pub fn node(mut self, node: &[u8]) -> Self {
        self.field(if self.incremental { 1 } else { 2 }, node);
        self
    }

    /// One more name of the subscription.
    #[must_use]
    pub fn subscribe(mut self, name: &[u8]) -> Self {
        self.field(3, name);
        self
    }

    /// One more resource that is held from an earlier stream (incremental only).
    #[must_use]
    pub fn holds(mut self, name: &[u8], version: &[u8]) -> Self {
        let mut entry = BytesMut::with_capacity(name.len() + version.len() + 8);
        field(&mut entry, 1, name);
        field(&mut entry, 2, version);
        self.field(5, &entry);
        self
    }

    /// What is answered.
    #[must_use]
    pub fn nonce(mut self, nonce: &[u8]) -> Self {
        self.field(if self.incremental { 6 } else { 5 }, nonce);
        self
    }

    /// The version that was last accepted (state of the world only).
    #[must_use]
    pub fn accepted(mut self, version: &[u8]) -> Self {
        self.field(1, version);
        self
    }

    /// Makes it a rejection: `INVALID_ARGUMENT` with these words.
    #[must_use]
    pub fn error(mut self, message: &[u8]) -> Self {
        let mut status = BytesMut::new();
        // code = 3
        status.put_slice(&[0x08, 3]);
        field(&mut status, 2, message);
        self.field(if self.incremental { 7 } else { 6 }, &status);
        self
    }

    /// The finished frame.
    #[must_use]
    pub fn framed(mut self) -> Bytes {
        let length = u32::try_from(self.out.len() - 5).unwrap();
        self.out[1..5].copy_from_slice(&length.to_be_bytes());
        self.out.freeze()
    }

    fn field(&mut self, number: u32, value: &[u8]) {
        field(&mut self.out, number, value);
    }
}

/// A message in its frame.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.put_slice(message);
    out.freeze()
}

/// A node with an id and a cluster, and with as many extensions as told (an Envoy 1.40 has 516,
/// 61 KB of them).
#[must_use]
pub fn node(id: &str, extensions: u32) -> Bytes {
    let mut out = BytesMut::new();
    field(&mut out, 1, id.as_bytes());
    field(&mut out, 2, b"bench");
    for number in 0..extensions {
        let mut extension = BytesMut::new();
        field(
            &mut extension,
            1,
            format!("envoy.extension.{number:03}").as_bytes(),
        );
        field(&mut extension, 2, b"envoy.category");
        let url = format!("envoy.extensions.of.a.usual.length.v3.Extension{number:03}");
        field(&mut extension, 6, url.as_bytes());
        field(&mut out, 9, &extension);
    }
    out.freeze()
}

/// Takes one frame's message off the front, once it is there as a whole.
pub fn unframe(buffer: &mut BytesMut) -> Option<Bytes> {
    let head: [u8; 5] = buffer.get(..5)?.try_into().ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let length = usize::try_from(length).ok()?;
    if buffer.len() < 5 + length {
        // One allocation for the whole of it, not a doubling one.
        buffer.reserve(5 + length - buffer.len());
        return None;
    }
    let message = buffer.split_to(5 + length).freeze();
    Some(message.slice(5..))
}

/// Reads a `DeltaDiscoveryResponse`.
///
/// # Errors
/// If it is none.
pub fn parse_delta(message: &Bytes) -> Result<Parsed, Malformed> {
    let mut parsed = Parsed::default();
    fields(message, |number, value| {
        match number {
            1 => parsed.version = value,
            2 => parsed.resources.push(resource(&value)?),
            4 => parsed.type_url = value,
            5 => parsed.nonce = value,
            6 => parsed.removed.push(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(parsed)
}

/// Reads a `DiscoveryResponse`.
///
/// # Errors
/// If it is none.
pub fn parse_sotw(message: &Bytes) -> Result<Parsed, Malformed> {
    let mut parsed = Parsed::default();
    fields(message, |number, value| {
        match number {
            1 => parsed.version = value,
            2 => parsed.resources.push(ParsedResource {
                body: any(&value)?,
                ..ParsedResource::default()
            }),
            4 => parsed.type_url = value,
            5 => parsed.nonce = value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(parsed)
}

fn resource(message: &Bytes) -> Result<ParsedResource, Malformed> {
    let mut parsed = ParsedResource::default();
    fields(message, |number, value| {
        match number {
            1 => parsed.version = value,
            2 => parsed.body = any(&value)?,
            3 => parsed.name = value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(parsed)
}

fn any(message: &Bytes) -> Result<Bytes, Malformed> {
    let mut body = Bytes::new();
    fields(message, |number, value| {
        if number == 2 {
            body = value;
        }
        Ok(())
    })?;
    Ok(body)
}

/// Calls `take` for every length-delimited field; skips numbers.
fn fields(
    message: &Bytes,
    mut take: impl FnMut(u64, Bytes) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut at = 0;
    while at < message.len() {
        let tag = varint(message, &mut at)?;
        match tag & 7 {
            0 => {
                varint(message, &mut at)?;
            }
            2 => {
                let length = usize::try_from(varint(message, &mut at)?).map_err(|_| Malformed)?;
                let end = at.checked_add(length).filter(|end| *end <= message.len());
                let end = end.ok_or(Malformed)?;
                take(tag >> 3, message.slice(at..end))?;
                at = end;
            }
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

fn varint(message: &Bytes, at: &mut usize) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at).ok_or(Malformed)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn field(out: &mut BytesMut, number: u32, value: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, u64::try_from(value.len()).unwrap());
    out.put_slice(value);
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap());
}
