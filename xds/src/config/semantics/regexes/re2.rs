//! RE2: what Envoy matches with.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSetBinaryOpKind, ClassSetItem, ClassUnicode, ClassUnicodeKind,
    Flag, Flags, FlagsItemKind, GroupKind, HexLiteralKind, Literal, LiteralKind, RepetitionKind,
    RepetitionRange, Span, Visitor,
};

use super::{parsed, stacked};
use crate::config::diagnostic::shown;

/// How often RE2 repeats anything, repetitions of repetitions multiplied.
const REPEATS_MAX: u32 = 1_000;
/// Instructions of RE2 around an expression.
const INSTRUCTIONS_AROUND: u64 = 2;
/// And before one that may match anywhere.
const INSTRUCTIONS_OF_SEARCH: u64 = 2;
/// Scripts whose full names are as long as the abbreviations that RE2 doesn't know.
const SHORT_SCRIPTS: [&str; 7] = ["Cham", "Kawi", "Lisu", "Modi", "Newa", "Thai", "Toto"];

/// An expression with a backslash before each brace that starts no repetition, which RE2 takes for
/// itself and the parser here for a mistake.
pub(super) fn with_plain_braces(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut characters = expression.char_indices();
    while let Some((at, c)) = characters.next() {
        let rest = expression.get(at..).unwrap_or_default();
        match c {
            // With the braces of `\x{…}`, `\p{…}` and `\P{…}`.
            '\\' => {
                let braced = ["\\x{", "\\p{", "\\P{"]
                    .iter()
                    .any(|start| rest.starts_with(start));
                out.push(c);
                out.extend(
                    characters
                        .by_ref()
                        .take(1 + usize::from(braced))
                        .map(|(_, c)| c),
                );
            }
            '{' if !starts_repetition(rest) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// `{2}`, `{2,}` or `{2,5}`.
fn starts_repetition(text: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    let inner = text.strip_prefix('{').unwrap_or_default();
    let after = inner.trim_start_matches(digit);
    let end = match after.strip_prefix(',') {
        Some(most) => most.trim_start_matches(digit),
        None => after,
    };
    after.len() < inner.len() && end.starts_with('}')
}

/// Whether RE2 takes what the parser here does, and Envoy a program of that size.
pub(super) fn check(expression: &str, program_max: u64) -> Result<(), String> {
    let dialect = Re2 {
        expression,
        repeats: vec![REPEATS_MAX],
        sizes: vec![Vec::new()],
    };
    let tree = parsed(expression)?;
    let searches = u64::from(!may_be_anchored(&tree));
    let around = INSTRUCTIONS_AROUND + searches * INSTRUCTIONS_OF_SEARCH;
    let least = ast::visit(&tree, dialect)?.saturating_add(around);
    if least > program_max {
        return Err(format!(
            "it compiles to at least {least} instructions, and Envoy takes {program_max}, unless \
             `re2.max_program_size.error_level` in its runtime is more"
        ));
    }
    Ok(())
}

/// What of an expression RE2 wouldn't take; and how many instructions it can't do without.
struct Re2<'a> {
    expression: &'a str,
    /// How often what is being visited may still be repeated, of each repetition around it.
    repeats: Vec<u32>,
    /// The instructions of the parts visited so far, of each construct that is being visited.
    sizes: Vec<Vec<u64>>,
}

// === impl Re2 ===

impl Re2<'_> {
    fn source(&self, span: &Span) -> &str {
        self.expression
            .get(span.start.offset..span.end.offset)
            .unwrap_or_default()
    }

    /// `i`, `m`, `s` and `U` are all that RE2 has.
    fn flags(&self, flags: &Flags) -> Result<(), String> {
        let unknown = flags.items.iter().find(|item| {
            matches!(
                item.kind,
                FlagsItemKind::Flag(Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace)
            )
        });
        match unknown {
            Some(item) => Err(format!(
                "there is no flag {}",
                shown(self.source(&item.span))
            )),
            None => Ok(()),
        }
    }

    fn literal(&self, literal: &Literal) -> Result<(), String> {
        match literal.kind {
            LiteralKind::HexFixed(HexLiteralKind::X) | LiteralKind::HexBrace(HexLiteralKind::X) => {
                Ok(())
            }
            LiteralKind::HexFixed(_) | LiteralKind::HexBrace(_) => Err(format!(
                "{} is no escape; write \\x{{…}}",
                shown(self.source(&literal.span))
            )),
            _ => Ok(()),
        }
    }

    fn class(&self, class: &ClassUnicode) -> Result<(), String> {
        let known = match &class.kind {
            ClassUnicodeKind::OneLetter(_) => true,
            ClassUnicodeKind::Named(name) => is_re2_class(name),
            ClassUnicodeKind::NamedValue { .. } => false,
        };
        if known {
            return Ok(());
        }
        Err(format!(
            "there is no class {}; there are scripts as \\p{{Greek}} and categories as \\p{{Lu}}",
            shown(self.source(&class.span))
        ))
    }

    fn group(&self, kind: &GroupKind) -> Result<(), String> {
        match kind {
            GroupKind::CaptureName { name, .. }
                if !name
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
            {
                Err(format!(
                    "{} is no name of a group: letters, digits and `_`",
                    shown(&name.name)
                ))
            }
            GroupKind::NonCapturing(flags) => self.flags(flags),
            _ => Ok(()),
        }
    }
}

impl Visitor for Re2<'_> {
    /// Instructions.
    type Output = u64;
    type Err = String;

    fn finish(mut self) -> Result<u64, String> {
        Ok(sum(&self.sizes.pop().unwrap_or_default()))
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        self.sizes.push(Vec::new());
        match ast {
            Ast::Flags(set) => self.flags(&set.flags),
            Ast::Literal(literal) => self.literal(literal),
            Ast::ClassUnicode(class) => self.class(class),
            Ast::Group(group) => self.group(&group.kind),
            Ast::Repetition(repetition) => {
                stacked(&repetition.ast)?;
                let times = match repetition.op.kind {
                    RepetitionKind::Range(
                        RepetitionRange::Exactly(times)
                        | RepetitionRange::AtLeast(times)
                        | RepetitionRange::Bounded(_, times),
                    ) => times.max(1),
                    _ => 1,
                };
                let left = self.repeats.last().copied().unwrap_or_default();
                let left = left.checked_div(times).unwrap_or_default();
                self.repeats.push(left);
                if left == 0 {
                    return Err(format!("it repeats a part more than {REPEATS_MAX} times"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), String> {
        let parts = self.sizes.pop().unwrap_or_default();
        let size = match ast {
            Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) => 0,
            Ast::Literal(_)
            | Ast::Dot(_)
            | Ast::ClassUnicode(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_) => 1,
            Ast::Repetition(repetition) => {
                self.repeats.pop();
                // And a choice after each part that may be the last.
                let (times, choices) = match repetition.op.kind {
                    RepetitionKind::Range(RepetitionRange::Exactly(times)) => (times, 0),
                    RepetitionKind::Range(RepetitionRange::AtLeast(times)) => (times, 1),
                    RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => {
                        (most, most.saturating_sub(least))
                    }
                    RepetitionKind::ZeroOrOne => (1, 1),
                    _ => (1, 0),
                };
                match sum(&parts) {
                    0 => 0,
                    part => part
                        .saturating_mul(u64::from(times))
                        .saturating_add(u64::from(choices)),
                }
            }
            Ast::Group(group) => {
                // Where it starts, and where it ends.
                let captures = if group.is_capturing() { 2 } else { 0 };
                sum(&parts).saturating_add(captures)
            }
            // RE2 joins what alternatives have in common.
            Ast::Alternation(_) => parts.iter().copied().max().unwrap_or_default(),
            Ast::Concat(_) => sum(&parts),
        };
        match self.sizes.last_mut() {
            Some(around) => around.push(size),
            None => self.sizes.push(vec![size]),
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Literal(literal) => self.literal(literal),
            ClassSetItem::Range(range) => {
                self.literal(&range.start)?;
                self.literal(&range.end)
            }
            ClassSetItem::Unicode(class) => self.class(class),
            ClassSetItem::Bracketed(inner) => {
                let source = self.source(&inner.span);
                if source.starts_with("[:") && source.ends_with(":]") {
                    return Err(format!("there is no class {}", shown(source)));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        operation: &ast::ClassSetBinaryOp,
    ) -> Result<(), String> {
        match operation.kind {
            ClassSetBinaryOpKind::Difference => {
                Err("classes can't be subtracted; escape the hyphens".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Whether it may match nowhere but at the start; as deep as the parser lets groups be.
fn may_be_anchored(ast: &Ast) -> bool {
    match ast {
        Ast::Assertion(assertion) => matches!(
            assertion.kind,
            AssertionKind::StartLine | AssertionKind::StartText
        ),
        Ast::Group(group) => may_be_anchored(&group.ast),
        Ast::Repetition(repetition) => may_be_anchored(&repetition.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().any(may_be_anchored),
        Ast::Concat(concat) => {
            let mut parts = concat.asts.iter();
            let first = parts.find(|part| !matches!(part, Ast::Flags(_)));
            first.is_some_and(may_be_anchored)
        }
        _ => false,
    }
}

fn sum(sizes: &[u64]) -> u64 {
    sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
}

/// General categories by their short names, scripts by their full ones.
fn is_re2_class(name: &str) -> bool {
    let mut characters = name.chars();
    let capital = characters.next().is_some_and(|c| c.is_ascii_uppercase());
    let rest_is_small = characters.all(|c| c.is_ascii_lowercase());
    match name.len() {
        1 | 2 if name != "LC" => capital && rest_is_small,
        4 => SHORT_SCRIPTS.contains(&name),
        _ if name == "Any" => true,
        _ => {
            let words = name.split('_').all(|word| {
                word.starts_with(|c: char| c.is_ascii_uppercase()) || word.starts_with("ki")
            });
            words && regex::Regex::new(&format!("\\p{{Script={name}}}")).is_ok()
        }
    }
}
