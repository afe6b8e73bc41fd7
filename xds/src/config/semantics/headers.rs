//! Headers that Envoy adds and removes.

use prost_reflect::DynamicMessage;

use super::at;
use crate::config::diagnostic::shown;
use crate::config::fields::{sub, subs, text, texts};
use crate::config::rules::Findings;

const ADDED: [&str; 4] = [
    "request_headers_to_add",
    "response_headers_to_add",
    "headers_to_add",
    "initial_metadata",
];
const REMOVED: [&str; 2] = ["request_headers_to_remove", "response_headers_to_remove"];

/// The headers that a message adds or removes; its format strings are checked elsewhere.
pub(super) fn changed(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for field in ADDED {
        for (index, added) in subs(message, field).iter().enumerate() {
            let option = sub(added, "header");
            findings.path.field(field);
            findings.path.index(index);
            if option.is_some() {
                findings.path.field("header");
            }
            let key = text(option.as_ref().unwrap_or(added), "key");
            if is_fixed(&key) {
                let message = format!("{} can't be added; rewrite it in the route", shown(&key));
                at(findings, "key", "envoy.header", message);
            }
            (0..2 + usize::from(option.is_some())).for_each(|_| findings.path.pop());
        }
    }
    for field in REMOVED {
        for (index, key) in texts(message, field).iter().enumerate() {
            if is_fixed(key) {
                let message = format!("{} can't be removed", shown(key));
                super::at_item(findings, (field, index), "envoy.header", message);
            }
        }
    }
}

/// What makes a request or a response: pseudo-headers and the host.
fn is_fixed(key: &str) -> bool {
    key.starts_with(':') || key.eq_ignore_ascii_case("host")
}
