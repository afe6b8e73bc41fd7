//! One mistake in a good configuration, as people make them: in the text.

use std::collections::BTreeMap;

use crate::kinds::{CHARACTERS, COMMANDS, KINDS, Kind, SYNTAX, VALUES};
use crate::lines::{Lines, Token, content, indent, indented, is_item, tokens};
use crate::random::Random;

/// Good configurations, and what mistakes borrow from them.
#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) good: Vec<(String, Lines)>,
    keys: Vec<String>,
    /// By key.
    values: BTreeMap<String, Vec<String>>,
    all_values: Vec<String>,
    types: Vec<String>,
    /// By the key under which they stand.
    blocks: BTreeMap<String, Vec<Vec<String>>>,
    all_blocks: Vec<Vec<String>>,
}

/// A configuration with one mistake, and what the mistake is. Some "mistakes" do no harm; that is
/// for the judges to say.
#[derive(Debug)]
pub(crate) struct Mutant {
    pub(crate) base: usize,
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) config: String,
}

// === impl Corpus ===

impl Corpus {
    pub(crate) fn new(good: &[(String, String)]) -> Self {
        let mut corpus = Self {
            good: Vec::new(),
            keys: Vec::new(),
            values: BTreeMap::new(),
            all_values: Vec::new(),
            types: Vec::new(),
            blocks: BTreeMap::new(),
            all_blocks: Vec::new(),
        };
        for (name, config) in good {
            let lines = Lines::new(config);
            for at in 0..lines.count() {
                corpus.learn(&lines, at);
            }
            corpus.good.push((name.clone(), lines));
        }
        corpus
    }

    fn learn(&mut self, lines: &Lines, at: usize) {
        let mut key = "";
        for token in tokens(lines.line(at)) {
            let word = lines.word(at, token);
            if token.is_key {
                key = word;
                self.keys.push(word.to_owned());
            } else {
                let of_key = self.values.entry(key.to_owned()).or_default();
                of_key.push(word.to_owned());
                self.all_values.push(word.to_owned());
                if key == "'@type'" {
                    self.types.push(word.to_owned());
                }
            }
        }
        let block = lines.block(at).to_vec();
        let of_parent = self.blocks.entry(lines.parent(at).to_owned()).or_default();
        of_parent.push(block.clone());
        self.all_blocks.push(block);
    }

    /// The mutant that this source of choices makes.
    pub(crate) fn mutant(&self, random: &mut Random) -> Mutant {
        let total = KINDS.iter().map(|(_, weight, _)| weight).sum();
        loop {
            let base = random.below(self.good.len());
            let (_, lines) = &self.good[base];
            let mut choice = random.below(total);
            let kind = KINDS.iter().find(|(_, weight, _)| {
                let found = choice < *weight;
                choice = choice.saturating_sub(*weight);
                found
            });
            let kind = kind.map_or(Kind::ValueOdd, |(kind, _, _)| *kind);
            // Not every mistake can be made in every line.
            for _ in 0..100 {
                let at = random.below(lines.count());
                let Some((what, changed)) = self.mistake(kind, lines, at, random) else {
                    continue;
                };
                let config = changed.text();
                // Without anything in it, a file is no configuration and no mistake.
                if config != lines.text() && !config.trim().is_empty() {
                    let what = format!("line {}: {what}", at + 1);
                    return Mutant {
                        base,
                        kind,
                        what,
                        config,
                    };
                }
            }
        }
    }

