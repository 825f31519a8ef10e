//! The namespace that every session enters first, without its client's knowing.
//!
//! socketioxide remembers a session that connects to nothing until `connect_timeout`, even when it has ended long before,
//! and tells nobody of the end of one. Connected to a namespace of ours, a session is forgotten with its end, and its end
//! is heard of.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use crate::engine::adapter::DirectAdapter;
use crate::engine::cause::Cause;
use crate::engine::service;
use crate::engine::session::EngineSession;
use crate::inbound::Inline;
use crate::packet::payload::SEPARATOR;

/// The namespace's name; clients may not connect to it.
pub(crate) const NAME: &str = "/.session";
/// The packet that enters it.
pub(crate) const ENTER: &str = "40/.session";
/// The packet as a client's frame, masked with zeros.
pub(crate) const ENTER_FRAME: [u8; 17] = *b"\x81\x8b\x00\x00\x00\x0040/.session";
/// What its answer begins with.
const ANSWER: &[u8] = b"40/.session,";

/// Its connect handler.
#[derive(Clone)]
pub(crate) struct Threshold;

type Refusal = Box<dyn std::fmt::Display + Send>;

impl ConnectHandler<DirectAdapter, Inline> for Threshold {
    fn call(&self, socket: Arc<Socket<DirectAdapter>>, _: Option<Value>) {
        if let Some(session) = service::session_of(socket.req_parts()) {
            session.enter();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<DirectAdapter>>,
        _: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        if let Some(session) = service::session_of(socket.req_parts()) {
            session.begin_hiding();
            socket.on_disconnect(End(session));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Hears of the session's end, also when socketioxide drops its socket without the hook.
struct End(Arc<EngineSession>);

impl DisconnectHandler<DirectAdapter, Inline> for End {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<DirectAdapter>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<DirectAdapter>>),
    ) {
        if reason == DisconnectReason::PacketParsingError {
            self.0.close_for(Cause::Malformed);
        }
        self.0.close();
        defer(socket);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The packets of a long-polling answer without the namespace's own answer; none when it was not among them.
pub(crate) fn without_answer(packets: &[u8]) -> Option<Bytes> {
    let all = packets.split(|byte| *byte == SEPARATOR);
    let others: Vec<_> = all.clone().filter(|packet| !packet.starts_with(ANSWER)).collect();
    (others.len() < all.count()).then(|| others.join(&SEPARATOR).into())
}

/// Where the namespace's answer is among whole frames that are written: its begin and its end.
pub(crate) fn find_answer(frames: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let [first, len @ 0..=125, rest @ ..] = &frames[at..] {
        let end = at + 2 + usize::from(*len);
        if *first == 0x81 && rest.starts_with(ANSWER) {
            return (end <= frames.len()).then_some((at, end));
        }
        at = end.min(frames.len());
    }
    // Longer frames are written later than this one, which is among the first three.
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_answer_is_taken_out_of_what_is_polled() {
        let answer = "40/.session,{\"sid\":\"x\"}";
        for (before, after) in [("2", "40{}"), ("2", ""), ("", "42[]"), ("", "")] {
            let parts = |parts: &[&str]| {
                parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\u{1e}")
            };
            let others = without_answer(parts(&[before, answer, after]).as_bytes());
            assert_eq!(others.unwrap(), parts(&[before, after]));
        }
        assert_eq!(without_answer(b"2\x1e40/.sessions,{}"), None);
    }

    #[test]
    fn its_answer_is_found_among_frames() {
        let answer = b"\x81\x1740/.session,{\"sid\":\"x\"}";
        let frames = [b"\x81\x012", &answer[..], b"\x82\x03abc"].concat();
        assert_eq!(find_answer(&frames), Some((3, 3 + answer.len())));
        assert_eq!(find_answer(&frames[..20]), None);
        assert_eq!(find_answer(b"\x81\x7e\x01\x00"), None);
        assert_eq!(find_answer(b"\x81"), None);
        assert_eq!(find_answer(b"\x81\x09abc"), None);
    }

    #[test]
    fn the_frame_is_the_packet() {
        assert_eq!(&ENTER_FRAME[6..], ENTER.as_bytes());
        assert_eq!(usize::from(ENTER_FRAME[1] & 0x7f), ENTER.len());
        assert_eq!(&ENTER[2..], NAME);
        assert_eq!(ANSWER, format!("{ENTER},").as_bytes());
    }
}
