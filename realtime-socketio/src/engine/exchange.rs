//! What a websocket's client gets in the place of what engineioxide writes: its own opening packet, nothing for the answer of
//! our own namespace and for Engine.IO's close packet, the answer with data for a CONNECT that was refused, a close frame
//! with a code.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::engine::cause::Cause;
use crate::engine::denial;
use crate::engine::opening::Opening;
use crate::engine::stream::SessionStream;
use crate::packet::entry;
use crate::packet::frame::whole_frame;

/// What engineioxide ends with: a close frame without a code.
pub(crate) const BARE_CLOSE: [u8; 2] = [0x88, 0];

/// Engine.IO's close packet, which engineioxide writes for faults. On a websocket it says less than the close frame, and
/// python-engineio takes it for the end of all (`_receive_packet`). npm's server never sends it there.
const CLOSE_PACKET: [u8; 3] = [0x81, 1, b'1'];

/// How many bytes of these frames come before it.
fn find_close_packet(frames: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some((.., len)) = whole_frame(&frames[at..]) {
        if frames[at..at + len] == CLOSE_PACKET {
            return Some(at);
        }
        at += len;
    }
    None
}

/// Frames that take the place of what is written.
pub(crate) struct Exchange {
    frames: Cow<'static, [u8]>,
    /// How much of them the wire has taken.
    taken: usize,
    /// How many bytes they stand for.
    of: usize,
}

/// What becomes of the next bytes, so many of them.
pub(crate) enum Part {
    Dropped(usize),
    Exchanged(Exchange),
    Hidden(usize),
    Plain(usize),
}

impl<S> SessionStream<S> {
    /// The first part of what is written.
    pub(crate) fn next_part(&mut self, buf: &[u8]) -> Part {
        // engineioxide writes the opening packet first, and by itself.
        if let Some(greeting) = self.greeting.take() {
            return match Opening::frame(buf, &greeting) {
                Some((frame, of)) => Part::Exchanged(Exchange::new(frame, of)),
                // Never. Nothing written is the end of the stream.
                None => Part::Plain(0),
            };
        }
        let mut plain = buf.len();
        let at_boundary = self.sent.at_boundary();
        let hides = self.session.is_hiding();
        let begin = if at_boundary { 0 } else { self.sent.left(buf) };
        if hides && !at_boundary {
            plain = begin;
        }
        if hides && at_boundary {
            match entry::find_answer(buf) {
                Some((0, end)) => return Part::Hidden(end),
                Some((begin, _)) => plain = begin,
                None => {}
            }
        }
        match denial::find(&buf[begin..plain.max(begin)]) {
            Some(0) if begin == 0 => {
                let (frames, of) =
                    self.session.denials.exchange_answers(&buf[..plain], |refusal| self.session.report(refusal));
                return Part::Exchanged(Exchange::new(frames, of));
            }
            Some(before) => plain = begin + before,
            None => {}
        }
        match find_close_packet(&buf[begin..plain.max(begin)]) {
            Some(0) if begin == 0 => return Part::Dropped(CLOSE_PACKET.len()),
            Some(before) => plain = plain.min(begin + before),
            None => {}
        }
        match self.before_close(&buf[..plain]) {
            Some(0) => match self.fault() {
                Some(fault) => Part::Exchanged(Exchange::new(fault.last_frames(), BARE_CLOSE.len())),
                None => Part::Plain(plain),
            },
            Some(before) => Part::Plain(before),
            None => Part::Plain(plain),
        }
    }

    /// Why engineioxide closes the websocket, if it does so for a fault: without a word from either side it is a frame or
    /// a packet that cannot be read, which it does not tell.
    fn fault(&self) -> Option<Cause> {
        let said = self.scan.has_closed() || self.session.is_closing() || self.session.is_lost();
        self.session.cause().or((!said).then_some(Cause::Malformed))
    }

    /// How many bytes come before the bare close frame, if the writer ends with one: nothing comes after it.
    ///
    /// Its two bytes can also be the end of a payload, which the borders of the frames before tell.
    fn before_close(&self, buf: &[u8]) -> Option<usize> {
        let before = buf.strip_suffix(&BARE_CLOSE)?;
        let mut ahead = self.sent.clone();
        ahead.feed(before);
        ahead.at_boundary().then_some(before.len())
    }
}

