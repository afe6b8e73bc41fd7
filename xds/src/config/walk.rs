//! Every message of a configuration once, with those within `Any`s.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage as _, Value};

use super::diagnostic::shown;
use super::fields::has;
use super::path::Path;
use super::references::{self, Link};
use super::rules::{self, Findings, Violation};
use super::spelling::Speller;
use super::well_known::{is_special, is_wrapper};
use super::{limits, schema, semantics};

/// Checks a message and all within it: the rules of the schema, and what Envoy checks beyond them.
///
/// References to clusters aren't checked: only a [`Reader`](super::Reader) knows which there are.
pub fn validate(message: &DynamicMessage) -> Vec<Violation> {
    let speller = Speller::default();
    let mut walk = Walk::new(limits::REGEX_PROGRAM, &speller);
    walk.message(message, 0);
    walk.violations
}

/// What a walk finds.
#[derive(Debug)]
pub(super) struct Walk<'s> {
    pub(super) path: Path,
    pub(super) violations: Vec<Violation>,
    pub(super) links: Vec<Link>,
    /// Whether anything is fetched from a management server, which needs to know who asks.
    pub(super) subscribes: bool,
    /// Messages visited.
    pub(super) visited: usize,
    regex_program_max: u64,
    speller: &'s Speller,
}

// === impl Walk ===

impl<'s> Walk<'s> {
    /// With the most instructions that a regular expression may compile to.
    pub(super) fn new(regex_program_max: u64, speller: &'s Speller) -> Self {
        Self {
            path: Path::default(),
            violations: Vec::new(),
            links: Vec::new(),
            subscribes: false,
            visited: 0,
            regex_program_max,
            speller,
        }
    }

    /// Visits a message and all within it.
    pub(super) fn message(&mut self, message: &DynamicMessage, depth: usize) {
        self.visited += 1;
        let descriptor = message.descriptor();
        let name = descriptor.full_name();
        if depth > limits::DEPTH_MAX {
            let text = format!(
                "messages deeper than {} within each other",
                limits::DEPTH_MAX
            );
            self.findings().add("envoy.depth", text);
            return;
        }
        if name == "google.protobuf.Any" {
            self.any(message, depth);
            return;
        }
        if is_wrapper(name) {
            return;
        }
        let plan = rules::plan_of(&descriptor);
        rules::check(message, &mut self.findings());
        semantics::check(message, &mut self.findings());
        self.subscribes |= match name {
            "envoy.config.core.v3.ApiConfigSource" => true,
            "envoy.config.core.v3.ConfigSource" => has(message, "ads") || has(message, "self"),
            "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig" => {
                has(message, "sds_config")
            }
            _ => false,
        };
        references::collect(message, &mut self.path, &mut self.links);
        if is_special(name) {
            return;
        }
        for (field, value) in message.fields() {
            self.path.field(field.name());
            if plan.disallowed.contains(&field.number()) && message.has_field(&field) {
                let text = "is deprecated, and Envoy refuses it unless its runtime allows it";
                self.findings().add("envoy.deprecated", text);
            }
            if !plan.skipped.contains(&field.number()) {
                self.value(value, depth);
            }
            self.path.pop();
        }
    }

    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Message(message) => self.message(message, depth + 1),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Message(message) = item {
                        self.path.index(index);
                        self.message(message, depth + 1);
                        self.path.pop();
                    }
                }
            }
            Value::Map(entries) => {
                let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    if let Value::Message(message) = value {
                        let key = Value::from(key.clone());
                        self.path.key(key.as_str().unwrap_or_default());
                        self.message(message, depth + 1);
                        self.path.pop();
                    }
                }
            }
            _ => {}
        }
    }

    fn any(&mut self, any: &DynamicMessage, depth: usize) {
        let text = any.get_field_by_name("type_url");
        let url = text
            .as_ref()
            .and_then(|url| url.as_str())
            .unwrap_or_default();
        let bytes = any.get_field_by_name("value");
        let bytes = bytes.as_ref().and_then(|bytes| bytes.as_bytes());
        let Some(descriptor) = schema::message_of(url) else {
            if !url.is_empty() {
                let text = format!("unknown type {}", shown(url));
                self.findings().add("any.type", text);
            }
            return;
        };
        match DynamicMessage::decode(descriptor, bytes.cloned().unwrap_or_default()) {
            Ok(inner) => self.message(&inner, depth + 1),
            Err(cause) => {
                let text = format!("the bytes aren't a {}: {cause}", shown(url));
                self.findings().add("any.value", text);
            }
        }
    }

    fn findings(&mut self) -> Findings<'_> {
        Findings {
            path: &mut self.path,
            violations: &mut self.violations,
            regex_program_max: self.regex_program_max,
            speller: self.speller,
        }
    }
}
