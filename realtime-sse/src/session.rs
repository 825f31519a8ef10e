//! The body of an event stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use realtime_core::{Admitted, CloseReason, Dispatcher, Registration, Take};

use crate::codec::{COMMENT, SseCodec};
use crate::heartbeat::Heartbeat;
use crate::outlet::{BodyOutlet, Under};
use crate::progress::Progress;

/// Bytes taken from the outbox at a time: what the server holds of a stream beside its outbox. Small, so that a slow
/// client that reads at all comes back for more well before it counts as stalled.
const BATCH: usize = 16 * 1024;

/// A block of this size goes out as it is; smaller ones that wait together are joined, since copying them is cheaper
/// than a chunk header and three slices of a vectored write for each.
const SHARED: usize = 4 * 1024;

/// One connection's stream: what waits in its outbox, as the server asks for it.
///
/// Dropping it ends the connection; the server does that when the client is gone.
pub(crate) struct SseBody {
    registration: Registration<SseCodec>,
    outlet: Arc<BodyOutlet>,
    /// Taken from the outbox and not handed on yet.
    taken: VecDeque<Bytes>,
    heartbeat: Option<Heartbeat>,
    /// Where the server's writes can be followed: in a stream that has its TCP connection for itself.
    progress: Option<Box<Progress>>,
    /// Blocks that were handed on, the prelude included.
    handed: u64,
    ended: bool,
    /// Ended, and not given up.
    ended_in_order: bool,
}

/// The server gave the stream up, so it must not look complete: HTTP/1.1 cuts the connection, HTTP/2 resets the stream.
#[derive(Debug, thiserror::Error)]
#[error("the event stream was given up: {0}")]
pub(crate) struct GivenUp(CloseReason);

impl SseBody {
    /// Puts an admitted connection into the hub; `prelude` begins its first block.
    pub(crate) fn open(
        dispatcher: &Arc<Dispatcher<SseCodec>>,
        admitted: Admitted,
        prelude: Bytes,
        heartbeat: Option<Heartbeat>,
        under: Option<Under>,
    ) -> Self {
        let alone = under.as_ref().filter(|under| under.alone);
        let progress = alone.map(|under| Box::new(Progress::new(Arc::clone(&under.wire), under.chunked)));
        let outlet = Arc::new(BodyOutlet::new(under));
        outlet.ignore_requests(true);
        let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
        let mut blocks = vec![prelude];
        // The welcome goes out with the prelude; if there is an end already it is found again later.
        registration.try_take(BATCH, &mut blocks);
        Self {
            registration,
            outlet,
            taken: blocks.into(),
            heartbeat,
            progress,
            handed: 0,
            ended: false,
            ended_in_order: false,
        }
    }

    /// The next piece of what was taken: one large block, or small ones joined.
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
        // The prelude is none of those that were taken.
        self.note(self.handed.saturating_sub(1), &piece);
        self.handed += 1 + small as u64;
        if self.taken.is_empty() {
            // Most connections are idle most of the time.
            self.taken = VecDeque::new();
        }
        Some(piece)
    }

    fn note(&mut self, number: u64, piece: &[u8]) {
        if let Some(progress) = &mut self.progress {
            progress.hand(number, piece);
        }
    }

    fn comment(&mut self) -> Frame<Bytes> {
        self.note(0, &COMMENT);
        Frame::data(COMMENT)
    }
}

impl Drop for SseBody {
    fn drop(&mut self) {
        self.outlet.ignore_requests(false);
        if self.outlet.has_stalled() {
            self.registration.set_reason(CloseReason::WRITE_STALL);
        }
        // What has ended in order goes on to the client without us.
        let cut = self.progress.as_ref().filter(|_| !self.ended_in_order).and_then(|progress| progress.within());
        if let Some(block) = cut {
            self.registration.cut_within(block);
        }
    }
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let this = self.get_mut();
        let span = this.registration.span().clone();
        let _entered = span.enter();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.taken.is_empty() {
            let mut blocks = Vec::new();
            let take = this.outlet.session().poll_take(&this.registration, cx, BATCH, &mut blocks);
            this.taken = blocks.into();
            if let Poll::Ready(Take::Closed(reason)) = take {
                this.ended = true;
                this.ended_in_order = reason != CloseReason::WRITE_STALL;
                return Poll::Ready((reason == CloseReason::WRITE_STALL).then_some(Err(GivenUp(reason))));
            }
        } else {
            // The server asks again when it is rid of the piece before.
            this.registration.progressed();
        }
        if let Some(piece) = this.next_piece() {
            if let Some(heartbeat) = &mut this.heartbeat {
                heartbeat.sent();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.outlet.session().take_probe() {
            // Something whose acknowledgement can be waited for.
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
    use realtime_core::{Event, Identity, RealtimeProvider, Runtime};

    use super::*;
    use crate::config::SseConfig;
    use crate::provider::SseProvider;

    async fn piece(body: &mut SseBody) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn what_is_small_goes_out_together_and_what_is_large_is_shared() {
        let sse = SseProvider::new(SseConfig::default());
        sse.attach(Runtime::in_memory()).await.unwrap();
        let open = || sse.body(sse.dispatcher().admit_as(Identity::anonymous(), &[], None, None).unwrap(), None);
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
