use std::path::PathBuf;
use std::time::Duration;

use realtime_core::spi::LogBounds;
use realtime_core::{Error, Result, setters};

/// The part of a server's `max_payload` that is left for what a record has besides its event.
pub(crate) const RECORD_OVERHEAD: usize = 16 * 1024;

/// The name, the bounds and the credentials of a log in NATS. What cannot work, as a zero, is
/// rejected at the connect. Credentials are not printed.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    pub(crate) prefix: String,
    pub(crate) bounds: LogBounds,
    pub(crate) max_event_bytes: usize,
    pub(crate) replicas: usize,
    pub(crate) credentials: Credentials,
    pub(crate) root_certificates: Vec<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
}

/// The credentials that a node presents to a server that asks who it is.
#[derive(Clone, Default)]
pub(crate) enum Credentials {
    /// Nothing, or what the URL has.
    #[default]
    None,
    File(PathBuf),
    Password {
        user: String,
        password: String,
    },
    Token(String),
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            prefix: "realtime".to_owned(),
            bounds: LogBounds::default(),
            max_event_bytes: 1024 * 1024 - RECORD_OVERHEAD,
            replicas: 1,
            credentials: Credentials::None,
            root_certificates: Vec::new(),
            client_certificate: None,
        }
    }
}

setters! {
    impl NatsConfig {
        /// Sets the name that all streams and subjects begin with; default `realtime`. Services
        /// with different names share nothing, and all nodes of a service have the same one.
        /// Letters, digits, `-` and `_`.
        with_prefix(prefix: impl Into<String>);
        /// Sets the number of records to keep; default 100,000. Fewer than the records of a
        /// provider's window leave it a shorter one after a restart. This bound and the following
        /// ones should be the same on all nodes: those of the node that connected last hold.
        with_records(records: usize) in bounds;
        /// Sets the number of bytes of records to keep, as NATS counts them; default 64 MiB. No
        /// less is kept than the largest message that the server accepts (`max_payload`).
        with_bytes(bytes: usize) in bounds;
        /// Sets the age up to which records are kept, the newest excepted; default an hour. Applied
        /// every few seconds.
        with_age(age: Duration) in bounds;
        /// Sets the number of idempotency keys to remember, whether or not their records are still
        /// there; default 100,000, of about 350 bytes each.
        with_keys(keys: usize) in bounds;
        /// Sets the number of bytes of the largest event; default 16 KiB less than 1 MiB. The
        /// server's `max_payload`, 1 MiB by default, has to be 16 KiB larger; an event that it
        /// does not accept is rejected.
        with_max_event_bytes(max_event_bytes: usize);
        /// Sets the number of servers of a cluster that have each record; default 1. Takes effect
        /// where a stream is created.
        with_replicas(replicas: usize);
    }
}

impl NatsConfig {
    /// Sets a file with a JWT and an nkey, as `nsc` writes it (`.creds`).
    #[must_use]
    pub fn with_credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Credentials::File(path.into());
        self
    }

    /// Sets a token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.credentials = Credentials::Token(token.into());
        self
    }

    /// Sets a user and a password, as those in the URL.
    #[must_use]
    pub fn with_user_and_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Credentials::Password { user: user.into(), password: password.into() };
        self
    }

    /// Adds a PEM file with authorities that sign the servers' certificates; without one those of
    /// the system do.
    #[must_use]
    pub fn with_root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.root_certificates.push(path.into());
        self
    }

    /// Sets the PEM files of this node's own certificate and its key, for servers that verify
    /// clients.
    #[must_use]
    pub fn with_client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Checks that no bound is zero, and that the prefix can be part of names.
    pub(crate) fn check(&self) -> Result<()> {
        self.bounds.check("the log in NATS")?;
        let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(is_part) {
            return Err(Error::Config(format!(
                "the prefix \"{}\" must have 1 to 64 letters, digits, - and _",
                self.prefix
            )));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(Error::Config(format!("replicas are 1 to 5, not {}", self.replicas)));
        }
        Ok(())
    }

    /// Returns the smallest `max_payload` that a server may have.
    pub(crate) fn payload(&self) -> usize {
        self.max_event_bytes.saturating_add(RECORD_OVERHEAD)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::File(_) => "File(..)",
            Self::Password { .. } => "Password(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}
