use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use realtime_core::spi::{MAX_OPEN_ASKS, Stamp};
use socketioxide::socket::Sid;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::codec::Frame;
use crate::engine::adapter::{AskError, DirectAdapter, SendError};
use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};
use crate::engine::settings::Window;
use crate::inbound::EventSink;
use crate::packet::encoded::Encoded;

/// Time for the client of a closing connection to read what is queued.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay before the next attempt when a channel is full, which the credit window should prevent.
const BACKOFF: Duration = Duration::from_millis(100);
/// Number of checks within `write_stall` whether the client reads.
const STALL_CHECKS: u32 = 4;
/// The shortest and the longest interval between two checks, regardless of the configuration.
const CHECK_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

/// Way in which this side closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client does not read: the session is closed immediately, and what is queued is dropped.
    Abort,
    /// The client is disconnected permanently: `disconnect` with "io server disconnect". The
    /// session stays open for other namespaces.
    Final,
    /// The transport is closed, and the client reconnects by itself.
    Reconnect,
}

/// Source of the frames for one connection.
pub(crate) trait FrameSource: Send + 'static {
    /// Moves queued frames into `into`, in order, as many as the credit allows.
    ///
    /// The first frame may be larger than the credit's bytes, unless the credit is zero. Ready with
    /// an error, the way to close, when the connection is closing and nothing is queued any more.
    /// Pending when nothing is queued or there is no credit; the task is woken when a frame is
    /// queued and when the connection is closing.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        credit: Window,
        into: &mut VecDeque<Frame>,
    ) -> Poll<Result<(), Close>>;

    /// Returns when the oldest of the timed events that were taken was sent, once.
    fn take_unwritten(&self) -> Stamp;

    /// Returns how to close the connection, if it is closing.
    fn close(&self) -> Option<Close>;

    /// Notes that the client has read a part of what was sent.
    fn progressed(&self);
}

/// Driver of one connection: moves frames from its source into its socket's channel, never more
/// than the window holds, and closes the connection if the client does not read. See
/// [`connect`](crate::connect) for its start.
pub(crate) struct Session {
    pub(crate) adapter: Arc<DirectAdapter>,
    pub(crate) engine: Arc<EngineSession>,
    /// Set once the connection has ended, even if the Engine.IO session stays open.
    pub(crate) disconnected: Arc<AtomicBool>,
    pub(crate) sid: Sid,
    pub(crate) source: Box<dyn FrameSource>,
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) limits: Limits,
    pub(crate) state: State,
}

/// Limits of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The longest wait for a client's answer.
    pub(crate) max_ask: Duration,
    /// The most that may be in flight.
    pub(crate) window: Window,
    /// The longest time without a read by the client while packets are in flight.
    pub(crate) write_stall: Duration,
}

/// Work that a connection has begun: frames to send, asks, a wake-up and timers.
#[derive(Default)]
pub(crate) struct State {
    batch: VecDeque<Frame>,
    asks: VecDeque<AbortHandle>,
    /// Set once a wake-up for new credit was requested.
    wake_requested: bool,
    /// Timers; none most of the time.
    timers: Option<Box<Timers>>,
}

#[derive(Default)]
struct Timers {
    /// Time until a full channel is tried again.
    backoff: Option<Pin<Box<Sleep>>>,
    /// Deadline of a closing connection.
    close: Option<Pin<Box<Sleep>>>,
    stall: Option<StallWatch>,
}

/// Periodic check whether the client has read anything.
struct StallWatch {
    sleep: Pin<Box<Sleep>>,
    /// Value of [`Credit::reads`](crate::engine::session::credit::Credit::reads) at the last check.
    reads: usize,
    /// Number of checks in a row without a read.
    idle_checks: u32,
}

impl Session {
    /// Runs until the connection has ended.
    pub(crate) async fn run(mut self) {
        if let Some(close) = poll_fn(|cx| self.poll(cx)).await {
            Box::pin(self.finish(close)).await;
        }
    }