impl<S: AsyncWrite + Unpin> SessionStream<S> {
    /// Writes frames in the place of those that this buffer begins with, which count as written when the wire has taken all.
    pub(crate) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        mut exchange: Exchange,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        while exchange.taken < exchange.frames.len() {
            match Pin::new(&mut self.io).poll_write(cx, &exchange.frames[exchange.taken..]) {
                Poll::Ready(Ok(written)) if written > 0 => exchange.taken += written,
                Poll::Ready(result) => return self.settle(result),
                Poll::Pending => {
                    self.exchange = Some(exchange);
                    return self.poll_stall(cx);
                }
            }
        }
        let of = exchange.of.min(buf.len());
        self.note(&buf[..of]);
        self.settle(Ok(of))
    }
}

impl Exchange {
    fn new(frames: impl Into<Cow<'static, [u8]>>, of: usize) -> Self {
        Self { frames: frames.into(), taken: 0, of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::EngineSession;
    use crate::engine::settings::Limits;
    use crate::packet::frame::text_frame;
    use realtime_core::Refusal;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// What the client of this session gets of these writes when the wire takes so many bytes at a time.
    async fn sent(session: &Arc<EngineSession>, writes: &[&[u8]], room: usize) -> Vec<u8> {
        let (io, mut peer) = duplex(room);
        let limits = Limits { max_message: 10, write_stall: Duration::MAX, probe: Duration::MAX };
        let mut stream = SessionStream::new(io, Arc::clone(session), limits);
        let mut got = Vec::new();
        let write = async move {
            for bytes in writes {
                stream.write_all(bytes).await.unwrap();
            }
        };
        let (_, read) = tokio::join!(write, peer.read_to_end(&mut got));
        read.unwrap();
        got
    }

    #[tokio::test]
    async fn an_answer_is_exchanged_wherever_writes_are_cut() {
        let theirs = text_frame("44{\"message\":\"forbidden: a\"}");
        let ours = text_frame("44{\"data\":{\"code\":\"forbidden\"},\"message\":\"forbidden: a\"}");
        let before = [text_frame("44/own,{}"), text_frame(&"x".repeat(200))].concat();
        let (whole, expected) = ([&before[..], &theirs, &before].concat(), [&before[..], &ours, &before].concat());
        let rest = &whole[before.len()..];
        for room in 1..=whole.len() {
            for writes in [&[&whole[..]][..], &[&before, rest]] {
                let session = Arc::new(EngineSession::default());
                session.denials.deny(&Refusal::forbidden("a"));
                assert_eq!(sent(&session, writes, room).await, expected, "{room}");
            }
        }
        let session = Arc::new(EngineSession::default());
        assert_eq!(sent(&session, &[&whole], 1000).await, whole, "nothing to exchange");
    }

    #[tokio::test]
    async fn answers_of_own_namespaces_are_exchanged_wherever_they_stand() {
        let [mut theirs, mut ours] = [text_frame("44{\"message\":\"not ours\"}"), Vec::new()];
        ours.extend(&theirs);
        for (namespace, message, code) in [("/a", "no", "forbidden"), ("/b", "Invalid namespace", "namespace")] {
            theirs.extend(text_frame(&format!("44{namespace},{{\"message\":\"{message}\"}}")));
            let data = format!("{{\"data\":{{\"code\":\"{code}\"}},\"message\":\"{message}\"}}");
            ours.extend(text_frame(&format!("44{namespace},{data}")));
        }
        for room in 1..=theirs.len() {
            for writes in [&[&theirs[..]][..], &[&theirs[..26], &theirs[26..]]] {
                assert_eq!(sent(&Arc::new(EngineSession::default()), writes, room).await, ours, "{room}");
            }
        }
    }

    #[tokio::test]
    async fn several_answers_are_exchanged_in_their_order_up_to_the_close_frame() {
        let session = Arc::new(EngineSession::default());
        let names = ["a", "b", "c"];
        let [mut theirs, mut ours] = [Vec::new(), Vec::new()];
        for name in names {
            let message = session.denials.deny(&Refusal::forbidden(name));
            theirs.extend(text_frame(&format!("44{{\"message\":\"{message}\"}}")));
            ours.extend(text_frame(&format!("44{{\"data\":{{\"code\":\"forbidden\"}},\"message\":\"{message}\"}}")));
        }
        theirs.extend(BARE_CLOSE);
        session.close_for(Cause::UserLimit);
        ours.extend(Cause::UserLimit.last_frames());
        assert_eq!(sent(&session, &[&theirs], 5).await, ours);
    }
}
