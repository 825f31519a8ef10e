//! The task of one connection: reading and writing proceed side by side, polled by hand.
//!
//! A session is open until one side ends the connection (`open`), then closing until the close
//! handshake of RFC 6455 §7 is done or has taken too long (`closing`).

mod closing;
mod open;
mod socket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use realtime_core::CloseReason;
use realtime_core::spi::{Registration, SessionOutlet};
use realtime_http::Wire;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec::WsCodec;
use crate::deadline::Deadline;
use crate::protocol::Protocol;
use crate::session::closing::{Closing, Exit};
use crate::session::open::Open;
use crate::session::socket::{Socket, Turn};
use crate::settings::Settings;
use crate::writer::Writer;

/// Drives one connection until its end, which drops the registration too.
pub(crate) struct Session<S> {
    socket: Socket<S>,
    state: State,
    /// The timer, created by the first deadline.
    deadline: Option<Deadline>,
}

enum State {
    /// A connection that one side has ended.
    Closing(Closing),
    /// A connection with events in both directions.
    Open(Open),
}

/// The number of rounds before other tasks have their turn.
const MAX_TURNS: usize = 16;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(crate) fn new(
        io: S,
        settings: Arc<Settings>,
        registration: Registration<WsCodec>,
        outlet: Arc<SessionOutlet>,
        wire: Option<Arc<Wire>>,
    ) -> Self {
        let state = State::Open(Open::new(&settings, outlet));
        let protocol = Protocol::new();
        let socket = Socket { io, settings, registration, protocol, writer: Writer::default(), wire };
        Self { socket, state, deadline: None }
    }

    /// Runs rounds until the connection waits or has ended.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        for _ in 0..MAX_TURNS {
            match self.turn(cx) {
                Ok(Turn::Again) => {}
                Ok(Turn::Wait) if self.poll_deadline(cx).is_pending() => return Poll::Pending,
                Ok(Turn::Wait) => {
                    if let Err(reason) = self.check_time() {
                        return Poll::Ready(reason);
                    }
                }
                Err(reason) => return Poll::Ready(reason),
            }
        }
        // A busy connection: its deadlines are checked here.
        if self.poll_deadline(cx).is_ready()
            && let Err(reason) = self.check_time()
        {
            return Poll::Ready(reason);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Runs one round.
    ///
    /// # Errors
    /// The reason of the connection's end.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, CloseReason> {
        let turn = match &mut self.state {
            State::Closing(closing) => closing.turn(&mut self.socket, cx),
            State::Open(open) => open.turn(&mut self.socket, cx),
        };
        turn.or_else(|exit| self.exit(exit).map(|()| Turn::Again))
    }

    /// Does what the deadlines that have passed ask for.
    ///
    /// # Errors
    /// The reason of the connection's end.
    fn check_time(&mut self) -> Result<(), CloseReason> {
        let checked = match &mut self.state {
            State::Closing(closing) => closing.check_time(),
            State::Open(open) => open.check_time(&mut self.socket),
        };
        checked.or_else(|exit| self.exit(exit))
    }

    fn exit(&mut self, exit: Exit) -> Result<(), CloseReason> {
        match exit {
            Exit::Closing(closing) => {
                self.state = State::Closing(closing);
                Ok(())
            }
            Exit::Ended(reason) => Err(reason),
        }
    }

    /// Returns `Pending` until a deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = match &self.state {
            State::Closing(closing) => closing.due(),
            State::Open(open) => open.due(),
        };
        let Some(due) = due else { return Poll::Pending };
        self.deadline.get_or_insert_with(|| Deadline::new(due)).poll(cx, due)
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        let Socket { writer, wire, registration, .. } = &self.socket;
        if let Some(number) = writer.partial(wire.as_deref()) {
            registration.interrupted_within(number);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let State::Open(open) = &mut this.state {
            open.begin_poll();
        }
        let reason = std::task::ready!(this.poll_end(cx));
        this.socket.registration.set_reason(reason);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
