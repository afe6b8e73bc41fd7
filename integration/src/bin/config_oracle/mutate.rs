//! One mistake in a good configuration, as people make them: in the text.

/// A deterministic source of choices (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

/// A part of a line.
#[derive(Debug, Clone, Copy)]
struct Token {
    start: usize,
    end: usize,
    is_key: bool,
}

/// What takes the place of a value.
const VALUES: [&str; 34] = [
    "''",
    "0",
    "-1",
    "1",
    "101",
    "65536",
    "4294967296",
    "99999999999999999999",
    "1.5",
    "true",
    "no",
    "null",
    "[]",
    "{}",
    "[a]",
    "{a: b}",
    "text",
    "'5'",
    "0s",
    "-1s",
    "1ms",
    "0.0000000001s",
    "315576000001s",
    "9223372037s",
    "5",
    "UNKNOWN",
    "localhost",
    "256.0.0.1",
    "'*'",
    "'(unclosed'",
    "\"line\\nbreak\"",
    "\"nul\\0\"",
    "a b",
    "%UNKNOWN(x)%",
];

// === impl Random ===

impl Random {
    /// Differs for each number under one seed.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A configuration with one mistake, and what the mistake is. Some "mistakes" do no harm; that is
/// for the judges to say.
pub(crate) fn mutate(config: &str, random: &mut Random) -> (String, String) {
    let lines: Vec<&str> = config.lines().collect();
    loop {
        let at = random.below(lines.len());
        let line = lines[at];
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let tokens = tokens(line);
        let keys: Vec<Token> = tokens.iter().copied().filter(|t| t.is_key).collect();
        let values: Vec<Token> = tokens.iter().copied().filter(|t| !t.is_key).collect();
        let number = at + 1;
        let (what, changed) = match random.below(10) {
            0 if !keys.is_empty() => {
                let key = *random.pick(&keys);
                let new = misspell(&line[key.start..key.end], random);
                (
                    format!("line {number}: key {new}"),
                    replaced(&lines, at, key, &new),
                )
            }
            1 if !keys.is_empty() => {
                let (key, other) = (*random.pick(&keys), a_key(&lines, random));
                (
                    format!("line {number}: key {other}"),
                    replaced(&lines, at, key, &other),
                )
            }
            2 | 3 => (
                format!("line {number} removed: {}", line.trim()),
                without_block(&lines, at),
            ),
            4 => (
                format!("line {number} repeated: {}", line.trim()),
                with_block_twice(&lines, at),
            ),
            5 if !values.is_empty() => {
                let value = *random.pick(&values);
                let new = misspell(&line[value.start..value.end], random);
                (
                    format!("line {number}: value {new}"),
                    replaced(&lines, at, value, &new),
                )
            }
            6.. if !values.is_empty() => {
                let (value, new) = (*random.pick(&values), *random.pick(&VALUES));
                (
                    format!("line {number}: value {new}"),
                    replaced(&lines, at, value, new),
                )
            }
            _ => continue,
        };
        if changed != config.trim_end() {
            return (what, changed + "\n");
        }
    }
}

/// Keys and values of a line, in block or flow style.
fn tokens(line: &str) -> Vec<Token> {
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
                    at += 1;
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

fn a_key(lines: &[&str], random: &mut Random) -> String {
    loop {
        let line = *random.pick(lines);
        if let Some(key) = tokens(line).iter().find(|token| token.is_key) {
            return line[key.start..key.end].to_owned();
        }
    }
}

fn misspell(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len());
    match random.below(4) {
        0 if characters.len() > 1 => {
            characters.remove(at);
        }
        1 => characters.insert(at, 'x'),
        2 if at + 1 < characters.len() => characters.swap(at, at + 1),
        _ => {
            let c = characters[at];
            characters[at] = if c.is_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            };
        }
    }
    characters.into_iter().collect()
}

fn replaced(lines: &[&str], at: usize, token: Token, new: &str) -> String {
    let line = lines[at];
    let changed = format!("{}{new}{}", &line[..token.start], &line[token.end..]);
    let mut lines: Vec<&str> = lines.to_vec();
    lines[at] = &changed;
    lines.join("\n")
}

/// The end of what hangs on a line: all that is indented deeper.
fn block_end(lines: &[&str], at: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(lines[at]);
    let is_item = lines[at].trim_start().starts_with("- ");
    let mut end = at + 1;
    while end < lines.len() {
        let deep = indent(lines[end]);
        // A list may stand at the indentation of its key.
        let list = deep == own && !is_item && lines[end].trim_start().starts_with("- ");
        if deep <= own && !list {
            break;
        }
        end += 1;
    }
    end
}

fn without_block(lines: &[&str], at: usize) -> String {
    let end = block_end(lines, at);
    [&lines[..at], &lines[end..]].concat().join("\n")
}

fn with_block_twice(lines: &[&str], at: usize) -> String {
    let end = block_end(lines, at);
    [&lines[..end], &lines[at..]].concat().join("\n")
}
