//! From a [`Tree`] to a message, by the JSON mapping of protobuf.
//!
//! Nothing stops at a mistake: it is reported where it stands, the value stays unset, and its
//! siblings are read.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::diagnostic::{Fault, shown};
use super::encode::encode;
use super::path::Path;
use super::spelling::Speller;
use super::tree::{self, NodeId, Tree};
use super::{limits, scalar, schema, well_known};

/// The key that names the type of an `Any`.
pub(super) const TYPE: &str = "@type";

/// A mistake, and where it stands.
pub(super) type Finding = (Path, NodeId, Fault);

/// Reads one document.
#[derive(Debug)]
pub(super) struct Decoder<'t, 'a> {
    pub(super) tree: &'t Tree<'a>,
    pub(super) path: Path,
    pub(super) findings: Vec<Finding>,
    pub(super) speller: &'t Speller,
    /// Values visited; with those that aliases repeat.
    pub(super) visited: usize,
}

// === impl Decoder ===

impl<'t, 'a> Decoder<'t, 'a> {
    pub(super) fn new(tree: &'t Tree<'a>, speller: &'t Speller) -> Self {
        Self {
            tree,
            path: Path::default(),
            findings: Vec::new(),
            speller,
            visited: 0,
        }
    }

    /// Notes a mistake at the present path. Always `None`, for the value that it leaves unset.
    pub(super) fn report<T>(&mut self, node: NodeId, fault: Fault) -> Option<T> {
        if self.findings.len() <= limits::DIAGNOSTICS_MAX {
            self.findings.push((self.path.clone(), node, fault));
        }
        None
    }

    /// Whether one more value may be visited.
    fn admit(&mut self, node: NodeId, depth: usize) -> bool {
        self.visited += 1;
        if depth > limits::DEPTH_MAX {
            let message = format!(
                "messages deeper than {} within each other",
                limits::DEPTH_MAX
            );
            self.report::<()>(
                node,
                Fault::new(message, "no parser of protobuf goes deeper"),
            );
            return false;
        }
        if self.visited == limits::VALUES_MAX {
            let message = format!("aliases make more than {} values of it", limits::VALUES_MAX);
            self.report::<()>(node, Fault::new(message, "write less of it"));
        }
        self.visited < limits::VALUES_MAX
    }

    /// A message of any type.
    pub(super) fn message(
        &mut self,
        node: NodeId,
        descriptor: &MessageDescriptor,
        depth: usize,
    ) -> Option<DynamicMessage> {
        match descriptor.full_name() {
            "google.protobuf.Any" => self.any(node, descriptor, depth),
            name if well_known::is_special(name) => {
                if self.admit(node, depth) {
                    well_known::read(self, node, descriptor, depth)
                } else {
                    None
                }
            }
            _ => self.fields(node, descriptor, depth, false),
        }
    }

