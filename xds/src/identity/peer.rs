//! The identity at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::limits::{SPIFFE_ID_BYTES_MAX, TRUST_DOMAIN_BYTES_MAX};

/// A SPIFFE ID of a workload, such as `spiffe://mesh/ns/shop/sidecar/checkout-1`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

/// Why a URI is no SPIFFE ID of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{uri}` is no SPIFFE ID of a workload: {why}")]
pub struct SpiffeIdError {
    /// What was given, cut to 200 characters.
    pub uri: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Who is at the other end of a connection, as its certificate proves. The secure listener puts
/// one into the extensions of every request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub id: SpiffeId,
    /// When its certificate expires. The connection is closed then.
    pub expires_at: SystemTime,
    /// Where it connects from.
    pub address: SocketAddr,
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Reads one, by the SPIFFE ID standard, section 2: a trust domain of lower-case letters,
    /// digits, `.`, `-` and `_`, and a path of non-empty segments of letters, digits and the same
    /// marks. Nothing is normalized, so that equal identities are equal bytes.
    ///
    /// # Errors
    /// If it is none, or names a trust domain only, which no workload is.
    pub fn new(uri: &str) -> Result<Self, SpiffeIdError> {
        let wrong = |why| SpiffeIdError {
            uri: uri.chars().take(200).collect(),
            why,
        };
        if uri.len() > SPIFFE_ID_BYTES_MAX {
            return Err(wrong("it has more than 2048 bytes"));
        }
        let rest = uri
            .strip_prefix("spiffe://")
            .ok_or_else(|| wrong("it does not begin with `spiffe://`"))?;
        let (domain, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("it has no path after the trust domain"))?;
        let mark = |byte: u8| matches!(byte, b'.' | b'-' | b'_');
        if domain.is_empty() || domain.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(wrong("its trust domain is empty or longer than 255 bytes"));
        }
        let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || mark(byte);
        if !domain.bytes().all(of_domain) {
            return Err(wrong(
                "its trust domain has other characters than a-z, 0-9, `.`, `-` and `_`",
            ));
        }
        for segment in path.split('/') {
            if segment.is_empty() || segment == "." || segment == ".." {
                return Err(wrong("its path has an empty or a relative segment"));
            }
            if !segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
            {
                return Err(wrong(
                    "its path has other characters than letters, digits, `.`, `-`, `_` and `/`",
                ));
            }
        }
        Ok(Self(Arc::from(uri)))
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_ids_of_workloads_are_taken() {
        for good in ["spiffe://mesh/a", "spiffe://a.b-c_1/ns/X/sidecar/e-1.z_2"] {
            assert_eq!(SpiffeId::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe://mesh",
            "spiffe:///a",
            "spiffe://mesh/",
            "spiffe://mesh/a/",
            "spiffe://mesh/a//b",
            "spiffe://mesh/a/../b",
            "spiffe://mesh/./b",
            "spiffe://Mesh/a",
            "SPIFFE://mesh/a",
            "https://mesh/a",
            "spiffe://mesh:80/a",
            "spiffe://u@mesh/a",
            "spiffe://mesh/a?b",
            "spiffe://mesh/a#b",
            "spiffe://mesh/%61",
            "spiffe://mesh/a\0",
            "spiffe://mesh/é",
            &format!("spiffe://mesh/{}", "a".repeat(2048)),
            &format!("spiffe://{}/a", "a".repeat(256)),
        ] {
            assert!(SpiffeId::new(bad).is_err(), "{bad}");
        }
    }
}
