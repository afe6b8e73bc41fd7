//! The rules of a message's fields, read once from its descriptor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
    Value,
};

use super::range::Range;
use super::text::{BytesRules, TextRules};
use super::{Findings, integer, nanoseconds};
use crate::config::fields::{count, get, sub, texts, truth};
use crate::config::schema;

/// What to check of a message.
#[derive(Debug)]
pub(in crate::config) struct Plan {
    /// The schema says that this message isn't to be checked at all.
    pub(in crate::config) disabled: bool,
    pub(super) required_oneofs: Vec<OneofDescriptor>,
    /// The fields with rules.
    pub(super) fields: Vec<(FieldDescriptor, FieldRules)>,
    /// Fields whose messages aren't to be checked.
    pub(in crate::config) skipped: BTreeSet<u32>,
    /// Fields that Envoy refuses unless its runtime allows them by name.
    pub(in crate::config) disallowed: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) struct FieldRules {
    pub(super) required: bool,
    pub(super) required_rule: &'static str,
    pub(super) check: Option<Check>,
}

/// The rules of one kind of value.
#[derive(Debug)]
pub(super) enum Check {
    Integer(Range<i128>),
    Float(Range<f64>),
    Bool(bool),
    Text(Box<TextRules>),
    Bytes(BytesRules),
    Enum(EnumRules),
    List(Box<ItemRules>),
    Map(Box<ItemRules>),
    Any {
        within: Vec<String>,
        not_in: Vec<String>,
    },
    /// A duration or a time, in nanoseconds.
    Time(Range<i128>),
}

#[derive(Debug)]
pub(super) struct EnumRules {
    pub(super) defined_only: bool,
    pub(super) defined: BTreeSet<i32>,
    pub(super) range: Range<i128>,
}

/// Of a list or a map.
#[derive(Debug)]
pub(super) struct ItemRules {
    min: Option<u64>,
    max: Option<u64>,
    pub(super) unique: bool,
    ignore_empty: bool,
    pub(super) keys: Option<Check>,
    pub(super) values: Option<Check>,
}

/// The extensions that hold the rules.
struct Extensions {
    rules: Option<ExtensionDescriptor>,
    required: Option<ExtensionDescriptor>,
    disabled: Option<ExtensionDescriptor>,
    ignored: Option<ExtensionDescriptor>,
    disallowed: Option<ExtensionDescriptor>,
}

static EXTENSIONS: LazyLock<Extensions> = LazyLock::new(|| {
    let find = |name| schema::pool().get_extension_by_name(name);
    Extensions {
        rules: find("validate.rules"),
        required: find("validate.required"),
        disabled: find("validate.disabled"),
        ignored: find("validate.ignored"),
        disallowed: find("envoy.annotations.disallowed_by_default"),
    }
});

/// The plan of a message, made at its first use.
pub(in crate::config) fn plan_of(descriptor: &MessageDescriptor) -> Arc<Plan> {
    static PLANS: RwLock<BTreeMap<String, Arc<Plan>>> = RwLock::new(BTreeMap::new());
    let name = descriptor.full_name();
    // A plan is inserted whole, so that a poisoned lock guards nothing broken.
    if let Some(plan) = PLANS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(name)
    {
        return Arc::clone(plan);
    }
    let plan = Arc::new(Plan::of(descriptor));
    PLANS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(name.to_owned(), Arc::clone(&plan));
    plan
}

// === impl Plan ===

