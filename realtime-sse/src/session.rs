//! One connection: the body of an event stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use realtime_core::CloseReason;
use realtime_core::spi::{Admitted, Dispatcher, Registration, Take};

use crate::codec::{COMMENT, SseCodec};
use crate::heartbeat::Heartbeat;
use crate::outlet::{BodyOutlet, Transport};
use crate::progress::Progress;

/// Bytes taken from the outbox at a time, which the server holds of a stream in addition to its
/// outbox. Small, so that for a slow client that reads at all, the next batch is taken well before
/// the client counts as stalled.
const BATCH: usize = 16 * 1024;

/// The size from which a block is sent as it is; smaller ones that wait together are joined, since
/// copying them is cheaper than a chunk header and three slices of a vectored write for each.
const SHARED: usize = 4 * 1024;

/// The body of one event stream, which takes from the connection's outbox when the server asks for
/// more.
///
/// Dropping the body ends the connection; the server does that when the client is gone.
pub(crate) struct Session {
    registration: Registration<SseCodec>,
    outlet: Arc<BodyOutlet>,
    /// Blocks that were taken from the outbox and not passed to the server yet.
    taken: VecDeque<Bytes>,
    heartbeat: Option<Heartbeat>,
    /// The progress of the server's writes, for a stream that has a TCP connection for itself.
    progress: Option<Box<Progress>>,
    /// The number of blocks passed to the server, the prelude included.
    passed: u64,
    ended: bool,
    /// Set when the stream has ended and was not aborted.
    ended_in_order: bool,
}

/// The error of a stream that the server aborts, so that it does not look complete: over HTTP/1.1
/// the connection is closed without the final chunk, over HTTP/2 the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the event stream was aborted: {0}")]
pub(crate) struct Aborted(CloseReason);

impl Session {
    /// Registers an admitted connection; `prelude` begins its first block.
    pub(crate) fn open(
        dispatcher: &Arc<Dispatcher<SseCodec>>,
        admitted: Admitted,
        prelude: Bytes,
        heartbeat: Option<Heartbeat>,
        transport: Option<Transport>,
    ) -> Self {
        let exclusive = transport.as_ref().filter(|transport| transport.exclusive);
        let progress =
            exclusive.map(|transport| Box::new(Progress::new(Arc::clone(&transport.wire), transport.chunked)));
        let outlet = Arc::new(BodyOutlet::new(transport));
        outlet.ignore_requests(true);
        let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
        let mut blocks = vec![prelude];
        // The first event is sent with the prelude; a close that is found here is found again
        // later.
        registration.try_take(BATCH, &mut blocks);
        Self {
            registration,
            outlet,
            taken: blocks.into(),
            heartbeat,
            progress,
            passed: 0,
            ended: false,
            ended_in_order: false,
        }
    }

    /// Returns the next piece of the taken blocks: one large block, or small ones joined.
    fn next_piece(&mut self) -> Option<Bytes> {
        let first = self.taken.pop_front()?;
        let mut small = 0;
        let mut size = first.len();
        if size < SHARED {
            for block in self.taken.iter().take_while(|block| block.len() < SHARED) {
                small += 1;
                size += block.len();
            }
        }
        let piece = if small == 0 {
            first
        } else {
            let mut joined = BytesMut::with_capacity(size);
            joined.extend_from_slice(&first);
            for block in self.taken.drain(..small) {
                joined.extend_from_slice(&block);
            }
            joined.freeze()
        };
        // The prelude was not taken from the outbox.
        self.note(self.passed.saturating_sub(1), &piece);
        self.passed += 1 + small as u64;
        if self.taken.is_empty() {
            // Most connections are idle most of the time.
            self.taken = VecDeque::new();
        }
        Some(piece)
    }

    fn note(&mut self, number: u64, piece: &[u8]) {
        if let Some(progress) = &mut self.progress {
            progress.note(number, piece);
        }
    }

    fn comment(&mut self) -> Frame<Bytes> {
        self.note(0, &COMMENT);
        Frame::data(COMMENT)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.outlet.ignore_requests(false);
        if self.outlet.has_stalled() {
            self.registration.set_reason(CloseReason::WRITE_STALL);
        }
        // A stream that has ended in order is sent to the client without us.
        let partial = self.progress.as_ref().filter(|_| !self.ended_in_order).and_then(|progress| progress.within());
        if let Some(block) = partial {
            self.registration.interrupted_within(block);
        }
    }
}

impl Body for Session {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.taken.is_empty() {
            // The server has all that was taken before.
            this.registration.written();
            let mut blocks = Vec::new();
            let take = this.outlet.session().poll_take(&this.registration, cx, BATCH, &mut blocks);
            this.taken = blocks.into();
            if let Poll::Ready(Take::Closed(reason)) = take {
                this.ended = true;
                this.ended_in_order = reason != CloseReason::WRITE_STALL;
                return Poll::Ready((reason == CloseReason::WRITE_STALL).then_some(Err(Aborted(reason))));
            }
        } else {
            // The server asks again when it has written the previous piece.
            this.registration.progressed();
        }
        if let Some(piece) = this.next_piece() {
            if let Some(heartbeat) = &mut this.heartbeat {
                heartbeat.sent();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.outlet.session().take_probe() {
            // Bytes whose acknowledgement can be waited for.
            return Poll::Ready(Some(Ok(this.comment())));
        }
        match &mut this.heartbeat {
            Some(heartbeat) => heartbeat.poll_due(cx).map(|()| Some(Ok(this.comment()))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use realtime_core::spi::{Dispatched, Runtime};
    use realtime_core::{Event, Identity, RealtimeProvider};

    use super::*;
    use crate::config::SseConfig;
    use crate::provider::SseProvider;

    async fn piece(body: &mut Session) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn small_blocks_are_joined_and_large_ones_are_shared() {
        let sse = SseProvider::new(SseConfig::default());
        sse.attach(Runtime::in_memory()).await.unwrap();
        let open = || sse.session(sse.dispatcher().admit_as(Identity::anonymous(), &[], None, None).unwrap(), None);
        let (mut one, mut two) = (open(), open());
        let send = async |size: usize| {
            sse.broadcast().to_all(Event::json("n", &"x".repeat(size)).unwrap()).await.unwrap();
        };

        let first = String::from_utf8(piece(&mut one).await.to_vec()).unwrap();
        assert!(first.starts_with("retry: ") && first.contains("\nevent: connected\n"), "{first}");
        piece(&mut two).await;
        for size in [10, 20, SHARED, 30, 2 * BATCH, 40, 50] {
            send(size).await;
        }

        let mut sizes = Vec::new();
        for _ in 0..5 {
            let (one, two) = (piece(&mut one).await, piece(&mut two).await);
            let count = one.windows(8).filter(|window| window == b"event: n").count();
            let shared = one.as_ptr() == two.as_ptr();
            sizes.push((count, shared));
        }
        assert_eq!(sizes, [(2, false), (1, true), (1, true), (1, true), (2, false)]);
    }
}