    fn fields(
        &mut self,
        node: NodeId,
        descriptor: &MessageDescriptor,
        depth: usize,
        typed: bool,
    ) -> Option<DynamicMessage> {
        if !self.admit(node, depth) {
            return None;
        }
        let Some(tree::Value::Mapping(entries)) = self.tree.value(node) else {
            let found = self.tree.kind(node);
            let fields: Vec<_> = descriptor.fields().collect();
            let help = self.speller.suggest(
                "",
                fields.iter().map(FieldDescriptor::name),
                "its fields are",
            );
            return self.report(
                node,
                Fault::new(format!("expected a mapping, found {found}"), help),
            );
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut chosen = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (key, value) in entries {
            let name = self.tree.text(*key).unwrap_or_default();
            if name == TYPE && typed {
                continue;
            }
            self.path.field(name);
            let field = descriptor
                .get_field_by_name(name)
                .or_else(|| descriptor.get_field_by_json_name(name));
            match field {
                None => {
                    let fault = unknown_field(name, descriptor, self.speller);
                    self.report::<()>(*key, fault);
                }
                Some(field) => {
                    if let Some(value) = self.field(*value, &field, depth) {
                        self.once(*key, &field, &mut seen, &mut chosen);
                        message.set_field(&field, value);
                    }
                }
            }
            self.path.pop();
        }
        Some(message)
    }

    /// Reports a field that is written in both of its spellings, or beside another one of its
    /// `oneof`.
    fn once(
        &mut self,
        key: NodeId,
        field: &FieldDescriptor,
        seen: &mut BTreeMap<u32, ()>,
        chosen: &mut BTreeMap<String, String>,
    ) {
        if seen.insert(field.number(), ()).is_some() {
            let fault = Fault::new("is set twice, in both spellings", "remove one of them");
            self.report::<()>(key, fault);
            return;
        }
        let Some(oneof) = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic())
        else {
            return;
        };
        if let Some(other) = chosen.get(oneof.name()) {
            let message = format!("can't stand beside {}", shown(other));
            let help = format!("both are the {}: keep one", shown(oneof.name()));
            self.report::<()>(key, Fault::new(message, help));
        } else {
            chosen.insert(oneof.name().to_owned(), field.name().to_owned());
        }
    }

    fn field(&mut self, node: NodeId, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        if field.is_map() {
            return (!self.tree.is_null(node))
                .then(|| self.map(node, field, depth))
                .flatten();
        }
        if field.is_list() {
            return (!self.tree.is_null(node))
                .then(|| self.list(node, field, depth))
                .flatten();
        }
        if self.tree.is_null(node) && !takes_null(&field.kind()) {
            return None;
        }
        self.single(node, &field.kind(), depth)
    }

