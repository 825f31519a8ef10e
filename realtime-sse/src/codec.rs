//! Blocks of an event stream (WHATWG HTML §9.2.6): bytes in, bytes out.

use std::time::Duration;

use bytes::Bytes;
use memchr::memchr2;
use realtime_core::spi::{Codec, Cursor, one_line_json};
use realtime_core::{CloseReason, Drain, Event, HandlerError, Payload, Refusal};

/// A comment, which clients ignore (WHATWG HTML §9.2.5). One line without a blank one, which would
/// end a block: clients that treat each block as an event would get an empty one.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n");

/// The codec that writes each event as one whole block.
#[derive(Clone, Copy, Debug)]
pub struct SseCodec {
    /// `true` if events carry their trace.
    pub(crate) traceparent: bool,
}

impl Codec for SseCodec {
    type Frame = Bytes;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Bytes {
        let block = block(event.name(), cursor, event.payload().bytes());
        match event.trace().filter(|_| self.traceparent) {
            // A comment, since some parsers report an unknown field as an error. In the event's own
            // block, so that a parser which shows comments shows it before the event.
            Some(trace) => [format!(": traceparent={trace}\n").as_bytes(), &block].concat().into(),
            None => block,
        }
    }

    /// Encodes a plain event: a client of an event stream has no way to answer.
    fn ask(&self, event: &Event, _: u64) -> Bytes {
        self.event(event, None)
    }

    fn ack(&self, ack: u64, payload: &Payload) -> Option<Bytes> {
        let json = [format!("{{\"ack\":{ack},\"payload\":").as_bytes(), payload.bytes(), b"}"].concat();
        Some(block("ack", None, &json))
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Bytes> {
        Some(error_block(error, ack))
    }

    /// Encodes a block without data: the client dispatches no event, but remembers the id (WHATWG
    /// HTML §9.2.6).
    fn cursor(&self, cursor: Cursor) -> Bytes {
        format!("id: {cursor}\n\n").into()
    }

    /// Returns `false`: a stream just ends.
    fn has_close_codes(&self) -> bool {
        false
    }

    /// Encodes the protocol's own field: the client keeps the time and dispatches no event (WHATWG
    /// HTML §9.2.6).
    fn reconnect(&self, drain: Drain, _: &CloseReason) -> Bytes {
        retry(drain.retry_delay())
    }
}

/// Returns the line with the time that a client is to wait before it reconnects, in whole
/// milliseconds. Clients act on the line alone; it belongs to the block that follows, if one does,
/// so that a client that treats each block as an event finds one in it.
pub(crate) fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n", after.as_millis()).into()
}

/// Returns the stream for a client that is to reconnect later: the time, and the refusal as an
/// error.
pub(crate) fn refusal(refusal: &Refusal, after: Duration) -> Bytes {
    let error = HandlerError::new(refusal.code(), refusal.message().to_owned());
    [retry(after), error_block(&error, None)].concat().into()
}

fn error_block(error: &HandlerError, ack: Option<u64>) -> Bytes {
    let error = serde_json::json!({ "code": error.code(), "message": error.message(), "ack": ack });
    block("error", None, error.to_string().as_bytes())
}

/// Returns a whole block. Names and cursors hold no control characters, so only the text can have
/// line breaks.
fn block(name: &str, cursor: Option<Cursor>, text: &[u8]) -> Bytes {
    let text = &*one_line_json(text);
    const EVENT: &[u8] = b"event: ";
    const ID: &[u8] = b"\nid: ";
    const DATA: &[u8] = b"\ndata: ";
    const END: &[u8] = b"\n\n";
    let mut buffer = [0; Cursor::CHARACTERS];
    let id = cursor.map(|cursor| cursor.encode(&mut buffer).as_bytes());
    let lines: usize = Lines(Some(text)).map(|line| DATA.len() + line.len()).sum();
    // Exact, so that the bytes need no second allocation to be shared.
    let mut block =
        Vec::with_capacity(EVENT.len() + name.len() + id.map_or(0, |id| ID.len() + id.len()) + lines + END.len());
    block.extend_from_slice(EVENT);
    block.extend_from_slice(name.as_bytes());
    if let Some(id) = id {
        block.extend_from_slice(ID);
        block.extend_from_slice(id);
    }
    for line in Lines(Some(text)) {
        block.extend_from_slice(DATA);
        block.extend_from_slice(line);
    }
    block.extend_from_slice(END);
    debug_assert_eq!(block.len(), block.capacity());
    block.into()
}

