/// The reason why a test client returns no event.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client's deadline has passed.
    #[error("expected an event before the deadline, and got none; last cursor: {last_event_id:?}")]
    Deadline {
        /// The newest cursor that the client has.
        last_event_id: String,
    },
    /// The server closed the connection, and the client does not reconnect after that.
    #[error("closed: {code:?} {reason}")]
    Closed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The text of the close frame, or a description of the end.
        reason: String,
    },
    /// The server answered with another status than that of an accepted connection.
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
    /// The connection failed while the client was not allowed to reconnect.
    #[error("the connection failed: {0}")]
    Wire(String),
}
