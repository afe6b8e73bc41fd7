//! A YAML or JSON file as a tree in which every value knows its place.
//!
//! JSON is read as the YAML that it is. Anchors and aliases are taken, as Envoy takes them: an
//! alias is the same node once more, and whoever walks the tree counts what it visits
//! ([`limits::VALUES_MAX`]). Tags and merge keys are not: Envoy ignores the ones and takes the
//! others for unknown fields.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::diagnostic::{Diagnostic, Fault, shown};
use super::limits;

/// How the parser's words end when it finds a tab before a word, where YAML and Envoy take one.
const TAB: &str = "must be followed by a valid YAML whitespace";

/// A value of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// All documents of one file.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) file: &'a str,
    nodes: Vec<Node>,
    /// The top values of the documents, in order; documents without content are left out.
    pub(super) documents: Vec<NodeId>,
}

#[derive(Debug)]
struct Node {
    line: usize,
    column: usize,
    value: Value,
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
    pub(super) fn read(file: &'a str, text: &'a str) -> (Self, Vec<Diagnostic>) {
        let mut builder = Builder {
            parser: Parser::new_from_str(text),
            tree: Tree {
                file,
                nodes: Vec::new(),
                documents: Vec::new(),
            },
            anchors: BTreeMap::new(),
            after_tabs: after_tabs(text),
            flows: 0,
            diagnostics: Vec::new(),
        };
        if text.len() > limits::FILE_BYTES_MAX {
            let message = format!(
                "{} bytes; a file may have {}",
                text.len(),
                limits::FILE_BYTES_MAX
            );
            let diagnostic =
                builder
                    .tree
                    .at(1, 1, String::new(), Fault::new(message, "split the file"));
            return (builder.tree, vec![diagnostic]);
        }
        if let Err(Stopped(diagnostic)) = builder.documents() {
            builder.diagnostics.push(*diagnostic);
        }
        (builder.tree, builder.diagnostics)
    }

    pub(super) fn value(&self, id: NodeId) -> Option<&Value> {
        self.nodes.get(id.0).map(|node| &node.value)
    }

