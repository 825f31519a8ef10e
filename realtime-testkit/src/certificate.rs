use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::in_time;

/// A self-signed certificate of `localhost`, and its key, in two files of a directory that is
/// deleted with it.
#[derive(Debug)]
pub struct TestCertificate {
    directory: TempDir,
    certificate: CertificateDer<'static>,
}

impl TestCertificate {
    /// Makes a certificate.
    ///
    /// # Panics
    /// If the files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the certificate");
        let mut certificate = Self { directory, certificate: CertificateDer::from(Vec::new()) };
        certificate.renew();
        certificate
    }

    /// Writes another certificate, with another key, into the same files.
    ///
    /// # Panics
    /// As [`TestCertificate::new`].
    pub fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
        // A server that watches the files may read them in between: it tries again.
        std::fs::write(self.certificate_file(), made.cert.pem()).expect("the certificate can be written");
        std::fs::write(self.key_file(), made.signing_key.serialize_pem()).expect("the key can be written");
        self.certificate = made.cert.der().clone();
    }

    /// Returns the file with the certificate.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Returns the file with the key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Returns the newest certificate, as a server sends it.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns a client that accepts the newest certificate only, offers these protocols (ALPN),
    /// and speaks these versions of TLS.
    ///
    /// # Panics
    /// If there is no such version.
    #[must_use]
    pub fn client(&self, protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate that can be trusted");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// Connects over this stream, with one protocol to choose from, such as `http/1.1` or `h2`.
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn connect<S>(&self, stream: S, protocol: &str) -> TlsStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = self.client(&[protocol], ALL_VERSIONS).connect(name, stream);
        in_time("a TLS handshake", connecting).await.expect("the server accepts the handshake")
    }
}

impl Default for TestCertificate {
    fn default() -> Self {
        Self::new()
    }
}
