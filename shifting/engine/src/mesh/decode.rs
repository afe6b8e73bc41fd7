//! `serde` over a [`Tree`], so that one pass finds every mistake.
//!
//! A derived `Deserialize` stops at its first error. Here a [`Spanned`] value catches the error of
//! what it holds: the decoder has reported it by then, the value stays empty, and its siblings are
//! read. Unknown fields are reported by the decoder itself, which knows the fields that the struct
//! declares, and passed over.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::diagnostic::{Diagnostic, Fault, listed, shown, suggest};
use super::tree::{NodeId, Tree, Value};

/// Asks the [`Decoder`] for a value with its place.
const SPANNED: &str = "$spanned";

/// A value and its place.
#[derive(Debug)]
pub(super) struct Spanned<T> {
    pub(super) node: NodeId,
    /// `None` when it was of the wrong shape, which was reported.
    pub(super) value: Option<T>,
}

/// A mapping with free keys, in the order of the file. The decoder made sure that keys differ.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(Spanned<String>, Spanned<T>)>);

/// Reads a `T` from a document. What is wrong goes to `diagnostics`.
pub(super) fn decode<'t, T: Deserialize<'t>>(
    tree: &'t Tree<'_>,
    document: NodeId,
    diagnostics: &RefCell<Vec<Diagnostic>>,
) -> Option<T> {
    let decoder = Decoder {
        tree,
        node: document,
        diagnostics,
    };
    match T::deserialize(decoder) {
        Ok(value) => Some(value),
        Err(fault) => {
            decoder.report(document, fault);
            None
        }
    }
}

#[derive(Clone, Copy)]
struct Decoder<'t, 'c> {
    tree: &'t Tree<'t>,
    node: NodeId,
    diagnostics: &'c RefCell<Vec<Diagnostic>>,
}

// === impl Decoder ===

impl<'t, 'c> Decoder<'t, 'c> {
    fn at(self, node: NodeId) -> Self {
        Self { node, ..self }
    }

    fn report(self, node: NodeId, fault: Fault) {
        let diagnostic = self.tree.diagnostic(node, None, fault);
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    fn found(self) -> &'static str {
        match self.tree.value(self.node) {
            _ if self.tree.is_nothing(self.node) => "nothing",
            Some(Value::Single { .. }) => "a single value",
            Some(Value::List(_)) => "a list",
            Some(Value::Mapping(_)) => "a mapping",
            None => "nothing",
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.value(self.node) {
            Some(Value::List(_)) => self.deserialize_seq(visitor),
            Some(Value::Mapping(_)) => self.deserialize_map(visitor),
            Some(Value::Single { text, .. }) => visitor.visit_borrowed_str(text),
            None => visitor.visit_unit(),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.text(self.node) {
            Some(text) if !self.tree.is_nothing(self.node) => visitor.visit_borrowed_str(text),
            _ => Err(Fault::new(
                format!("expected a single value, found {}", self.found()),
                "",
            )),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.tree.is_nothing(self.node) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.value(self.node) {
            Some(Value::List(items)) => visitor.visit_seq(Items {
                decoder: self,
                items: items.iter(),
            }),
            Some(Value::Single { text, .. }) if !self.tree.is_nothing(self.node) => {
                Err(Fault::new(
                    "expected a list, found a single value",
                    format!("write it as {}", shown(&format!("[{text}]"))),
                ))
            }
            _ => Err(Fault::new(
                format!("expected a list, found {}", self.found()),
                "",
            )),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.value(self.node) {
            Some(Value::Mapping(entries)) => visitor.visit_map(Pairs {
                decoder: self,
                entries: entries.iter(),
                value: None,
            }),
            _ => Err(Fault::new(
                format!(
                    "expected a mapping of names to values, found {}",
                    self.found()
                ),
                "",
            )),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Some(Value::Mapping(entries)) = self.tree.value(self.node) else {
            return Err(Fault::new(
                format!("expected a mapping, found {}", self.found()),
                format!("its fields are: {}", listed(fields.iter().copied())),
            ));
        };
        let mut known = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = self.tree.text(*key).unwrap_or_default();
            match fields.iter().copied().find(|field| *field == name) {
                Some(field) => known.push((field, *value)),
                None => {
                    let help = suggest(name, fields.iter().copied(), "the fields here are");
                    self.report(*key, Fault::new("unknown field", help));
                }
            }
        }
        visitor.visit_map(Fields {
            decoder: self,
            fields: known.into_iter(),
            value: None,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == SPANNED {
            visitor.visit_seq(PlaceThenValue {
                decoder: self,
                given: 0,
            })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier
    }
}

/// The items of a list.
struct Items<'t, 'c> {
    decoder: Decoder<'t, 'c>,
    items: std::slice::Iter<'t, NodeId>,
}

impl<'t> SeqAccess<'t> for Items<'t, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.items.next() {
            Some(item) => seed.deserialize(self.decoder.at(*item)).map(Some),
            None => Ok(None),
        }
    }
}

/// The entries of a mapping with free keys.
struct Pairs<'t, 'c> {
    decoder: Decoder<'t, 'c>,
    entries: std::slice::Iter<'t, (NodeId, NodeId)>,
    value: Option<NodeId>,
}

impl<'t> MapAccess<'t> for Pairs<'t, '_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.entries.next() {
            Some((key, value)) => {
                self.value = Some(*value);
                seed.deserialize(self.decoder.at(*key)).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self
            .value
            .take()
            .ok_or_else(|| Fault::new("a key without a value", ""))?;
        seed.deserialize(self.decoder.at(value))
    }
}

/// The known fields of a struct.
struct Fields<'t, 'c> {
    decoder: Decoder<'t, 'c>,
    fields: std::vec::IntoIter<(&'static str, NodeId)>,
    value: Option<NodeId>,
}

impl<'t> MapAccess<'t> for Fields<'t, '_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.fields.next() {
            Some((name, value)) => {
                self.value = Some(value);
                let name: StrDeserializer<'_, Fault> = name.into_deserializer();
                seed.deserialize(name).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self
            .value
            .take()
            .ok_or_else(|| Fault::new("a field without a value", ""))?;
        seed.deserialize(self.decoder.at(value))
    }
}

/// What a [`Spanned`] is made of: first the place, then the value, whose fault is reported here.
struct PlaceThenValue<'t, 'c> {
    decoder: Decoder<'t, 'c>,
    given: u8,
}

impl<'t> SeqAccess<'t> for PlaceThenValue<'t, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.given += 1;
        if self.given == 1 {
            let place: U32Deserializer<Fault> = self.decoder.node.0.into_deserializer();
            return seed.deserialize(place).map(Some);
        }
        seed.deserialize(self.decoder)
            .map(Some)
            .inspect_err(|fault| {
                self.decoder.report(self.decoder.node, fault.clone());
            })
    }
}

// === impl Spanned ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SPANNED, SpannedVisitor(PhantomData))
    }
}

struct SpannedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place, from the mesh's own decoder")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Spanned<T>, A::Error> {
        let node: u32 = parts
            .next_element()?
            .ok_or_else(|| de::Error::custom("a value without a place"))?;
        Ok(Spanned {
            node: NodeId(node),
            // The decoder has reported the error; the siblings go on.
            value: parts.next_element().ok().flatten(),
        })
    }
}

// === impl Entries ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

// === impl Fault ===

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(message.to_string(), "")
    }
}
