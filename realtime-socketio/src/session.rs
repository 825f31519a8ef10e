use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use realtime_core::spi::MAX_OPEN_ASKS;
use socketioxide::socket::Sid;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::codec::Frame;
use crate::engine::adapter::{AskError, DirectAdapter, Refused};
use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};
use crate::engine::settings::Window;
use crate::inbound::Inlet;
use crate::packet::encoded::Encoded;

/// How long a connection that is to end may take what is left.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to leave a channel alone that was full against all rules.
const BACKOFF: Duration = Duration::from_millis(100);
/// How often a client is looked at within the time that it may take nothing.
const LOOKS: u32 = 4;
/// The least and the most time between two looks, whatever was configured.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

/// Way in which this side ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client takes nothing: it is cut, and what waits is given up.
    Cut,
    /// The client is told to stay away: `disconnect` with "io server disconnect". The session stays for other namespaces.
    Final,
    /// The transport is closed, and the client comes back by itself.
    Reconnect,
}

/// Where the frames of one connection wait.
pub(crate) trait Source: Send + 'static {
    /// Moves what waits into `into`, in order, as much as there is room for.
    ///
    /// The first frame may be larger than the room's bytes, unless the room is zero. Ready with how it ends when the
    /// connection is to end and nothing waits any more. Pending: nothing to take, or no room; the task is woken when
    /// there is, and when the connection is to end.
    fn poll_take(&mut self, cx: &mut Context<'_>, room: Window, into: &mut VecDeque<Frame>) -> Poll<Result<(), Close>>;

    /// Returns how to end the connection, if it is to end.
    fn close(&self) -> Option<Close>;

    /// Notes that the client has taken a part of what was sent.
    fn progressed(&self);
}

/// Drives one connection: moves frames from its source into its socket's channel, never more than the window holds, and ends the
/// connection if the client takes nothing.
pub(crate) struct Session {
    adapter: Arc<DirectAdapter>,
    engine: Arc<EngineSession>,
    /// Set once the connection has ended, even if the session goes on.
    gone: Arc<AtomicBool>,
    sid: Sid,
    source: Box<dyn Source>,
    inlet: Arc<dyn Inlet>,
    limits: Limits,
    batch: VecDeque<Frame>,
    asks: VecDeque<AbortHandle>,
    /// Set once it has requested to be woken for room.
    waits: bool,
    /// Timers, which most of the time are not needed.
    timers: Option<Box<Timers>>,
}

/// Limits of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How long a client's answer is awaited.
    pub(crate) max_ask: Duration,
    /// How much may be in flight.
    pub(crate) window: Window,
    /// How long the client may take nothing while something is in flight.
    pub(crate) write_stall: Duration,
}

#[derive(Default)]
struct Timers {
    /// Time until a full channel is tried again.
    backoff: Option<Pin<Box<Sleep>>>,
    /// Deadline of a connection that is to end.
    end: Option<Pin<Box<Sleep>>>,
    watch: Option<Watch>,
}

/// Periodic check whether the client has taken anything.
struct Watch {
    sleep: Pin<Box<Sleep>>,
    steps: usize,
    /// Number of checks in a row without progress.
    quiet: u32,
}

impl Session {
    pub(crate) fn new(
        adapter: Arc<DirectAdapter>,
        engine: Arc<EngineSession>,
        gone: Arc<AtomicBool>,
        sid: Sid,
        source: Box<dyn Source>,
        inlet: Arc<dyn Inlet>,
        limits: Limits,
    ) -> Self {
        let (batch, asks) = (VecDeque::new(), VecDeque::new());
        Self { adapter, engine, gone, sid, source, inlet, limits, batch, asks, waits: false, timers: None }
    }

    /// Runs until the connection is over.
    pub(crate) async fn run(mut self) {
        if let Some(close) = poll_fn(|cx| self.poll(cx)).await {
            Box::pin(self.leave(close)).await;
        }
    }

