use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::{HandlerError, Inbound};

/// Decoded events of one connection that wait for its handlers, in order.
///
/// Bounded by back-pressure: a push answers whether to go on reading. A transport that is told to
/// stop does so, so at most what one read brought stands above the mark.
pub struct Inbox {
    /// Short: held to move one event in or out.
    state: Mutex<State>,
    /// The worker waits for events here.
    arrived: Notify,
    /// A reading session waits for room here.
    reader: AtomicWaker,
    /// Cancelled when the worker has handled the last event.
    done: tokio_util::sync::CancellationToken,
}

/// What waits for the worker.
pub(crate) enum Item {
    /// For a handler.
    Event(Inbound),
    /// What could not be read; the client is told in its turn.
    Rejected(HandlerError, Option<u64>),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    closed: bool,
    /// The last push said stop; when there is room again the reader is told.
    paused: bool,
    on_room: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Events that may wait before reading pauses.
const MARK_EVENTS: usize = 64;
/// Bytes that may wait before reading pauses.
const MARK_BYTES: usize = 256 * 1024;

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), reader: AtomicWaker::new(), done: Default::default() }
    }

    /// Adds an event; `false` asks the transport to read no more until there is room.
    pub fn push(&self, inbound: Inbound) -> bool {
        self.add(Item::Event(inbound))
    }

    /// Adds what could not be read, as [`Inbox::push`] adds an event.
    pub(crate) fn push_rejected(&self, error: HandlerError, ack: Option<u64>) -> bool {
        self.add(Item::Rejected(error, ack))
    }

    fn add(&self, item: Item) -> bool {
        let mut state = self.lock();
        if state.closed {
            return true;
        }
        state.bytes += item.size();
        state.queue.push_back(item);
        state.paused |= state.is_over_mark();
        let go_on = !state.paused;
        drop(state);
        self.arrived.notify_one();
        go_on
    }

    /// Whether a push has asked the transport to stop reading, and there is no room yet.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Ready when reading may go on.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.lock().paused { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Calls this each time reading may go on after a pause, for transports whose reader is no task of ours.
    pub fn on_room(&self, call: impl Fn() + Send + Sync + 'static) {
        self.lock().on_room = Some(Arc::new(call));
    }

    /// No more events come; what is queued is still handled.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The next event; `None` when closed and empty.
    pub(crate) async fn pop(&self) -> Option<Item> {
        loop {
            let arrived = self.arrived.notified();
            let (next, call) = {
                let mut state = self.lock();
                let next = state.queue.pop_front();
                if let Some(item) = &next {
                    state.bytes -= item.size();
                } else if state.closed {
                    return None;
                }
                // Half the mark, so that pausing and resuming do not alternate at every event.
                let roomy = state.queue.len() <= MARK_EVENTS / 2 && state.bytes <= MARK_BYTES / 2;
                let resume = state.paused && roomy;
                state.paused &= !resume;
                (next, resume.then(|| state.on_room.clone()))
            };
            if let Some(call) = call {
                self.reader.wake();
                if let Some(call) = call {
                    call();
                }
            }
            if next.is_some() {
                return next;
            }
            arrived.await;
        }
    }

    /// The worker has handled the last event.
    pub(crate) fn finish(&self) {
        self.done.cancel();
    }

    /// Waits for [`Inbox::finish`].
    pub(crate) async fn finished(&self) {
        self.done.cancelled().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Event(inbound) => inbound.size(),
            Self::Rejected(error, _) => error.code().len() + error.message().len(),
        }
    }
}

impl State {
    fn is_over_mark(&self) -> bool {
        self.queue.len() >= MARK_EVENTS || self.bytes >= MARK_BYTES
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.lock().queue.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_pauses_at_the_mark_and_goes_on_at_half_of_it() {
        let inbox = Inbox::new();
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        inbox.on_room({
            let told = Arc::clone(&told);
            move || {
                told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        for i in 1..MARK_EVENTS {
            assert!(inbox.push(Inbound::new("a", i.to_string())));
        }
        assert!(!inbox.push(Inbound::new("a", "64")));
        for _ in 0..MARK_EVENTS / 2 - 1 {
            inbox.pop().await.unwrap();
        }
        assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 0);
        inbox.pop().await.unwrap();
        assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 1);
        inbox.close();
        let mut left = 0;
        while inbox.pop().await.is_some() {
            left += 1;
        }
        assert_eq!(left, MARK_EVENTS / 2);
    }
}
