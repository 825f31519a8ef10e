/// Why a test client has nothing to give.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing came within the client's deadline.
    #[error("nothing came in time; last place: {last_event_id:?}")]
    Deadline {
        /// The newest place the client knows.
        last_event_id: String,
    },
    /// The server ended the connection and the client is told not to come back.
    #[error("closed: {code:?} {reason}")]
    Closed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The text beside it.
        reason: String,
    },
    /// The server answered with another status than the one that lets in.
    #[error("refused with status {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, as text.
        body: String,
    },
    /// The server sent what the protocol does not allow.
    #[error("protocol: {0}")]
    Protocol(String),
    /// The wire failed while the client was not allowed to come back.
    #[error("the wire failed: {0}")]
    Wire(String),
}