impl Plan {
    fn of(descriptor: &MessageDescriptor) -> Self {
        let options = descriptor.options();
        let mut plan = Self {
            disabled: flag(&options, EXTENSIONS.disabled.as_ref())
                || flag(&options, EXTENSIONS.ignored.as_ref()),
            required_oneofs: descriptor
                .oneofs()
                .filter(|oneof| flag(&oneof.options(), EXTENSIONS.required.as_ref()))
                .collect(),
            fields: Vec::new(),
            skipped: BTreeSet::new(),
            disallowed: BTreeSet::new(),
        };
        for field in descriptor.fields() {
            let options = field.options();
            if flag(&options, EXTENSIONS.disallowed.as_ref()) {
                plan.disallowed.insert(field.number());
            }
            let Some(extension) = EXTENSIONS.rules.as_ref() else {
                continue;
            };
            if !options.has_extension(extension) {
                continue;
            }
            if let Value::Message(rules) = options.get_extension(extension).as_ref() {
                if skips(rules) {
                    plan.skipped.insert(field.number());
                }
                plan.fields
                    .push((field.clone(), FieldRules::of(&field, rules)));
            }
        }
        plan
    }
}

fn flag(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> bool {
    extension.is_some_and(|extension| {
        options.has_extension(extension) && options.get_extension(extension).as_bool() == Some(true)
    })
}

/// Whether the message of a field, or those of its items, are to be passed over.
fn skips(rules: &DynamicMessage) -> bool {
    if sub(rules, "message").is_some_and(|rules| truth(&rules, "skip")) {
        return true;
    }
    [("repeated", "items"), ("map", "values")]
        .into_iter()
        .filter_map(|(kind, items)| sub(&sub(rules, kind)?, items))
        .filter_map(|items| sub(&items, "message"))
        .any(|rules| truth(&rules, "skip"))
}

// === impl FieldRules ===

impl FieldRules {
    fn of(field: &FieldDescriptor, rules: &DynamicMessage) -> Self {
        let required_rule = [
            ("message", "message.required"),
            ("any", "any.required"),
            ("duration", "duration.required"),
            ("timestamp", "timestamp.required"),
        ]
        .into_iter()
        .find(|(kind, _)| sub(rules, kind).is_some_and(|rules| truth(&rules, "required")));
        Self {
            required: required_rule.is_some(),
            required_rule: required_rule.map_or("message.required", |(_, rule)| rule),
            check: Check::of(&field.kind(), rules),
        }
    }
}

// === impl Check ===

impl Check {
    fn of(kind: &Kind, rules: &DynamicMessage) -> Option<Self> {
        const INTEGERS: [&str; 10] = [
            "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
            "sfixed32", "sfixed64",
        ];
        for name in INTEGERS {
            if let Some(rules) = sub(rules, name) {
                let range = Range::of(name, &rules, integer, |n: &i128| n.to_string());
                return Some(Self::Integer(range));
            }
        }
        for name in ["float", "double"] {
            if let Some(rules) = sub(rules, name) {
                let range = Range::of(name, &rules, float, |n: &f64| n.to_string());
                return Some(Self::Float(range));
            }
        }
        for name in ["duration", "timestamp"] {
            if let Some(rules) = sub(rules, name) {
                let read = |value: &Value| value.as_message().map(nanoseconds);
                return Some(Self::Time(Range::of(name, &rules, read, seconds)));
            }
        }
        if let Some(rules) = sub(rules, "bool") {
            return get(&rules, "const")?.as_bool().map(Self::Bool);
        }
        if let Some(rules) = sub(rules, "string") {
            return Some(Self::Text(Box::new(TextRules::of(&rules))));
        }
        if let Some(rules) = sub(rules, "bytes") {
            return Some(Self::Bytes(BytesRules {
                len: count(&rules, "len"),
                min_len: count(&rules, "min_len"),
                max_len: count(&rules, "max_len"),
                ignore_empty: truth(&rules, "ignore_empty"),
            }));
        }
        if let Some(rules) = sub(rules, "enum") {
            let defined = kind.as_enum().into_iter().flat_map(|descriptor| {
                let numbers: Vec<i32> = descriptor.values().map(|value| value.number()).collect();
                numbers
            });
            let read =
                |value: &Value| integer(value).or_else(|| value.as_enum_number().map(i128::from));
            return Some(Self::Enum(EnumRules {
                defined_only: truth(&rules, "defined_only"),
                defined: defined.collect(),
                range: Range::of("enum", &rules, read, |n: &i128| n.to_string()),
            }));
        }
        if let Some(rules) = sub(rules, "repeated") {
            let items = sub(&rules, "items");
            return Some(Self::List(Box::new(ItemRules {
                min: count(&rules, "min_items"),
                max: count(&rules, "max_items"),
                unique: truth(&rules, "unique"),
                ignore_empty: truth(&rules, "ignore_empty"),
                keys: None,
                values: items.and_then(|items| Self::of(kind, &items)),
            })));
        }
        if let Some(rules) = sub(rules, "map") {
            let entry = kind.as_message()?;
            let (key, value) = (
                entry.map_entry_key_field().kind(),
                entry.map_entry_value_field().kind(),
            );
            return Some(Self::Map(Box::new(ItemRules {
                min: count(&rules, "min_pairs"),
                max: count(&rules, "max_pairs"),
                unique: false,
                ignore_empty: truth(&rules, "ignore_empty"),
                keys: sub(&rules, "keys").and_then(|rules| Self::of(&key, &rules)),
                values: sub(&rules, "values").and_then(|rules| Self::of(&value, &rules)),
            })));
        }
        sub(rules, "any").map(|rules| Self::Any {
            within: texts(&rules, "in"),
            not_in: texts(&rules, "not_in"),
        })
    }
}

// === impl ItemRules ===

impl ItemRules {
    /// Checks the number of items. Whether the items are to be checked.
    pub(super) fn count(
        &self,
        count: usize,
        kind: &str,
        unit: &str,
        findings: &mut Findings<'_>,
    ) -> bool {
        let count = count as u64;
        if self.ignore_empty && count == 0 {
            return false;
        }
        if let Some(min) = self.min.filter(|min| count < *min) {
            let message = match min {
                1 => "must not be empty".to_owned(),
                _ => format!("must have at least {min}, has {count}"),
            };
            findings.add(&format!("{kind}.min_{unit}"), message);
        }
        if let Some(max) = self.max.filter(|max| count > *max) {
            let message = format!("must have at most {max}, has {count}");
            findings.add(&format!("{kind}.max_{unit}"), message);
        }
        true
    }
}

fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_f32().map(f64::from))
}

