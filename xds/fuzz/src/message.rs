//! Messages of any type, made of what the input says.

use std::collections::HashMap;
use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use prost_reflect::prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use tidegate_xds::config::{encode, pool};

/// Deeper, a message is empty: what is required within it is missing.
const DEPTH_MAX: usize = 7;

/// Texts that some rule is about.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "*",
    "a.b",
    "*.a",
    "a*b",
    "/",
    "/a?b",
    "(",
    "127.0.0.1",
    "::1",
    "http://a/",
    "\n",
    ":path",
    "{{",
    "\u{e4}",
];

/// A message of a type.
pub(crate) fn any(
    descriptor: &MessageDescriptor,
    input: &mut Unstructured<'_>,
    depth: usize,
) -> Result<DynamicMessage> {
    let mut message = DynamicMessage::new(descriptor.clone());
    if depth > DEPTH_MAX || input.is_empty() {
        return Ok(message);
    }
    if descriptor.full_name() == "google.protobuf.Any" {
        let (url, value) = packed(input, depth)?;
        message.set_field_by_name("type_url", Value::String(url));
        message.set_field_by_name("value", Value::Bytes(value));
        return Ok(message);
    }
    for field in descriptor.fields() {
        if !input.is_empty() && input.ratio(2_u8, 5_u8)? {
            let value = value(&field, input, depth)?;
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

fn packed(input: &mut Unstructured<'_>, depth: usize) -> Result<(String, Bytes)> {
    static ALL: OnceLock<Vec<MessageDescriptor>> = OnceLock::new();
    let known = |it: &MessageDescriptor| it.full_name().starts_with("envoy.extensions.");
    let all = ALL.get_or_init(|| pool().all_messages().filter(known).collect());
    let descriptor = input.choose(all)?;
    let url = match input.int_in_range(0..=15_u8)? {
        0 => "type.googleapis.com/nobody.Knows".to_owned(),
        1 => descriptor.full_name().to_owned(),
        _ => format!("type.googleapis.com/{}", descriptor.full_name()),
    };
    let bytes = match input.int_in_range(0..=15_u8)? {
        0 => Bytes::from_static(b"\xff\xff"),
        _ => encode(&any(descriptor, input, depth + 1)?),
    };
    Ok((url, bytes))
}

fn value(field: &FieldDescriptor, input: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let kind = field.kind();
    if field.is_map() {
        let mut entries = HashMap::new();
        if let Some(entry) = kind.as_message() {
            for _ in 0..input.int_in_range(0..=2_u8)? {
                let key = one(&entry.map_entry_key_field().kind(), input, depth)?;
                let value = one(&entry.map_entry_value_field().kind(), input, depth)?;
                entries.extend(key_of(key).map(|key| (key, value)));
            }
        }
        return Ok(Value::Map(entries));
    }
    if field.is_list() {
        let count = input.int_in_range(0..=3_u8)?;
        let items = (0..count).map(|_| one(&kind, input, depth));
        return Ok(Value::List(items.collect::<Result<_>>()?));
    }
    one(&kind, input, depth)
}

fn key_of(value: Value) -> Option<MapKey> {
    Some(match value {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        _ => return None,
    })
}

fn one(kind: &Kind, input: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match kind {
        Kind::Message(descriptor) => Value::Message(any(descriptor, input, depth + 1)?),
        Kind::Enum(_) => Value::EnumNumber(input.int_in_range(-1..=12)?),
        Kind::Bool => Value::Bool(input.arbitrary()?),
        Kind::String => Value::String(text(input)?),
        Kind::Bytes => Value::Bytes(Bytes::from(text(input)?)),
        Kind::Double => Value::F64(number(input)?),
        #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
        Kind::Float => Value::F32(number(input)? as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(*input.choose(&[0, 1, -1, 2, 99, 600, i32::MIN, i32::MAX, 999_999_999])?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let edge = 315_576_000_001;
            Value::I64(*input.choose(&[0, 1, -1, 2, 99, i64::MIN, i64::MAX, edge, -edge])?)
        }
        Kind::Uint32 | Kind::Fixed32 => {
            Value::U32(*input.choose(&[0, 1, 2, 100, 101, 65_535, 65_536, 1 << 31, u32::MAX])?)
        }
        Kind::Uint64 | Kind::Fixed64 => {
            Value::U64(*input.choose(&[0, 1, 2, 100, 1024, 65_536, 1 << 33, u64::MAX])?)
        }
    })
}

fn number(input: &mut Unstructured<'_>) -> Result<f64> {
    let edges = [
        0.0,
        1.0,
        -1.0,
        0.5,
        100.0,
        f64::NAN,
        f64::INFINITY,
        f64::MIN,
        1e-300,
    ];
    Ok(*input.choose(&edges)?)
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=20_u8)? {
        18 => "a".repeat(input.int_in_range(0..=70_000)?),
        19 | 20 => input.arbitrary::<&str>()?.to_owned(),
        index => TEXTS[usize::from(index) % TEXTS.len()].to_owned(),
    })
}
