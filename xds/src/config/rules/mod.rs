//! The validation rules that Envoy's messages carry (protoc-gen-validate), which Envoy itself
//! checks when it loads them.
//!
//! They are read from the descriptors, so they are those of the API that this build speaks. Unlike
//! generated validators, this one finds everything that is wrong, says where in the configuration
//! it is, and goes on within every `Any`.
//!
//! Deliberately not here: what Envoy finds out beyond the rules (see [`super::semantics`]).

mod plan;
mod range;
mod text;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, MapKey, OneofDescriptor, ReflectMessage as _, Value,
};

pub(super) use self::plan::plan_of;
use self::plan::{Check, FieldRules, ItemRules};
use super::path::Path;
use super::spelling::Speller;
use super::well_known::is_wrapper;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where.
    pub path: Path,
    /// The rule, such as `duration.gt`, `message.required`, `oneof.required`; `envoy.…` for what
    /// Envoy checks beyond the schema.
    pub rule: String,
    /// What is wrong: `must be greater than 0s, is -1s`.
    pub message: String,
}

/// What has been found so far.
pub(super) struct Findings<'a> {
    pub(super) path: &'a mut Path,
    pub(super) violations: &'a mut Vec<Violation>,
    /// The most instructions that Envoy lets a regular expression compile to.
    pub(super) regex_program_max: u64,
    /// Finds what misspelt names were meant for.
    pub(super) speller: &'a Speller,
}

// === impl Findings ===

impl Findings<'_> {
    pub(super) fn add(&mut self, rule: &str, message: impl Into<String>) {
        self.violations.push(Violation {
            path: self.path.clone(),
            rule: rule.to_owned(),
            message: message.into(),
        });
    }
}

/// Checks the rules of one message's own fields; not those within its messages.
pub(super) fn check(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let plan = plan_of(&message.descriptor());
    if plan.disabled {
        return;
    }
    for oneof in &plan.required_oneofs {
        if !oneof.fields().any(|field| message.has_field(&field)) {
            let names: Vec<String> = oneof.fields().map(|f| format!("`{}`", f.name())).collect();
            let message = format!("needs one of {}", names.join(", "));
            findings.add("oneof.required", message);
        }
    }
    for (field, rules) in &plan.fields {
        findings.path.field(field.name());
        check_field(message, field, rules, findings);
        findings.path.pop();
    }
}

fn check_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    rules: &FieldRules,
    findings: &mut Findings<'_>,
) {
    let present = message.has_field(field);
    // Within a `oneof`, only the member that is chosen has rules.
    let chosen = |oneof: OneofDescriptor| !oneof.is_synthetic();
    if rules.required && !present && !field.containing_oneof().is_some_and(chosen) {
        findings.add(rules.required_rule, "is required");
        return;
    }
    // A field that knows absence has no rules when absent; others are checked with their zero.
    if field.supports_presence() && !present {
        return;
    }
    if let Some(check) = &rules.check {
        check_value(check, &message.get_field(field), findings);
    }
}

fn check_value(check: &Check, value: &Value, findings: &mut Findings<'_>) {
    match value {
        Value::Message(message) if is_wrapper(message.descriptor().full_name()) => {
            if let Some(inner) = message.get_field_by_name("value") {
                check_value(check, &inner, findings);
            }
            return;
        }
        _ => {}
    }
    match (check, value) {
        (Check::Integer(range), value) => {
            if let Some(number) = integer(value) {
                range.check(number, findings);
            }
        }
        (Check::Float(range), Value::F64(number)) => range.check(*number, findings),
        (Check::Float(range), Value::F32(number)) => range.check(f64::from(*number), findings),
        (Check::Bool(wanted), Value::Bool(found)) if wanted != found => {
            findings.add("bool.const", format!("must be {wanted}"));
        }
        (Check::Text(rules), Value::String(text)) => rules.check(text, findings),
        (Check::Bytes(rules), Value::Bytes(bytes)) => rules.check(bytes, findings),
        (Check::Enum(rules), Value::EnumNumber(number)) => {
            if rules.defined_only && !rules.defined.contains(number) {
                findings.add("enum.defined_only", format!("{number} is no value of it"));
            }
            rules.range.check(i128::from(*number), findings);
        }
        (Check::Time(range), Value::Message(time)) => range.check(nanoseconds(time), findings),
        (Check::Any { within, not_in }, Value::Message(any)) => {
            let url = any.get_field_by_name("type_url");
            let url = url
                .as_ref()
                .and_then(|url| url.as_str())
                .unwrap_or_default();
            if !within.is_empty() && !within.iter().any(|known| known == url) {
                findings.add("any.in", format!("must be one of {}", within.join(", ")));
            }
            if not_in.iter().any(|known| known == url) {
                findings.add("any.not_in", format!("can't be {url}"));
            }
        }
        (Check::List(rules), Value::List(items)) => check_list(rules, items, findings),
        (Check::Map(rules), Value::Map(entries)) => {
            if !rules.count(entries.len(), "map", "pairs", findings) {
                return;
            }
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                let key = Value::from(key.clone());
                findings.path.key(key.as_str().unwrap_or_default());
                if let Some(check) = &rules.keys {
                    check_value(check, &key, findings);
                }
                if let Some(check) = &rules.values {
                    check_value(check, value, findings);
                }
                findings.path.pop();
            }
        }
        // A rule of another kind than its field: protoc-gen-validate refuses to generate that.
        _ => {}
    }
}

fn check_list(rules: &ItemRules, items: &[Value], findings: &mut Findings<'_>) {
    if !rules.count(items.len(), "repeated", "items", findings) {
        return;
    }
    for (index, item) in items.iter().enumerate() {
        findings.path.index(index);
        let repeats = rules.unique && items.iter().take(index).any(|other| other == item);
        if repeats {
            findings.add("repeated.unique", "stands here twice");
        }
        if let Some(check) = &rules.values {
            check_value(check, item, findings);
        }
        findings.path.pop();
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I32(n) => Some(i128::from(*n)),
        Value::I64(n) => Some(i128::from(*n)),
        Value::U32(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        _ => None,
    }
}

/// A duration or a timestamp as one number.
pub(super) fn nanoseconds(time: &DynamicMessage) -> i128 {
    let part = |name| {
        let value = time.get_field_by_name(name);
        value.as_deref().and_then(integer).unwrap_or_default()
    };
    part("seconds") * 1_000_000_000 + part("nanos")
}
