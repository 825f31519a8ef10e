use realtime_core::Error;
use realtime_core::spi::AppendError;
use redis::{ErrorKind, RedisError};

/// The reason why Redis cannot be used; reaches applications as the source of [`Error::Backplane`],
/// or as the text of [`Error::Config`]. Names a server by host and port alone: its URL may hold a
/// password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Config(String),
    #[error(
        "the log \"{prefix}\" was written by another build: it has format {found}, and this build reads format {known}"
    )]
    Format { prefix: String, found: String, known: u32 },
    #[error("the log has lost records that were read before")]
    Lost,
    #[error("the log has moved to Redis at {0}")]
    Moved(String),
    #[error("not connected to Redis at {0}")]
    NotConnected(String),
    #[error("Redis at {address}: {error}")]
    Connect {
        address: String,
        #[source]
        error: RedisError,
    },
    #[error("the directory lost its entries during an update")]
    NewIncarnation,
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis at {0} did not answer in time")]
    Timeout(String),
    #[error("the log dropped records before they were read")]
    Trimmed,
    #[error("unexpected reply from Redis: {0}")]
    Unexpected(&'static str),
}

/// The codes of errors that Redis answers before a script of this crate has written anything: it
/// checks memory, role, disk and replicas before it begins one.
const BEFORE_EVERY_WRITE: [&str; 9] =
    ["ASK", "CLUSTERDOWN", "LOADING", "MISCONF", "MOVED", "NOREPLICAS", "NOSCRIPT", "OOM", "READONLY"];

impl Fault {
    /// Returns whether nothing was written: because nothing was sent, or because Redis says so.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::NotConnected(_) => true,
            Self::Redis(error) => error.code().is_some_and(|code| BEFORE_EVERY_WRITE.contains(&code)),
            _ => false,
        }
    }

    /// Returns whether the connection may be unusable, rather than the request refused.
    pub(crate) fn breaks_connection(&self) -> bool {
        match self {
            Self::Redis(error) => match error.kind() {
                ErrorKind::Io | ErrorKind::Parse => true,
                // A server that became a replica, or is starting: another may be the primary now.
                _ => matches!(
                    error.code(),
                    Some("ASK" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "MOVED" | "READONLY")
                ),
            },
            Self::Timeout(_) => true,
            _ => false,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Config(_) | Fault::Format { .. } => Self::Config(fault.to_string()),
            _ => Self::Backplane(Box::new(fault)),
        }
    }
}

impl From<Fault> for AppendError {
    fn from(fault: Fault) -> Self {
        if fault.is_certain() { Self::Refused(Box::new(fault)) } else { Self::Unknown(Box::new(fault)) }
    }
}
