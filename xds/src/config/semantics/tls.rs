//! Certificates of TLS contexts.

use prost_reflect::DynamicMessage;

use super::at;
use crate::config::fields::{count_of, has, sub};
use crate::config::rules::Findings;

const CERTIFICATES: [&str; 2] = ["tls_certificates", "tls_certificate_sds_secret_configs"];

fn certificates(context: &DynamicMessage) -> (usize, bool) {
    let Some(common) = sub(context, "common_tls_context") else {
        return (0, false);
    };
    let provided = [
        "tls_certificate_provider_instance",
        "tls_certificate_certificate_provider",
        "tls_certificate_certificate_provider_instance",
        "custom_tls_certificate_selector",
    ];
    let count = CERTIFICATES
        .iter()
        .map(|field| count_of(&common, field))
        .sum();
    (count, provided.iter().any(|field| has(&common, field)))
}

pub(super) fn upstream(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if certificates(message).0 > 1 {
        let text = "a client can't have more than one certificate";
        at(findings, "common_tls_context", "envoy.tls", text);
    }
}

pub(super) fn downstream(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if certificates(message) == (0, false) {
        let text = "a server needs a certificate: `tls_certificates`, or \
                    `tls_certificate_sds_secret_configs`";
        at(findings, "common_tls_context", "envoy.tls", text);
    }
}

pub(super) fn secret(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let kinds = [
        "tls_certificate",
        "session_ticket_keys",
        "validation_context",
        "generic_secret",
    ];
    if !kinds.iter().any(|kind| has(message, kind)) {
        findings.add(
            "envoy.tls",
            format!("needs one of `{}`", kinds.join("`, `")),
        );
    }
}
