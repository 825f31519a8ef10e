//! A connection over which events pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use realtime_core::spi::{MeteredKind, Registration, SessionOutlet, Take};
use realtime_core::{CloseReason, HandlerError, Inbound};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::codec::{PING, PROBE, WsCodec, close_frame};
use crate::decode::{Decoded, Rejected, decode};
use crate::heartbeat::{Beat, Heartbeat};
use crate::probe::Probe;
use crate::protocol::close_reason;
use crate::session::closing::{Closing, Exit, Stage};
use crate::session::socket::{Socket, Turn, is_over};
use crate::settings::Settings;

/// The state of a connection that neither side has ended.
pub(super) struct Open {
    outlet: Arc<SessionOutlet>,
    heartbeat: Option<Heartbeat>,
    /// The time at which a blocked write has been blocked for too long.
    stall_at: Option<Instant>,
    probe: Option<Box<Probe>>,
    /// The number of bytes that had been sent when something last came from the client.
    sent_at_input: u64,
    /// The time at which a close that was requested, and waits for a blocked write, has taken too
    /// long.
    close_at: Option<Instant>,
    /// Set while nothing is read, because the handlers have enough to do or the client is over its
    /// rate.
    paused: bool,
    /// The number of probes whose pong has not come.
    unanswered_probes: u8,
    /// Set when there was nothing to read, and the task is woken when there is; valid until the
    /// task's next poll.
    drained: bool,
}

/// The bytes taken from the outbox at a time; the next are taken when these are written, so that
/// back-pressure reaches the outbox.
const BATCH_BYTES: usize = 64 * 1024;
/// The number of messages handled before the replies to them are written.
const MAX_MESSAGES: usize = 64;

impl Open {
    pub(super) fn new(settings: &Settings, outlet: Arc<SessionOutlet>) -> Self {
        let heartbeat = settings.heartbeat.map(|every| Heartbeat::new(every, settings.pong_timeout, Instant::now()));
        Self {
            outlet,
            heartbeat,
            stall_at: None,
            probe: None,
            sent_at_input: 0,
            close_at: None,
            paused: false,
            unanswered_probes: 0,
            drained: false,
        }
    }

    /// Notes that the task was woken: there may be something to read.
    pub(super) fn begin_poll(&mut self) {
        self.drained = false;
    }

    /// Runs one round.
    ///
    /// # Errors
    /// The transition to closing, or the end of the connection.
    pub(super) fn turn<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Result<Turn, Exit> {
        // One at a time: another one must not postpone it.
        if self.outlet.take_probe() && self.probe.is_none() {
            self.probe = Some(Box::new(Probe::new(Instant::now(), self.unread(socket), self.blocked_at(socket))));
            socket.writer.control().extend(PROBE);
            self.unanswered_probes = self.unanswered_probes.saturating_add(1);
        }
        let mut again = false;
        let mut written = self.poll_write(socket, cx)?;
        if written.is_ready() {
            match self.outlet.poll_take(&socket.registration, cx, BATCH_BYTES, socket.writer.frames()) {
                Poll::Ready(Take::Closed(reason)) => {
                    socket.writer.control().extend(close_frame(&reason));
                    return Err(self.closing(socket, reason, Stage::Reply));
                }
                Poll::Ready(take) => {
                    written = self.poll_write(socket, cx)?;
                    again = written.is_ready() && take != Take::Last;
                }
                Poll::Pending => {}
            }
        }
        if written.is_pending() {
            self.watch_close(socket, cx)?;
        }
        // After a request to close, the client is not read any more.
        let more = !socket.registration.is_closed() && self.read(socket, cx)?;
        // A message may have been a ping, whose answer is to be written.
        let has_reply = written.is_ready() && !socket.writer.is_written();
        Ok(if more || again || has_reply { Turn::Again } else { Turn::Wait })
    }

    /// Returns the earliest deadline.
    pub(super) fn due(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.as_ref().map(Heartbeat::due);
        let probe = self.probe.as_ref().map(|probe| probe.due());
        [heartbeat, self.stall_at, probe, self.close_at].into_iter().flatten().min()
    }

