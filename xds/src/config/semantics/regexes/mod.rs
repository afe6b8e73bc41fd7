//! Regular expressions. The parser is that of Rust's; what it takes and Envoy doesn't is looked for
//! in the parsed expression.
//!
//! Envoy speaks two dialects: RE2's, and ECMAScript's for the tags of statistics. Both were found
//! out construct by construct with `envoy --mode validate` of 1.40.

mod ecma_script;
mod re2;

use prost_reflect::DynamicMessage;
use regex::RegexBuilder;
use regex_syntax::ast::Ast;
use regex_syntax::ast::parse::Parser;

use super::at;
use crate::config::diagnostic::shown;
use crate::config::fields::text;
use crate::config::rules::Findings;

/// Of a compiled expression, in the memory of the parser here.
const REGEX_BYTES_MAX: usize = 1 << 24;
const RULE: &str = "envoy.regex";

/// `RegexMatcher`, of RE2.
pub(super) fn matcher(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let expression = text(message, "regex");
    let most = findings.regex_program_max;
    let plain = re2::with_plain_braces(&expression);
    let checked = compiles(&plain).and_then(|()| re2::check(&plain, most));
    report(findings, &expression, checked);
}

/// `TagSpecifier`, of ECMAScript.
pub(super) fn tag(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let expression = text(message, "regex");
    if !expression.is_empty() {
        report(findings, &expression, ecma_script::check(&expression));
    }
}

/// The groups of an expression of RE2, if it is one.
pub(super) fn groups(expression: &str) -> Option<usize> {
    let regex = RegexBuilder::new(&re2::with_plain_braces(expression))
        .size_limit(REGEX_BYTES_MAX)
        .build();
    regex
        .ok()
        .map(|regex| regex.captures_len().saturating_sub(1))
}

/// Whether it is an expression at all.
fn compiles(expression: &str) -> Result<(), String> {
    let compiled = RegexBuilder::new(expression)
        .size_limit(REGEX_BYTES_MAX)
        .build();
    compiled.map(drop).map_err(|cause| {
        let cause = cause.to_string();
        let reason = cause.lines().last().unwrap_or_default();
        reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
    })
}

fn report(findings: &mut Findings<'_>, expression: &str, checked: Result<(), String>) {
    if let Err(reason) = checked {
        let message = format!("{} is no regular expression: {reason}", shown(expression));
        at(findings, "regex", RULE, message);
    }
}

fn parsed(expression: &str) -> Result<Ast, String> {
    Parser::new()
        .parse(expression)
        .map_err(|cause| cause.kind().to_string())
}

/// No dialect but Rust's repeats a repetition.
fn stacked(repeated: &Ast) -> Result<(), String> {
    match repeated {
        Ast::Repetition(_) => Err("a repetition can't be repeated; put it into `(?:…)`".to_owned()),
        _ => Ok(()),
    }
}
