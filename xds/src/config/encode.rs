//! Deterministic encoding of dynamic messages.
//!
//! A resource's version is the hash of its bytes, so equal content must be equal bytes on every
//! replica and after every restart (xDS protocol rule D13). `prost-reflect` encodes maps in the
//! order of a randomly seeded hash map. Here fields go by number and map entries by key; all else
//! is as usual, and unknown fields, which a reader of text never makes, come last.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};

/// The message's bytes; equal for equal messages.
pub fn encode(message: &DynamicMessage) -> Bytes {
    let mut out = Vec::new();
    put_message(&mut out, message);
    Bytes::from(out)
}

fn put_message(out: &mut Vec<u8>, message: &DynamicMessage) {
    for (field, value) in message.fields() {
        if message.has_field(&field) {
            put_field(out, &field, value);
        }
    }
    for unknown in message.unknown_fields() {
        unknown.encode(out);
    }
}

fn put_field(out: &mut Vec<u8>, field: &FieldDescriptor, value: &Value) {
    let kind = field.kind();
    match value {
        Value::Map(entries) => {
            let Some(entry) = kind.as_message() else {
                return;
            };
            let (key_field, value_field) =
                (entry.map_entry_key_field(), entry.map_entry_value_field());
            for (key, value) in entries.iter().collect::<BTreeMap<_, _>>() {
                let mut body = Vec::new();
                put_single(&mut body, 1, &key_field.kind(), &plain(key));
                put_single(&mut body, 2, &value_field.kind(), value);
                put_bytes(out, field.number(), &body);
            }
        }
        Value::List(items) if field.is_packed() => {
            let mut body = Vec::new();
            for item in items {
                put_bare(&mut body, &kind, item);
            }
            put_bytes(out, field.number(), &body);
        }
        Value::List(items) => {
            for item in items {
                put_single(out, field.number(), &kind, item);
            }
        }
        single => put_single(out, field.number(), &kind, single),
    }
}

fn put_single(out: &mut Vec<u8>, number: u32, kind: &Kind, value: &Value) {
    match value {
        Value::Message(message) => {
            let mut body = Vec::new();
            put_message(&mut body, message);
            put_bytes(out, number, &body);
        }
        Value::String(text) => put_bytes(out, number, text.as_bytes()),
        Value::Bytes(bytes) => put_bytes(out, number, bytes),
        scalar => {
            encode_key(number, kind.wire_type(), out);
            put_bare(out, kind, scalar);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number without its key. `as` here is the wire's own sign extension.
// Negative numbers are varints of their two's complement in 64 bits.
fn put_bare(out: &mut Vec<u8>, kind: &Kind, value: &Value) {
    match (kind, value) {
        (Kind::Sint32, Value::I32(n)) => {
            encode_varint(u64::from(((n << 1) ^ (n >> 31)) as u32), out)
        }
        (Kind::Sint64, Value::I64(n)) => encode_varint(((n << 1) ^ (n >> 63)) as u64, out),
        (Kind::Fixed32, Value::U32(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (Kind::Fixed64, Value::U64(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (Kind::Sfixed32, Value::I32(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (Kind::Sfixed64, Value::I64(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (_, Value::F32(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (_, Value::F64(n)) => out.extend_from_slice(&n.to_le_bytes()),
        (_, Value::Bool(b)) => encode_varint(u64::from(*b), out),
        (_, Value::I32(n) | Value::EnumNumber(n)) => encode_varint(i64::from(*n) as u64, out),
        (_, Value::I64(n)) => encode_varint(*n as u64, out),
        (_, Value::U32(n)) => encode_varint(u64::from(*n), out),
        (_, Value::U64(n)) => encode_varint(*n, out),
        (
            _,
            Value::String(_) | Value::Bytes(_) | Value::Message(_) | Value::List(_) | Value::Map(_),
        ) => {}
    }
}

fn plain(key: &MapKey) -> Value {
    match key {
        MapKey::Bool(b) => Value::Bool(*b),
        MapKey::I32(n) => Value::I32(*n),
        MapKey::I64(n) => Value::I64(*n),
        MapKey::U32(n) => Value::U32(*n),
        MapKey::U64(n) => Value::U64(*n),
        MapKey::String(text) => Value::String(text.clone()),
    }
}