    /// Moves frames until the connection is to end. Ready with none when the client or the session has ended it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        loop {
            let room = self.engine.credit.room(self.limits.window, &self.gone, cx);
            let Some(room) = room.filter(|_| !self.engine.is_closing()) else { return Poll::Ready(None) };
            if let Some(timers) = &mut self.timers
                && let Some(backoff) = &mut timers.backoff
            {
                ready!(backoff.as_mut().poll(cx));
                timers.backoff = None;
            }
            if room.packets == 0 && !self.waits {
                // Check once more: packets may have left meanwhile.
                self.waits = true;
                self.engine.credit.want();
                continue;
            }
            self.waits = false;
            if self.batch.is_empty() {
                match self.source.poll_take(cx, room, &mut self.batch) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(close)) => {
                        // The last frames may still be on their way. Requested before it is checked.
                        self.engine.credit.want();
                        if close == Close::Cut || self.engine.credit.is_idle() {
                            return Poll::Ready(Some(close));
                        }
                        return self.poll_timers(cx);
                    }
                    Poll::Pending => {
                        // An idle connection keeps no buffer.
                        self.batch = VecDeque::new();
                        return self.poll_timers(cx);
                    }
                }
            }
            self.send_batch();
        }
    }

    fn send_batch(&mut self) {
        while let Some(frame) = self.batch.pop_front() {
            let len = frame.packet.len();
            self.engine.credit.spend(len);
            match self.send(&frame) {
                Ok(()) => {}
                // It is said to be gone before packets begin to vanish, so no credit is lost for the next connection
                // on the same session.
                Err(Refused::Gone) => {
                    self.engine.credit.refund(len);
                    return self.batch.clear();
                }
                Err(Refused::Full) => {
                    self.engine.credit.refund(len);
                    self.batch.push_front(frame);
                    tracing::warn!("a socket's channel is full within its window; it waits");
                    self.timers.get_or_insert_default().backoff = Some(Box::pin(sleep(BACKOFF)));
                    return;
                }
            }
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), Refused> {
        match frame.ask {
            None => self.adapter.send(self.sid, &frame.packet)?,
            Some(ask) => self.ask(ask, &frame.packet)?,
        }
        if self.gone.load(Ordering::SeqCst) { Err(Refused::Gone) } else { Ok(()) }
    }

    fn ask(&mut self, ask: u64, packet: &Encoded) -> Result<(), Refused> {
        let answer = self.adapter.ask(self.sid, packet, self.limits.max_ask)?;
        let inlet = Arc::downgrade(&self.inlet);
        let waiting = tokio::spawn(async move {
            match (answer.await, inlet.upgrade()) {
                (Ok(answer), Some(inlet)) => inlet.answer(ask, Ok(answer)),
                (Err(AskError::Unreadable(error)), Some(inlet)) => inlet.answer(ask, Err(error)),
                (Err(error), _) => tracing::debug!(%error, "an ask was not answered"),
                (Ok(_), None) => {}
            }
        });
        if self.asks.len() == MAX_OPEN_ASKS {
            self.asks.retain(|waiting| !waiting.is_finished());
            if self.asks.len() == MAX_OPEN_ASKS
                && let Some(oldest) = self.asks.pop_front()
            {
                oldest.abort();
            }
        }
        self.asks.push_back(waiting.abort_handle());
        Ok(())
    }

    /// Ready when a connection that is to end has reached its deadline, or when the client has taken nothing for `write_stall`.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Close>> {
        let credit = &self.engine.credit;
        let write_stall = self.limits.write_stall;
        if let Some(close) = self.source.close() {
            let end = &mut self.timers.get_or_insert_default().end;
            let end = end.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT.min(write_stall))));
            return end.as_mut().poll(cx).map(|()| Some(close));
        }
        if self.timers.is_none() && credit.is_idle() {
            return Poll::Pending;
        }
        let look = (write_stall / LOOKS).clamp(LOOK.0, LOOK.1);
        let watch = self.timers.get_or_insert_default().watch.get_or_insert_with(|| Watch {
            sleep: Box::pin(sleep(look)),
            steps: credit.steps(),
            quiet: 0,
        });
        while watch.sleep.as_mut().poll(cx).is_ready() {
            if credit.is_idle() {
                self.timers = None;
                return Poll::Pending;
            }
            let steps = credit.steps();
            if steps != watch.steps {
                (watch.steps, watch.quiet) = (steps, 0);
                self.source.progressed();
            } else if watch.quiet + 1 < LOOKS {
                watch.quiet += 1;
            } else {
                return Poll::Ready(Some(Close::Cut));
            }
            watch.sleep.as_mut().reset(Instant::now() + look);
        }
        Poll::Pending
    }

    async fn leave(self, close: Close) {
        match close {
            Close::Cut => self.engine.close_for(Cause::WriteStall),
            Close::Final => {
                let telling = async {
                    // What waits for the application's own namespaces may fill the channel.
                    while self.adapter.disconnect(self.sid).is_err() {
                        sleep(BACKOFF).await;
                    }
                };
                let told = tokio::select! {
                    biased;
                    () = self.engine.closed() => false,
                    // A client that takes nothing for so long is cut anyway.
                    told = timeout(self.limits.write_stall, telling) => told.is_ok(),
                };
                if told {
                    // A usual client closes the session now. Otherwise it is closed here, unless it has other connections.
                    let _ = timeout(GRACE, self.engine.closed()).await;
                    if !self.engine.namespaces.is_left() {
                        return;
                    }
                }
                self.engine.close();
            }
            Close::Reconnect => self.engine.close_for_reconnect(None).await,
        }
    }
}
