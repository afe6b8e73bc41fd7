//! What each command takes between its parentheses.

use super::Wrong;
use crate::config::diagnostic::shown;

/// `name` or `name?alternative`.
pub(super) fn header(argument: &str) -> Result<(), Wrong> {
    if argument.is_empty() {
        return Err("needs the name of a header".to_owned());
    }
    let mut names = argument.split('?');
    let both = [names.next(), names.next()];
    if names.next().is_some() {
        return Err("more than one alternative".to_owned());
    }
    match both.into_iter().flatten().find(|name| !is_header(name)) {
        Some(name) => Err(format!("{} is no name of a header", shown(name))),
        None => Ok(()),
    }
}

/// Of letters, digits and some signs, perhaps with a colon before it; the alternative may be empty.
fn is_header(name: &str) -> bool {
    let name = name.strip_prefix(':').unwrap_or(name);
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(super) fn anything(_argument: &str) -> Result<(), Wrong> {
    Ok(())
}

pub(super) fn something(argument: &str) -> Result<(), Wrong> {
    if argument.is_empty() {
        return Err("needs an argument".to_owned());
    }
    Ok(())
}

/// A `strftime` format, which can't break the line.
pub(super) fn time(argument: &str) -> Result<(), Wrong> {
    let mut rest = argument;
    while let Some(start) = rest.find('%') {
        rest = rest.get(start + 1..).unwrap_or_default();
        let bare = rest
            .trim_start_matches(['-', '_', '0', '^', '#'])
            .trim_start_matches(|c: char| ('1'..='9').contains(&c));
        let bare = bare.strip_prefix(['E', 'O']).unwrap_or(bare);
        if bare.starts_with('n') {
            return Err("%n is a newline, which can't stand here".to_owned());
        }
    }
    Ok(())
}

pub(super) fn grpc_status(argument: &str) -> Result<(), Wrong> {
    one_of(argument, &["", "CAMEL_STRING", "SNAKE_STRING", "NUMBER"])
}

/// Whose metadata, and where in it.
pub(super) fn metadata(argument: &str) -> Result<(), Wrong> {
    let whose = argument.split(':').next().unwrap_or_default();
    one_of(
        whose,
        &[
            "DYNAMIC",
            "CLUSTER",
            "ROUTE",
            "UPSTREAM_HOST",
            "LISTENER",
            "VIRTUAL_HOST",
            "LISTENER_FILTER_CHAIN",
        ],
    )
}

/// `key`, `key:PLAIN`, `key:TYPED` or `key:FIELD:name`.
pub(super) fn filter_state(argument: &str) -> Result<(), Wrong> {
    let mut parts = argument.split(':');
    let (key, form) = (parts.next(), parts.next().unwrap_or_default());
    let field = parts.next().unwrap_or_default();
    if key.unwrap_or_default().is_empty() {
        return Err("needs a key".to_owned());
    }
    one_of(form, &["", "PLAIN", "TYPED", "FIELD"])?;
    if (form == "FIELD") == field.is_empty() {
        return Err("a field goes with FIELD, as in key:FIELD:name".to_owned());
    }
    Ok(())
}

/// `START:END` or `START:END:PRECISION`.
pub(super) fn common_duration(argument: &str) -> Result<(), Wrong> {
    let parts: Vec<&str> = argument.split(':').collect();
    match parts.as_slice() {
        [_, _] => Ok(()),
        [_, _, precision] => one_of(precision, &["ms", "us", "ns"]),
        _ => Err("is written START:END:PRECISION".to_owned()),
    }
}

/// With or without the query, and of which header.
pub(super) fn path(argument: &str) -> Result<(), Wrong> {
    let mut parts = argument.split(':');
    one_of(parts.next().unwrap_or_default(), &["", "WQ", "NQ"])?;
    let whose = parts.next().unwrap_or_default();
    one_of(whose, &["", "ORIG", "PATH", "ORIG_OR_PATH"])
}

pub(super) fn query_parameters(argument: &str) -> Result<(), Wrong> {
    one_of(argument, &["", "ORIG", "DECODED"])
}

pub(super) fn server_name(argument: &str) -> Result<(), Wrong> {
    let mut parts = argument.split(':');
    let first = parts.next().unwrap_or_default();
    one_of(first, &["", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"])?;
    let whose = parts.next().unwrap_or_default();
    one_of(whose, &["", "ORIG_OR_HOST", "HOST", "ORIG"])
}

/// An expression of the Common Expression Language, which isn't read here.
pub(super) fn expression(argument: &str) -> Result<(), Wrong> {
    if argument.trim().is_empty() {
        return Err("needs an expression".to_owned());
    }
    Ok(())
}

/// The empty one stands for nothing written.
fn one_of(found: &str, known: &[&str]) -> Result<(), Wrong> {
    if known.contains(&found) {
        return Ok(());
    }
    let named: Vec<&str> = known.iter().copied().filter(|k| !k.is_empty()).collect();
    Err(format!(
        "{} isn't one of {}",
        shown(found),
        named.join(", ")
    ))
}
