//! One connection of a client: its protocol, without sockets and without a clock.

use serde_json::json;

use crate::http::{self, Part, Responses};
use crate::message::Encoded;
use crate::polling::Polling;
use crate::socketio::{self, PONG, Packet};
use crate::sse::{self, Block, Blocks};
use crate::websocket::{Socket, UPGRADE, client_close, client_text};
use crate::{ClientMessage, ConnectOptions, Received, Result, Transport};

/// The protocol of one connection.
#[derive(Debug)]
pub struct Connection {
    protocol: Protocol,
    /// Bytes to be written, by lane.
    outgoing: [Vec<u8>; 2],
}

#[derive(Debug)]
enum Protocol {
    Polling(Polling),
    SocketIo {
        socket: Socket,
        /// The packet that connects to the main namespace.
        connect: Box<str>,
    },
    Sse {
        responses: Responses,
        blocks: Blocks,
        /// Set by the first event.
        begun: bool,
        /// The last `retry:`, also of a stream that ends without an event.
        retry: Option<u64>,
    },
    Ws(Socket),
}

impl Connection {
    /// Creates a connection whose first request is in [`outgoing`](Self::outgoing).
    #[must_use]
    pub fn new(transport: Transport, options: &ConnectOptions) -> Self {
        let (protocol, request) = match transport {
            Transport::Polling => {
                let polling = Polling::new(options);
                let request = polling.poll();
                (Protocol::Polling(polling), request)
            }
            Transport::SocketIo => {
                let target = format!("/socket.io/?EIO=4&transport=websocket&{}", options.query);
                let connect = socketio::connect(options).into();
                (Protocol::SocketIo { socket: Socket::default(), connect }, http::get(&target, UPGRADE))
            }
            Transport::Sse => {
                let (responses, blocks) = (Responses::default(), Blocks::default());
                (Protocol::Sse { responses, blocks, begun: false, retry: None }, sse::request(options))
            }
            Transport::Ws => (Protocol::Ws(Socket::default()), http::get(&options.target("/ws", true), UPGRADE)),
        };
        Self { protocol, outgoing: [request, Vec::new()] }
    }

    /// Returns the number of TCP connections that it uses, its lanes.
    #[must_use]
    pub fn lanes(&self) -> usize {
        if matches!(self.protocol, Protocol::Polling(_)) { 2 } else { 1 }
    }

    /// Returns the bytes to be written on a lane; a caller that writes some of them removes these.
    pub fn outgoing(&mut self, lane: usize) -> &mut Vec<u8> {
        &mut self.outgoing[lane]
    }

    /// Reads bytes of a lane, and hands on each complete thing in them. Replies to handshakes and
    /// heartbeats are added to [`outgoing`](Self::outgoing).
    ///
    /// # Errors
    /// When the server breaks the protocol, or `each` fails.
    pub fn feed(&mut self, lane: usize, bytes: &[u8], each: &mut dyn FnMut(Received<'_>) -> Result<()>) -> Result<()> {
        let outgoing = &mut self.outgoing;
        match &mut self.protocol {
            Protocol::Polling(polling) => polling.feed(lane, bytes, outgoing, each),
            Protocol::SocketIo { socket, connect } => socket.feed(bytes, &mut outgoing[0], &mut |message, outgoing| {
                let Received::Message(Encoded::Envelope(text)) = message else { return each(message) };
                let packet = Packet::decode(text)?;
                match packet {
                    Packet::Open(_) => outgoing.extend(client_text(connect)),
                    Packet::Ping => outgoing.extend(client_text(PONG)),
                    _ => {}
                }
                packet.received().map_or(Ok(()), &mut *each)
            }),
            Protocol::Sse { responses, blocks, begun, retry } => {
                responses.feed(bytes, &mut |status, part| match part {
                    Part::Data(data) if status == 200 => {
                        blocks.feed(data, &mut |block| pass_block(block, (begun, retry), each))
                    }
                    Part::Data(_) | Part::Head => Ok(()),
                    Part::End if status == 200 => {
                        blocks.finish(&mut |block| pass_block(block, (begun, retry), each))?;
                        each(Received::Close)
                    }
                    Part::End => each(Received::Refused(status.to_string().into())),
                })
            }
            Protocol::Ws(socket) => socket.feed(bytes, &mut outgoing[0], &mut |message, _| each(message)),
        }
    }

    /// Adds a message to [`outgoing`](Self::outgoing); an event stream has no way to send one.
    pub fn send(&mut self, message: &ClientMessage) {
        let outgoing = &mut self.outgoing;
        match &mut self.protocol {
            Protocol::Polling(polling) => polling.send(message, outgoing),
            Protocol::SocketIo { .. } => {
                outgoing[0].extend(client_text(&socketio::encode(message)));
                if matches!(message, ClientMessage::Close) {
                    outgoing[0].extend(client_close());
                }
            }
            Protocol::Sse { .. } => {}
            Protocol::Ws(_) => outgoing[0].extend(encode_envelope(message)),
        }
    }

    /// Returns the last `retry:` of an event stream in milliseconds, the one that it began with
    /// included.
    #[must_use]
    pub fn retry(&self) -> Option<u64> {
        match &self.protocol {
            Protocol::Sse { retry, .. } => *retry,
            _ => None,
        }
    }

    /// Returns whether a part of something has arrived whose rest has not.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        match &self.protocol {
            Protocol::Polling(polling) => polling.is_incomplete(),
            Protocol::SocketIo { socket, .. } | Protocol::Ws(socket) => socket.is_incomplete(),
            Protocol::Sse { blocks, .. } => blocks.is_incomplete(),
        }
    }
}

