//! The messages that JSON writes in a way of their own.

use std::str::FromStr as _;

use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::decode::Decoder;
use super::diagnostic::{Fault, shown};
use super::scalar::{self, Scalar};
use super::spelling::Speller;
use super::tree::{self, NodeId};

/// The seconds of a duration, either way: 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Whether JSON writes a message of this name in a way of its own. Within an `Any`, what it writes
/// stands under `value`.
pub(super) fn is_special(full_name: &str) -> bool {
    matches!(
        full_name,
        "google.protobuf.Any"
            | "google.protobuf.Duration"
            | "google.protobuf.Timestamp"
            | "google.protobuf.FieldMask"
            | "google.protobuf.Struct"
            | "google.protobuf.Value"
            | "google.protobuf.ListValue"
    ) || is_wrapper(full_name)
}

/// Whether a message only makes a single value optional.
pub(super) fn is_wrapper(full_name: &str) -> bool {
    matches!(
        full_name,
        "google.protobuf.BoolValue"
            | "google.protobuf.BytesValue"
            | "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.StringValue"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value"
    )
}

/// Reads a message for which [`is_special`] holds, except an `Any`.
pub(super) fn read(
    decoder: &mut Decoder<'_, '_>,
    node: NodeId,
    descriptor: &MessageDescriptor,
    depth: usize,
) -> Option<DynamicMessage> {
    let name = descriptor.full_name();
    match name {
        "google.protobuf.Struct" => structure(decoder, node, descriptor, depth),
        "google.protobuf.Value" => value(decoder, node, descriptor, depth),
        "google.protobuf.ListValue" => list(decoder, node, descriptor, depth),
        _ => {
            let Some(tree::Value::Single { text, plain }) = decoder.tree.value(node) else {
                let found = decoder.tree.kind(node);
                let message = format!("expected a single value, found {found}");
                return decoder.report(node, Fault::new(message, ""));
            };
            let read = match name {
                "google.protobuf.Duration" => duration(text, *plain, descriptor),
                "google.protobuf.Timestamp" => timestamp(text, descriptor),
                "google.protobuf.FieldMask" => Ok(field_mask(text, descriptor)),
                _ => wrapper(text, *plain, descriptor, decoder.speller),
            };
            match read {
                Ok(message) => Some(message),
                Err(fault) => decoder.report(node, fault),
            }
        }
    }
}

/// A message of these fields.
fn of<const N: usize>(
    descriptor: &MessageDescriptor,
    fields: [(&str, Value); N],
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in fields {
        message.set_field_by_name(name, value);
    }
    message
}

fn wrapper(
    text: &str,
    plain: bool,
    descriptor: &MessageDescriptor,
    speller: &Speller,
) -> Result<DynamicMessage, Fault> {
    let field = descriptor
        .get_field_by_name("value")
        .ok_or_else(|| Fault::new("a wrapper without a value", ""))?;
    let value = scalar::read(&field.kind(), text, plain, speller)?;
    Ok(of(descriptor, [("value", value)]))
}

/// `1.5s`: seconds with at most nine places.
fn duration(
    text: &str,
    plain: bool,
    descriptor: &MessageDescriptor,
) -> Result<DynamicMessage, Fault> {
    let not_one = || {
        let help = match (Scalar::of(text, plain), text.strip_suffix("ms")) {
            (Scalar::Integer(seconds), _) => format!("write the unit: {seconds}s"),
            (_, Some(ms)) => match ms.parse::<u32>() {
                Ok(ms) => format!("write it in seconds: {}.{:03}s", ms / 1000, ms % 1000),
                Err(_) => "durations are seconds with up to nine places, such as 0.25s".to_owned(),
            },
            _ => "durations are seconds with up to nine places, such as 0.25s".to_owned(),
        };
        Fault::new(format!("{} is no duration", shown(text)), help)
    };
    let number = text.strip_suffix('s').ok_or_else(not_one)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (whole, places) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > 9 {
        return Err(not_one());
    }
    let seconds = whole.parse().unwrap_or(i64::MAX);
    if seconds > DURATION_SECONDS_MAX {
        return Err(Fault::new(
            format!("{} is out of range", shown(text)),
            format!("a duration has at most {DURATION_SECONDS_MAX} seconds"),
        ));
    }
    let nanos: i32 = format!("{places:0<9}").parse().map_err(|_| not_one())?;
    let sign = if negative { -1 } else { 1 };
    Ok(of(
        descriptor,
        [
            ("seconds", Value::I64(seconds * sign)),
            (
                "nanos",
                Value::I32(nanos * i32::from(sign == 1) - nanos * i32::from(sign == -1)),
            ),
        ],
    ))
}