    /// A list's items.
    pub(super) fn list(
        &mut self,
        node: NodeId,
        field: &FieldDescriptor,
        depth: usize,
    ) -> Option<Value> {
        let Some(tree::Value::List(items)) = self.tree.value(node) else {
            let found = self.tree.kind(node);
            let message = format!("expected a list, found {found}");
            return self.report(node, Fault::new(message, "start each item with `- `"));
        };
        let kind = field.kind();
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.index(index);
            if self.tree.is_null(*item) && !takes_null(&kind) {
                self.report::<()>(*item, Fault::new("an item without content", "remove it"));
            } else if let Some(value) = self.single(*item, &kind, depth) {
                values.push(value);
            }
            self.path.pop();
        }
        Some(Value::List(values))
    }

    /// A map's entries.
    pub(super) fn map(
        &mut self,
        node: NodeId,
        field: &FieldDescriptor,
        depth: usize,
    ) -> Option<Value> {
        let Some(tree::Value::Mapping(entries)) = self.tree.value(node) else {
            let message = format!("expected a mapping, found {}", self.tree.kind(node));
            return self.report(node, Fault::new(message, "write entries as `key: value`"));
        };
        let kind = field.kind();
        let entry = kind.as_message()?;
        let (key_kind, value_kind) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let mut values = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            let name = self.tree.text(*key).unwrap_or_default();
            self.path.key(name);
            match scalar::read_key(&key_kind, name, self.speller) {
                Err(fault) => {
                    self.report::<()>(*key, fault);
                }
                Ok(_) if self.tree.is_null(*value) && !takes_null(&value_kind) => {
                    self.report::<()>(*value, Fault::new("an entry without content", "remove it"));
                }
                Ok(key) => {
                    if let Some(value) = self.single(*value, &value_kind, depth) {
                        values.insert(key, value);
                    }
                }
            }
            self.path.pop();
        }
        Some(Value::Map(values))
    }

    fn single(&mut self, node: NodeId, kind: &Kind, depth: usize) -> Option<Value> {
        if let Kind::Message(descriptor) = kind {
            return self
                .message(node, descriptor, depth + 1)
                .map(Value::Message);
        }
        if !self.admit(node, depth) {
            return None;
        }
        let Some(tree::Value::Single { text, plain }) = self.tree.value(node) else {
            let message = format!("expected a single value, found {}", self.tree.kind(node));
            return self.report(node, Fault::new(message, ""));
        };
        if self.tree.is_null(node) {
            return Some(Value::EnumNumber(0));
        }
        match scalar::read(kind, text, *plain, self.speller) {
            Ok(value) => Some(value),
            Err(fault) => self.report(node, fault),
        }
    }

    fn any(
        &mut self,
        node: NodeId,
        descriptor: &MessageDescriptor,
        depth: usize,
    ) -> Option<DynamicMessage> {
        let (type_url, inner) = self.typed(node, depth)?;
        let mut any = DynamicMessage::new(descriptor.clone());
        any.set_field_by_name("type_url", Value::String(type_url));
        any.set_field_by_name("value", Value::Bytes(encode(&inner)));
        Some(any)
    }

    /// A mapping that names its type with `@type`, and what it holds.
    pub(super) fn typed(&mut self, node: NodeId, depth: usize) -> Option<(String, DynamicMessage)> {
        let (type_url, inner) = self.type_of(node)?;
        let message = if well_known::is_special(inner.full_name()) {
            let Some(value) = self.tree.get(node, "value") else {
                let message = format!("a {} without its value", inner.full_name());
                return self.report(node, Fault::new(message, "write it under `value`"));
            };
            self.path.field("value");
            let message = self.message(value, &inner, depth + 1);
            self.path.pop();
            message
        } else {
            self.fields(node, &inner, depth + 1, true)
        };
        Some((type_url, message?))
    }

    /// What `@type` says.
    fn type_of(&mut self, node: NodeId) -> Option<(String, MessageDescriptor)> {
        if !matches!(self.tree.value(node), Some(tree::Value::Mapping(_))) {
            let message = format!("expected a mapping, found {}", self.tree.kind(node));
            let help = "it needs `@type: type.googleapis.com/…` and the fields of that type";
            return self.report(node, Fault::new(message, help));
        }
        let Some(written) = self.tree.get(node, TYPE) else {
            let help = "add `'@type': type.googleapis.com/…` with the name of the message";
            return self.report(node, Fault::new("no @type", help));
        };
        let type_url = self.tree.text(written).unwrap_or_default().to_owned();
        self.path.field(TYPE);
        let found = match schema::message_of(&type_url) {
            Some(descriptor) => Some((type_url, descriptor)),
            None => self.report(written, unknown_type(&type_url, self.speller)),
        };
        self.path.pop();
        found
    }
}

/// Whether null is a value of this kind, and not its absence.
fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(descriptor) => descriptor.full_name() == "google.protobuf.Value",
        Kind::Enum(descriptor) => descriptor.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

fn unknown_field(name: &str, descriptor: &MessageDescriptor, speller: &Speller) -> Fault {
    if descriptor.reserved_names().any(|reserved| reserved == name) {
        return Fault::new(
            format!(
                "Envoy's API no longer has this field of {}",
                descriptor.name()
            ),
            "see the release notes for what replaced it",
        );
    }
    let fields: Vec<_> = descriptor.fields().collect();
    Fault::new(
        format!("{} has no such field", descriptor.name()),
        speller.suggest(name, fields.iter().map(FieldDescriptor::name), "there are"),
    )
}

fn unknown_type(type_url: &str, speller: &Speller) -> Fault {
    let Some((_, name)) = type_url.rsplit_once('/') else {
        return Fault::new(
            format!("{} is no type URL", shown(type_url)),
            format!("write type.googleapis.com/{type_url:.200}"),
        );
    };
    let messages: Vec<_> = schema::pool().all_messages().collect();
    let help = match speller.closest(name, messages.iter().map(MessageDescriptor::full_name)) {
        Some(known) => format!("did you mean type.googleapis.com/{known}?"),
        None => "it isn't among Envoy's messages that this build knows".to_owned(),
    };
    Fault::new(format!("unknown type {}", shown(name)), help)
}