    fn mistake(
        &self,
        kind: Kind,
        lines: &Lines,
        at: usize,
        random: &mut Random,
    ) -> Option<(String, Lines)> {
        let line = lines.line(at);
        let found = tokens(line);
        let keys: Vec<Token> = found.iter().copied().filter(|t| t.is_key).collect();
        let values: Vec<Token> = found.iter().copied().filter(|t| !t.is_key).collect();
        let replace = |token: Token, new: &str| {
            let what = format!("{} becomes {new:.60}", lines.word(at, token));
            Some((what, lines.replaced(at, token, new)))
        };
        match kind {
            Kind::KeyMisspelt => {
                let key = some(&keys, random)?;
                replace(key, &misspelt(lines.word(at, key), random))
            }
            Kind::KeyOfAnother => {
                let key = some(&keys, random)?;
                replace(key, random.pick(&self.keys).as_str())
            }
            Kind::BlockRemoved => Some((
                format!("removed {}", line.trim()),
                lines.spliced(at, lines.block_end(at), &[]),
            )),
            Kind::BlockRepeated => {
                let end = lines.block_end(at);
                let what = format!("repeated {}", line.trim());
                Some((what, lines.spliced(end, end, lines.block(at))))
            }
            Kind::ItemNearlyRepeated => self.nearly_repeated(lines, at, random),
            Kind::BlockFromElsewhere => {
                let blocks = self.blocks.get(lines.parent(at))?;
                let block = random.pick(blocks);
                inserted(lines, at, block)
            }
            Kind::BlockMisplaced => inserted(lines, at, random.pick(&self.all_blocks).as_slice()),
            Kind::BlockEmptied => {
                let key = keys.first().copied()?;
                let end = lines.block_end(at);
                let empty = *random.pick(&["", " {}", " []", " null"]);
                let head = format!("{}:{empty}", &line[..key.end]);
                let what = format!("emptied {}", lines.word(at, key));
                Some((what, lines.spliced(at, end, &[head])))
            }
            Kind::ValueMisspelt => {
                let value = some(&values, random)?;
                replace(value, &misspelt(lines.word(at, value), random))
            }
            Kind::ValueOdd => replace(some(&values, random)?, random.pick::<&str>(&VALUES)),
            Kind::ValueOfSameKey => {
                let value = some(&values, random)?;
                let key = found
                    .iter()
                    .rev()
                    .find(|t| t.is_key && t.end <= value.start);
                let key = key.map_or("", |key| lines.word(at, *key));
                replace(value, random.pick(self.values.get(key)?).as_str())
            }
            Kind::ValueOfOtherKey => replace(
                some(&values, random)?,
                random.pick(&self.all_values).as_str(),
            ),
            Kind::NumberChanged => {
                let value = some(&values, random)?;
                let number: i64 = lines.word(at, value).parse().ok()?;
                let changes = [
                    number - 1,
                    number + 1,
                    -number,
                    number * 10,
                    number / 10,
                    number * 1_000_000,
                    0,
                    1,
                    i64::from(u32::MAX) + number,
                    i64::MAX,
                ];
                replace(value, &random.pick(&changes).to_string())
            }
            Kind::DurationChanged => {
                let value = some(&values, random)?;
                let word = lines.word(at, value);
                let number = word.strip_suffix('s')?;
                number.parse::<f64>().ok()?;
                let changes = [
                    number.to_owned(),
                    format!("{number}ms"),
                    format!("{number}m"),
                    format!("-{number}s"),
                    "0s".to_owned(),
                    "0.0009s".to_owned(),
                    "0.0000000001s".to_owned(),
                    format!("{number}000s"),
                    "9223372037s".to_owned(),
                    format!(" {number} s"),
                ];
                replace(value, random.pick(&changes).as_str())
            }
            Kind::TypeChanged => {
                let value = some(&values, random)?;
                let is_type = lines.word(at, value).contains("type.googleapis.com/");
                let new = match random.below(6) {
                    0 => "type.googleapis.com/envoy.no.Such".to_owned(),
                    1 => lines.word(at, value).replace("type.googleapis.com/", ""),
                    _ => random.pick(&self.types).clone(),
                };
                is_type.then(|| replace(value, &new))?
            }
            Kind::FormatDamaged => {
                let texts: Vec<Token> = values
                    .iter()
                    .copied()
                    .filter(|value| lines.word(at, *value).contains('%'))
                    .collect();
                let value = some(&texts, random)?;
                let word = lines.word(at, value);
                let new = match random.below(4) {
                    0 => misspelt(word, random),
                    1 => format!("'{}'", random.pick(&COMMANDS)),
                    2 => {
                        let place = random.below(word.matches('%').count());
                        let (index, _) = word.match_indices('%').nth(place)?;
                        format!("{}{}", &word[..index], &word[index + 1..])
                    }
                    _ => {
                        let (index, _) = word.match_indices('%').next()?;
                        let command = random.pick(&COMMANDS);
                        format!("{}{command}{}", &word[..index], &word[index..])
                    }
                };
                replace(value, &new)
            }
            Kind::CharactersInserted => {
                let value = some(&values, random)?;
                let word = lines.word(at, value).trim_matches(['\'', '"']);
                let new = if random.below(12) == 0 {
                    "x".repeat(20_000)
                } else {
                    let places: Vec<usize> = word.char_indices().map(|(at, _)| at).collect();
                    let place = places.get(random.below(places.len() + 1));
                    let place = *place.unwrap_or(&word.len());
                    let inserted = random.pick(&CHARACTERS);
                    format!("\"{}{inserted}{}\"", &word[..place], &word[place..])
                };
                replace(value, &new)
            }
            Kind::IndentationShifted => {
                let by = random.below(3);
                let new = match by {
                    1.. => format!("{:by$}{line}", ""),
                    _ => line.get(1..)?.to_owned(),
                };
                Some(("shifted".to_owned(), lines.with_line(at, new)))
            }
            Kind::SyntaxDamaged => {
                let places: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
                let place = *random.pick(&places);
                let character = *random.pick(&SYNTAX);
                let new = match random.below(2) {
                    0 => format!("{}{character}{}", &line[..place], &line[place..]),
                    _ => {
                        let mut rest = line[place..].chars();
                        rest.next();
                        format!("{}{character}{}", &line[..place], rest.as_str())
                    }
                };
                Some((format!("{character} in it"), lines.with_line(at, new)))
            }
        }
    }

