//! A YAML file as a tree in which every value knows its place.
//!
//! Of YAML only what a mesh needs is taken: mappings with plain keys, lists, and single values as
//! the text that was written (`1.10` stays `1.10`). Anchors, aliases, tags and merge keys are
//! refused: they let a small file stand for a large one, and a reader has to look elsewhere for
//! what a line means.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::diagnostic::{Diagnostic, Fault, SourceFile, shown};
use super::limits;

/// A value's place in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u32);

/// All documents of one file.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) file: &'a SourceFile,
    nodes: Vec<Node>,
    /// The top values of the documents, in order; documents without content are left out.
    pub(super) documents: Vec<NodeId>,
}

#[derive(Debug)]
struct Node {
    line: usize,
    column: usize,
    parent: Option<(NodeId, Segment)>,
    value: Value,
}

/// How a value is reached from its parent.
#[derive(Debug, Clone, Copy)]
enum Segment {
    /// By the key at this node.
    Key(NodeId),
    /// As the key itself.
    IsKey,
    Index(usize),
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// The text as written; `plain` without quotes.
    Single {
        text: String,
        plain: bool,
    },
    List(Vec<NodeId>),
    /// Keys are all [`Value::Single`] and differ.
    Mapping(Vec<(NodeId, NodeId)>),
}

// === impl Tree ===

impl<'a> Tree<'a> {
    /// Reads a file. The second part of the answer is what was wrong; after an error that the
    /// parser cannot pass, the tree holds the documents before it.
    pub(super) fn read(file: &'a SourceFile) -> (Self, Vec<Diagnostic>) {
        let mut builder = Builder {
            parser: Parser::new_from_str(&file.text),
            tree: Tree {
                file,
                nodes: Vec::new(),
                documents: Vec::new(),
            },
            diagnostics: Vec::new(),
        };
        if let Err(Stopped(diagnostic)) = builder.documents() {
            builder.diagnostics.push(*diagnostic);
        }
        (builder.tree, builder.diagnostics)
    }

    /// The value at a place.
    pub(super) fn value(&self, id: NodeId) -> Option<&Value> {
        self.node(id).map(|node| &node.value)
    }

