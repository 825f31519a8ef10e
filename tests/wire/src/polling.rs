//! Socket.IO over long polling: the first lane carries what the server sends, the second one what
//! the client sends.

use crate::http::{self, Part, Responses};
use crate::message::{self, text};
use crate::socketio::{self, PONG, Packet};
use crate::{ClientMessage, ConnectOptions, Received, Result};

/// The lane of the GETs.
const GET: usize = 0;
/// The lane of the POSTs.
const POST: usize = 1;
/// The byte between two packets.
const SEPARATOR: char = '\u{1e}';

/// A session on long polling.
#[derive(Debug)]
pub(crate) struct Polling {
    target: String,
    /// The packet that connects to the main namespace.
    connect: String,
    lanes: [Lane; 2],
    /// `true` once the server has named the session.
    opened: bool,
    /// Packets that wait for the answer to the previous POST.
    unsent: Vec<String>,
    /// Set while a POST is not answered.
    posting: bool,
}

#[derive(Debug, Default)]
struct Lane {
    responses: Responses,
    body: Vec<u8>,
}

impl Polling {
    pub(crate) fn new(options: &ConnectOptions) -> Self {
        Self {
            target: format!("/socket.io/?EIO=4&transport=polling&{}", options.query),
            connect: socketio::connect(options),
            lanes: Default::default(),
            opened: false,
            unsent: Vec::new(),
            posting: false,
        }
    }

    /// Encodes the GET that polls.
    pub(crate) fn poll(&self) -> Vec<u8> {
        http::get(&self.target, "")
    }

    pub(crate) fn feed(
        &mut self,
        lane: usize,
        bytes: &[u8],
        outgoing: &mut [Vec<u8>; 2],
        each: &mut dyn FnMut(Received<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut bodies = Vec::new();
        let Lane { responses, body } = &mut self.lanes[lane];
        responses.feed(bytes, &mut |status, part| {
            match part {
                Part::Head => {}
                Part::Data(data) => body.extend_from_slice(data),
                Part::End => bodies.push((status, std::mem::take(body))),
            }
            Ok(())
        })?;
        for body in bodies {
            match body {
                (200, body) if lane == GET => self.read(&body, outgoing, each)?,
                (200, _) => self.posting = false,
                (status, _) => each(Received::Refused(status.to_string().into()))?,
            }
        }
        self.post(outgoing);
        Ok(())
    }

    /// Reads the packets of one answer, and polls again unless the server has closed the session.
    fn read(
        &mut self,
        body: &[u8],
        outgoing: &mut [Vec<u8>; 2],
        each: &mut dyn FnMut(Received<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut closed = false;
        for packet in body.split(|byte| *byte == SEPARATOR as u8) {
            let packet = Packet::decode(packet)?;
            match packet {
                Packet::Open(json) => {
                    self.target += &format!("&sid={}", text(&message::json(json)?["sid"], "a session's id")?);
                    self.opened = true;
                    self.unsent.push(self.connect.clone());
                }
                Packet::Ping => self.unsent.push(PONG.to_owned()),
                Packet::Close => closed = true,
                _ => {}
            }
            packet.received().map_or(Ok(()), &mut *each)?;
        }
        if !closed {
            outgoing[GET].extend(self.poll());
        }
        Ok(())
    }

    /// Sends what waits, unless a POST is not answered yet.
    fn post(&mut self, outgoing: &mut [Vec<u8>; 2]) {
        if self.opened && !self.posting && !self.unsent.is_empty() {
            self.posting = true;
            let body = std::mem::take(&mut self.unsent).join(&SEPARATOR.to_string());
            outgoing[POST].extend(http::post(&self.target, &body));
        }
    }

    pub(crate) fn send(&mut self, message: &ClientMessage, outgoing: &mut [Vec<u8>; 2]) {
        self.unsent.push(socketio::encode(message));
        if matches!(message, ClientMessage::Close) {
            self.unsent.push("1".to_owned());
        }
        self.post(outgoing);
    }

    pub(crate) fn is_incomplete(&self) -> bool {
        self.lanes.iter().any(|lane| lane.responses.is_incomplete())
    }
}
