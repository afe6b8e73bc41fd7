//! mTLS on the listener of sidecars: who may connect, and certificates that are read again on
//! change.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tidegate_xds::identity::{
    Access, AccessLimits, CertificateError, Certificates, Policy, Rule, Tls,
};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::{show, source};

/// What `tidegate serve` was told about certificates and identities.
#[derive(Debug, Clone)]
pub struct XdsTls {
    /// The files.
    pub certificates: Certificates,
    /// Who may speak for which sidecar.
    pub rules: Vec<Rule>,
}

/// The certificates in force. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Secure {
    pub(super) tls: Arc<Tls>,
    /// What was last warned about.
    urgency: Arc<AtomicUsize>,
}

// === impl XdsTls ===

impl XdsTls {
    /// Who is let in.
    pub(super) fn access(&self) -> Arc<Access> {
        let policy = Policy::new(self.rules.clone());
        for rule in policy.with_free_cluster() {
            warn!(
                pattern = %rule,
                "sidecars with such an identity may claim any fleet; to bind it, put \
                 {{node.cluster}} into the pattern of --xds-identity"
            );
        }
        Access::by(policy, AccessLimits::default())
    }
}

// === impl Secure ===

impl Secure {
    pub(super) fn load(options: &XdsTls) -> Result<Self, CertificateError> {
        let tls = Tls::load(options.certificates.clone(), SystemTime::now())?;
        tell(&tls.loaded());
        let secure = Self {
            tls: Arc::new(tls),
            urgency: Arc::default(),
        };
        secure.warn_of_expiry();
        Ok(secure)
    }

    /// Warns when the certificate comes close to its end: once for each step (30, 7 and 1 days, or
    /// less for one that doesn't live for months).
    pub(super) fn warn_of_expiry(&self) {
        let (loaded, now) = (self.tls.loaded(), SystemTime::now());
        let urgency = loaded.urgency(now);
        if self.urgency.swap(urgency, Ordering::Relaxed) >= urgency {
            return;
        }
        let file = self.tls.certificates().chain.display();
        match loaded.expires_at.duration_since(now) {
            Ok(left) => warn!(
                "the certificate for sidecars in {file} expires in {}; renew it, \
                 it is read again by itself",
                show::duration(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            ),
            Err(_) => error!(
                "the certificate for sidecars in {file} has expired: no sidecar can connect; \
                 renew it, it is read again by itself"
            ),
        }
    }

    /// Tells when a certificate file may have changed.
    pub(super) fn watch(&self) -> Result<mpsc::Receiver<()>, notify::Error> {
        let Certificates {
            chain,
            key,
            client_ca,
        } = self.tls.certificates();
        let mut directories: Vec<&Path> = [chain, key, client_ca].map(|file| parent(file)).into();
        directories.sort_unstable();
        directories.dedup();
        source::watch_flat(&directories)
    }

    /// Reads the certificates again, without keeping anybody waiting. When they can't be used, the
    /// old ones stay and the log says why.
    pub(super) fn reload_later(&self) {
        let tls = Arc::clone(&self.tls);
        tokio::task::spawn_blocking(move || match tls.reload(SystemTime::now()) {
            Ok(loaded) if loaded.changed => tell(&loaded),
            Ok(_) => {}
            Err(why) => error!(%why, "the certificates in force stay, the new ones can't be used"),
        });
    }
}

fn tell(loaded: &tidegate_xds::identity::Loaded) {
    let left = loaded.expires_at.duration_since(SystemTime::now());
    info!(
        hours_left = left.map_or(0, |left| left.as_secs() / 3_600),
        client_cas = loaded.client_cas,
        "loaded the certificates for sidecars"
    );
}

/// Where a file is; a bare name is here.
fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}
