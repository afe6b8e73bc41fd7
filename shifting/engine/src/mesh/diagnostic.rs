//! What is wrong with a mesh, where, and what would be right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a source line that an excerpt shows.
const EXCERPT_CHARACTERS: usize = 100;
/// Characters of the operator's own text that a message repeats.
const SHOWN_CHARACTERS: usize = 60;

/// One file of a mesh, as the program read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As people should see it in a diagnostic; usually relative to the mesh's directory.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// One thing that is wrong with a mesh.
///
/// Displays as `file:line:column: path: message; help` and the line with a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// [`SourceFile::path`]; `mesh` for what no single file is to blame for.
    pub file: String,
    /// From 1; 0 for what no place in a file is to blame for.
    pub line: usize,
    /// In characters, from 1; 0 for what no place in a file is to blame for.
    pub column: usize,
    /// The place within the document, such as `versions.v1.hosts[0].address`; empty for the
    /// document itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty when the message says it.
    pub help: String,
    /// The line with a caret under the place; empty without a place.
    pub excerpt: String,
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
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

impl Diagnostic {
    /// A fault that no place in a file is to blame for.
    pub(super) fn of_file(file: &str, fault: Fault) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message: fault.message,
            help: fault.help,
            excerpt: String::new(),
        }
    }

    /// A fault at a place (`line` and `column` from 1). The excerpt comes later, with
    /// [`add_excerpt`](Self::add_excerpt): to find a line is to read the file up to it.
    pub(super) fn at(
        file: &SourceFile,
        line: usize,
        column: usize,
        path: String,
        fault: Fault,
    ) -> Self {
        Self {
            file: file.path.clone(),
            line,
            column,
            path,
            message: fault.message,
            help: fault.help,
            excerpt: String::new(),
        }
    }

    /// Shows the place in the text of its file.
    pub(super) fn add_excerpt(&mut self, text: &str) {
        self.excerpt = excerpt(text, self.line, self.column);
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        if !self.excerpt.is_empty() {
            write!(f, "\n{}", self.excerpt)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The line with a caret under the column. Of a long line, the part around the column.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let Some(source) = line
        .checked_sub(1)
        .and_then(|index| text.lines().nth(index))
    else {
        return String::new();
    };
    let first = column.saturating_sub(EXCERPT_CHARACTERS / 2 + 1);
    let part: String = source
        .chars()
        .skip(first)
        .take(EXCERPT_CHARACTERS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let gutter = line.to_string();
    format!(
        "{blank} |\n{gutter} | {part}\n{blank} | {space}^",
        blank = " ".repeat(gutter.len()),
        part = part.trim_end(),
        space = " ".repeat(column.saturating_sub(first + 1)),
    )
}

/// The operator's own text in a message: quoted, short, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(SHOWN_CHARACTERS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

/// `known` for people: quoted, with commas.
pub(super) fn listed<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = known.into_iter().map(shown).collect();
    if names.len() > 20 {
        let more = names.len() - 20;
        names.truncate(20);
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// `did you mean …?` when one of `known` is close to `text`, else what there is.
pub(super) fn suggest<'a>(
    text: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> String {
    let closest = known
        .clone()
        .into_iter()
        .filter_map(|name| distance_if_close(text, name).map(|distance| (distance, name)))
        .min();
    match closest {
        Some((_, name)) => format!("did you mean {}?", shown(name)),
        None => format!("{what}: {}", listed(known)),
    }
}

/// Whether `text` may be a misspelt `name`.
pub(super) fn is_close(text: &str, name: &str) -> bool {
    distance_if_close(text, name).is_some()
}

fn distance_if_close(text: &str, name: &str) -> Option<usize> {
    // Texts longer than any name that is allowed are not worth the quadratic comparison.
    if text.len() > 100 {
        return None;
    }
    let distance = strsim::osa_distance(text, name);
    (distance <= (text.chars().count() / 3).max(1)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place_with_a_caret() {
        let file = SourceFile {
            path: "shop.yaml".into(),
            text: "a: 1\n  bc: 2\n".into(),
        };
        let mut diagnostic =
            Diagnostic::at(&file, 2, 3, "bc".into(), Fault::new("is wrong", "say 3"));
        diagnostic.add_excerpt(&file.text);
        assert_eq!(
            diagnostic.to_string(),
            "shop.yaml:2:3: bc: is wrong; say 3\n  |\n2 |   bc: 2\n  |   ^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}x{}", "-".repeat(500), "-".repeat(500));
        let excerpt = excerpt(&text, 1, 501);
        let lines: Vec<&str> = excerpt.lines().collect();
        assert!(lines[1].len() <= EXCERPT_CHARACTERS + 4);
        assert_eq!(lines[1].find('x'), lines[2].find('^'));
    }

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(
            suggest("latncy", ["success", "latency"], "known"),
            "did you mean `latency`?"
        );
        assert_eq!(
            suggest("colour", ["success", "latency"], "known"),
            "known: `success`, `latency`"
        );
    }
}