    /// The text of a single value.
    pub(super) fn text(&self, id: NodeId) -> Option<&str> {
        match self.value(id)? {
            Value::Single { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written there (YAML's and JSON's null).
    pub(super) fn is_null(&self, id: NodeId) -> bool {
        matches!(self.value(id), Some(Value::Single { text, plain: true })
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A mapping's entries; none of anything else.
    pub(super) fn entries(&self, id: NodeId) -> &[(NodeId, NodeId)] {
        match self.value(id) {
            Some(Value::Mapping(entries)) => entries,
            _ => &[],
        }
    }

    /// A mapping's value for a key.
    pub(super) fn get(&self, mapping: NodeId, key: &str) -> Option<NodeId> {
        self.entries(mapping)
            .iter()
            .find(|(name, _)| self.text(*name) == Some(key))
            .map(|(_, value)| *value)
    }

    /// What a value is, for people.
    pub(super) fn kind(&self, id: NodeId) -> &'static str {
        match self.value(id) {
            _ if self.is_null(id) => "nothing",
            Some(Value::Single { .. }) => "a single value",
            Some(Value::List(_)) => "a list",
            Some(Value::Mapping(_)) => "a mapping",
            None => "nothing",
        }
    }

    /// The fault as a diagnostic at a value.
    pub(super) fn diagnostic(&self, id: NodeId, path: String, fault: Fault) -> Diagnostic {
        let (line, column) = self
            .nodes
            .get(id.0)
            .map_or((1, 1), |node| (node.line, node.column));
        self.at(line, column, path, fault)
    }

    fn at(&self, line: usize, column: usize, path: String, fault: Fault) -> Diagnostic {
        Diagnostic {
            file: self.file.to_owned(),
            line,
            column,
            path,
            message: fault.message,
            help: fault.help,
        }
    }
}

/// Lines whose first key or value, behind the dashes of a list, has a tab right before it; with the
/// column where that starts.
fn after_tabs(text: &str) -> BTreeMap<usize, usize> {
    let before_content = |c: char| matches!(c, ' ' | '\t' | '-' | '?');
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| line.contains('\t'));
    lines
        .filter_map(|(index, line)| {
            let content = line.trim_start_matches(before_content);
            let start = line.len() - content.len();
            let before = line.get(..start)?;
            let blank = before.trim_end_matches([' ', '\t']).len();
            before
                .get(blank..)?
                .contains('\t')
                .then_some((index + 1, start))
        })
        .collect()
}

/// The parser cannot go on, or must not.
struct Stopped(Box<Diagnostic>);

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    tree: Tree<'a>,
    /// Finished values by the parser's number of their anchor.
    anchors: BTreeMap<usize, NodeId>,
    /// Lines whose first key or value has a tab before it, each with the column where that starts.
    after_tabs: BTreeMap<usize, usize>,
    /// How many lists and mappings in brackets and braces are open.
    flows: usize,
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
                    let id = self.node(event, span, 1)?;
                    if !self.tree.is_null(id) {
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
                let rest = "the rest of this file was not checked";
                let fault = if error.info().ends_with(TAB) {
                    let help = format!("write a space; {rest}");
                    Fault::new("a tab before a value", help)
                } else {
                    Fault::new(format!("neither YAML nor JSON: {}", error.info()), rest)
                };
                Err(self.stop(marker.line(), marker.col() + 1, fault))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stop(&self, line: usize, column: usize, fault: Fault) -> Stopped {
        Stopped(Box::new(self.tree.at(line, column, String::new(), fault)))
    }

    fn report(&mut self, id: NodeId, fault: Fault) {
        let diagnostic = self.tree.diagnostic(id, String::new(), fault);
        self.diagnostics.push(diagnostic);
    }

    fn add(&mut self, span: Span, value: Value) -> Result<NodeId, Stopped> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        if self.tree.nodes.len() >= limits::VALUES_MAX {
            let message = format!("more than {} values in one file", limits::VALUES_MAX);
            return Err(self.stop(line, column, Fault::new(message, "split the file")));
        }
        self.tree.nodes.push(Node {
            line,
            column,
            value,
        });
        Ok(NodeId(self.tree.nodes.len() - 1))
    }

    /// The value that starts with `event`.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<NodeId, Stopped> {
        if depth > limits::DEPTH_MAX {
            let message = format!(
                "lists and mappings deeper than {} within each other",
                limits::DEPTH_MAX
            );
            let (line, column) = (span.start.line(), span.start.col() + 1);
            let fault = Fault::new(message, "no parser of protobuf goes deeper");
            return Err(self.stop(line, column, fault));
        }
        let (id, anchor, tagged) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = Value::Single {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                (self.add(span, value)?, anchor, tag.is_some())
            }
            Event::SequenceStart(anchor, tag) => {
                let id = self.add(span, Value::List(Vec::new()))?;
                // In block style, nothing marks the start.
                let flow = usize::from(!span.is_empty());
                self.flows += flow;
                let items = self.list(depth)?;
                self.flows -= flow;
                self.set(id, Value::List(items));
                (id, anchor, tag.is_some())
            }
            Event::MappingStart(anchor, tag) => {
                let id = self.add(span, Value::Mapping(Vec::new()))?;
                let flow = usize::from(!span.is_empty());
                self.flows += flow;
                let entries = self.mapping(depth)?;
                self.flows -= flow;
                self.set(id, Value::Mapping(entries));
                (id, anchor, tag.is_some())
            }
            Event::Alias(anchor) => {
                if let Some(target) = self.anchors.get(&anchor) {
                    return Ok(*target);
                }
                let (line, column) = (span.start.line(), span.start.col() + 1);
                let fault = Fault::new("an alias of the value that it is in", "write it out");
                return Err(self.stop(line, column, fault));
            }
            _ => {
                let nothing = Value::Single {
                    text: String::new(),
                    plain: true,
                };
                (self.add(span, nothing)?, 0, false)
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        if tagged {
            let fault = Fault::new(
                "tags (`!name`) are not supported",
                "remove it; quotes make a text of anything",
            );
            self.report(id, fault);
        }
        Ok(id)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<NodeId>, Stopped> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(items);
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(NodeId, NodeId)>, Stopped> {
        let mut entries = Vec::new();
        // Line and position of each key.
        let mut seen: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(entries);
            }
            let (line, column) = (span.start.line(), span.start.col());
            let key = self.node(event, span, depth + 1)?;
            if self.flows == 0 && self.after_tabs.get(&line) == Some(&column) {
                let help = "write spaces: Envoy takes no key there";
                self.report(key, Fault::new("a tab before a key", help));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = self.tree.text(key).map(str::to_owned) else {
                let fault =
                    Fault::new("a key that is a list or a mapping", "keys are single words");
                self.report(key, fault);
                continue;
            };
            if let Some((first, position)) = seen.get(&name) {
                let message = format!(
                    "{} stands twice in this mapping, first in line {first}",
                    shown(&name)
                );
                // Envoy goes on with the later one, and so does whoever looks for more mistakes.
                if let Some(entry) = entries.get_mut(*position) {
                    *entry = (key, value);
                }
                self.report(key, Fault::new(message, "remove one of them"));
                continue;
            }
            seen.insert(name, (line, entries.len()));
            entries.push((key, value));
        }
    }

    fn set(&mut self, id: NodeId, value: Value) {
        if let Some(node) = self.tree.nodes.get_mut(id.0) {
            node.value = value;
        }
    }
}
