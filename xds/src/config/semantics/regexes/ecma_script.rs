//! ECMAScript in `std::regex`: what Envoy finds the tags of statistics with.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSetBinaryOpKind, ClassSetItem, GroupKind, HexLiteralKind,
    Literal, LiteralKind, Span, SpecialLiteralKind, Visitor,
};

use super::{parsed, stacked};
use crate::config::diagnostic::shown;

/// Whether `std::regex` takes an expression.
pub(super) fn check(expression: &str) -> Result<(), String> {
    let (common, references) = without_references(expression);
    let dialect = EcmaScript {
        expression: &common,
        groups: 0,
    };
    let groups = ast::visit(&parsed(&common)?, dialect)?;
    match references.iter().max() {
        Some(most) if *most > groups => Err(format!(
            "\\{most} is no group of the expression, which has {groups}"
        )),
        _ => Ok(()),
    }
}

/// What ECMAScript has and the parser here doesn't, in terms of what it has: a look ahead is a
/// group, a control character is a letter, and references to groups are told apart.
fn without_references(expression: &str) -> (String, Vec<u32>) {
    let (mut common, mut references, mut in_class) = (String::new(), Vec::new(), false);
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\\' {
            let next = tail.chars().next();
            let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = tail.split_at(digits);
            let letter = tail.strip_prefix('c').and_then(|t| t.chars().next());
            if number.starts_with(|c| c != '0') && !in_class {
                references.push(number.parse().unwrap_or(u32::MAX));
                common.push_str("(?:)");
                rest = after;
            } else if letter.is_some_and(|letter| letter.is_ascii_alphabetic()) || next == Some('0')
            {
                common.push('c');
                rest = tail
                    .get(if next == Some('0') { 1 } else { 2 }..)
                    .unwrap_or_default();
            } else {
                common.push(c);
                common.extend(next);
                rest = tail
                    .get(next.map_or(0, char::len_utf8)..)
                    .unwrap_or_default();
            }
            continue;
        }
        match c {
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                if let Some(after) = tail.strip_prefix("?=").or_else(|| tail.strip_prefix("?!")) {
                    common.push_str("(?:");
                    rest = after;
                    continue;
                }
            }
            _ => {}
        }
        common.push(c);
        rest = tail;
    }
    (common, references)
}

/// What of an expression ECMAScript wouldn't take.
struct EcmaScript<'a> {
    expression: &'a str,
    /// That capture.
    groups: u32,
}

// === impl EcmaScript ===

impl EcmaScript<'_> {
    fn source(&self, span: &Span) -> &str {
        self.expression
            .get(span.start.offset..span.end.offset)
            .unwrap_or_default()
    }

    fn refuse(&self, span: &Span) -> Result<(), String> {
        let source = shown(self.source(span));
        Err(format!("ECMAScript, which tags are in, has no {source}"))
    }

    fn literal(&self, literal: &Literal) -> Result<(), String> {
        match literal.kind {
            LiteralKind::Verbatim if matches!(literal.c, ']' | '}') => self.refuse(&literal.span),
            LiteralKind::HexBrace(_)
            | LiteralKind::HexFixed(HexLiteralKind::UnicodeLong)
            | LiteralKind::Special(SpecialLiteralKind::Bell) => self.refuse(&literal.span),
            _ => Ok(()),
        }
    }
}

impl Visitor for EcmaScript<'_> {
    /// How many groups capture.
    type Output = u32;
    type Err = String;

    fn finish(self) -> Result<u32, String> {
        Ok(self.groups)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Flags(flags) => self.refuse(&flags.span),
            Ast::ClassUnicode(class) => self.refuse(&class.span),
            Ast::Literal(literal) => self.literal(literal),
            Ast::ClassBracketed(class) => {
                let source = self.source(&class.span);
                if source.starts_with("[]") || source.starts_with("[^]") {
                    return self.refuse(&class.span);
                }
                Ok(())
            }
            Ast::Group(group) => match &group.kind {
                GroupKind::CaptureIndex(_) => {
                    self.groups += 1;
                    Ok(())
                }
                GroupKind::NonCapturing(flags) if flags.items.is_empty() => Ok(()),
                _ => self.refuse(&group.span),
            },
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary
                // Which ECMAScript takes for characters.
                | AssertionKind::WordBoundaryStartAngle
                | AssertionKind::WordBoundaryEndAngle => Ok(()),
                _ => self.refuse(&assertion.span),
            },
            Ast::Repetition(repetition) => {
                stacked(&repetition.ast)?;
                if matches!(*repetition.ast, Ast::Assertion(_)) {
                    return self.refuse(&repetition.span);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Unicode(class) => self.refuse(&class.span),
            ClassSetItem::Bracketed(inner) => self.refuse(&inner.span),
            ClassSetItem::Ascii(class) if class.negated => self.refuse(&class.span),
            // Which mean themselves within a class.
            ClassSetItem::Literal(literal) if literal.kind == LiteralKind::Verbatim => Ok(()),
            ClassSetItem::Literal(literal) => self.literal(literal),
            ClassSetItem::Range(range) => {
                self.literal(&range.start)?;
                self.literal(&range.end)
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        operation: &ast::ClassSetBinaryOp,
    ) -> Result<(), String> {
        match operation.kind {
            ClassSetBinaryOpKind::Difference => self.refuse(&operation.span),
            _ => Ok(()),
        }
    }
}
