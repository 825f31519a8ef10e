use async_nats::{ConnectErrorKind, PublishErrorKind, RequestErrorKind};
use realtime_core::Error;
use realtime_core::spi::AppendError;

/// The reason why NATS cannot be used; reaches applications as the source of [`Error::Backplane`],
/// or as the text of [`Error::Config`]. Names servers by host and port alone: a URL may hold a
/// password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("JetStream: {description} (error {code})")]
    Api { code: u64, description: String },
    #[error("the directory is not up to date: it cannot be read from NATS")]
    Behind,
    #[error("{0}")]
    Config(String),
    #[error("NATS at {address}: {kind}")]
    Connect { address: String, kind: ConnectErrorKind },
    #[error("the connection to NATS at {0} was lost")]
    Disconnected(String),
    #[error(
        "the log \"{prefix}\" was written by another build: it has format {found}, and this build reads format {known}"
    )]
    Format { prefix: String, found: u64, known: u64 },
    #[error("the log has lost records that were read before")]
    Lost,
    #[error("not connected to NATS at {0}")]
    NotConnected(String),
    #[error(
        "NATS has no room for the stream {stream} with max_bytes {bytes}: {description}; its setting is \
         max_file_store, or the limit of the account"
    )]
    NoRoom { stream: String, bytes: String, description: String },
    #[error("no responders on the NATS subject {0}")]
    NoResponders(String),
    #[error("a message of {size} bytes exceeds max_payload {limit} of NATS at {address}")]
    Payload { address: String, size: usize, limit: usize },
    #[error("NATS at {0} did not answer in time")]
    Timeout(String),
    #[error("the log dropped records before they were read")]
    Trimmed,
    #[error("unexpected reply from NATS: {0}")]
    Unexpected(&'static str),
    #[error("cannot tell any more whether the first append with this idempotency key succeeded")]
    OutcomeExpired,
}

/// The numbers by which JetStream names its errors.
pub(crate) mod code {
    pub(crate) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(crate) const MESSAGE_TOO_LARGE: u64 = 10054;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const NO_STORAGE: u64 = 10047;
    pub(crate) const NO_JETSTREAM: u64 = 10039;
    pub(crate) const NO_JETSTREAM_HERE: u64 = 10076;
    pub(crate) const OTHER_CONFIG: u64 = 10058;
    pub(crate) const OTHER_STREAM: u64 = 10060;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
    pub(crate) const WRONG_SEQUENCE: u64 = 10071;
}

/// The errors that precede every write of a message.
const BEFORE_EVERY_WRITE: [u64; 8] = [
    code::INSUFFICIENT_RESOURCES,
    code::MESSAGE_TOO_LARGE,
    code::NO_JETSTREAM,
    code::NO_JETSTREAM_HERE,
    code::NO_STORAGE,
    code::OTHER_STREAM,
    code::STREAM_NOT_FOUND,
    code::WRONG_SEQUENCE,
];

impl Fault {
    /// Returns whether nothing was written: because nothing was sent, or because NATS says so.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::NoRoom { .. }
            | Self::NotConnected(_)
            | Self::NoResponders(_)
            | Self::Payload { .. } => true,
            Self::Api { code, .. } => BEFORE_EVERY_WRITE.contains(code),
            _ => false,
        }
    }

    /// Returns whether this is the error with a number of JetStream's.
    pub(crate) fn has_code(&self, expected: u64) -> bool {
        matches!(self, Self::Api { code, .. } if *code == expected)
    }

    /// Returns whether there is no such stream.
    pub(crate) fn is_missing_stream(&self) -> bool {
        self.has_code(code::STREAM_NOT_FOUND) || matches!(self, Self::NoResponders(_))
    }

    /// Reads the error of a request to this server, on this subject.
    pub(crate) fn of_request(error: &async_nats::RequestError, address: &str, subject: &str) -> Self {
        match error.kind() {
            RequestErrorKind::TimedOut => Self::Timeout(address.to_owned()),
            RequestErrorKind::NoResponders => Self::NoResponders(subject.to_owned()),
            RequestErrorKind::InvalidSubject => Self::Unexpected("a subject that is not one"),
            _ => Self::Disconnected(address.to_owned()),
        }
    }

    /// Reads the error of a publish to this server.
    pub(crate) fn of_publish(error: &async_nats::PublishError, address: &str) -> Self {
        match error.kind() {
            PublishErrorKind::InvalidSubject => Self::Unexpected("a subject that is not one"),
            _ => Self::Disconnected(address.to_owned()),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Config(_) | Fault::Format { .. } | Fault::NoRoom { .. } => Self::Config(fault.to_string()),
            _ => Self::Backplane(Box::new(fault)),
        }
    }
}

impl From<Fault> for AppendError {
    fn from(fault: Fault) -> Self {
        if fault.is_certain() { Self::Refused(Box::new(fault)) } else { Self::Unknown(Box::new(fault)) }
    }
}
