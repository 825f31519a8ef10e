use bytes::Bytes;

/// The reply of a handler of raw messages: one message, sent as it is and without an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawReply {
    /// A binary message.
    Binary(Bytes),
    /// Nothing.
    #[default]
    None,
    /// A text message.
    Text(String),
}