    /// Does what the deadlines that have passed ask for.
    ///
    /// # Errors
    /// The transition to closing, or the end of the connection.
    pub(super) fn check_time<S: AsyncRead + AsyncWrite + Unpin>(&mut self, socket: &mut Socket<S>) -> Result<(), Exit> {
        let now = Instant::now();
        if is_over(self.close_at, now) {
            let reason = socket.registration.close_reason();
            return Err(Exit::Ended(reason.unwrap_or(CloseReason::CONNECTION_LOST)));
        }
        if is_over(self.stall_at, now) {
            return Err(Exit::Ended(CloseReason::WRITE_STALL));
        }
        let read_paused = self.paused || socket.writer.is_clogged() || socket.registration.is_closed();
        if read_paused {
            self.probe = None;
        }
        let (unread, blocked_at) = (self.unread(socket), self.blocked_at(socket));
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.due() <= now)
            && probe.is_dead(now, unread, blocked_at)
        {
            return Err(self.abort(socket));
        }
        let Some(heartbeat) = self.heartbeat.as_mut().filter(|heartbeat| heartbeat.due() <= now) else { return Ok(()) };
        match heartbeat.beat(now, socket.writer.sent(), read_paused) {
            Beat::Alive => {}
            Beat::Dead => return Err(self.abort(socket)),
            Beat::Ping => socket.writer.control().extend(PING),
        }
        Ok(())
    }

    /// Writes what waits, and keeps the time of a blocked write.
    fn poll_write<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if socket.writer.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        let before = socket.writer.sent();
        let polled = socket.writer.poll_write(&mut socket.io, cx);
        if polled.is_ready() {
            self.stall_at = None;
            socket.registration.written();
            return polled;
        }
        let progressed = socket.writer.sent() > before;
        if progressed {
            socket.registration.progressed();
        }
        if progressed || self.stall_at.is_none() {
            self.stall_at = Instant::now().checked_add(socket.settings.write_stall);
        }
        Poll::Pending
    }

    /// Notices a request to close although the take, which reports it otherwise, waits for the
    /// write.
    fn watch_close<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &Socket<S>,
        cx: &Context<'_>,
    ) -> Result<(), Exit> {
        self.outlet.register(cx);
        match socket.registration.close_reason() {
            Some(reason) if reason == CloseReason::WRITE_STALL => return Err(Exit::Ended(reason)),
            Some(_) => self.close_at = self.close_at.or_else(|| socket.close_at()),
            None => {}
        }
        Ok(())
    }

    /// Handles what the client has sent; `true` if there may be more.
    fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Exit> {
        if self.paused {
            self.paused = socket.registration.poll_room(cx).is_pending();
            self.watch_reset(socket, cx)?;
            if self.paused {
                return Ok(false);
            }
        }
        // A client that sends pings and does not read the answers is not read either.
        if socket.writer.is_clogged() || (self.drained && socket.protocol.is_starved()) {
            return Ok(false);
        }
        for _ in 0..MAX_MESSAGES {
            match socket.protocol.next(&socket.settings.websocket, socket.writer.control()) {
                Ok(Some(message)) => self.handle(socket, message)?,
                Ok(None) => return Ok(self.read_input(socket, cx)?),
                Err(error) => {
                    socket.registration.note_fault(&error);
                    return Err(self.fail(socket, close_reason(&error).unwrap_or(CloseReason::NORMAL)));
                }
            }
            if self.paused {
                break;
            }
        }
        Ok(true)
    }

    /// Reads once from the stream; `true` if something came.
    fn read_input<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        match socket.poll_input(cx, true)? {
            Poll::Ready(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(_) => {
                self.probe = None;
                self.sent_at_input = socket.writer.sent();
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.observe();
                }
                let fragments = socket.protocol.take_fragments();
                if fragments > 0 {
                    self.paused |= !socket.registration.charge(MeteredKind::Fragment, fragments, 0);
                }
                Ok(true)
            }
            Poll::Pending => {
                self.drained = true;
                Ok(false)
            }
        }
    }

    /// Notices that the client is gone while nothing is read.
    fn watch_reset<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: &mut Socket<S>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(wire) = &socket.wire else { return Ok(()) };
        wire.watch_reset(self.paused);
        match Pin::new(&mut socket.io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    fn handle<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut Socket<S>,
        message: Message,
    ) -> Result<(), Exit> {
        let Socket { settings, registration, writer, .. } = socket;
        match message {
            Message::Binary(bytes) if settings.handles_binary => {
                // Copied: a slice of what was read would keep the whole read buffer.
                self.paused = !registration.receive(Inbound::raw_binary(bytes.to_vec()));
            }
            Message::Binary(bytes) => {
                let error = HandlerError::new("unexpected_binary", "no handler for binary messages");
                self.paused = !registration.reject(error, None);
                self.charge_rest(registration, bytes.len());
            }
            Message::Close(_) => {
                registration.close(CloseReason::NORMAL);
                writer.discard();
                socket.protocol.answer_close(writer.control());
                return Err(self.closing(socket, CloseReason::NORMAL, Stage::Leave));
            }
            // Answered already.
            Message::Ping(payload) => self.paused = !registration.charge(MeteredKind::Control, 1, payload.len()),
            // Frames are never read as such.
            Message::Frame(_) => {}
            Message::Pong(payload) => self.handle_pong(registration, &payload),
            Message::Text(text) => self.handle_text(socket, &text),
        }
        Ok(())
    }

    /// Handles a pong, which counts against the client's rate unless it answers a ping.
    fn handle_pong(&mut self, registration: &Registration<WsCodec>, payload: &[u8]) {
        let heartbeat = self.heartbeat.as_mut().filter(|_| payload.is_empty());
        if let Some(time) = heartbeat.and_then(|heartbeat| heartbeat.pong(Instant::now())) {
            registration.note_round_trip(time);
        } else if self.unanswered_probes > 0 {
            self.unanswered_probes -= 1;
        } else {
            self.paused = !registration.charge(MeteredKind::Control, 1, payload.len());
        }
    }

    fn handle_text<S: AsyncRead + AsyncWrite + Unpin>(&mut self, socket: &Socket<S>, text: &str) {
        let Socket { settings, registration, .. } = socket;
        // The bytes that the registration counts; the others, of the envelope, count too.
        let counted = match decode(text, settings.max_depth, settings.handles_text) {
            Ok(Decoded::Ack(ack, payload)) => {
                let size = payload.bytes().len();
                // Too late, or never asked for.
                if !registration.answer(ack, payload) {
                    tracing::trace!(connection = %registration.id(), ack, "unexpected ack: no ask waits for it");
                }
                self.paused = registration.is_paused();
                size
            }
            Ok(Decoded::Event(inbound)) => {
                let size = inbound.size();
                self.paused = !registration.receive(inbound);
                size
            }
            Ok(Decoded::Text) => {
                self.paused = !registration.receive(Inbound::raw_text(text));
                text.len()
            }
            Err(Rejected { error, ack, ask }) => {
                if let Some(ask) = ask {
                    registration.answer_unreadable(ask);
                }
                self.paused = !registration.reject(error, ack);
                0
            }
        };
        self.charge_rest(registration, text.len().saturating_sub(counted));
    }

    /// Counts bytes of a message that counts already.
    fn charge_rest(&mut self, registration: &Registration<WsCodec>, bytes: usize) {
        self.paused |= bytes > 0 && !registration.charge(MeteredKind::Event, 0, bytes);
    }

    /// Closes the connection of a client that broke the protocol; the close frame is all that it
    /// gets.
    fn fail<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: &mut Socket<S>, reason: CloseReason) -> Exit {
        socket.registration.close(reason.clone());
        // Closed already, so this only counts the error.
        socket.registration.reject_fatally(&HandlerError::new(code_of(&reason), reason.text().to_owned()));
        socket.writer.discard();
        socket.writer.control().extend(close_frame(&reason));
        self.closing(socket, reason, Stage::Drain)
    }

    /// Closes the connection of a client that shows no sign of life. Its slot is free immediately,
    /// whether or not the close frame can be sent.
    fn abort<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: &mut Socket<S>) -> Exit {
        let reason = CloseReason::HEARTBEAT;
        socket.registration.leave(reason.clone());
        socket.writer.discard();
        socket.writer.control().extend(close_frame(&reason));
        self.closing(socket, reason, Stage::Leave)
    }

    fn closing<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: &Socket<S>,
        reason: CloseReason,
        stage: Stage,
    ) -> Exit {
        Exit::Closing(Closing::new(reason, stage, self.close_at.or_else(|| socket.close_at())))
    }

    /// Returns the number of bytes sent since something came from the client.
    fn unread<S>(&self, socket: &Socket<S>) -> u64 {
        socket.writer.sent().saturating_sub(self.sent_at_input)
    }

    /// Returns the number of bytes sent, if a write is blocked.
    fn blocked_at<S>(&self, socket: &Socket<S>) -> Option<u64> {
        self.stall_at.map(|_| socket.writer.sent())
    }
}

/// Returns the code under which a protocol error is counted.
fn code_of(reason: &CloseReason) -> &'static str {
    match reason.code() {
        1007 => "invalid_utf8",
        1009 => "too_large",
        _ => "protocol_error",
    }
}
