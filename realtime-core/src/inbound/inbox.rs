use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::admission::work::{Busy, Work};
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;

/// Decoded events of one connection that wait for its handlers, in order.
///
/// Bounded by back-pressure: a push answers whether to go on reading. A transport that is told to
/// stop does so, so at most what one read brought stands above the mark.
pub struct Inbox {
    /// Short: held to move one event in or out.
    state: Mutex<State>,
    /// Lets the worker run handlers.
    work: Work,
    /// The worker waits for events here.
    arrived: Notify,
    /// A worker that waits until its user has fewer handlers running hears here of the connection's end.
    left: Notify,
    /// A reading session waits for room here.
    reader: AtomicWaker,
    /// Cancelled when the worker has handled the last event.
    done: CancellationToken,
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
    /// The worker may run handlers; from the first event that waits to the last one that was handled.
    busy: Option<Busy>,
    /// The worker waits until it may.
    beginning: bool,
    /// The worker is at an event.
    handling: bool,
    /// Counted as a worker whose connection has left.
    lingering: bool,
    /// Events that no handler will begin.
    dropped: usize,
    /// The last push said stop; when there is room again the reader is told.
    paused: bool,
    on_room: Option<OnRoom>,
}

type OnRoom = Arc<dyn Fn() + Send + Sync>;

/// What the worker does next.
enum Step {
    Handle(Item),
    /// Waits until it may run handlers.
    Begin,
    Wait,
    End,
}

/// What is done when the lock has been let go.
#[derive(Default)]
struct Then {
    /// Reading may go on.
    resume: bool,
    on_room: Option<OnRoom>,
    released: Option<Busy>,
}

/// Events that may wait before reading pauses.
const MARK_EVENTS: usize = 64;
/// Bytes that may wait before reading pauses.
const MARK_BYTES: usize = 256 * 1024;

impl Inbox {
    pub(crate) fn new(work: Work) -> Self {
        Self {
            state: Mutex::default(),
            work,
            arrived: Notify::new(),
            left: Notify::new(),
            reader: AtomicWaker::new(),
            done: CancellationToken::new(),
        }
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
            state.dropped += 1;
            return true;
        }
        state.bytes += item.size();
        state.queue.push_back(item);
        // Not a slot that the worker waits for behind it.
        if state.busy.is_none() && !state.beginning {
            state.busy = self.work.try_begin();
        }
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

    /// No more events come, and what is queued is not handled.
    pub(crate) fn abandon(&self) {
        self.leave(false, None);
    }

    /// The connection has left. What is queued is dropped, unless it is to be kept and the worker may handle it: its client has
    /// said goodbye after it. A worker that is not done is counted until it is.
    pub(crate) fn leave(&self, keep: bool, lingering: Option<&AtomicU64>) {
        let then = {
            let mut state = self.lock();
            state.closed = true;
            if keep && !state.queue.is_empty() && state.busy.is_none() {
                state.busy = self.work.try_begin();
            }
            if !keep || state.busy.is_none() {
                state.dropped += std::mem::take(&mut state.queue).len();
                state.bytes = 0;
            }
            let is_done = !state.handling && state.queue.is_empty();
            if let Some(lingering) = lingering
                && !is_done
                && !std::mem::replace(&mut state.lingering, true)
            {
                lingering.fetch_add(1, Ordering::Relaxed);
            }
            // Whoever waits to read on is to see that it is over.
            let then = state.resume();
            Then { released: if is_done { state.busy.take() } else { None }, ..then }
        };
        self.carry_out(then);
        self.arrived.notify_one();
        self.left.notify_one();
    }

