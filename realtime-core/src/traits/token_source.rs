use std::borrow::Cow;

/// A place of a request to connect in which a token may be, see
/// [`ConnectRequest::token_in`](crate::ConnectRequest::token_in).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenSource {
    /// This entry of a Socket.IO client's `auth`.
    Auth(Cow<'static, str>),
    /// The header `Authorization: Bearer …`.
    Bearer,
    /// The cookie of this name. A browser sends it by itself, whichever page causes the request: it
    /// is safe where the pages of other origins may not connect.
    Cookie(Cow<'static, str>),
    /// This parameter of the URL, which proxies and browsers write into their logs and histories.
    Query(Cow<'static, str>),
    /// The subprotocol of a browser's WebSocket: `new WebSocket(url, ['bearer', token])`.
    Subprotocol,
}

impl TokenSource {
    /// The places in which [`ConnectRequest::token`](crate::ConnectRequest::token) looks, in this
    /// order.
    pub const ALL: [Self; 5] = [
        Self::Bearer,
        Self::Subprotocol,
        Self::Cookie(Cow::Borrowed("token")),
        Self::Query(Cow::Borrowed("token")),
        Self::Auth(Cow::Borrowed("token")),
    ];
}
