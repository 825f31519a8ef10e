use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use realtime_http::Wire;

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::packet::payload::count_packets;

/// Number of bytes in one frame: the server polls for more when it has written them.
const CHUNK: usize = 64 * 1024;

/// Body of a long-polling response. Each piece that the server takes is a sign of life, and the
/// last one frees the space of the packets in the channel. A body that is dropped earlier closes
/// the session: its packets cannot be sent again.
pub(crate) struct ResponseBody {
    left: Bytes,
    packets: Bytes,
    session: Arc<EngineSession>,
}

impl ResponseBody {
    /// Creates the body; `wire` is its TCP connection, if that carries nothing else.
    pub(crate) fn new(body: Bytes, session: Arc<EngineSession>, wire: Option<Arc<Wire>>) -> Self {
        session.progress.note_response(&body, wire.as_ref());
        Self { left: body.clone(), packets: body, session }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.left.len() < self.packets.len() {
            // The client has read the previous pieces.
            self.session.note_alive();
        }
        let end = self.left.len().min(CHUNK);
        let chunk = self.left.split_to(end);
        if self.left.is_empty() {
            self.session.credit.released(count_packets(&self.packets), self.packets.len());
            self.session.measured.written();
        } else {
            self.session.credit.note_read();
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.session.close_for(Cause::Lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    #[test]
    fn credit_is_released_with_the_last_piece() {
        let session = Arc::new(EngineSession::default());
        let body = format!("42[\"a\"]\u{1e}42[\"{}\"]", "x".repeat(CHUNK));
        for _ in 0..2 {
            session.credit.spend(1);
        }
        let mut answer = ResponseBody::new(body.clone().into(), Arc::clone(&session), None);
        let mut read = Vec::new();
        for idle in [false, true] {
            let reads = session.credit.reads();
            read.extend(answer.frame().now_or_never().unwrap().unwrap().unwrap().into_data().unwrap());
            assert_eq!(session.credit.is_idle(), idle);
            assert_eq!(session.credit.reads(), reads + 1);
        }
        assert!(answer.frame().now_or_never().unwrap().is_none());
        assert_eq!(read, body.as_bytes());
    }

    #[test]
    fn dropping_unfinished_body_closes_the_session() {
        let session = Arc::new(EngineSession::default());
        let mut answer = ResponseBody::new("x".repeat(CHUNK + 1).into(), Arc::clone(&session), None);
        let _ = answer.frame().now_or_never();
        assert!(!session.is_closing());
        drop(answer);
        assert_eq!(session.cause(), Some(Cause::Lost));
    }
}
