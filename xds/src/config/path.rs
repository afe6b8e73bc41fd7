//! Where in a configuration a value stands.

use std::fmt;

use super::diagnostic::printable;
use super::tree::{NodeId, Tree, Value};

/// Characters of a field or of a map's key that a path shows.
const KEY_CHARACTERS: usize = 100;

/// A place within a message, such as `static_resources.clusters[1].connect_timeout`. The fields of
/// a message within an `Any` follow those that lead to the `Any`, as they do in YAML.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Of a message.
    Field(String),
    /// Of a list, from 0.
    Index(usize),
    /// Of a map.
    Key(String),
}

// === impl Path ===

impl Path {
    pub(super) fn field(&mut self, name: &str) {
        self.0.push(Segment::Field(name.to_owned()));
    }

    pub(super) fn index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    pub(super) fn key(&mut self, key: &str) {
        self.0.push(Segment::Key(key.to_owned()));
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// The steps from the top.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// This path with one more field.
    pub(super) fn with(&self, field: &str) -> Self {
        let mut longer = self.clone();
        longer.field(field);
        longer
    }

    pub(super) fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    pub(super) fn parent(&self) -> &[Segment] {
        self.0.split_last().map_or(&[], |(_, parents)| parents)
    }

    /// The value at this place, or what is nearest above it.
    pub(super) fn locate(&self, tree: &Tree<'_>, document: NodeId) -> NodeId {
        let mut node = document;
        for segment in &self.0 {
            let next = match segment {
                Segment::Index(index) => match tree.value(node) {
                    Some(Value::List(items)) => items.get(*index).copied(),
                    _ => None,
                },
                Segment::Key(key) => tree.get(node, key),
                Segment::Field(name) => tree
                    .get(node, name)
                    .or_else(|| tree.get(node, &camel_case(name))),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) => {
                    // What isn't a field after all may be of any length.
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", printable(name, KEY_CHARACTERS))?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[\"{}\"]", printable(key, KEY_CHARACTERS))?,
            }
        }
        Ok(())
    }
}

/// The JSON name of a field, which may be written instead.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}
