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

/// The decoded events of one connection that wait for its handlers, in order.
///
/// Bounded by back-pressure: a push returns whether to go on reading. A transport that gets `false`
/// pauses reading, so the queue exceeds the mark by one read at most.
pub struct Inbox {
    /// Short: held to move one event in or out.
    state: Mutex<State>,
    /// The worker's access to handler slots.
    work: Work,
    /// Notified of each event; the worker waits here.
    arrived: Notify,
    /// Notified when the connection has left the hub, for a worker that waits for a handler slot.
    left: Notify,
    /// The session's task while reading is paused.
    reader: AtomicWaker,
    /// Cancelled when the worker has handled the last event.
    done: CancellationToken,
}

/// An entry of the queue.
pub(crate) enum Item {
    /// An event for a handler.
    Event(Inbound),
    /// An event that could not be read; the client gets the error in order with other answers.
    Rejected(HandlerError, Option<u64>),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    closed: bool,
    /// The worker's handler slot, from the first event that waits to the last one that was handled.
    busy: Option<Busy>,
    /// Set while the worker waits for a handler slot.
    beginning: bool,
    /// Set while the worker handles an event.
    handling: bool,
    /// Set while the worker is counted as one whose connection has left the hub.
    lingering: bool,
    /// The number of events that were dropped without a handler.
    dropped: usize,
    /// Set while reading is paused; the session is notified once there is room again.
    paused: bool,
    on_room: Option<OnRoom>,
}

type OnRoom = Arc<dyn Fn() + Send + Sync>;

/// The worker's next step.
enum Step {
    Handle(Item),
    /// Wait for a handler slot.
    Begin,
    Wait,
    End,
}

/// The actions to carry out once the lock is released.
#[derive(Default)]
struct Then {
    /// `true` if reading may resume.
    resume: bool,
    on_room: Option<OnRoom>,
    released: Option<Busy>,
}

/// The number of waiting events at which reading pauses; it resumes at half.
const MARK_EVENTS: usize = 64;
/// The number of waiting bytes at which reading pauses; it resumes at half.
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

    /// Queues an event; `false` asks the transport to pause reading until there is room.
    pub fn push(&self, inbound: Inbound) -> bool {
        self.add(Item::Event(inbound))
    }

    /// Queues the error for an event that could not be read, as [`Inbox::push`] queues an event.
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
        // Not while the worker waits for a slot, which it takes itself.
        if state.busy.is_none() && !state.beginning {
            state.busy = self.work.try_begin();
        }
        state.paused |= state.is_over_mark();
        let go_on = !state.paused;
        drop(state);
        self.arrived.notify_one();
        go_on
    }

    /// Returns whether a push has asked the transport to pause reading, and there is no room yet.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Ready when reading may resume.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.lock().paused { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Sets a callback for each time that reading may resume after a pause, for transports whose
    /// reader is not the session's task.
    pub fn on_room(&self, call: impl Fn() + Send + Sync + 'static) {
        self.lock().on_room = Some(Arc::new(call));
    }

    /// Closes the queue: later events are dropped, queued ones are still handled.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Closes the queue and drops the queued events.
    pub(crate) fn abandon(&self) {
        self.leave(false, None);
    }

    /// Closes the queue because the connection has left the hub. The queued events are dropped,
    /// unless `keep` is set (the client closed the connection after them) and the worker has or
    /// gets a handler slot. A worker that is not done is counted in `lingering` until it is.
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
            // A reader that waits for room has to notice the close.
            let then = state.resume();
            Then { released: if is_done { state.busy.take() } else { None }, ..then }
        };
        self.carry_out(then);
        self.arrived.notify_one();
        self.left.notify_one();
    }

    /// Returns the number of events that were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> usize {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Returns the next event; `None` when closed and empty.
    pub(crate) async fn pop(&self) -> Option<Item> {
        // Set after waiting for a slot: one event is handled before other workers of the user get
        // it.
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
                    // `None` means that the connection has left the hub, which the next step sees.
                    Some(busy) = self.work.begin() => {
                        let mut state = self.lock();
                        // A closed queue may still be handled; one whose events were dropped is
                        // empty.
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

    /// Notes that the worker has handled the last event.
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
    /// Returns the next step; `goes_on` is `false` if the worker has to give up its slot to others
    /// of the user that wait.
    fn step(&mut self, goes_on: bool) -> (Step, Then) {
        self.handling = false;
        self.beginning = false;
        if self.queue.is_empty() {
            let step = if self.closed { Step::End } else { Step::Wait };
            return (step, Then { released: self.busy.take(), ..Then::default() });
        }
        // A connection that has left the hub could not get a slot again.
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

    /// Lets reading resume, if it was paused.
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
    async fn reading_pauses_at_the_mark_and_resumes_at_half() {
        let ticket = Admission::new(Limits::default()).admit(&Identity::anonymous(), None).unwrap();
        let inbox = Inbox::new(Work::of(&ticket, None));
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        inbox.on_room({
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        for i in 1..MARK_EVENTS {
            assert!(inbox.push(Inbound::new("a", i.to_string())));
        }
        assert!(!inbox.push(Inbound::new("a", "64")));
        for _ in 0..MARK_EVENTS / 2 - 1 {
            inbox.pop().await.unwrap();
        }
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 0);
        inbox.pop().await.unwrap();
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
        inbox.close();
        let mut left = 0;
        while inbox.pop().await.is_some() {
            left += 1;
        }
        assert_eq!(left, MARK_EVENTS / 2);
    }

    #[tokio::test]
    async fn reading_pauses_by_bytes_of_events_and_errors() {
        let ticket = Admission::new(Limits::default()).admit(&Identity::anonymous(), None).unwrap();
        let text = "x".repeat(100 * 1024);
        let event = |inbox: &Inbox| inbox.push(Inbound::new("a", text.clone()));
        let error = |inbox: &Inbox| inbox.push_rejected(HandlerError::new("bad", text.clone()), None);
        let adds: [&dyn Fn(&Inbox) -> bool; 2] = [&event, &error];
        for add in adds {
            let inbox = Inbox::new(Work::of(&ticket, None));
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
    async fn push_leaves_the_slot_to_the_worker_that_waits() {
        let admission = Admission::new(Limits::default().with_connections_per_user(1));
        let ticket = admission.admit(&Identity::user("ann"), None).unwrap();
        let other = Work::of(&ticket, None);
        let busy = other.try_begin().unwrap();
        let inbox = Inbox::new(Work::of(&ticket, None));
        inbox.push(Inbound::new("a", "1"));
        let mut pop = Box::pin(inbox.pop());
        // The task has used up its budget: it does not even ask for the slot.
        while futures_util::poll!(Box::pin(tokio::task::coop::consume_budget())).is_ready() {}
        assert!(futures_util::poll!(&mut pop).is_pending());
        drop(busy);
        inbox.push(Inbound::new("a", "2"));
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), &mut pop).await;
        assert!(next.expect("the slot is free").is_some());
    }
}
