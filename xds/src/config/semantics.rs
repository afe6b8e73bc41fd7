//! What Envoy refuses beyond the rules of the schema.
//!
//! Found by mutating good configurations and comparing with `envoy --mode validate` (the program
//! `config_oracle` in `integration`); each check says what Envoy would say.

use prost_reflect::{DynamicMessage, ReflectMessage as _};

use super::rules::Findings;

/// Checks one message, not those within it.
pub(super) fn check(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if message.descriptor().full_name() == "google.protobuf.Duration" {
        duration(message, findings);
    }
}

/// Envoy converts durations to milliseconds and refuses what has no place there.
fn duration(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let nanos = super::rules::nanoseconds(message);
    if nanos < 0 {
        findings.add("envoy.duration", "must not be negative");
    } else if nanos > i128::from(i64::MAX) {
        findings.add("envoy.duration", "must be at most 9223372036s");
    }
}