/// The lines of a text as an event stream defines them: CR LF, LF and CR each end one. At least one
/// line.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let Some(end) = memchr2(b'\r', b'\n', text) else {
            return self.0.take();
        };
        let ending = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.0 = Some(&text[end + ending..]);
        Some(&text[..end])
    }
}

#[cfg(test)]
mod tests {
    use eventsource_stream::Eventsource;
    use futures_util::{StreamExt, stream};
    use realtime_core::TraceContext;
    use realtime_core::spi::{CursorKey, CursorSigner, Epoch, Mark, Position};
    use serde_json::{Value, json};

    use super::*;

    const CODEC: SseCodec = SseCodec { traceparent: false };

    fn cursor(position: u64) -> Cursor {
        CursorSigner::new(Epoch::new(7), &CursorKey::new([7; 32])).cursor(Position::new(position), Mark::NONE)
    }

    /// Returns names, ids and data as a client parses them out of chunks of this size.
    async fn parsed(bytes: &[u8], size: usize) -> Vec<(String, String, String)> {
        let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let events = stream::iter(pieces).eventsource();
        events.map(|event| event.unwrap()).map(|event| (event.event, event.id, event.data)).collect().await
    }

    #[test]
    fn blocks_have_the_documented_bytes() {
        let event = Event::json("chat:send", &json!({"text": "hi"})).unwrap();
        let id = cursor(1);
        assert_eq!(CODEC.event(&event, Some(id)), format!("event: chat:send\nid: {id}\ndata: {{\"text\":\"hi\"}}\n\n"));
        assert_eq!(CODEC.event(&event, None), "event: chat:send\ndata: {\"text\":\"hi\"}\n\n");
        let broken = Event::raw_json("a", "[1,\r\n2,\r3,\n4,\n\r5]\n").unwrap();
        assert_eq!(
            CODEC.event(&broken, None),
            "event: a\ndata: [1,\ndata: 2,\ndata: 3,\ndata: 4,\ndata: \ndata: 5]\ndata: \n\n"
        );
        assert_eq!(CODEC.cursor(id), format!("id: {id}\n\n"));
        assert_eq!(retry(Duration::from_millis(2500)), "retry: 2500\n");
        let reconnect = CODEC.reconnect(Drain::now(), &CloseReason::RESTART);
        let text = std::str::from_utf8(&reconnect).unwrap();
        assert!(text.starts_with("retry: ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    }

    #[tokio::test]
    async fn trace_is_a_comment_if_it_is_configured() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let event = Event::json("e", &1).unwrap();
        let traced = event.clone().with_trace(TraceContext::parse(parent, None).unwrap());
        let block = SseCodec { traceparent: true }.event(&traced, Some(cursor(1)));
        let plain = CODEC.event(&traced, Some(cursor(1)));
        assert_eq!(block, [format!(": traceparent={parent}\n").as_bytes(), &plain].concat());
        assert_eq!(parsed(&block, 3).await, parsed(&plain, 3).await);
        assert_eq!(SseCodec { traceparent: true }.event(&event, None), CODEC.event(&event, None));
    }

    #[test]
    fn unicode_line_ends_are_escaped() {
        let odd = "a\u{2028}\u{2029}\u{85}";
        let escaped = r#""a\u2028\u2029\u0085""#;
        let event = Event::json("n", odd).unwrap();
        assert_eq!(CODEC.event(&event, None), format!("event: n\ndata: {escaped}\n\n"));
        let error = CODEC.error(&HandlerError::new("c", odd), None).unwrap();
        assert_eq!(error, format!("event: error\ndata: {{\"ack\":null,\"code\":\"c\",\"message\":{escaped}}}\n\n"));
    }

    #[test]
    fn unexpected_payloads_are_still_one_block() {
        let event = Event::binary("bytes", vec![b'\n', 255, 0]).unwrap();
        assert_eq!(&CODEC.ask(&event, 3)[..], b"event: bytes\ndata: \ndata: \xff\0\n\n");
        let payload = Payload::Json("[1,\n2]".into());
        assert_eq!(CODEC.ack(7, &payload).unwrap(), "event: ack\ndata: {\"ack\":7,\"payload\":[1,\ndata: 2]}\n\n");
        let error = HandlerError::new("a", "b\nc");
        let error = CODEC.error(&error, None).unwrap();
        assert_eq!(error, "event: error\ndata: {\"ack\":null,\"code\":\"a\",\"message\":\"b\\nc\"}\n\n");
    }

    #[tokio::test]
    async fn every_text_is_parsed_as_it_was_sent() {
        let pieces = [
            "",
            " ",
            ":",
            "\n",
            "\r",
            "\r\n",
            "\n\r",
            "\u{2028}",
            "\u{2029}",
            "\u{85}",
            "\0",
            "\u{feff}",
            "data: x",
            "id: 1",
            "event: fake\n\n",
            "\"",
            "\\",
            "ä",
            "😀",
            "\u{b}\u{c}",
            "}",
            "retry: 0\r\n",
        ];
        let mut random = Random(1);
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for i in 0..500 {
            let text: String = (0..random.below(6)).map(|_| pieces[random.below(pieces.len())]).collect();
            let name = ["a", " b", ":c", "räume", "message", "x y: z"][random.below(6)];
            let event = Event::json(name, &text).unwrap();
            bytes.extend_from_slice(&CODEC.event(&event, Some(cursor(i))));
            if random.below(4) == 0 {
                bytes.extend_from_slice(&COMMENT);
            }
            sent.push((name, i, text));
        }
        for size in [1, 7, 4096] {
            let got = parsed(&bytes, size).await;
            assert_eq!(got.len(), sent.len());
            for ((name, id, data), (sent_name, i, text)) in got.iter().zip(&sent) {
                assert_eq!(name, sent_name);
                assert_eq!(*id, cursor(*i).to_string());
                assert_eq!(serde_json::from_str::<String>(data).unwrap(), *text);
            }
        }
    }

    #[tokio::test]
    async fn line_breaks_do_not_change_the_meaning_of_json() {
        let breaks = ["", "\n", "\r", "\r\n", "\n\r", "\r\r", "\n\n", " \r\n\t", "\r\n\r\n"];
        let mut random = Random(2);
        for _ in 0..500 {
            let mut between = || breaks[random.below(breaks.len())];
            let text = format!(
                "{}{{{}\"a\"{}:{}[{}1{},{}\"\\r\\n\\u0000\"{}]{}}}{}",
                between(),
                between(),
                between(),
                between(),
                between(),
                between(),
                between(),
                between(),
                between(),
                between()
            );
            let event = Event::raw_json("a", text.clone()).unwrap();
            let got = parsed(&CODEC.event(&event, Some(cursor(1))), 5).await;
            assert_eq!(got.len(), 1, "{text:?}");
            let value: Value = serde_json::from_str(&got[0].2).unwrap();
            assert_eq!(value, json!({"a": [1, "\r\n\0"]}), "{text:?}");
        }
    }

    #[tokio::test]
    async fn text_of_a_mebibyte_is_parsed() {
        let text = "a\r\nb\n\"ä".repeat(131_072);
        let event = Event::json("large", &text).unwrap();
        let got = parsed(&CODEC.event(&event, None), 2 << 20).await;
        assert_eq!(serde_json::from_str::<String>(&got[0].2).unwrap(), text);
    }

    /// A small generator of the same numbers in each run (xorshift).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }
}
