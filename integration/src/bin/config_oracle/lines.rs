//! The lines of a configuration in YAML: which hang on which, and what stands in them.

/// A part of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) is_key: bool,
}

/// A configuration as lines without comments and blank ones, so that every line can be mistaken.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Vec<String>);

// === impl Lines ===

impl Lines {
    pub(crate) fn new(config: &str) -> Self {
        let counts = |line: &&str| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with('#')
        };
        Self(config.lines().filter(counts).map(str::to_owned).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn line(&self, at: usize) -> &str {
        &self.0[at]
    }

    pub(crate) fn text(&self) -> String {
        self.0.join("\n") + "\n"
    }

    /// With a line in place of another.
    pub(crate) fn with_line(&self, at: usize, line: String) -> Self {
        let mut lines = self.0.clone();
        lines[at] = line;
        Self(lines)
    }

    /// With the lines of a range taken out and others in their place.
    pub(crate) fn spliced(&self, from: usize, to: usize, others: &[String]) -> Self {
        Self([&self.0[..from], others, &self.0[to..]].concat())
    }

    pub(crate) fn replaced(&self, at: usize, token: Token, new: &str) -> Self {
        let line = &self.0[at];
        let changed = format!("{}{new}{}", &line[..token.start], &line[token.end..]);
        self.with_line(at, changed)
    }

    pub(crate) fn word(&self, at: usize, token: Token) -> &str {
        &self.0[at][token.start..token.end]
    }

    pub(crate) fn block(&self, at: usize) -> &[String] {
        &self.0[at..self.block_end(at)]
    }

    /// The end of what hangs on a line: all that is indented deeper.
    pub(crate) fn block_end(&self, at: usize) -> usize {
        let own = indent(&self.0[at]);
        let is_item = is_item(&self.0[at]);
        let mut end = at + 1;
        while end < self.0.len() {
            let deep = indent(&self.0[end]);
            // A list may stand at the indentation of its key.
            let list = deep == own && !is_item && self::is_item(&self.0[end]);
            if deep <= own && !list {
                break;
            }
            end += 1;
        }
        end
    }

    /// The key under which a line stands; empty at the top.
    pub(crate) fn parent(&self, at: usize) -> &str {
        let mut own = content(&self.0[at]);
        let mut lists = is_item(&self.0[at]);
        for before in (0..at).rev() {
            let line = &self.0[before];
            let starts = content(line);
            // An item's key is deeper than its dash.
            let above = starts < own || (lists && starts <= own && !is_item(line));
            if above {
                if let Some(key) = self.key(before) {
                    return key;
                }
                (own, lists) = (starts, is_item(line));
            }
        }
        ""
    }

    /// The key that a line starts with.
    pub(crate) fn key(&self, at: usize) -> Option<&str> {
        let first = tokens(&self.0[at]).into_iter().next()?;
        first.is_key.then(|| self.word(at, first))
    }
}

/// Keys and values of a line, in block or flow style.
pub(crate) fn tokens(line: &str) -> Vec<Token> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'{' | b'}' | b'[' | b']' | b',' => at += 1,
            b'-' if bytes.get(at + 1).is_none_or(|next| *next == b' ') => at += 1,
            b'#' => break,
            quote @ (b'\'' | b'"') => {
                let start = at;
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if quote == b'"' && bytes[at] == b'\\' {
                        2
                    } else {
                        1
                    };
                }
                at = (at + 1).min(bytes.len());
                found.push(token(line, start, at));
            }
            _ => {
                let start = at;
                while at < bytes.len() && !matches!(bytes[at], b',' | b'}' | b']') {
                    let ends = bytes[at] == b':' && bytes.get(at + 1).is_none_or(|b| *b == b' ');
                    if ends {
                        break;
                    }
                    at += 1;
                }
                found.push(token(line, start, at));
            }
        }
        if bytes.get(at) == Some(&b':') {
            at += 1;
        }
    }
    found
}

fn token(line: &str, start: usize, end: usize) -> Token {
    let is_key = line[end..].starts_with(':');
    Token { start, end, is_key }
}

pub(crate) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub(crate) fn is_item(line: &str) -> bool {
    line.trim_start().starts_with("- ")
}

/// Where a line's first key or value starts.
pub(crate) fn content(line: &str) -> usize {
    let start = indent(line);
    if is_item(line) {
        start + 2 + indent(&line[start + 2..])
    } else {
        start
    }
}

/// A block as it must be written for its first line to start at `to`.
pub(crate) fn indented(block: &[String], to: usize) -> Vec<String> {
    let from = block.first().map_or(0, |line| indent(line));
    block
        .iter()
        .map(|line| format!("{}{}", " ".repeat(to), line.get(from..).unwrap_or_default()))
        .collect()
}