/// Nanoseconds as people read them: `0.25s`.
fn seconds(nanos: &i128) -> String {
    let (whole, rest) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    let sign = if *nanos < 0 { "-" } else { "" };
    let places = format!("{rest:09}");
    match places.trim_end_matches('0') {
        "" => format!("{sign}{whole}s"),
        places => format!("{sign}{whole}.{places}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_expressions_of_the_schema_compile_and_match_whole_texts() {
        let extension = EXTENSIONS.rules.as_ref().unwrap();
        let mut expressions = BTreeSet::new();
        for message in schema::pool().all_messages() {
            for field in message.fields() {
                let rules = field.options().get_extension(extension).into_owned();
                let rules = rules.as_message().unwrap();
                let items = sub(rules, "repeated").and_then(|rules| sub(&rules, "items"));
                for rules in [Some(rules.clone()), items].into_iter().flatten() {
                    if let Some(rules) = sub(&rules, "string")
                        && let Some(pattern) = get(&rules, "pattern")
                    {
                        assert!(TextRules::of(&rules).pattern.is_some(), "{pattern:?}");
                        expressions.insert(pattern.as_str().unwrap().to_owned());
                    }
                }
            }
        }
        assert!(!expressions.is_empty());
        for expression in expressions {
            let anchored = expression.starts_with('^') && expression.ends_with('$');
            assert!(
                anchored,
                "whether {expression} must match the whole text is open"
            );
        }
    }

    #[test]
    fn seconds_are_shown_as_people_write_them() {
        for (nanos, wanted) in [
            (0, "0s"),
            (250_000_000, "0.25s"),
            (-1_000_000_001, "-1.000000001s"),
        ] {
            assert_eq!(seconds(&nanos), wanted);
        }
    }
}
