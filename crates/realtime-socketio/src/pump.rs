use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socketioxide::socket::Sid;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::adapter::{DirectAdapter, Refused};
use crate::carrier::{Carrier, Cause};
use crate::credit::Window;
use crate::encoded::Encoded;
use crate::inbound::Inlet;

/// How long a connection that is being ended may take what is in flight.
const GRACE: Duration = Duration::from_secs(1);
/// How long to leave a channel alone that was full against all rules.
const BACKOFF: Duration = Duration::from_millis(100);

/// What goes out to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// An event, or an answer to the client.
    pub packet: Encoded,
    /// The number by which the client's answer is known, if one is awaited; its own id on the wire is another.
    pub ask: Option<u64>,
}

impl From<Encoded> for Frame {
    fn from(packet: Encoded) -> Self {
        Self { packet, ask: None }
    }
}

/// How a connection ends that this side ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The client is told to stay away: `disconnect` with "io server disconnect".
    Final,
    /// The transport is closed, and the client comes back by itself.
    Reconnect,
}

/// Where the frames of one connection wait.
pub(crate) trait Source: Send + 'static {
    /// Moves what waits into `into`, in order, as much as there is room for.
    ///
    /// The first frame may be larger than the room's bytes, unless the room is zero. A zero room
    /// takes no frame, but still tells an end. Pending: nothing to take; the task is woken when there is.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        room: Window,
        into: &mut VecDeque<Frame>,
    ) -> Poll<Result<(), Farewell>>;
}

/// Carries one connection's frames from its source into its socket's channel, never more than the
/// window holds, and ends connections that take nothing.
pub(crate) struct Pump {
    pub(crate) adapter: Arc<DirectAdapter>,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) gone: Arc<AtomicBool>,
    pub(crate) sid: Sid,
    pub(crate) source: Box<dyn Source>,
    pub(crate) inlet: Arc<dyn Inlet>,
    pub(crate) max_ask: Duration,
    pub(crate) window: Window,
    pub(crate) write_stall: Duration,
    pub(crate) batch: VecDeque<Frame>,
    pub(crate) backoff: Option<Pin<Box<Sleep>>>,
    pub(crate) watch: Option<Watch>,
}

/// Looks every `write_stall` whether the client has taken anything since.
pub(crate) struct Watch {
    sleep: Pin<Box<Sleep>>,
    steps: usize,
}

impl Pump {
    /// Runs until the connection is over.
    pub(crate) async fn run(mut self) {
        if let Some(farewell) = poll_fn(|cx| self.poll(cx)).await {
            Box::pin(self.leave(farewell)).await;
        }
    }

    /// None: the other side, or the session, ended it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Farewell>> {
        loop {
            let room = self.carrier.credit.room(self.window, cx);
            if self.is_gone() {
                return Poll::Ready(None);
            }
            if let Some(backoff) = &mut self.backoff {
                ready!(backoff.as_mut().poll(cx));
                self.backoff = None;
            }
            if self.batch.is_empty() {
                match self.source.poll_take(cx, room, &mut self.batch) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(farewell)) => return Poll::Ready(Some(farewell)),
                    Poll::Pending => {
                        // An idle connection keeps no buffer.
                        self.batch = VecDeque::new();
                        return self.poll_watch(cx);
                    }
                }
            }
            self.send_batch();
        }
    }

    fn send_batch(&mut self) {
        while let Some(frame) = self.batch.pop_front() {
            let len = frame.packet.len();
            self.carrier.credit.spend(len);
            match self.send(&frame) {
                // Packets for a socket that is gone vanish; its hook tells.
                Ok(()) | Err(Refused::Gone) => {}
                Err(Refused::Full) => {
                    self.carrier.credit.refund(len);
                    self.batch.push_front(frame);
                    tracing::warn!("a socket's channel is full within its window; it waits");
                    self.backoff = Some(Box::pin(sleep(BACKOFF)));
                    return;
                }
            }
        }
    }

    fn send(&self, frame: &Frame) -> Result<(), Refused> {
        let Some(ask) = frame.ask else { return self.adapter.send(self.sid, &frame.packet) };
        let answer = self.adapter.ask(self.sid, &frame.packet, self.max_ask)?;
        let inlet = Arc::downgrade(&self.inlet);
        tokio::spawn(async move {
            match (answer.await, inlet.upgrade()) {
                (Ok(answer), Some(inlet)) => inlet.answer(ask, answer),
                (Err(error), _) => tracing::debug!(%error, "an ask was not answered"),
                (Ok(_), None) => {}
            }
        });
        Ok(())
    }

    /// Pending, unless the client has taken nothing for `write_stall` of what lies in the channel.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Farewell>> {
        let credit = &self.carrier.credit;
        if self.watch.is_none() && credit.is_idle() {
            return Poll::Pending;
        }
        let watch =
            self.watch.get_or_insert_with(|| Watch { sleep: Box::pin(sleep(self.write_stall)), steps: credit.steps() });
        while watch.sleep.as_mut().poll(cx).is_ready() {
            if credit.is_idle() {
                self.watch = None;
                return Poll::Pending;
            }
            let steps = credit.steps();
            if steps == watch.steps {
                self.carrier.close_for(Cause::WriteStall);
                return Poll::Ready(None);
            }
            watch.steps = steps;
            watch.sleep.as_mut().reset(Instant::now() + self.write_stall);
        }
        Poll::Pending
    }

    async fn leave(self, farewell: Farewell) {
        let carrier = &self.carrier;
        let until = |done: fn(&Carrier) -> bool| {
            poll_fn(move |cx| {
                carrier.credit.room(self.window, cx);
                if done(carrier) || carrier.is_closing() { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        // Out of time is as good as done: what the client has not taken by then is given up.
        let _ = timeout(GRACE, until(|carrier| carrier.credit.is_idle())).await;
        if farewell == Farewell::Final && !self.is_gone() && self.adapter.disconnect(self.sid).is_ok() {
            // A proper client closes the session now.
            let _ = timeout(GRACE, until(|_| false)).await;
        }
        carrier.close();
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst) || self.carrier.is_closing()
    }
}
