//! One connection's task: reading and writing go on beside each other, polled by hand.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use realtime_core::spi::{Registration, SessionOutlet, Take};
use realtime_core::{CloseReason, HandlerError};
use realtime_http::Wire;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::alarm::Alarm;
use crate::codec::{PING, PROBE, WsCodec, close_frame};
use crate::decode::{Decoded, Rejected, decode};
use crate::heartbeat::{Beat, Heartbeat};
use crate::probe::Probe;
use crate::protocol::{Protocol, close_reason};
use crate::raw;
use crate::settings::{MAX_READ, Settings};
use crate::writer::Writer;

/// Drives one connection until it has ended; its registration goes with it.
pub(crate) struct Session<S> {
    io: S,
    settings: Arc<Settings>,
    registration: Registration<WsCodec>,
    outlet: Arc<SessionOutlet>,
    protocol: Protocol,
    writer: Writer,
    /// Made by the first deadline.
    alarm: Option<Alarm>,
    heartbeat: Option<Heartbeat>,
    /// When a write that waits has waited too long.
    stall_at: Option<Instant>,
    probe: Option<Box<Probe>>,
    /// Bytes that had been sent when something came from the client.
    heard_at: u64,
    /// When a close that is under way has taken too long.
    close_at: Option<Instant>,
    /// The TCP connection below, where the listener tells of it.
    wire: Option<Arc<Wire>>,
    /// The handlers have enough to do: nothing is read.
    paused: bool,
    /// Nothing was there to read, and the task is woken when there is; known until the task's next poll.
    drained: bool,
    closing: Option<Box<Closing>>,
}

/// A connection that has said, or been told, that it ends.
struct Closing {
    reason: CloseReason,
    stage: Stage,
    /// Our side of the stream is shut.
    shut: bool,
    /// The client's side of the stream is shut.
    eof: bool,
}

/// What is still waited for, once the close frame is out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Until the client shuts the stream: closed with unread bytes it would be reset, and the close frame lost.
    Drain,
    /// Nothing.
    Leave,
    /// The client's close frame (RFC 6455 §7.1.2).
    Reply,
}

/// What one round came to.
enum Turn {
    Again,
    Ended(CloseReason),
    Wait,
}

