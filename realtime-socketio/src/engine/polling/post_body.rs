use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame};
use realtime_core::spi::MeteredKind;

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::session::namespaces::Verdict;
use crate::engine::settings::YIELD_AFTER;
use crate::packet::head::{Head, HeadScan};
use crate::packet::payload::SEPARATOR;
use crate::packet::post_rewriter::PacketRewriter;

/// Body of a POST that yields one packet at a time, and none while reading is paused or the packet
/// has to wait.
///
/// engineioxide polls the body once for each packet that it decodes, so that one frame per packet
/// paces it. It would decode all packets of a larger frame together.
pub(crate) struct PostBody {
    inner: Body,
    session: Arc<EngineSession>,
    chunk: Bytes,
    /// Number of bytes that may still be received.
    left: usize,
    head: HeadScan,
    rewriter: PacketRewriter,
    /// Set once the next piece of the chunk was scanned.
    scanned: bool,
    /// Head of the packet in that piece, until it is admitted.
    pending_head: Option<Head>,
    /// Number of packets since the task last yielded.
    packets: usize,
    /// Set until the first byte.
    is_empty: bool,
}

/// Error of the body, upon which engineioxide ends the session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("the session is closed")]
    Closed,
    #[error("too many packets or bytes without a connection")]
    Flood,
    #[error("the body could not be read")]
    Inner(#[from] axum::Error),
    #[error("the body is too large")]
    TooLarge,
}

impl PostBody {
    /// Starts the only POST of this session, or returns none while there is another one.
    pub(crate) fn start(inner: Body, session: Arc<EngineSession>, max: usize) -> Option<Self> {
        session.polling.start_post().then(|| Self {
            inner,
            session,
            chunk: Bytes::new(),
            left: max,
            head: HeadScan::default(),
            rewriter: PacketRewriter::default(),
            scanned: false,
            pending_head: None,
            packets: 0,
            is_empty: true,
        })
    }