    /// An item again, one value of it changed: what must be unique, and what mustn't overlap.
    fn nearly_repeated(
        &self,
        lines: &Lines,
        at: usize,
        random: &mut Random,
    ) -> Option<(String, Lines)> {
        is_item(lines.line(at)).then_some(())?;
        let copy = Lines::new(&lines.block(at).join("\n"));
        let place = random.below(copy.count());
        let values: Vec<Token> = tokens(copy.line(place))
            .into_iter()
            .filter(|token| !token.is_key)
            .collect();
        let value = some(&values, random)?;
        let changed = match random.below(3) {
            0 => copy.replaced(place, value, random.pick::<&str>(&VALUES)),
            1 => copy.replaced(place, value, random.pick(&self.all_values).as_str()),
            _ => copy.replaced(place, value, &misspelt(copy.word(place, value), random)),
        };
        let changed: Vec<String> = changed.text().lines().map(str::to_owned).collect();
        let end = lines.block_end(at);
        let what = format!("repeated {} with a change", lines.line(at).trim());
        Some((what, lines.spliced(end, end, &changed)))
    }
}

fn some(tokens: &[Token], random: &mut Random) -> Option<Token> {
    (!tokens.is_empty()).then(|| *random.pick(tokens))
}

/// A block before a line, as its sibling.
fn inserted(lines: &Lines, at: usize, block: &[String]) -> Option<(String, Lines)> {
    let (line, first) = (lines.line(at), block.first()?);
    let what = format!("before it {}", first.trim());
    match (is_item(line), is_item(first)) {
        (true, true) | (false, false) => {
            let block = indented(block, indent(line));
            Some((what, lines.spliced(at, at, &block)))
        }
        // Beside the first key of an item: after what hangs on it.
        (true, false) => {
            let own = content(line);
            let hangs = |place: usize| {
                let deep = indent(lines.line(place));
                deep > own || (deep == own && is_item(lines.line(place)))
            };
            let mut place = at + 1;
            while place < lines.count() && hangs(place) {
                place += 1;
            }
            Some((what, lines.spliced(place, place, &indented(block, own))))
        }
        (false, true) => None,
    }
}

fn misspelt(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return "x".to_owned();
    }
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