/// Bytes taken from the outbox at a time; the next are taken when these are out, so that back-pressure reaches the outbox.
const BATCH_BYTES: usize = 64 * 1024;
/// Messages handled before what they led to is written.
const MAX_MESSAGES: usize = 64;
/// Rounds before other tasks have their turn.
const MAX_TURNS: usize = 16;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(crate) fn new(
        io: S,
        settings: Arc<Settings>,
        registration: Registration<WsCodec>,
        outlet: Arc<SessionOutlet>,
        wire: Option<Arc<Wire>>,
    ) -> Self {
        let heartbeat = settings.heartbeat.map(|every| Heartbeat::new(every, settings.pong_timeout, Instant::now()));
        Self {
            io,
            settings,
            registration,
            outlet,
            protocol: Protocol::new(),
            writer: Writer::default(),
            alarm: None,
            heartbeat,
            stall_at: None,
            probe: None,
            heard_at: 0,
            close_at: None,
            wire,
            paused: false,
            drained: false,
            closing: None,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.closing.is_some() { self.closing_turn(cx) } else { self.open_turn(cx) }
    }

    fn open_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let mut again = false;
        // One at a time: another one must not put it off.
        if self.outlet.take_probe() && self.probe.is_none() {
            self.probe = Some(Box::new(Probe::new(Instant::now(), self.unread(), self.stuck())));
            self.writer.control().extend(PROBE);
        }
        let mut written = self.poll_write(cx);
        if let Poll::Ready(Ok(())) = written {
            match self.outlet.poll_take(&self.registration, cx, BATCH_BYTES, self.writer.frames()) {
                Poll::Ready(Take::Closed(reason)) => {
                    self.writer.control().extend(close_frame(&reason));
                    self.start_closing(reason, Stage::Reply);
                    return Turn::Again;
                }
                Poll::Ready(take) => {
                    written = self.poll_write(cx);
                    again = written.is_ready() && take != Take::Last;
                }
                Poll::Pending => {}
            }
        }
        let blocked = written.is_pending();
        match written {
            Poll::Ready(Err(error)) => return Turn::Ended(lost(&error)),
            Poll::Ready(Ok(())) => {}
            Poll::Pending => {
                // The take waits for the write, but a connection that is to end is still noticed.
                self.outlet.register(cx);
                match self.registration.close_reason() {
                    Some(reason) if reason == CloseReason::WRITE_STALL => return Turn::Ended(reason),
                    Some(_) => self.limit_close(),
                    None => {}
                }
            }
        }
        // Whoever was asked to end is not heard any more.
        let read = if self.registration.is_closed() { Ok(false) } else { self.read(cx) };
        match read {
            Err(error) => Turn::Ended(lost(&error)),
            // What was read may have been a ping, whose answer is to be written.
            Ok(more) if more || again || (!blocked && !self.writer.is_written()) => Turn::Again,
            Ok(_) => Turn::Wait,
        }
    }

    /// Writes what waits, and looks after the time it takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writer.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        let before = self.writer.sent();
        let polled = self.writer.poll_write(&mut self.io, cx);
        if polled.is_ready() {
            self.stall_at = None;
            return polled;
        }
        let progressed = self.writer.sent() > before;
        if progressed {
            self.registration.progressed();
        }
        if progressed || self.stall_at.is_none() {
            self.stall_at = Instant::now().checked_add(self.settings.write_stall);
        }
        Poll::Pending
    }

    /// Handles what the client has sent; `true` if there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.paused {
            self.paused = self.registration.poll_room(cx).is_pending();
            self.watch_reset(cx)?;
            if self.paused {
                return Ok(false);
            }
        }
        // A client that sends pings and does not read the answers is not asked for more.
        if self.writer.is_clogged() || (self.drained && self.protocol.is_starved()) {
            return Ok(false);
        }
        for _ in 0..MAX_MESSAGES {
            match self.protocol.next(&self.settings.websocket, self.writer.control()) {
                Ok(Some(message)) => self.handle(message),
                Ok(None) => {
                    return match self.poll_input(cx) {
                        Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                        Poll::Ready(Ok(_)) => Ok(true),
                        Poll::Ready(Err(error)) => Err(error),
                        Poll::Pending => {
                            self.drained = true;
                            Ok(false)
                        }
                    };
                }
                Err(error) => {
                    self.registration.note_fault(&error);
                    self.fail(close_reason(&error).unwrap_or(CloseReason::NORMAL));
                }
            }
            if self.paused || self.closing.is_some() {
                break;
            }
        }
        Ok(true)
    }

    /// Notices that the client is gone while nothing is read.
    fn watch_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(wire) = &self.wire else { return Ok(()) };
        wire.watch_reset(self.paused);
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Reads once from the stream; the bytes stand on the stack until then, so that nothing is held while there are none.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); MAX_READ];
        let mut buffer = ReadBuf::uninit(&mut space[..self.settings.read_bytes]);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if !bytes.is_empty() && self.closing.as_ref().is_none_or(|closing| closing.stage == Stage::Reply) {
            self.protocol.feed(bytes);
        }
        self.probe = None;
        self.heard_at = self.writer.sent();
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.hear();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Binary(bytes) => match &self.settings.binary {
                Some(name) => self.paused = !self.registration.receive(raw::inbound(name, &bytes)),
                None => {
                    let error = HandlerError::new("unexpected_binary", "binary messages have no handler here");
                    self.paused = !self.registration.reject(error, None);
                }
            },
            Message::Close(_) => {
                self.registration.close(CloseReason::NORMAL);
                self.writer.discard();
                self.protocol.answer_close(self.writer.control());
                self.start_closing(CloseReason::NORMAL, Stage::Leave);
            }
            // Answered already; frames are never read as such.
            Message::Ping(_) | Message::Frame(_) => {}
            Message::Pong(payload) => {
                if let Some(heartbeat) = self.heartbeat.as_mut().filter(|_| payload.is_empty()) {
                    heartbeat.pong();
                }
            }
            Message::Text(text) => self.handle_text(&text),
        }
    }

    fn handle_text(&mut self, text: &str) {
        match decode(text, self.settings.max_depth, self.settings.text.is_some()) {
            Ok(Decoded::Ack(ack, payload)) => {
                // Too late, or never asked: nobody waits for it.
                if !self.registration.answer(ack, payload) {
                    tracing::trace!(connection = %self.registration.id(), ack, "an answer that nobody waits for");
                }
            }
            Ok(Decoded::Event(inbound)) => self.paused = !self.registration.receive(inbound),
            Ok(Decoded::Text) => {
                if let Some(name) = &self.settings.text {
                    self.paused = !self.registration.receive(raw::inbound(name, text.as_bytes()));
                }
            }
            Err(Rejected { error, ack, ask }) => {
                if let Some(ask) = ask {
                    self.registration.answer_unreadable(ask);
                }
                self.paused = !self.registration.reject(error, ack);
            }
        }
    }

    /// The client has broken the protocol: it is told so, and nothing else any more.
    fn fail(&mut self, reason: CloseReason) {
        self.registration.close(reason.clone());
        // Closed already, so this only counts it.
        self.registration.reject_at_once(&HandlerError::new(code_of(&reason), reason.text().to_owned()));
        self.writer.discard();
        self.writer.control().extend(close_frame(&reason));
        self.start_closing(reason, Stage::Drain);
    }

    /// Bytes sent since something came from the client.
    fn unread(&self) -> u64 {
        self.writer.sent().saturating_sub(self.heard_at)
    }

    /// How much has been sent, if a write waits.
    fn stuck(&self) -> Option<u64> {
        self.stall_at.map(|_| self.writer.sent())
    }

    /// The client gives no sign of life: its place is free at once, whatever becomes of the goodbye.
    fn give_up(&mut self) {
        let reason = CloseReason::HEARTBEAT;
        self.registration.leave(reason.clone());
        self.writer.discard();
        self.writer.control().extend(close_frame(&reason));
        self.start_closing(reason, Stage::Leave);
    }

    fn start_closing(&mut self, reason: CloseReason, stage: Stage) {
        self.limit_close();
        self.stall_at = None;
        self.closing = Some(Box::new(Closing { reason, stage, shut: false, eof: false }));
    }

    fn limit_close(&mut self) {
        if self.close_at.is_none() {
            self.close_at = Instant::now().checked_add(self.settings.close_timeout);
        }
    }

    fn closing_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let written = self.writer.poll_write(&mut self.io, cx);
        let mut more = false;
        if !self.closing.as_ref().is_some_and(|closing| closing.eof) {
            match self.poll_discard(cx) {
                Poll::Ready(Ok(())) => more = true,
                // Not even the close frame can be sent any more.
                Poll::Ready(Err(_)) => return self.ended(),
                Poll::Pending => {}
            }
        }
        let Some(closing) = &mut self.closing else { return Turn::Again };
        match written {
            Poll::Ready(Err(_)) => return self.ended(),
            Poll::Ready(Ok(())) if !closing.shut && closing.stage != Stage::Reply => {
                match Pin::new(&mut self.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => closing.shut = true,
                    Poll::Ready(Err(_)) => return self.ended(),
                    Poll::Pending => {}
                }
            }
            _ => {}
        }
        if closing.shut && (closing.eof || closing.stage == Stage::Leave) {
            return self.ended();
        }
        if more { Turn::Again } else { Turn::Wait }
    }

    /// Reads on without looking at more than the client's close frame; ready if there may be more.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        if closing.stage == Stage::Reply {
            // Our close frame is the last thing we say: pings are not answered any more.
            let mut unsaid = Vec::new();
            match self.protocol.next(&self.settings.websocket, &mut unsaid) {
                Ok(Some(Message::Close(_))) => closing.stage = Stage::Leave,
                Err(_) => closing.stage = Stage::Drain,
                Ok(Some(_)) => return Poll::Ready(Ok(())),
                Ok(None) => {}
            }
        }
        let polled = self.poll_input(cx);
        if let (Poll::Ready(Ok(0)), Some(closing)) = (&polled, &mut self.closing) {
            closing.eof = true;
            if closing.stage == Stage::Reply {
                closing.stage = Stage::Drain;
            }
        }
        polled.map_ok(drop)
    }

    fn ended(&self) -> Turn {
        Turn::Ended(self.closing.as_ref().map_or(CloseReason::CONNECTION_LOST, |closing| closing.reason.clone()))
    }

    /// Pending until a deadline.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let beat = self.heartbeat.as_ref().filter(|_| self.closing.is_none()).map(Heartbeat::due);
        let probe = self.probe.as_ref().filter(|_| self.closing.is_none()).map(|probe| probe.due());
        let Some(due) = [beat, self.stall_at, probe, self.close_at].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        self.alarm.get_or_insert_with(|| Alarm::new(due)).poll(cx, due)
    }

    /// Does what the deadlines that are over ask for.
    fn check_time(&mut self) -> Option<CloseReason> {
        let now = Instant::now();
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(self.close_at) {
            let known = self.closing.as_ref().map(|closing| closing.reason.clone());
            return known.or_else(|| self.registration.close_reason()).or(Some(CloseReason::CONNECTION_LOST));
        }
        if over(self.stall_at) {
            return Some(CloseReason::WRITE_STALL);
        }
        let deaf = self.paused || self.writer.is_clogged() || self.registration.is_closed();
        if deaf || self.closing.is_some() {
            self.probe = None;
        }
        let (unread, stuck) = (self.unread(), self.stuck());
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.due() <= now)
            && probe.look(now, unread, stuck)
        {
            self.give_up();
            return None;
        }
        let beat = self.heartbeat.as_mut().filter(|beat| self.closing.is_none() && beat.due() <= now)?;
        match beat.beat(now, self.writer.sent(), deaf) {
            Beat::Dead => self.give_up(),
            Beat::Ping => self.writer.control().extend(PING),
            Beat::Well => {}
        }
        None
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        if let Some(number) = self.writer.cut(self.wire.as_deref()) {
            self.registration.cut_within(number);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.drained = false;
        for _ in 0..MAX_TURNS {
            let turn = match this.turn(cx) {
                Turn::Wait if this.poll_alarm(cx).is_pending() => return Poll::Pending,
                Turn::Wait => this.check_time().map_or(Turn::Again, Turn::Ended),
                turn => turn,
            };
            if let Turn::Ended(reason) = turn {
                this.registration.set_reason(reason);
                return Poll::Ready(());
            }
        }
        // A busy connection: its deadlines are looked at here.
        if this.poll_alarm(cx).is_ready()
            && let Some(reason) = this.check_time()
        {
            this.registration.set_reason(reason);
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The reason behind an error of the stream.
fn lost(error: &io::Error) -> CloseReason {
    // The listener's guard says so of a write that stalled; the system's own time-outs have a number.
    if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
        CloseReason::WRITE_STALL
    } else {
        CloseReason::CONNECTION_LOST
    }
}

/// The word under which a broken protocol is counted.
fn code_of(reason: &CloseReason) -> &'static str {
    match reason.code() {
        1007 => "invalid_utf8",
        1009 => "too_large",
        _ => "protocol_error",
    }
}

#[cfg(test)]
mod tests;
