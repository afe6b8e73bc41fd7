//! Rules for texts and bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prost_reflect::DynamicMessage;
use regex::{Regex, RegexBuilder};

use super::Findings;
use crate::config::diagnostic::shown;
use crate::config::fields::{count, get, texts, truth};

/// The rules of a text. The names are those of protoc-gen-validate; `len` counts characters.
#[derive(Debug, Default)]
pub(super) struct TextRules {
    pub(super) exactly: Option<String>,
    pub(super) len: Option<u64>,
    pub(super) min_len: Option<u64>,
    pub(super) max_len: Option<u64>,
    pub(super) len_bytes: Option<u64>,
    pub(super) min_bytes: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) pattern: Option<Regex>,
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) contains: Option<String>,
    pub(super) not_contains: Option<String>,
    pub(super) within: Vec<String>,
    pub(super) not_in: Vec<String>,
    pub(super) form: Option<Form>,
    pub(super) ignore_empty: bool,
}

/// The rules of bytes that Envoy's messages use.
#[derive(Debug, Default)]
pub(super) struct BytesRules {
    pub(super) len: Option<u64>,
    pub(super) min_len: Option<u64>,
    pub(super) max_len: Option<u64>,
    pub(super) ignore_empty: bool,
}

/// A well-known form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Email,
    Hostname,
    Ip,
    Ipv4,
    Ipv6,
    Uri,
    UriReference,
    Address,
    Uuid,
    HeaderName { strict: bool },
    HeaderValue { strict: bool },
}

// === impl TextRules ===

impl TextRules {
    pub(super) fn of(rules: &DynamicMessage) -> Self {
        let text = |name| get(rules, name)?.as_str().map(str::to_owned);
        // Absent means strict.
        let strict = get(rules, "strict").and_then(|value| value.as_bool()) != Some(false);
        let form = match get(rules, "well_known_regex").and_then(|value| value.as_enum_number()) {
            Some(1) => Some(Form::HeaderName { strict }),
            Some(2) => Some(Form::HeaderValue { strict }),
            _ => [
                ("email", Form::Email),
                ("hostname", Form::Hostname),
                ("ip", Form::Ip),
                ("ipv4", Form::Ipv4),
                ("ipv6", Form::Ipv6),
                ("uri", Form::Uri),
                ("uri_ref", Form::UriReference),
                ("address", Form::Address),
                ("uuid", Form::Uuid),
            ]
            .into_iter()
            .find(|(name, _)| truth(rules, name))
            .map(|(_, form)| form),
        };
        Self {
            exactly: text("const"),
            len: count(rules, "len"),
            min_len: count(rules, "min_len"),
            max_len: count(rules, "max_len"),
            len_bytes: count(rules, "len_bytes"),
            min_bytes: count(rules, "min_bytes"),
            max_bytes: count(rules, "max_bytes"),
            // The schema's expressions are RE2's, of which this is a superset but for `\C`; a test
            // compiles them all.
            pattern: text("pattern")
                .and_then(|pattern| RegexBuilder::new(&pattern).size_limit(1 << 24).build().ok()),
            prefix: text("prefix"),
            suffix: text("suffix"),
            contains: text("contains"),
            not_contains: text("not_contains"),
            within: texts(rules, "in"),
            not_in: texts(rules, "not_in"),
            form,
            ignore_empty: truth(rules, "ignore_empty"),
        }
    }

    pub(super) fn check(&self, text: &str, findings: &mut Findings<'_>) {
        if self.ignore_empty && text.is_empty() {
            return;
        }
        let mut breach = |rule: &str, message: String| {
            findings.add(&format!("string.{rule}"), message);
        };
        if let Some(wanted) = self.exactly.as_ref().filter(|wanted| *wanted != text) {
            breach("const", format!("must be {}", shown(wanted)));
        }
        let (characters, bytes) = (text.chars().count() as u64, text.len() as u64);
        for (rule, bound, count, unit) in [
            ("len", self.len, characters, "character"),
            ("len_bytes", self.len_bytes, bytes, "byte"),
        ] {
            if let Some(bound) = bound.filter(|bound| count != *bound) {
                breach(rule, format!("must have {bound} {unit}s, has {count}"));
            }
        }
        for (rule, bound, count, unit) in [
            ("min_len", self.min_len, characters, "character"),
            ("min_bytes", self.min_bytes, bytes, "byte"),
        ] {
            match bound.filter(|bound| count < *bound) {
                Some(1) => breach(rule, "must not be empty".to_owned()),
                Some(bound) => {
                    breach(
                        rule,
                        format!("must have at least {bound} {unit}s, has {count}"),
                    );
                }
                None => {}
            }
        }
        for (rule, bound, count, unit) in [
            ("max_len", self.max_len, characters, "character"),
            ("max_bytes", self.max_bytes, bytes, "byte"),
        ] {
            if let Some(bound) = bound.filter(|bound| count > *bound) {
                breach(
                    rule,
                    format!("must have at most {bound} {unit}s, has {count}"),
                );
            }
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(text)) {
            breach(
                "pattern",
                format!("{} doesn't match {pattern}", shown(text)),
            );
        }
        self.check_parts(text, &mut breach);
        if let Some(form) = self.form.filter(|form| !form.holds(text)) {
            breach(
                form.rule(),
                format!("{} is no {}", shown(text), form.words()),
            );
        }
    }