    /// Moves frames until the connection is closing. Ready with none when the client or the
    /// Engine.IO session has ended it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        loop {
            let credit = self.engine.credit.available(self.limits.window, &self.disconnected, cx);
            let Some(credit) = credit.filter(|_| !self.engine.is_closing()) else { return Poll::Ready(None) };
            if let Some(timers) = &mut self.state.timers
                && let Some(backoff) = &mut timers.backoff
            {
                if backoff.as_mut().poll(cx).is_pending() {
                    // A closing connection's last frames do not wait for room for ever.
                    return if self.source.close().is_some() { self.poll_timers(cx) } else { Poll::Pending };
                }
                timers.backoff = None;
            }
            if credit.packets == 0 && !self.state.wake_requested {
                // Check once more: packets may have left the channel meanwhile.
                self.state.wake_requested = true;
                self.engine.credit.request_wake();
                continue;
            }
            self.state.wake_requested = false;
            if self.state.batch.is_empty() {
                match self.source.poll_take(cx, credit, &mut self.state.batch) {
                    // Before they are sent, so that their own write comes later.
                    Poll::Ready(Ok(())) => self.engine.measured.queue(self.source.take_unwritten()),
                    Poll::Ready(Err(close)) => {
                        // The last frames may still be in flight. The wake-up is requested before
                        // the check.
                        self.engine.credit.request_wake();
                        if close == Close::Abort || self.engine.credit.is_idle() {
                            return Poll::Ready(Some(close));
                        }
                        return self.poll_timers(cx);
                    }
                    Poll::Pending => {
                        // An idle connection keeps no buffer.
                        self.state.batch = VecDeque::new();
                        return self.poll_timers(cx);
                    }
                }
            }
            self.send_batch();
        }
    }

    fn send_batch(&mut self) {
        while let Some(frame) = self.state.batch.pop_front() {
            let len = frame.packet.len();
            self.engine.credit.spend(len);
            match self.send(&frame) {
                Ok(()) => {}
                // socketioxide reports the disconnect before it drops packets, so no credit is lost
                // for the next connection on the same session.
                Err(SendError::Disconnected) => {
                    self.engine.credit.refund(len);
                    return self.state.batch.clear();
                }
                Err(SendError::Full) => {
                    self.engine.credit.refund(len);
                    self.state.batch.push_front(frame);
                    let socket = self.sid;
                    tracing::warn!(%socket, "socket channel unexpectedly full; retrying");
                    self.state.timers.get_or_insert_default().backoff = Some(Box::pin(sleep(BACKOFF)));
                    return;
                }
            }
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        match frame.ask {
            None => self.adapter.send(self.sid, &frame.packet)?,
            Some(ask) => self.ask(ask, &frame.packet)?,
        }
        if self.disconnected.load(Ordering::SeqCst) { Err(SendError::Disconnected) } else { Ok(()) }
    }

    fn ask(&mut self, ask: u64, packet: &Encoded) -> Result<(), SendError> {
        let answer = self.adapter.ask(self.sid, packet, self.limits.max_ask)?;
        let (events, socket) = (Arc::downgrade(&self.events), self.sid);
        let task = tokio::spawn(async move {
            match (answer.await, events.upgrade()) {
                (Ok(answer), Some(events)) => events.answer(ask, Ok(answer)),
                (Err(AskError::Unreadable(error)), Some(events)) => events.answer(ask, Err(error)),
                (Err(error), _) => tracing::debug!(%socket, ask, %error, "an ask was not answered"),
                (Ok(_), None) => {}
            }
        });
        if self.state.asks.len() == MAX_OPEN_ASKS {
            self.state.asks.retain(|task| !task.is_finished());
            if self.state.asks.len() == MAX_OPEN_ASKS
                && let Some(oldest) = self.state.asks.pop_front()
            {
                oldest.abort();
            }
        }
        self.state.asks.push_back(task.abort_handle());
        Ok(())
    }

    /// Ready when a closing connection has reached its deadline, or when the client has not read
    /// for `write_stall`.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        let credit = &self.engine.credit;
        let write_stall = self.limits.write_stall;
        if let Some(close) = self.source.close() {
            let deadline = &mut self.state.timers.get_or_insert_default().close;
            let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT.min(write_stall))));
            return deadline.as_mut().poll(cx).map(|()| Some(close));
        }
        if self.state.timers.is_none() && credit.is_idle() {
            return Poll::Pending;
        }
        let interval = (write_stall / STALL_CHECKS).clamp(CHECK_INTERVAL.0, CHECK_INTERVAL.1);
        let watch = self.state.timers.get_or_insert_default().stall.get_or_insert_with(|| StallWatch {
            sleep: Box::pin(sleep(interval)),
            reads: credit.reads(),
            idle_checks: 0,
        });
        while watch.sleep.as_mut().poll(cx).is_ready() {
            if credit.is_idle() {
                self.state.timers = None;
                return Poll::Pending;
            }
            let reads = credit.reads();
            if reads != watch.reads {
                (watch.reads, watch.idle_checks) = (reads, 0);
                self.source.progressed();
            } else if watch.idle_checks + 1 < STALL_CHECKS {
                watch.idle_checks += 1;
            } else {
                return Poll::Ready(Some(Close::Abort));
            }
            watch.sleep.as_mut().reset(Instant::now() + interval);
        }
        Poll::Pending
    }

    /// Closes the connection in this way.
    async fn finish(self, close: Close) {
        match close {
            Close::Abort => self.engine.close_for(Cause::WriteStall),
            Close::Final => {
                let send_disconnect = async {
                    // Packets of the application's own namespaces may fill the channel.
                    while self.adapter.disconnect(self.sid).is_err() {
                        sleep(BACKOFF).await;
                    }
                };
                let sent = tokio::select! {
                    biased;
                    () = self.engine.closed() => false,
                    // A client that does not read for so long is disconnected anyway.
                    sent = timeout(self.limits.write_stall, send_disconnect) => sent.is_ok(),
                };
                if sent {
                    // A usual client closes the session now. Otherwise the session is closed here,
                    // unless it has other connections.
                    let _ = timeout(GRACE, self.engine.closed()).await;
                    if !self.engine.namespaces.is_empty() {
                        return;
                    }
                }
                self.engine.close();
            }
            Close::Reconnect => self.engine.close_for_reconnect(None).await,
        }
    }
}
