//! Format strings: `%COMMAND(argument):LENGTH%` in access logs, added headers, bodies.
//!
//! The grammar and the commands are those that Envoy 1.40 takes, found out command by command with
//! `envoy --mode validate`. A `%` that starts no command is an error in Envoy, which makes the
//! commonest mistake a percent sign that isn't doubled.

mod arguments;
mod commands;

use std::sync::LazyLock;

use prost_reflect::{DynamicMessage, Value};
use regex::Regex;

use self::commands::{Takes, command};
use super::at;
use crate::config::diagnostic::shown;
use crate::config::fields::{count_of, get, sub, subs, text};
use crate::config::rules::Findings;
use crate::config::spelling::Speller;

const RULE: &str = "envoy.format";

/// What is wrong with a format, and what would be right.
type Wrong = String;

/// `COMMAND(argument):LENGTH` and its closing `%`, at the start.
static COMMAND: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\A%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%").ok());

/// `SubstitutionFormatString`, of access logs and bodies.
pub(super) fn format_string(message: &DynamicMessage, findings: &mut Findings<'_>) {
    // What is configured beside it may bring commands of its own.
    let extended = count_of(message, "formatters") > 0;
    check_field(message, "text_format", extended, findings);
    if let Some(source) = sub(message, "text_format_source") {
        findings.path.field("text_format_source");
        check_field(&source, "inline_string", extended, findings);
        if let Some(Value::Bytes(bytes)) = get(&source, "inline_bytes")
            && let Err(wrong) = check(&String::from_utf8_lossy(&bytes), extended, findings.speller)
        {
            at(findings, "inline_bytes", RULE, wrong);
        }
        findings.path.pop();
    }
    if let Some(layout) = sub(message, "json_format") {
        findings.path.field("json_format");
        structure(&layout, extended, findings);
        findings.path.pop();
    }
}

/// `HeaderValueOption`: a header that Envoy adds.
pub(super) fn header(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if let Some(header) = sub(message, "header") {
        findings.path.field("header");
        // The old name of filter state, which only headers still know.
        let value = text(&header, "value").replace("%PER_REQUEST_STATE(", "%FILTER_STATE(");
        if let Err(wrong) = check(&value, false, findings.speller) {
            at(findings, "value", RULE, wrong);
        }
        findings.path.pop();
    }
}

/// Headers that go with calls over gRPC.
pub(super) fn grpc_service(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for (index, header) in subs(message, "initial_metadata").iter().enumerate() {
        findings.path.field("initial_metadata");
        findings.path.index(index);
        check_field(header, "value", false, findings);
        findings.path.pop();
        findings.path.pop();
    }
}

/// Where a TCP proxy tunnels to.
pub(super) fn tunnel(message: &DynamicMessage, findings: &mut Findings<'_>) {
    check_field(message, "hostname", false, findings);
}

/// A field that holds a format.
fn check_field(message: &DynamicMessage, field: &str, extended: bool, findings: &mut Findings<'_>) {
    if let Err(wrong) = check(&text(message, field), extended, findings.speller) {
        at(findings, field, RULE, wrong);
    }
}

/// Texts, numbers, booleans, lists and mappings of formats.
fn structure(layout: &DynamicMessage, extended: bool, findings: &mut Findings<'_>) {
    let Some(Value::Map(entries)) = get(layout, "fields") else {
        return;
    };
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let key = Value::from(key.clone());
        findings.path.key(key.as_str().unwrap_or_default());
        if let Some(value) = value.as_message() {
            layout_value(value, extended, findings);
        }
        findings.path.pop();
    }
}

fn layout_value(value: &DynamicMessage, extended: bool, findings: &mut Findings<'_>) {
    if let Some(inner) = sub(value, "struct_value") {
        structure(&inner, extended, findings);
    } else if let Some(inner) = sub(value, "list_value") {
        for (index, item) in subs(&inner, "values").iter().enumerate() {
            findings.path.index(index);
            layout_value(item, extended, findings);
            findings.path.pop();
        }
    } else if let Err(wrong) = check(&text(value, "string_value"), extended, findings.speller) {
        findings.add(RULE, wrong);
    }
}