    fn check_parts(&self, text: &str, breach: &mut dyn FnMut(&str, String)) {
        if let Some(part) = self.prefix.as_ref().filter(|part| !text.starts_with(*part)) {
            breach("prefix", format!("must start with {}", shown(part)));
        }
        if let Some(part) = self.suffix.as_ref().filter(|part| !text.ends_with(*part)) {
            breach("suffix", format!("must end with {}", shown(part)));
        }
        if let Some(part) = self.contains.as_ref().filter(|part| !text.contains(*part)) {
            breach("contains", format!("must contain {}", shown(part)));
        }
        if let Some(part) = self.not_contains.as_ref().filter(|p| text.contains(*p)) {
            breach("not_contains", format!("can't contain {}", shown(part)));
        }
        if !self.within.is_empty() && !self.within.iter().any(|known| known == text) {
            breach("in", format!("must be one of {}", self.within.join(", ")));
        }
        if self.not_in.iter().any(|known| known == text) {
            breach("not_in", format!("can't be {}", shown(text)));
        }
    }
}

// === impl BytesRules ===

impl BytesRules {
    pub(super) fn check(&self, bytes: &[u8], findings: &mut Findings<'_>) {
        let count = bytes.len() as u64;
        if self.ignore_empty && count == 0 {
            return;
        }
        if let Some(bound) = self.len.filter(|bound| count != *bound) {
            findings.add("bytes.len", format!("must have {bound} bytes, has {count}"));
        }
        if let Some(bound) = self.min_len.filter(|bound| count < *bound) {
            let message = format!("must have at least {bound} bytes, has {count}");
            findings.add("bytes.min_len", message);
        }
        if let Some(bound) = self.max_len.filter(|bound| count > *bound) {
            let message = format!("must have at most {bound} bytes, has {count}");
            findings.add("bytes.max_len", message);
        }
    }
}

// === impl Form ===

impl Form {
    fn rule(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Ip => "ip",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Uri => "uri",
            Self::UriReference => "uri_ref",
            Self::Address => "address",
            Self::Uuid => "uuid",
            Self::HeaderName { .. } | Self::HeaderValue { .. } => "well_known_regex",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Email => "e-mail address",
            Self::Hostname => "host name",
            Self::Ip => "IP address",
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6 => "IPv6 address",
            Self::Uri => "URI with a scheme",
            Self::UriReference => "URI or path",
            Self::Address => "host name or IP address",
            Self::Uuid => "UUID",
            Self::HeaderName { .. } => "name of an HTTP header",
            Self::HeaderValue { .. } => "value of an HTTP header",
        }
    }

    fn holds(self, text: &str) -> bool {
        match self {
            Self::Email => match text.rsplit_once('@') {
                Some((local, host)) => !local.is_empty() && local.len() <= 64 && is_hostname(host),
                None => false,
            },
            Self::Hostname => is_hostname(text),
            Self::Ip => text.parse::<IpAddr>().is_ok(),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Uri => is_uri_reference(text) && has_scheme(text),
            Self::UriReference => is_uri_reference(text),
            Self::Address => is_hostname(text) || text.parse::<IpAddr>().is_ok(),
            Self::Uuid => is_uuid(text),
            Self::HeaderName { strict: true } => {
                let name = text.strip_prefix(':').unwrap_or(text);
                !name.is_empty() && name.bytes().all(is_token)
            }
            Self::HeaderValue { strict: true } => !text
                .chars()
                .any(|c| matches!(c, '\0'..='\x08' | '\x0a'..='\x1f' | '\x7f')),
            Self::HeaderName { strict: false } | Self::HeaderValue { strict: false } => {
                is_one_line(text)
            }
        }
    }
}

fn is_one_line(text: &str) -> bool {
    !text.contains(['\0', '\n', '\r'])
}

/// As the rule's own expression has it: `[0-9a-zA-Z!#$%&'*+-.^_|~\x60]`, where `+-.` is a range.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*'..=b'.' | b'^' | b'_' | b'|' | b'~' | b'`')
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Only characters that RFC 3986 lets stand in a URI.
fn is_uri_reference(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&b))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
