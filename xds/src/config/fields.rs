//! The fields of a dynamic message by name. What isn't set, or isn't there, is nothing.

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::schema::message_of;

pub(super) fn get(message: &DynamicMessage, name: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(name)?;
    message
        .has_field(&field)
        .then(|| message.get_field(&field).into_owned())
}

pub(super) fn sub(message: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    match get(message, name)? {
        Value::Message(message) => Some(message),
        _ => None,
    }
}

pub(super) fn truth(message: &DynamicMessage, name: &str) -> bool {
    get(message, name).and_then(|value| value.as_bool()) == Some(true)
}

pub(super) fn count(message: &DynamicMessage, name: &str) -> Option<u64> {
    get(message, name)?.as_u64()
}

/// A number of either width, bare or wrapped.
pub(super) fn number(message: &DynamicMessage, name: &str) -> Option<u64> {
    match get(message, name)? {
        Value::U32(number) => Some(u64::from(number)),
        Value::U64(number) => Some(number),
        Value::Message(wrapper) if wrapper.descriptor().get_field_by_name("value").is_some() => {
            // A wrapper of nothing is one of zero.
            Some(number(&wrapper, "value").unwrap_or_default())
        }
        _ => None,
    }
}

pub(super) fn texts(message: &DynamicMessage, name: &str) -> Vec<String> {
    let values = get(message, name);
    let items = values.as_ref().and_then(Value::as_list).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

pub(super) fn text(message: &DynamicMessage, name: &str) -> String {
    match get(message, name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The number of an enum's value; its zero when it isn't set.
pub(super) fn choice(message: &DynamicMessage, name: &str) -> i32 {
    get(message, name)
        .and_then(|value| value.as_enum_number())
        .unwrap_or_default()
}

/// The messages of a list.
pub(super) fn subs(message: &DynamicMessage, name: &str) -> Vec<DynamicMessage> {
    match get(message, name) {
        Some(Value::List(items)) => items
            .into_iter()
            .filter_map(|item| match item {
                Value::Message(message) => Some(message),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn has(message: &DynamicMessage, name: &str) -> bool {
    message
        .descriptor()
        .get_field_by_name(name)
        .is_some_and(|field| message.has_field(&field))
}

/// The type of an `Any` without what stands before its name.
pub(super) fn type_name(any: &DynamicMessage) -> String {
    let url = text(any, "type_url");
    url.rsplit_once('/')
        .map_or_else(String::new, |(_, name)| name.to_owned())
}

/// The message in an `Any`, if its type is known.
pub(super) fn unpacked(any: &DynamicMessage) -> Option<DynamicMessage> {
    let bytes = get(any, "value").and_then(|value| value.as_bytes().cloned());
    let kind = message_of(&text(any, "type_url"))?;
    DynamicMessage::decode(kind, bytes.unwrap_or_default()).ok()
}

/// How many items a list has.
pub(super) fn count_of(message: &DynamicMessage, name: &str) -> usize {
    match get(message, name) {
        Some(Value::List(items)) => items.len(),
        _ => 0,
    }
}
