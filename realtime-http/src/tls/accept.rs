//! The handshake of one connection.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Tls, handshakes::Handshakes, secured::Secured};
use crate::guard::GuardedStream;
use crate::head::Unread as _;

/// The first byte of a TLS client (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// The answer to a client that speaks HTTP without TLS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/json\r\n\
    connection: close\r\n\
    content-length: 79\r\n\r\n\
    {\"error\":{\"code\":\"bad_request\",\"message\":\"this port expects HTTPS, not HTTP\"}}\n";

/// The most bytes of such a client that are read, so that it gets the answer and not a reset.
const MAX_IGNORED: u64 = 64 * 1024;

/// The TLS of one server.
pub(crate) struct Acceptor {
    tls: Tls,
    handshakes: Handshakes,
}

impl Acceptor {
    pub(crate) fn new(tls: Tls) -> Self {
        Self { handshakes: Handshakes::new(tls.handshakes), tls }
    }

    /// Does the server's part of the handshake.
    pub(crate) async fn accept(&self, stream: GuardedStream) -> io::Result<Secured> {
        let handshake = self.handshakes.begin();
        tokio::select! {
            secured = timeout(self.tls.handshake_timeout, self.secure(stream)) => {
                secured.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))?
            }
            () = handshake.superseded() => Err(io::Error::other("too many TLS handshakes, a newer one began")),
        }
    }

    async fn secure(&self, mut stream: GuardedStream) -> io::Result<Secured> {
        // A client that sends nothing costs no more than this.
        let first = stream.read_u8().await?;
        if first != HANDSHAKE {
            if first.is_ascii_alphabetic() {
                stream.write_all(NOT_TLS).await?;
                stream.shutdown().await?;
                tokio::io::copy(&mut stream.take(MAX_IGNORED), &mut tokio::io::sink()).await?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
        }
        stream.unread(&[first]);
        let secured = TlsAcceptor::from(self.tls.certificate.config()).accept(stream).await?;
        Ok(Secured::new(secured))
    }
}
