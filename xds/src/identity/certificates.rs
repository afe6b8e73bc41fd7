//! The server's certificate and the CAs of its clients, reloaded while serving.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, version};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{SpiffeId, SpiffeIdError};
use crate::limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATE_WARNINGS, CLIENT_CAS_MAX};

/// Where the server's certificate and the CAs of its clients are: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The server's certificate, then its intermediates.
    pub chain: PathBuf,
    /// Its private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// The CAs that clients may come from. While a CA is replaced, both the old and the new one.
    pub client_ca: PathBuf,
}

/// TLS with certificates that can be reloaded while serving. Connections keep what they were
/// opened with; new ones get the newest that could be loaded.
#[derive(Debug)]
pub struct Tls {
    certificates: Certificates,
    current: ArcSwap<Current>,
    /// One reload at a time, so that an older one can't win.
    reloading: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    loaded: Loaded,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Since when the server's certificate is valid.
    pub valid_from: SystemTime,
    /// When the server's certificate expires.
    pub expires_at: SystemTime,
    /// How many CAs clients may come from.
    pub client_cas: usize,
    /// Whether it differs from what was there before.
    pub changed: bool,
    fingerprint: [Vec<u8>; 3],
}

/// Why certificates can't be used. What was loaded before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is far too large.
    #[error("{} has more than {CERTIFICATE_FILE_BYTES_MAX} bytes; it should hold a few certificates", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A file isn't PEM, or was read while it was written.
    #[error("{} is not whole PEM: {why}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file holds nothing of what it should.
    #[error("{} holds no {what}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate can't be parsed.
    #[error("the certificate in {} can't be parsed: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificate is out of its time.
    #[error("the certificate in {} is {what}; renew it", path.display())]
    OutOfTime {
        /// Which.
        path: PathBuf,
        /// `expired` or `not valid yet`.
        what: &'static str,
    },
    /// The key belongs to another certificate, or one of both was read before it was written.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), chain.display())]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A CA can't be used.
    #[error("{} holds a CA that can't be used: {why}", path.display())]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Anything else that TLS says no to.
    #[error("TLS can't use the certificate in {}: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// What a client's certificate says of it.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) id: SpiffeId,
    pub(super) expires_at: SystemTime,
}

/// Why a certificate, although valid, proves no identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unproven {
    #[error("the client showed no certificate")]
    Missing,
    #[error("the client's certificate can't be parsed: {0}")]
    Unreadable(String),
    #[error(
        "the client's certificate holds {0} URIs in its subject alternative names; a SPIFFE \
         certificate holds exactly one"
    )]
    Count(usize),
    #[error("the client's certificate is of no workload: {0}")]
    Id(#[from] SpiffeIdError),
}

// === impl Tls ===

impl Tls {
    /// Loads certificates. `now` is compared with their validity.
    ///
    /// # Errors
    /// If they can't be used.
    pub fn load(certificates: Certificates, now: SystemTime) -> Result<Self, CertificateError> {
        let current = ArcSwap::from_pointee(certificates.load(now)?);
        Ok(Self {
            certificates,
            current,
            reloading: Mutex::new(()),
        })
    }

    /// Loads them again, for connections that come from now on.
    ///
    /// # Errors
    /// If they can't be used, as when only one file of a pair is new yet. What was loaded before
    /// stays in force.
    pub fn reload(&self, now: SystemTime) -> Result<Loaded, CertificateError> {
        let _one = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut next = self.certificates.load(now)?;
        next.loaded.changed = next.loaded.fingerprint != self.current.load().loaded.fingerprint;
        let loaded = next.loaded.clone();
        if loaded.changed {
            self.current.store(Arc::new(next));
        }
        Ok(loaded)
    }

    /// What is in force.
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        self.current.load().loaded.clone()
    }

    /// Where the files are.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }
}

// === impl Certificates ===

