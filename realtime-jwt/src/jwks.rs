use std::path::PathBuf;
use std::time::Duration;

use realtime_core::setters;

/// A key set (JWKS, RFC 7517 §5) and how it is kept up to date, for
/// [`JwtConfig::with_jwks`](crate::JwtConfig::with_jwks).
///
/// Its public keys verify tokens, each by its own algorithm (`alg`; an RSA key without one by those
/// of RSA) and under its own id (`kid`). Secrets in it are ignored.
///
/// A set from a URL is fetched when the first token arrives, again before the first use after
/// [`with_max_age`](Self::with_max_age), and when a token has a key id that is not in it, so that
/// the keys may rotate at any time; one fetch at a time, and at most one in each
/// [`with_fetch_interval`](Self::with_fetch_interval), whatever key ids clients make up. When a
/// fetch fails, the earlier keys remain. While there never were any, clients are refused with 503
/// (`keys_unavailable`). A set from a file is read again in the same way.
#[derive(Clone, Debug)]
pub struct Jwks {
    pub(crate) source: Source,
    pub(crate) max_age: Duration,
    pub(crate) fetch_interval: Duration,
    pub(crate) fetch_timeout: Duration,
    pub(crate) max_document_bytes: usize,
    pub(crate) plain_http: bool,
    pub(crate) root_certificates: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Url(String),
}

impl Jwks {
    /// Creates the key set at a URL: `https`, or `http` on this host. The certificate is checked
    /// against those of the system (`SSL_CERT_FILE` names others); redirects are not followed.
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::new(Source::Url(url.into()))
    }

    /// Creates the key set in a file, which has to be there when the authenticator is created.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            max_age: Duration::from_secs(600),
            fetch_interval: Duration::from_secs(30),
            fetch_timeout: Duration::from_secs(5),
            max_document_bytes: 256 * 1024,
            plain_http: false,
            root_certificates: None,
        }
    }
}

setters! {
    impl Jwks {
        /// Sets after how long the keys are fetched again before they are used; default 10 min. A
        /// key that the issuer has removed is accepted for as long.
        with_max_age(max_age: Duration);
        /// Sets the least time between the beginnings of two fetches, failed ones included; default
        /// 30 s.
        with_fetch_interval(fetch_interval: Duration);
        /// Sets how long a fetch may take; default 5 s. Tokens that need it wait for it: it has to
        /// be less than the service's `decision_timeout` of 10 s.
        with_fetch_timeout(fetch_timeout: Duration);
        /// Sets the largest document; default 256 KiB. Of the keys in it 100 are read.
        with_max_document_bytes(max_document_bytes: usize);
        /// Sets whether a URL with `http` may name another host; default `false`. Whoever can
        /// change what is sent between the two hosts can make tokens then.
        with_plain_http(plain_http: bool);
        /// Sets a PEM file of certificates that are trusted for the URL, besides the system's: that
        /// of an issuer within the company; default none. It is read when the authenticator is
        /// created. A key set in a file needs none.
        with_root_certificates(root_certificates: impl Into<Option<PathBuf>>);
    }
}
