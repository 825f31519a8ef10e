use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;

/// Time for the client of a closing session to read what is queued.
const CLOSING_STALL: Duration = Duration::from_secs(1);

/// Time limit of a pending write to a websocket.
pub(crate) struct Stall {
    limit: Duration,
    /// Set while a write waits.
    timer: Option<Timer>,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// `true` if this is the deadline of a closing session.
    closing: bool,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Returns whether a write waits.
    pub(crate) fn is_armed(&self) -> bool {
        self.timer.is_some()
    }

    /// Stops the timer. Returns whether a write waited.
    pub(crate) fn disarm(&mut self) -> bool {
        self.timer.take().is_some()
    }

    /// Polls the time limit while a write is pending. Ready once the write has waited for too long,
    /// and the session was closed for that.
    pub(crate) fn poll(&mut self, session: &EngineSession, cx: &mut Context<'_>) -> Poll<()> {
        session.register_writer(cx);
        let closing = session.is_closing();
        let wait = if closing { CLOSING_STALL.min(self.limit) } else { self.limit };
        let timer = self.timer.get_or_insert_with(|| Timer { sleep: Box::pin(sleep(wait)), closing });
        if closing && !timer.closing {
            timer.closing = true;
            timer.sleep.as_mut().reset(Instant::now() + wait);
        }
        ready!(timer.sleep.as_mut().poll(cx));
        tracing::debug!("a write to a websocket waited for too long");
        if !closing {
            session.close_for(Cause::WriteStall);
        }
        Poll::Ready(())
    }
}