/// Whether Envoy takes a format; `extended` if there may be commands that it doesn't have itself.
fn check(format: &str, extended: bool, speller: &Speller) -> Result<(), Wrong> {
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        rest = rest.get(start..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix("%%") {
            rest = after;
            continue;
        }
        let found = COMMAND.as_ref().and_then(|command| command.captures(rest));
        let Some(found) = found else {
            return Err(format!(
                "{} starts no command such as %REQ(:PATH)%; write %% for a percent sign",
                shown(rest)
            ));
        };
        let part = |group| found.get(group).map(|part| part.as_str());
        let (name, length) = (part(1).unwrap_or_default(), part(3));
        let argument = part(2).unwrap_or_default();
        if length.is_some_and(|length| length.parse::<u64>().is_err()) {
            return Err(format!(
                "{} is no length",
                shown(length.unwrap_or_default())
            ));
        }
        match command(name) {
            Some(takes) => check_command(name, takes, argument, length.is_some())?,
            None if extended => {}
            None => {
                let help = speller.suggest(name, commands::names(), "there are");
                return Err(format!("there is no command {}; {help}", shown(name)));
            }
        }
        rest = rest.get(part(0).map_or(1, str::len)..).unwrap_or_default();
    }
    Ok(())
}

fn check_command(name: &str, takes: Takes, argument: &str, length: bool) -> Result<(), Wrong> {
    match takes {
        Takes::Nothing if !argument.is_empty() || length => {
            return Err(format!("%{name}% takes no argument and no length"));
        }
        Takes::Argument(_) if length => return Err(format!("%{name}% takes no length")),
        _ => {}
    }
    let (Takes::Argument(rule) | Takes::ArgumentAndLength(rule)) = takes else {
        return Ok(());
    };
    rule(argument).map_err(|wrong| format!("%{name}(…)%: {wrong}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_envoy_takes() {
        for format in [
            "",
            "no commands",
            "100%%",
            "%PROTOCOL%",
            "%PROTOCOL()%",
            "%REQ(:PATH)%",
            "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):64%\n",
            "%REQ(a%b)%",
            "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
            "%START_TIME(%q)%%RESPONSE_CODE%",
            "%DYNAMIC_METADATA(a:b:c):9%",
            "%CLUSTER_METADATA(a:b)%",
            "%METADATA(LISTENER_FILTER_CHAIN:a):3%",
            "%FILTER_STATE(a:FIELD:b)%",
            "%COMMON_DURATION(A:B)%",
            "%COMMON_DURATION(A:B:ns)%",
            "%PATH:5%",
            "%PATH(WQ:ORIG_OR_PATH)%",
            "%GRPC_STATUS(SNAKE_STRING)%",
            "%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%",
        ] {
            assert_eq!(
                check(format, false, &Speller::default()),
                Ok(()),
                "{format}"
            );
        }
    }

    #[test]
    fn formats_that_envoy_refuses() {
        for (format, wanted) in [
            ("100%", "write %% for a percent sign"),
            ("%%%", "starts no command"),
            ("%REQ(X):%", "starts no command"),
            ("%REQ(X)", "starts no command"),
            ("%protocol%", "starts no command"),
            ("%START_TIME(\n)%", "starts no command"),
            ("%PROTOCOLL%", "did you mean `PROTOCOL`?"),
            ("%PROTOCOL(x)%", "takes no argument and no length"),
            ("%START_TIME:3%", "takes no length"),
            ("%START_TIME(%n)%", "newline"),
            ("%REQ%", "needs the name of a header"),
            ("%REQ(a b)%", "is no name of a header"),
            ("%REQ(a?b?c)%", "more than one alternative"),
            ("%REQ(X):99999999999999999999999%", "is no length"),
            ("%GRPC_STATUS(LOUD)%", "CAMEL_STRING"),
            ("%DYNAMIC_METADATA()%", "needs an argument"),
            ("%METADATA(MOON:a)%", "ROUTE"),
            ("%FILTER_STATE(a:FIELD)%", "FIELD"),
            ("%FILTER_STATE(a:LOUD)%", "PLAIN"),
            ("%FILTER_STATE(:PLAIN)%", "key"),
            ("%COMMON_DURATION(A)%", "START:END"),
            ("%COMMON_DURATION(A:B:h)%", "ms"),
            ("%PATH(x)%", "WQ"),
            ("%CEL()%", "needs an expression"),
        ] {
            let wrong = check(format, false, &Speller::default()).unwrap_err();
            assert!(wrong.contains(wanted), "{format}: {wrong}");
        }
    }

    #[test]
    fn commands_of_extensions_are_left_to_them() {
        assert_eq!(check("%TIDES(x):3%", true, &Speller::default()), Ok(()));
        assert!(check("%PROTOCOL(x)%", true, &Speller::default()).is_err());
    }
}
