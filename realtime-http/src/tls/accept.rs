//! The handshake of one connection.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Tls, secured::Secured};
use crate::ended::Ended;
use crate::guard::GuardedStream;
use crate::head::Unread as _;
use crate::pending::Pending;

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
    /// The handshakes under way.
    handshakes: Arc<Pending>,
}

impl Acceptor {
    pub(crate) fn new(tls: Tls) -> Self {
        Self { handshakes: Pending::new(tls.handshakes, None, Ended::TlsLimit), tls }
    }

    /// Does the server's part of the handshake.
    pub(crate) async fn accept(&self, stream: GuardedStream) -> io::Result<Secured> {
        let wire = Arc::clone(stream.wire());
        // Killed if it has to end for a newer one.
        let _handshake = self.handshakes.enter(&wire);
        timeout(self.tls.handshake_timeout, self.secure(stream)).await.unwrap_or_else(|_| {
            wire.count(Ended::TlsTimeout);
            Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))
        })
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
