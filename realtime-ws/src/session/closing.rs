//! A connection that one side has ended: the close handshake (RFC 6455 §7) and the end of the
//! stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use realtime_core::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::session::socket::{Socket, Turn, is_over};

/// A transition out of a state.
pub(super) enum Exit {
    Closing(Closing),
    Ended(CloseReason),
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Self::Ended(lost(&error))
    }
}

/// A connection whose close frame is in the writer.
pub(super) struct Closing {
    reason: CloseReason,
    stage: Stage,
    /// The time by which the close has to be done.
    close_at: Option<Instant>,
    /// Set when our side of the stream is shut down.
    shut: bool,
    /// Set when the client's side of the stream is shut down.
    eof: bool,
}

/// The event that is still awaited once the close frame is out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The client's EOF: closed with unread bytes the stream would be reset, and the close frame
    /// lost.
    Drain,
    /// Nothing: the session ends when the stream is shut down.
    Leave,
    /// The client's close frame (RFC 6455 §7.1.2).
    Reply,
}

impl Closing {
    pub(super) fn new(reason: CloseReason, stage: Stage, close_at: Option<Instant>) -> Self {
        Self { reason, stage, close_at, shut: false, eof: false }
    }

    /// Runs one round.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn turn<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Result<Turn, Exit> {
        match self.poll_close(socket, cx) {
            Ok(Some(turn)) => Ok(turn),
            // An error of the stream: not even the close frame can be sent any more.
            Ok(None) | Err(_) => Err(Exit::Ended(self.reason.clone())),
        }
    }

    /// Returns the deadline.
    pub(super) fn due(&self) -> Option<Instant> {
        self.close_at
    }

    /// Checks the deadline.
    ///
    /// # Errors
    /// The end of the connection when the close has taken too long.
    pub(super) fn check_time(&self) -> Result<(), Exit> {
        if is_over(self.close_at, Instant::now()) { Err(Exit::Ended(self.reason.clone())) } else { Ok(()) }
    }

    /// Writes the close frame, reads on, and shuts the stream down; `None` when the close is done.
    fn poll_close<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> io::Result<Option<Turn>> {
        let written = socket.writer.poll_write(&mut socket.io, cx);
        let more = !self.eof && self.poll_discard(socket, cx)?.is_ready();
        if written?.is_ready() && !self.shut && self.stage != Stage::Reply {
            self.shut = Pin::new(&mut socket.io).poll_shutdown(cx)?.is_ready();
        }
        if self.shut && (self.eof || self.stage == Stage::Leave) {
            return Ok(None);
        }
        Ok(Some(if more { Turn::Again } else { Turn::Wait }))
    }

    /// Reads on, looking at nothing but the client's close frame; ready if there may be more.
    fn poll_discard<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stage == Stage::Reply {
            // Our close frame is the last thing that we send: pings are not answered any more.
            let mut unsent = Vec::new();
            match socket.protocol.next(&socket.settings.websocket, &mut unsent) {
                Ok(Some(Message::Close(_))) => self.stage = Stage::Leave,
                Err(_) => self.stage = Stage::Drain,
                Ok(Some(_)) => return Poll::Ready(Ok(())),
                Ok(None) => {}
            }
        }
        let polled = socket.poll_input(cx, self.stage == Stage::Reply);
        if let Poll::Ready(Ok(0)) = polled {
            self.eof = true;
            if self.stage == Stage::Reply {
                self.stage = Stage::Drain;
            }
        }
        polled.map_ok(drop)
    }
}

/// Returns the close reason behind an error of the stream.
fn lost(error: &io::Error) -> CloseReason {
    // The listener's guard reports a stalled write this way; the system's own timeouts have a
    // number.
    if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
        CloseReason::WRITE_STALL
    } else {
        CloseReason::CONNECTION_LOST
    }
}