    /// Fills the chunk if it is empty. Ready with false at the body's end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, PostError>> {
        while self.chunk.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => return Poll::Ready(Ok(false)),
                Some(Err(error)) => {
                    self.session.close_for(Cause::Lost);
                    return Poll::Ready(Err(error.into()));
                }
                Some(Ok(frame)) => {
                    self.session.note_received();
                    self.chunk = frame.into_data().unwrap_or_default();
                    self.is_empty &= self.chunk.is_empty();
                }
            }
            match self.left.checked_sub(self.chunk.len()) {
                Some(left) => self.left = left,
                None => {
                    self.session.close_for(Cause::TooLarge);
                    return Poll::Ready(Err(PostError::TooLarge));
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Scans the next piece of the chunk, or the body's end. Returns the head of the packet, once
    /// it is known.
    fn scan_packet(&mut self, piece: &[u8]) -> Result<Option<Head>, PostError> {
        if self.session.admit_bytes(piece.len() as u64, None) == Verdict::Reject {
            return Err(self.reject_flood());
        }
        let (packet, is_end) = match piece {
            [packet @ .., SEPARATOR] => (packet, true),
            piece => (piece, piece.is_empty() && !self.head.is_empty()),
        };
        let head = self.head.feed(packet.iter().copied()).map(|(_, head)| head);
        let at_end = if is_end { self.head.end() } else { None };
        Ok(head.or(at_end))
    }

    /// Waits until the pending packet, if there is one, is admitted.
    fn poll_admit(&mut self) -> Poll<Result<(), PostError>> {
        let Some(head) = self.pending_head.take() else { return Poll::Ready(Ok(())) };
        match self.session.admit(&head) {
            Verdict::Admit => {
                self.packets += 1;
                Poll::Ready(Ok(()))
            }
            Verdict::Reject => Poll::Ready(Err(self.reject_flood())),
            // The session wakes its readers when this may have changed.
            Verdict::Wait => {
                self.pending_head = Some(head);
                Poll::Pending
            }
        }
    }

    fn reject_flood(&self) -> PostError {
        self.session.reject_flood();
        PostError::Flood
    }
}

impl http_body::Body for PostBody {
    type Data = Bytes;
    type Error = PostError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PostError>>> {
        if ready!(self.session.poll_post_open(cx)) {
            return Poll::Ready(Some(Err(PostError::Closed)));
        }
        if self.session.is_over_rate() {
            return Poll::Pending;
        }
        if self.packets >= YIELD_AFTER {
            self.packets = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let has_chunk = ready!(self.poll_chunk(cx))?;
            if !has_chunk && self.is_empty {
                // Otherwise its packets count.
                self.session.charge(MeteredKind::Event, 1, 0);
            }
            let end = self.chunk.iter().position(|byte| *byte == SEPARATOR).map_or(self.chunk.len(), |at| at + 1);
            if !self.scanned {
                let piece = self.chunk.slice(..end);
                self.pending_head = self.scan_packet(&piece)?;
                self.scanned = true;
            }
            ready!(self.poll_admit())?;
            self.scanned = false;
            let piece = self.chunk.split_to(end);
            let has_piece = has_chunk || !self.rewriter.is_empty();
            if let Some(piece) = self.rewriter.feed(piece, !has_chunk) {
                return Poll::Ready(has_piece.then(|| Ok(Frame::data(piece))));
            }
        }
    }
}

impl Drop for PostBody {
    fn drop(&mut self) {
        self.session.polling.end_post();
    }
}

impl fmt::Debug for PostBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostBody").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    fn post(text: &'static str, max: usize) -> (PostBody, Arc<EngineSession>) {
        let session = Arc::new(EngineSession::default());
        let body = PostBody::start(Body::from(text), Arc::clone(&session), max).expect("first");
        (body, session)
    }

    async fn next(body: &mut PostBody) -> Option<Result<Bytes, PostError>> {
        Some(body.frame().await?.map(|frame| frame.into_data().expect("data")))
    }

    #[tokio::test]
    async fn post_body_yields_one_packet_per_frame() {
        let (mut body, _) = post("42[\"a\"]\u{1e}3\u{1e}42[\"b\"]", 100);
        for packet in ["42[\"a\"]\u{1e}", "3\u{1e}", "42[\"b\"]"] {
            assert_eq!(next(&mut body).await.unwrap().unwrap(), packet);
        }
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn post_body_yields_nothing_while_paused() {
        let (mut body, session) = post("42[\"a\"]\u{1e}42[\"b\"]", 100);
        next(&mut body).await.unwrap().unwrap();
        session.pause();
        assert!(next(&mut body).now_or_never().is_none());
        session.resume();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "42[\"b\"]");
    }

    #[tokio::test]
    async fn post_body_yields_to_other_tasks_during_a_burst() {
        let burst = "42[\"a\"]\u{1e}".repeat(100);
        let (mut body, session) = post(burst.leak(), 10_000);
        session.answer_main(true);
        let (mut packets, mut yields) = (0, 0);
        while packets < 100 {
            match next(&mut body).now_or_never() {
                Some(packet) => packets += packet.is_some_and(|packet| packet.is_ok()) as usize,
                None => yields += 1,
            }
            assert!(packets <= (yields + 1) * YIELD_AFTER && yields < 100, "{packets} packets in {yields} yields");
        }
        assert_eq!(yields, 100 / YIELD_AFTER);
    }

    #[tokio::test]
    async fn post_one_byte_over_the_limit_is_an_error() {
        let (mut body, _) = post("12345", 5);
        assert!(next(&mut body).await.unwrap().is_ok());
        let (mut body, _) = post("123456", 5);
        assert!(matches!(next(&mut body).await.unwrap(), Err(PostError::TooLarge)));
    }

    #[tokio::test]
    async fn second_post_is_rejected_while_first_is_read() {
        let (body, session) = post("1", 5);
        assert!(PostBody::start(Body::empty(), Arc::clone(&session), 5).is_none());
        drop(body);
        assert!(PostBody::start(Body::empty(), session, 5).is_some());
    }
}
