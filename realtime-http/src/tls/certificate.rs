//! A certificate and its key in two files.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// The protocols that clients can choose, the preferred one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The two files, and the configuration that was made of them.
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    /// The newest configuration that could be loaded; the lock is held for a clone or an exchange
    /// only.
    loaded: RwLock<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// The state of the files before they were read; `None` if they could not be asked for it.
    stamp: Option<Stamp>,
}

/// The times and sizes of both files.
type Stamp = [(SystemTime, u64); 2];

impl Certificate {
    pub(super) fn open(certificate: PathBuf, key: PathBuf) -> io::Result<Self> {
        let loaded = RwLock::new(load(&certificate, &key)?);
        Ok(Self { certificate, key, loaded })
    }

    /// Returns the configuration for a new handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    pub(super) fn reload(&self) -> io::Result<()> {
        let loaded = load(&self.certificate, &self.key).inspect_err(|error| {
            tracing::error!(%error, "failed to reload the certificate; keeping the current one");
        })?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        tracing::info!(certificate = %self.certificate.display(), "certificate loaded");
        Ok(())
    }

    /// Reloads files that have changed, now and then.
    pub(super) async fn watch(self: Arc<Self>, interval: Duration) {
        // The files that could not be loaded, so that this is logged once.
        let mut failed = None;
        loop {
            tokio::time::sleep(interval).await;
            let certificate = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || certificate.reload_changed(failed));
            failed = look.await.unwrap_or_default();
        }
    }

    /// Reloads the files if they have changed since they were loaded, and since this failed;
    /// returns what could not be loaded.
    fn reload_changed(&self, failed: Option<Option<Stamp>>) -> Option<Option<Stamp>> {
        let stamp = stamp(&self.certificate, &self.key).ok();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner).stamp;
        if stamp == loaded {
            return None;
        }
        if failed != Some(stamp) && self.reload().is_ok() {
            return None;
        }
        Some(stamp)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn stamp(certificate: &Path, key: &Path) -> io::Result<Stamp> {
    let of = |file: &Path| {
        let metadata = file.metadata()?;
        io::Result::Ok((metadata.modified()?, metadata.len()))
    };
    Ok([of(certificate)?, of(key)?])
}

fn load(certificate: &Path, key: &Path) -> io::Result<Loaded> {
    // Before the files are read: one that changes meanwhile is read again.
    let stamp = stamp(certificate, key).ok();
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificate, &error, "no certificate"))?;
    if chain.is_empty() {
        return Err(unreadable(certificate, &pem::Error::NoItemsFound, "no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error, "no private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| {
            let message = format!("{} and {}: {error}", certificate.display(), key.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
    config.alpn_protocols = PROTOCOLS.map(Into::into).into();
    // Clients that reconnect together resume cheaply, and nothing is kept for them.
    config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(Loaded { config: Arc::new(config), stamp })
}

/// Returns the error of a file, without a part of its text, which may be secret.
fn unreadable(file: &Path, error: &pem::Error, missing: &str) -> io::Error {
    let file = file.display();
    match error {
        pem::Error::Io(error) => io::Error::new(error.kind(), format!("{file}: {error}")),
        _ => io::Error::new(io::ErrorKind::InvalidData, format!("{file}: {missing} in PEM form")),
    }
}