    /// The text of a single value.
    pub(super) fn text(&self, id: NodeId) -> Option<&str> {
        match self.value(id)? {
            Value::Single { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written there (YAML's null).
    pub(super) fn is_nothing(&self, id: NodeId) -> bool {
        matches!(self.value(id), Some(Value::Single { text, plain: true })
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A mapping's value for a key.
    pub(super) fn get(&self, mapping: NodeId, key: &str) -> Option<NodeId> {
        match self.value(mapping)? {
            Value::Mapping(entries) => entries
                .iter()
                .find(|(name, _)| self.text(*name) == Some(key))
                .map(|(_, value)| *value),
            _ => None,
        }
    }

    /// A mapping's keys.
    pub(super) fn keys(&self, mapping: NodeId) -> impl Iterator<Item = &str> {
        let entries = match self.value(mapping) {
            Some(Value::Mapping(entries)) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter_map(|(key, _)| self.text(*key))
    }

    /// `file:line:column` of a place.
    pub(super) fn place(&self, id: NodeId) -> String {
        let (line, column) = self.line_and_column(id);
        format!("{}:{line}:{column}", self.file.path)
    }

    /// The fault as a diagnostic at a value, or at its `field` that isn't there.
    pub(super) fn diagnostic(&self, id: NodeId, field: Option<&str>, fault: Fault) -> Diagnostic {
        let (line, column) = self.line_and_column(id);
        let mut path = self.path(id);
        if let Some(field) = field {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(field);
        }
        Diagnostic::at(self.file, line, column, path, fault)
    }

    fn line_and_column(&self, id: NodeId) -> (usize, usize) {
        self.node(id)
            .map_or((1, 1), |node| (node.line, node.column))
    }

    /// Such as `versions.v1.hosts[0].address`.
    fn path(&self, id: NodeId) -> String {
        let mut parts = Vec::new();
        let mut next = self.node(id).and_then(|node| {
            node.parent.map(|(parent, segment)| match segment {
                Segment::IsKey => (parent, Segment::Key(id)),
                other => (parent, other),
            })
        });
        while let Some((parent, segment)) = next {
            parts.push(match segment {
                Segment::Index(index) => format!("[{index}]"),
                Segment::Key(key) => {
                    let text = self.text(key).unwrap_or_default();
                    text.chars()
                        .take(limits::MAX_NAME_CHARACTERS + 1)
                        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                        .collect()
                }
                Segment::IsKey => String::new(),
            });
            next = self.node(parent).and_then(|node| node.parent);
        }
        parts.iter().rev().fold(String::new(), |mut path, part| {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
            path
        })
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.0).ok()?)
    }
}

/// The parser cannot go on, or must not.
struct Stopped(Box<Diagnostic>);

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    tree: Tree<'a>,
    diagnostics: Vec<Diagnostic>,
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn documents(&mut self) -> Result<(), Stopped> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => {
                    let id = self.node(event, span, None, 1)?;
                    if !self.tree.is_nothing(id) {
                        self.tree.documents.push(id);
                    }
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stopped> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = *error.marker();
                Err(self.stop(
                    marker.line(),
                    marker.col() + 1,
                    Fault::new(
                        format!("not YAML: {}", error.info()),
                        "the rest of this file was not checked",
                    ),
                ))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stop(&self, line: usize, column: usize, fault: Fault) -> Stopped {
        Stopped(Box::new(Diagnostic::at(
            self.tree.file,
            line,
            column,
            String::new(),
            fault,
        )))
    }

    fn report(&mut self, id: NodeId, fault: Fault) {
        let diagnostic = self.tree.diagnostic(id, None, fault);
        self.diagnostics.push(diagnostic);
    }

    fn add(
        &mut self,
        span: Span,
        parent: Option<(NodeId, Segment)>,
        value: Value,
    ) -> Result<NodeId, Stopped> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let id = match u32::try_from(self.tree.nodes.len()) {
            Ok(id) if self.tree.nodes.len() < limits::MAX_NODES => NodeId(id),
            _ => {
                let message = format!("more than {} values in one file", limits::MAX_NODES);
                return Err(self.stop(line, column, Fault::new(message, "split the file")));
            }
        };
        self.tree.nodes.push(Node {
            line,
            column,
            parent,
            value,
        });
        Ok(id)
    }

    /// The value that starts with `event`.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        parent: Option<(NodeId, Segment)>,
        depth: usize,
    ) -> Result<NodeId, Stopped> {
        if depth > limits::MAX_DEPTH {
            let message = format!(
                "lists and mappings deeper than {} within each other",
                limits::MAX_DEPTH
            );
            let (line, column) = (span.start.line(), span.start.col() + 1);
            return Err(self.stop(line, column, Fault::new(message, "no mesh needs that")));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = Value::Single {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                let id = self.add(span, parent, value)?;
                self.refuse_extras(id, anchor, tag.is_some());
                Ok(id)
            }
            Event::SequenceStart(anchor, tag) => {
                let id = self.add(span, parent, Value::List(Vec::new()))?;
                self.refuse_extras(id, anchor, tag.is_some());
                self.list(id, depth)?;
                Ok(id)
            }
            Event::MappingStart(anchor, tag) => {
                let id = self.add(span, parent, Value::Mapping(Vec::new()))?;
                self.refuse_extras(id, anchor, tag.is_some());
                self.mapping(id, depth)?;
                Ok(id)
            }
            _ => {
                // An alias; its target may be huge, so nothing stands for it.
                let value = Value::Single {
                    text: String::new(),
                    plain: true,
                };
                let id = self.add(span, parent, value)?;
                self.report(
                    id,
                    Fault::new("aliases (`*name`) are not supported", "write the value out"),
                );
                Ok(id)
            }
        }
    }

    fn list(&mut self, list: NodeId, depth: usize) -> Result<(), Stopped> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                break;
            }
            let parent = Some((list, Segment::Index(items.len())));
            items.push(self.node(event, span, parent, depth + 1)?);
        }
        self.set(list, Value::List(items));
        Ok(())
    }

    fn mapping(&mut self, mapping: NodeId, depth: usize) -> Result<(), Stopped> {
        let mut entries = Vec::new();
        let mut seen: BTreeMap<String, NodeId> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let key = self.node(event, span, Some((mapping, Segment::IsKey)), depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, Some((mapping, Segment::Key(key))), depth + 1)?;
            let Some(name) = self.tree.text(key).map(str::to_owned) else {
                self.report(
                    key,
                    Fault::new("a key that is a list or a mapping", "keys are single words"),
                );
                continue;
            };
            if let Some(first) = seen.get(&name) {
                let message = format!(
                    "{} stands twice in this mapping, first at {}",
                    shown(&name),
                    self.tree.place(*first)
                );
                self.report(key, Fault::new(message, "remove one of them"));
                continue;
            }
            seen.insert(name, key);
            entries.push((key, value));
        }
        self.set(mapping, Value::Mapping(entries));
        Ok(())
    }

    fn set(&mut self, id: NodeId, value: Value) {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        if let Some(node) = self.tree.nodes.get_mut(index) {
            node.value = value;
        }
    }

    fn refuse_extras(&mut self, id: NodeId, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.report(
                id,
                Fault::new("anchors (`&name`) are not supported", "write the value out"),
            );
        }
        if tagged {
            self.report(
                id,
                Fault::new("tags (`!name`) are not supported", "remove the tag"),
            );
        }
    }
}
