use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Stream of a websocket as engineioxide reads and writes it. After a probe, engineioxide first
/// reads a replay of the probe.
///
/// Its writes and flushes during the replay are discarded: the client has the answer already, and a
/// flush would report the channel as drained.
pub(crate) struct Handover<S> {
    stream: S,
    /// Frames of the probe that have not been replayed yet.
    replay: &'static [&'static [u8]],
}

/// Frames of the client's probe, masked with zeros. engineioxide reads them one by one, and writes
/// the answer in between.
const PROBE: &[&[u8]] = &[b"\x81\x86\0\0\0\x002probe", b"\x81\x81\0\0\0\x005"];

impl<S> Handover<S> {
    /// Wraps a websocket that opened a session.
    pub(crate) fn after_open(stream: S) -> Self {
        Self { stream, replay: &[] }
    }

    /// Wraps a websocket that was probed.
    pub(crate) fn after_probe(stream: S) -> Self {
        Self { stream, replay: PROBE }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handover<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some((first, rest)) = self.replay.split_first() else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        if buf.remaining() < first.len() {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        buf.put_slice(first);
        self.replay = rest;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handover<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.replay {
            [] => Pin::new(&mut self.stream).poll_write(cx, buf),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.replay {
            [] => Pin::new(&mut self.stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::EngineSession;
    use crate::engine::settings::Limits;
    use crate::engine::websocket::stream::SessionStream;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LONG: Duration = Duration::from_secs(10);

    /// Reads, writes the answer, flushes and reads again, as engineioxide does.
    #[tokio::test]
    async fn probe_replay_is_invisible_to_client_and_session() {
        let limits = Limits { max_message: 10, write_stall: LONG, probe: LONG };
        let (io, mut peer) = duplex(64);
        let session = Arc::new(EngineSession::default());
        session.credit.spend(1);
        let mut stream = Handover::after_probe(SessionStream::new(io, Arc::clone(&session), limits));
        let mut buffer = [0; 64];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[6..read], b"2probe");
        stream.write_all(b"\x81\x063probe").await.unwrap();
        stream.flush().await.unwrap();
        assert!(!session.credit.is_idle(), "nothing was drained");
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[6..read], b"5");
        stream.write_all(b"\x81\x012").await.unwrap();
        stream.flush().await.unwrap();
        assert!(session.credit.is_idle());
        peer.write_all(b"\x81\x81\0\0\0\x003").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 7);
        drop(stream);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x81\x012");
    }
}
