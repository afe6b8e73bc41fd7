//! Certificates of TLS contexts.

use base64::Engine as _;
use prost_reflect::DynamicMessage;

use super::{at, at_item};
use crate::config::diagnostic::shown;
use crate::config::fields::{count_of, has, sub, text, texts};
use crate::config::rules::Findings;

/// Of the name of a protocol, whose length is one byte.
const ALPN_BYTES_MAX: usize = 255;
/// Those of BoringSSL, as OpenSSL calls them.
const CIPHER_SUITES: [&str; 22] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
];
/// Which stand for several suites.
const CLASSES: [&str; 28] = [
    "ALL", "kRSA", "kECDHE", "kEECDH", "ECDHE", "EECDH", "kPSK", "aRSA", "RSA", "aECDSA", "ECDSA",
    "aPSK", "PSK", "3DES", "AES128", "AES256", "AES", "AESGCM", "CHACHA20", "SHA1", "SHA",
    "SHA256", "SHA384", "TLSv1", "TLSv1.2", "SSLv3", "HIGH", "FIPS",
];
/// The official names.
const OFFICIAL: &str = "TLS_";
/// Each name, and the curve.
const CURVES: [(&str, &str); 10] = [
    ("X25519", "X25519"),
    ("x25519", "X25519"),
    ("P-256", "P-256"),
    ("prime256v1", "P-256"),
    ("P-384", "P-384"),
    ("secp384r1", "P-384"),
    ("P-521", "P-521"),
    ("secp521r1", "P-521"),
    ("X25519MLKEM768", "X25519MLKEM768"),
    ("MLKEM1024", "MLKEM1024"),
];
const SIGNATURES: [&str; 12] = [
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "rsa_pkcs1_sha1",
    "ed25519",
    "ecdsa_sha1",
];
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

/// `TlsParameters`.
pub(super) fn parameters(message: &DynamicMessage, findings: &mut Findings<'_>) {
    let mut unknown = |field, index, what, name: &str, known: &[&str]| {
        let help = findings
            .speller
            .suggest(name, known.iter().copied(), "there are");
        let message = format!("there is no {what} {}; {help}", shown(name));
        at_item(findings, (field, index), "envoy.tls", message);
    };
    for (index, entry) in texts(message, "cipher_suites").iter().enumerate() {
        if let Some(name) = suites(entry).find(|suite| !is_suite(suite)) {
            unknown("cipher_suites", index, "cipher suite", name, &CIPHER_SUITES);
        }
    }
    let names = CURVES.map(|(name, _)| name);
    let mut seen = Vec::new();
    for (index, entry) in texts(message, "ecdh_curves").iter().enumerate() {
        match CURVES.iter().find(|(name, _)| name == entry) {
            Some((_, curve)) => seen.push((*curve, index)),
            None => unknown("ecdh_curves", index, "curve", entry, &names),
        }
    }
    for (index, entry) in texts(message, "signature_algorithms").iter().enumerate() {
        if !SIGNATURES.contains(&entry.as_str()) {
            unknown(
                "signature_algorithms",
                index,
                "signature algorithm",
                entry,
                &SIGNATURES,
            );
        }
    }
    seen.sort_unstable();
    for pair in seen.windows(2) {
        if let [(first, _), (second, index)] = pair
            && first == second
        {
            let message = format!("{first} a second time");
            at_item(findings, ("ecdh_curves", *index), "envoy.tls", message);
        }
    }
}

/// One suite, a class of them (`AES128`), what several classes share (`ECDHE+AES`), or a change of
/// what stands before it (`!`, `-`, `+`, `@STRENGTH`).
fn is_suite(entry: &str) -> bool {
    let name = entry.strip_prefix(['!', '-', '+']).unwrap_or(entry);
    let known = |name: &str| CLASSES.contains(&name) || CIPHER_SUITES.contains(&name);
    name == "@STRENGTH" || name.starts_with(OFFICIAL) || name.split('+').all(known)
}

/// The suites of an entry: one, or several of equal rank as `[A|B]`.
fn suites(entry: &str) -> impl Iterator<Item = &str> {
    let group = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    group
        .unwrap_or(entry)
        .split('|')
        .flat_map(|part| part.split(':'))
}

/// What a context checks of certificates itself, not what it adds to what it fetches.
pub(super) fn common(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for (index, protocol) in texts(message, "alpn_protocols").iter().enumerate() {
        if !(1..=ALPN_BYTES_MAX).contains(&protocol.len()) {
            let text = format!("a protocol's name has 1 to {ALPN_BYTES_MAX} bytes");
            at_item(findings, ("alpn_protocols", index), "envoy.tls", text);
        }
    }
    let Some(validation) = sub(message, "validation_context") else {
        return;
    };
    let names = ["match_typed_subject_alt_names", "match_subject_alt_names"];
    let anchors = [
        "trusted_ca",
        "ca_certificate_provider_instance",
        "system_root_certs",
        "custom_validator_config",
    ];
    if names.iter().any(|field| count_of(&validation, field) > 0)
        && !anchors.iter().any(|field| has(&validation, field))
    {
        let text = "names in certificates prove nothing without a `trusted_ca`";
        at(findings, "validation_context", "envoy.tls", text);
    }
}

pub(super) fn validation(message: &DynamicMessage, findings: &mut Findings<'_>) {
    for (index, hash) in texts(message, "verify_certificate_hash").iter().enumerate() {
        let digits = hash.bytes().filter(|b| *b != b':');
        if digits.clone().count() != 64 || !digits.clone().all(|b| b.is_ascii_hexdigit()) {
            let message = format!("{} is no SHA-256 hash in hexadecimal digits", shown(hash));
            let place = ("verify_certificate_hash", index);
            at_item(findings, place, "envoy.tls", message);
        }
    }
    for (index, hash) in texts(message, "verify_certificate_spki").iter().enumerate() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(hash);
        if bytes.map_or(true, |bytes| bytes.len() != 32) {
            let message = format!("{} is no SHA-256 hash in base64", shown(hash));
            let place = ("verify_certificate_spki", index);
            at_item(findings, place, "envoy.tls", message);
        }
    }
}

/// The name that a client asks for.
pub(super) fn server_name(message: &DynamicMessage, findings: &mut Findings<'_>) {
    if text(message, "sni").contains('\0') {
        at(findings, "sni", "envoy.tls", "a NUL can't stand in a name");
    }
}