/// Hands on a block. The `retry:` before or in the first event is the default of every stream; a
/// later one is what the other transports send as an event, alone or in front of one.
fn pass_block(
    block: Block<'_>,
    (begun, retry): (&mut bool, &mut Option<u64>),
    each: &mut dyn FnMut(Received<'_>) -> Result<()>,
) -> Result<()> {
    let is_retry = block.retry.is_some() && block.event.is_none() && block.id.is_none() && block.data.is_none();
    *retry = block.retry.or(*retry);
    if let Some(millis) = block.retry.filter(|_| *begun) {
        each(Received::Retry(millis))?;
    }
    if is_retry {
        return Ok(());
    }
    *begun = true;
    each(Received::Message(Encoded::Block(block)))
}

/// Encodes a message of the raw WebSocket transport as a frame.
fn encode_envelope(message: &ClientMessage) -> Vec<u8> {
    let envelope = match message {
        ClientMessage::Answer { ack, json } => format!("{{\"type\":\"ack\",\"ack\":{ack},\"payload\":{json}}}"),
        ClientMessage::Close => return client_close(),
        ClientMessage::Event { name } => json!({ "type": name, "payload": null }).to_string(),
        ClientMessage::Refresh { token, ack } => {
            json!({ "type": "refresh", "payload": { "token": token }, "ack": ack }).to_string()
        }
        ClientMessage::Room { room, ack, enter } => {
            let kind = if *enter { "subscribe" } else { "unsubscribe" };
            json!({ "type": kind, "payload": { "channel": room }, "ack": ack }).to_string()
        }
    };
    client_text(&envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket;

    const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    /// Returns what a connection receives and then wants to write, when the bytes come in pieces.
    fn read(transport: Transport, options: &ConnectOptions, bytes: &[u8], piece: usize) -> (Vec<String>, Vec<u8>) {
        let mut connection = Connection::new(transport, options);
        connection.outgoing(0).clear();
        let mut seen = Vec::new();
        for piece in bytes.chunks(piece) {
            let each = &mut |received: Received<'_>| {
                seen.push(match received {
                    Received::Message(encoded) => {
                        let scanned = encoded.scan()?.ok_or("nothing")?;
                        format!("{} {} {}", scanned.name, String::from_utf8_lossy(scanned.data), scanned.cursor)
                    }
                    other => format!("{other:?}"),
                });
                Ok(())
            };
            connection.feed(0, piece, each).unwrap();
        }
        (seen, std::mem::take(connection.outgoing(0)))
    }

    #[test]
    fn socketio_answers_handshake_and_heartbeat() {
        let packets: [&[u8]; 6] =
            [b"0{\"sid\":\"a\"}", b"40{\"sid\":\"b\"}", b"2", b"42[\"connected\",{}]", b"42[\"tick\",1,\"c\"]", b"41"];
        let frames: Vec<u8> = packets.iter().flat_map(|packet| websocket::server_text(packet)).collect();
        let rooms = vec!["a".to_owned()];
        let options = ConnectOptions { cursor: Some("c".to_owned()), rooms, ..ConnectOptions::default() };
        for piece in [1, 3, 1000] {
            let (seen, written) = read(Transport::SocketIo, &options, &[SWITCHING, &frames].concat(), piece);
            assert_eq!(seen, ["connected [\"connected\",{}] ", "tick [\"tick\",1,\"c\"] c", "Close"]);
            let connect = client_text(r#"40{"lastEventId":"c","rooms":["a"]}"#);
            assert_eq!(written, [connect, client_text("3")].concat());
        }
    }

    #[test]
    fn ws_answers_ping_and_close_and_reports_a_rejection() {
        let options = ConnectOptions::default();
        let frames = [&[0x89, 2, b'h', b'i'][..], &websocket::server_text(br#"{"type":"a"}"#), &[0x88, 0]].concat();
        let (seen, written) = read(Transport::Ws, &options, &[SWITCHING, &frames].concat(), 5);
        assert_eq!(seen, [r#"a {"type":"a"} "#, "Close"]);
        assert_eq!(written, [websocket::client_frame(10, b"hi"), websocket::client_frame(8, b"")].concat());
        let refused = b"HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(read(Transport::Ws, &options, refused, 9).0, ["Refused(\"429\")"]);
    }

    #[test]
    fn sse_reads_chunks_that_are_not_its_blocks() {
        let stream =
            "retry: 3000\nevent: connected\nid: a\ndata: {}\n\nid: b\n\nretry: 9\nevent: tick\ndata: 1\n\nretry: 840\n";
        for chunk in [1, 5, 16, 1000] {
            let chunks = stream.as_bytes().chunks(chunk);
            let mut body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            body.extend(
                chunks.flat_map(|chunk| [format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()),
            );
            body.extend(b"0\r\n\r\n");
            for piece in [1, 3, 2000] {
                let (seen, _) = read(Transport::Sse, &ConnectOptions::default(), &body, piece);
                let expected = ["connected {} a", "cursor  b", "Retry(9)", "tick 1 ", "Retry(840)", "Close"];
                assert_eq!(seen, expected, "chunks of {chunk}, pieces of {piece}");
            }
        }
    }
}