fn timestamp(text: &str, descriptor: &MessageDescriptor) -> Result<DynamicMessage, Fault> {
    let time = prost_types::Timestamp::from_str(text).map_err(|_| {
        Fault::new(
            format!("{} is no time", shown(text)),
            "times are written like 2026-01-31T12:00:00Z",
        )
    })?;
    Ok(of(
        descriptor,
        [
            ("seconds", Value::I64(time.seconds)),
            ("nanos", Value::I32(time.nanos)),
        ],
    ))
}

/// `userId,photo.url`, in camel case.
fn field_mask(text: &str, descriptor: &MessageDescriptor) -> DynamicMessage {
    let snake = |path: &str| {
        let mut out = String::with_capacity(path.len());
        for c in path.chars() {
            if c.is_ascii_uppercase() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        Value::String(out)
    };
    let paths = text.split(',').filter(|path| !path.is_empty());
    let paths = Value::List(paths.map(snake).collect());
    of(descriptor, [("paths", paths)])
}

fn structure(
    decoder: &mut Decoder<'_, '_>,
    node: NodeId,
    descriptor: &MessageDescriptor,
    depth: usize,
) -> Option<DynamicMessage> {
    let field = descriptor.get_field_by_name("fields")?;
    let entries = decoder.map(node, &field, depth)?;
    Some(of(descriptor, [("fields", entries)]))
}

fn list(
    decoder: &mut Decoder<'_, '_>,
    node: NodeId,
    descriptor: &MessageDescriptor,
    depth: usize,
) -> Option<DynamicMessage> {
    let field = descriptor.get_field_by_name("values")?;
    let items = decoder.list(node, &field, depth)?;
    Some(of(descriptor, [("values", items)]))
}

/// Anything. Fractions are numbers here, as in JSON; Envoy's reader of YAML makes texts of them.
fn value(
    decoder: &mut Decoder<'_, '_>,
    node: NodeId,
    descriptor: &MessageDescriptor,
    depth: usize,
) -> Option<DynamicMessage> {
    let tree = decoder.tree;
    let nested = |name: &str| {
        let field = descriptor.get_field_by_name(name)?;
        field.kind().as_message().cloned()
    };
    let (name, value) = match tree.value(node)? {
        _ if tree.is_null(node) => ("null_value", Value::EnumNumber(0)),
        tree::Value::Single { text, plain } => match Scalar::of(text, *plain) {
            Scalar::Bool(b) => ("bool_value", Value::Bool(b)),
            // JSON's numbers are doubles.
            Scalar::Integer(n) => ("number_value", Value::F64(n as f64)),
            Scalar::Text(text) => match text.parse::<f64>() {
                Ok(n) if *plain && n.is_finite() => ("number_value", Value::F64(n)),
                _ => ("string_value", Value::String(text.to_owned())),
            },
        },
        tree::Value::List(_) => {
            let message = list(decoder, node, &nested("list_value")?, depth)?;
            ("list_value", Value::Message(message))
        }
        tree::Value::Mapping(_) => {
            let message = structure(decoder, node, &nested("struct_value")?, depth)?;
            ("struct_value", Value::Message(message))
        }
    };
    Some(of(descriptor, [(name, value)]))
}
