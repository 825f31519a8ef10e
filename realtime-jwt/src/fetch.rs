//! Fetching a key set, from a file or by HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use realtime_core::{BoxError, Error, Result};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::document;
use crate::jwks::{Jwks, Source};
use crate::key_set::KeySet;

/// The source of a key set, ready to be fetched from.
#[derive(Clone, Debug)]
pub(crate) enum Fetcher {
    File { path: PathBuf, most: usize },
    Url { client: Box<HttpClient>, url: Uri, timeout: Duration, most: usize },
}

/// A client that follows no redirects.
type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Fetcher {
    /// Creates the fetcher of a key set.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL, or a file of certificates, that cannot be used.
    pub(crate) fn new(jwks: &Jwks) -> Result<Self> {
        let most = jwks.max_document_bytes;
        let text = match &jwks.source {
            Source::File(path) => return Ok(Self::File { path: path.clone(), most }),
            Source::Url(text) => text,
        };
        let url: Uri = text.parse().map_err(|error| config(&format!("the url is none: {error}")))?;
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if jwks.plain_http || is_this_host(&url) => {}
            Some("http") => return Err(config("the url is not https: Jwks::with_plain_http allows it")),
            _ => return Err(config("the url is neither https nor http")),
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(jwks.root_certificates.as_deref())?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Box::new(Client::builder(TokioExecutor::new()).build(connector));
        Ok(Self::Url { client, url, timeout: jwks.fetch_timeout, most })
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// The reason, for the log.
    pub(crate) async fn fetch(&self) -> std::result::Result<KeySet, BoxError> {
        let bytes: Bytes = match self {
            Self::File { .. } => {
                let own = self.clone();
                tokio::task::spawn_blocking(move || own.read_file()).await??.into()
            }
            Self::Url { client, url, timeout, most } => {
                let late = |_| format!("no answer within {timeout:?}");
                tokio::time::timeout(*timeout, get(client, url, *most)).await.map_err(late)??
            }
        };
        Ok(document::read(&bytes)?)
    }

    /// Reads the keys of a file; `None` for a URL.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn read_now(&self) -> Result<Option<KeySet>> {
        match self {
            Self::File { path, .. } => {
                let bytes =
                    self.read_file().map_err(|error| config(&format!("cannot read {}: {error}", path.display())))?;
                document::read(&bytes).map(Some)
            }
            Self::Url { .. } => Ok(None),
        }
    }

    fn read_file(&self) -> std::result::Result<Vec<u8>, BoxError> {
        let Self::File { path, most } = self else { return Ok(Vec::new()) };
        if std::fs::metadata(path)?.len() > *most as u64 {
            return Err(too_large(*most));
        }
        Ok(std::fs::read(path)?)
    }
}

async fn get(client: &HttpClient, url: &Uri, most: usize) -> std::result::Result<Bytes, BoxError> {
    let request = Request::get(url)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())?;
    let response = client.request(request).await?;
    if !response.status().is_success() {
        return Err(format!("the answer has the status {}", response.status().as_u16()).into());
    }
    Ok(Limited::new(response.into_body(), most).collect().await?.to_bytes())
}

fn too_large(most: usize) -> BoxError {
    format!("the document is larger than {most} bytes").into()
}

/// Returns whether a URL is of this host, so that nobody is between.
fn is_this_host(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns a client's TLS with ring, whatever provider the process has chosen, and the system's
/// certificates and those of a file.
///
/// # Errors
/// [`Error::Config`] for a file without certificates that can be read.
fn tls(more: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = more {
        let unusable = |error: &dyn std::fmt::Display| config(&format!("{}: {error}", file.display()));
        let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
        let found = found.map_err(|error| unusable(&error))?;
        if found.is_empty() {
            return Err(unusable(&"no certificate"));
        }
        for certificate in found {
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("jwt: no tls: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn config(what: &str) -> Error {
    Error::Config(format!("jwt: jwks: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_others_could_change_needs_permission() {
        for url in ["https://id.example/keys", "http://localhost:1/k", "http://127.0.0.1/k", "http://[::1]:8/k"] {
            assert!(Fetcher::new(&Jwks::from_url(url)).is_ok(), "{url}");
        }
        for url in ["http://id.example/k", "http://localhost.example/k", "ftp://localhost/k", "file:///k", "k", ""] {
            assert!(Fetcher::new(&Jwks::from_url(url)).is_err(), "{url}");
        }
        assert!(Fetcher::new(&Jwks::from_url("http://id.example/k").with_plain_http(true)).is_ok());
    }
}
