//! What is wrong with a configuration, where, and what would be right.

use std::fmt;

/// Characters of the operator's own text that a message repeats.
const SHOWN_CHARACTERS: usize = 60;

/// One thing that is wrong with a configuration.
///
/// Displays as `file:line:column: path: message; help`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file, as it was named to the reader.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The place within the document, such as `static_resources.clusters[1].connect_timeout`;
    /// empty for the document itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty when the message says it.
    pub help: String,
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: String,
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

// === impl Diagnostic ===

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The operator's own text in a message: quoted, short, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut short = printable(text, SHOWN_CHARACTERS);
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

/// At most the first `characters` of a text, without control characters.
pub(super) fn printable(text: &str, characters: usize) -> String {
    text.chars()
        .take(characters)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