impl Certificates {
    fn load(&self, now: SystemTime) -> Result<Current, CertificateError> {
        let (chain_pem, key_pem, ca_pem) =
            (read(&self.chain)?, read(&self.key)?, read(&self.client_ca)?);
        let chain = certificates(&self.chain, &chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|why| match why {
            pem::Error::NoItemsFound => CertificateError::Empty {
                path: self.key.clone(),
                what: "private key",
            },
            why => not_pem(&self.key, &why),
        })?;
        let (valid_from, expires_at) = self.check_time(&chain, now)?;
        let cas = certificates(&self.client_ca, &ca_pem)?;
        let client_ca = |why: String| CertificateError::ClientCa {
            path: self.client_ca.clone(),
            why,
        };
        if cas.len() > CLIENT_CAS_MAX {
            return Err(client_ca(format!(
                "more than {CLIENT_CAS_MAX} CAs in one file"
            )));
        }
        let mut roots = RootCertStore::empty();
        let client_cas = cas.len();
        for ca in cas {
            roots.add(ca).map_err(|why| client_ca(why.to_string()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|why| client_ca(why.to_string()))?;
        let unusable = |source| match source {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                chain: self.chain.clone(),
                key: self.key.clone(),
            },
            source => CertificateError::Unusable {
                path: self.chain.clone(),
                source,
            },
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not be verified again, against CAs or times that changed since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current {
            config: Arc::new(config),
            loaded: Loaded {
                valid_from,
                expires_at,
                client_cas,
                changed: true,
                fingerprint: [chain_pem, key_fingerprint(&key_pem), ca_pem],
            },
        })
    }

    fn check_time(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(SystemTime, SystemTime), CertificateError> {
        let path = || self.chain.clone();
        let leaf = chain.first().ok_or_else(|| CertificateError::Empty {
            path: path(),
            what: "certificate",
        })?;
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|why| CertificateError::Unreadable {
                path: path(),
                why: why.to_string(),
            })?;
        let out_of_time = |what| CertificateError::OutOfTime { path: path(), what };
        let expires_at = time(leaf.validity().not_after.timestamp());
        if expires_at <= now {
            return Err(out_of_time("expired"));
        }
        let valid_from = time(leaf.validity().not_before.timestamp());
        if valid_from > now {
            return Err(out_of_time("not valid yet"));
        }
        Ok((valid_from, expires_at))
    }
}

// === impl Loaded ===

impl Loaded {
    /// How urgent it is to renew the server's certificate: 0 for not at all, then 1 to
    /// [`CERTIFICATE_WARNINGS`]' length, and one more once it has expired.
    ///
    /// Certificates that live for hours are renewed for most of their life; for them the warnings
    /// come when a third, a sixth and a twelfth of their life is left.
    #[must_use]
    pub fn urgency(&self, now: SystemTime) -> usize {
        let Ok(left) = self.expires_at.duration_since(now) else {
            return CERTIFICATE_WARNINGS.len() + 1;
        };
        let life = self.expires_at.duration_since(self.valid_from);
        let life = life.unwrap_or_default();
        let due = |(warning, part): &&(Duration, u32)| left <= (*warning).min(life / *part);
        CERTIFICATE_WARNINGS.iter().filter(due).count()
    }
}

/// Tells whether a key changed, without keeping the key.
fn key_fingerprint(pem: &[u8]) -> Vec<u8> {
    xxhash_rust::xxh64::xxh64(pem, 0).to_le_bytes().to_vec()
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let wrong = |source| CertificateError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).map_err(wrong)?.len();
    if bytes > CERTIFICATE_FILE_BYTES_MAX {
        return Err(CertificateError::TooLarge {
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(wrong)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|why| not_pem(path, &why))?;
    if all.is_empty() {
        return Err(CertificateError::Empty {
            path: path.to_owned(),
            what: "certificate",
        });
    }
    Ok(all)
}

fn not_pem(path: &Path, why: &pem::Error) -> CertificateError {
    CertificateError::Pem {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn time(unix_seconds: i64) -> SystemTime {
    match u64::try_from(unix_seconds) {
        // What is beyond the clock's range is beyond any use.
        Ok(seconds) => UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(UNIX_EPOCH),
        Err(_) => UNIX_EPOCH,
    }
}

// === impl Proven ===

impl Proven {
    /// Reads a client's certificate, whose chain was verified already.
    pub(super) fn by(certificate: &CertificateDer<'_>) -> Result<Self, Unproven> {
        let unreadable = |why: &dyn std::fmt::Display| Unproven::Unreadable(why.to_string());
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|why| unreadable(&why))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|why| unreadable(&why))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else {
            return Err(Unproven::Count(uris.len()));
        };
        Ok(Self {
            id: SpiffeId::new(uri)?,
            expires_at: time(certificate.validity().not_after.timestamp()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;

    fn lives(seconds: u64) -> Loaded {
        Loaded {
            valid_from: UNIX_EPOCH,
            expires_at: UNIX_EPOCH + Duration::from_secs(seconds),
            client_cas: 1,
            changed: false,
            fingerprint: Default::default(),
        }
    }

    fn urgency(life: u64, left: i64) -> usize {
        let loaded = lives(life);
        let left_or_gone = Duration::from_secs(left.unsigned_abs());
        loaded.urgency(if left >= 0 {
            loaded.expires_at - left_or_gone
        } else {
            loaded.expires_at + left_or_gone
        })
    }

    #[test]
    fn a_year_long_certificate_is_warned_about_30_7_and_1_days_before_its_end() {
        let days = |days: i64| urgency(365 * DAY, days * DAY as i64);
        assert_eq!([31, 30, 8, 7, 2, 1, -1].map(days), [0, 1, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn a_certificate_that_lives_for_a_day_is_not_warned_about_all_its_life() {
        let hours = |hours: i64| urgency(DAY, hours * HOUR as i64);
        assert_eq!([24, 12, 9, 8, 4, 2, -1].map(hours), [0, 0, 0, 1, 2, 3, 4]);
    }
}