    /// How many events were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> usize {
        std::mem::take(&mut self.lock().dropped)
    }

    /// The next event; `None` when closed and empty.
    pub(crate) async fn pop(&self) -> Option<Item> {
        // What was begun just now is done before others have their turn.
        let mut fresh = false;
        loop {
            let (arrived, left) = (self.arrived.notified(), self.left.notified());
            let (step, then) = self.lock().step(fresh || !self.work.is_contended());
            self.carry_out(then);
            match step {
                Step::Handle(item) => return Some(item),
                Step::Wait => arrived.await,
                Step::End => return None,
                Step::Begin => tokio::select! {
                    biased;
                    () = left => {}
                    // Without one the connection has left, which is told next.
                    Some(busy) = self.work.begin() => {
                        let mut state = self.lock();
                        // What has been closed may still be handled, what has been dropped not.
                        let unused = if state.queue.is_empty() { Some(busy) } else { state.busy.replace(busy) };
                        drop(state);
                        drop(unused);
                        fresh = true;
                    }
                },
            }
        }
    }

    fn carry_out(&self, then: Then) {
        drop(then.released);
        if then.resume {
            self.reader.wake();
        }
        if let Some(call) = then.on_room {
            call();
        }
    }

    /// The worker has handled the last event.
    pub(crate) fn finish(&self, lingering: &AtomicU64) {
        if std::mem::take(&mut self.lock().lingering) {
            lingering.fetch_sub(1, Ordering::Relaxed);
        }
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

impl State {
    /// Takes the next step; whether the worker goes on with it although others of the user wait.
    fn step(&mut self, goes_on: bool) -> (Step, Then) {
        self.handling = false;
        self.beginning = false;
        if self.queue.is_empty() {
            let step = if self.closed { Step::End } else { Step::Wait };
            return (step, Then { released: self.busy.take(), ..Then::default() });
        }
        // A connection that has left could not begin again.
        let goes_on = goes_on || self.closed;
        if self.busy.is_none() || !goes_on {
            self.beginning = true;
            return (Step::Begin, Then { released: self.busy.take(), ..Then::default() });
        }
        let Some(item) = self.queue.pop_front() else { return (Step::Wait, Then::default()) };
        self.handling = true;
        self.bytes -= item.size();
        // Half the mark, so that pausing and resuming do not alternate at every event.
        let roomy = self.queue.len() <= MARK_EVENTS / 2 && self.bytes <= MARK_BYTES / 2;
        (Step::Handle(item), if roomy { self.resume() } else { Then::default() })
    }

    /// Lets reading go on, if it was paused.
    fn resume(&mut self) -> Then {
        if !std::mem::take(&mut self.paused) {
            return Then::default();
        }
        Then { resume: true, on_room: self.on_room.clone(), released: None }
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
    use crate::admission::limits::Admission;
    use crate::values::config::Limits;
    use crate::values::identity::Identity;

    #[tokio::test]
    async fn reading_pauses_at_the_mark_and_goes_on_at_half_of_it() {
        let ticket = Admission::new(Limits::default()).admit(&Identity::anonymous()).unwrap();
        let inbox = Inbox::new(Work::of(&ticket));
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

    #[tokio::test]
    async fn reading_pauses_by_bytes_too_whatever_it_is_that_waits() {
        let ticket = Admission::new(Limits::default()).admit(&Identity::anonymous()).unwrap();
        let text = "x".repeat(100 * 1024);
        let event = |inbox: &Inbox| inbox.push(Inbound::new("a", text.clone()));
        let error = |inbox: &Inbox| inbox.push_rejected(HandlerError::new("bad", text.clone()), None);
        let adds: [&dyn Fn(&Inbox) -> bool; 2] = [&event, &error];
        for add in adds {
            let inbox = Inbox::new(Work::of(&ticket));
            assert!(add(&inbox) && add(&inbox) && !inbox.is_paused(), "200 KiB");
            assert!(!add(&inbox) && inbox.is_paused(), "300 KiB");
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            assert!(inbox.poll_room(cx).is_pending());
            inbox.pop().await.unwrap();
            assert!(inbox.is_paused(), "200 KiB are more than half of the mark");
            inbox.pop().await.unwrap();
            assert!(!inbox.is_paused() && inbox.poll_room(cx).is_ready());
        }
    }

    #[tokio::test]
    async fn an_event_does_not_take_the_slot_that_its_own_worker_waits_for() {
        let admission = Admission::new(Limits::default().with_connections_per_user(1));
        let ticket = admission.admit(&Identity::user("ann")).unwrap();
        let of_gone = Work::of(&ticket);
        let gone = of_gone.try_begin().unwrap();
        let inbox = Inbox::new(Work::of(&ticket));
        inbox.push(Inbound::new("a", "1"));
        let mut pop = Box::pin(inbox.pop());
        // Its task has had its turn: it does not even ask for the slot.
        while futures_util::poll!(Box::pin(tokio::task::coop::consume_budget())).is_ready() {}
        assert!(futures_util::poll!(&mut pop).is_pending());
        drop(gone);
        inbox.push(Inbound::new("a", "2"));
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), &mut pop).await;
        assert!(next.expect("the slot is free").is_some());
    }
}
