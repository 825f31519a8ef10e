//! TLS of a server: a certificate that can be replaced while the server runs.

mod accept;
mod certificate;
mod secured;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use realtime_core::setters;
use tokio::task::AbortHandle;

pub(crate) use self::accept::Acceptor;
use self::certificate::Certificate;

/// The TLS of a server: its certificate, and the limits of handshakes; for
/// [`Serve::with_tls`](crate::Serve::with_tls).
///
/// TLS 1.3 and 1.2 by rustls with the cryptography of `ring`; a provider of the process is neither
/// needed nor set. Clients choose HTTP/2 or HTTP/1.1 (ALPN `h2`, `http/1.1`). Clones share the
/// certificate, so that one of them can replace it while the server runs.
///
/// ```no_run
/// use realtime_http::{Tls, serve};
///
/// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> std::io::Result<()> {
/// let tls = Tls::from_pem_files("fullchain.pem", "privkey.pem")?;
/// serve(listener, app).with_tls(tls.clone()).await
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    certificate: Arc<Certificate>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) handshakes: usize,
    reload_interval: Option<Duration>,
}

impl Tls {
    /// Reads a certificate, with those of its issuers behind it (the "full chain"), and its key
    /// (PKCS #8, PKCS #1 or SEC 1) from two files in PEM form.
    ///
    /// # Errors
    /// The system's for a file that cannot be read; [`io::ErrorKind::InvalidData`] for one that
    /// holds no certificate or no key, and for a key that is not the certificate's. Each names the
    /// file.
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            certificate: Arc::new(Certificate::open(certificate.into(), key.into())?),
            handshake_timeout: Duration::from_secs(10),
            handshakes: 4096,
            reload_interval: Some(Duration::from_secs(60)),
        })
    }

    /// Reads the two files again. Handshakes from now on get the new certificate; connections that
    /// are open stay as they are. Blocks for as long as it takes to read the files.
    ///
    /// # Errors
    /// Those of [`Tls::from_pem_files`], logged too; then the old certificate stays.
    pub fn reload(&self) -> io::Result<()> {
        self.certificate.reload()
    }

    /// Rejects what cannot work: a time or a number that is zero.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] that names the field.
    pub(crate) fn check(&self) -> io::Result<()> {
        let fields = [
            ("handshake_timeout", self.handshake_timeout.is_zero()),
            ("handshakes", self.handshakes == 0),
            ("reload_interval", self.reload_interval == Some(Duration::ZERO)),
        ];
        match fields.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("tls: {field} is zero"))),
            None => Ok(()),
        }
    }

    /// Watches the files until the returned guard is dropped.
    pub(crate) fn watch(&self) -> Option<Watch> {
        let interval = self.reload_interval?;
        Some(Watch(tokio::spawn(Arc::clone(&self.certificate).watch(interval)).abort_handle()))
    }
}

setters! {
    impl Tls {
        /// Sets how long a client may take from its first byte to the end of the handshake, and for
        /// that byte; default 10 s.
        with_handshake_timeout(handshake_timeout: Duration);
        /// Sets how many handshakes may be under way at a time; default 4,096. For a further one
        /// the oldest is closed, so that clients that never finish theirs do not keep others away.
        with_handshakes(handshakes: usize);
        /// Sets how often the server looks whether the files have changed, by their time and size,
        /// and then reads them again; default 60 s, `None` never.
        with_reload_interval(reload_interval: impl Into<Option<Duration>>);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A task that ends when this is dropped.
pub(crate) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
