//! Active health checks.

use prost_reflect::DynamicMessage;

use super::{at, at_item, upstreams};
use crate::config::diagnostic::shown;
use crate::config::fields::{choice, get, has, subs, text};
use crate::config::rules::Findings;

const RULE: &str = "envoy.health_check";
/// `RequestMethod`: those whose requests have bodies.
const WITH_BODY: [i32; 4] = [POST, PUT, OPTIONS, PATCH];
const POST: i32 = 3;
const PUT: i32 = 4;
const OPTIONS: i32 = 7;
const PATCH: i32 = 9;

/// The checks of a cluster.
pub(super) fn cluster(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let checks = subs(message, "health_checks");
    let speaks_http2 = upstreams::speaks_http2(message);
    for (index, check) in checks.iter().enumerate() {
        if checks.len() > 1 && text(check, "name").is_empty() {
            let message = "several health checks need names, which are newer than the API that is \
                           read here: keep one";
            at_item(findings, ("health_checks", index), RULE, message);
        }
        if has(check, "grpc_health_check") && !speaks_http2 {
            let message = "gRPC needs a cluster with `http2_protocol_options`";
            at_item(findings, ("health_checks", index), RULE, message);
        }
    }
}

/// What a health check sends or expects.
pub(super) fn payload(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let digits = text(message, "text");
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!(
            "{} isn't made of pairs of hexadecimal digits",
            shown(&digits)
        );
        at(findings, "text", RULE, message);
    }
}

/// `HttpHealthCheck`.
pub(super) fn http(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if has(message, "send") && !WITH_BODY.contains(&choice(message, "method")) {
        let text = "goes with POST, PUT, PATCH or OPTIONS only";
        at(findings, "send", RULE, text);
    }
    for field in ["expected_statuses", "retriable_statuses"] {
        for (index, range) in subs(message, field).iter().enumerate() {
            let bound = |name| {
                get(range, name)
                    .and_then(|v| v.as_i64())
                    .unwrap_or_default()
            };
            let (start, end) = (bound("start"), bound("end"));
            if start >= end || start < 100 || end > 600 {
                let message = "must be a range of status codes from 100 to 600, its end excluded";
                at_item(findings, (field, index), RULE, message);
            }
        }
    }
}
