//! Entrances to private decoders and encoders, for `tests/fuzz`.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Uri, header};
use realtime_core::Event;
use realtime_core::spi::{Codec, Cursor};
use socketioxide_core::{Str, Value};

use crate::codec::{Frame, SocketIoCodec};
use crate::engine::query::{Query, SessionParam, Transport, opening_uri};
use crate::packet::args::{Arguments, read_ack, read_event};
use crate::packet::frame_rewriter::FrameRewriter;
use crate::packet::frame_scan::FrameScan;
use crate::packet::head::{Head, HeadScan};
use crate::packet::packet_scan::{Found, PacketScan};
use crate::packet::payload::{SEPARATOR, count_packets};
use crate::packet::post_rewriter::PacketRewriter;
use crate::packet::{entry, rewrite};

/// The most bytes by which rewriting makes a packet longer.
pub const MAX_GROWTH: usize = rewrite::MAX_GROWTH;

/// Rewrites the packets of a long-polling request that arrives in these pieces.
pub fn post<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut rewriter, mut out) = (PacketRewriter::default(), Vec::new());
    for piece in pieces {
        for part in piece.split_inclusive(|byte| *byte == SEPARATOR) {
            out.extend(rewriter.feed(Bytes::copy_from_slice(part), false).unwrap_or_default());
        }
    }
    out.extend(rewriter.feed(Bytes::new(), true).unwrap_or_default());
    out
}

/// Rewrites the frames of a websocket that arrive in these pieces; messages have at most `max`
/// bytes.
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: usize) -> Vec<u8> {
    let (mut rewriter, mut out) = (FrameRewriter::new(max), Vec::new());
    for piece in pieces {
        match rewriter.feed(piece) {
            Some(rewritten) => out.extend(rewritten),
            None => out.extend(piece),
        }
    }
    out
}

/// The findings of the scanners in the frames of a websocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The size of the largest message.
    pub largest: u64,
    /// `true` if the bytes end between two frames.
    pub at_boundary: bool,
    /// The packets' heads, in words.
    pub heads: Vec<String>,
}

/// Scans frames that arrive in these pieces.
pub fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Scanned {
    let (mut frames, mut packets) = (FrameScan::default(), PacketScan::default());
    let (mut largest, mut heads) = (0, Vec::new());
    for mut piece in pieces {
        largest = largest.max(frames.feed(piece));
        while !piece.is_empty() || !packets.is_done() {
            let (taken, found) = packets.next(piece);
            piece = &piece[taken..];
            if let Some(Found::Packet(head)) = found {
                heads.push(words(&head));
            }
        }
    }
    Scanned { largest, at_boundary: frames.at_boundary(), heads }
}

/// Returns the head of a packet that arrives in these pieces, in words.
pub fn head<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let mut scan = HeadScan::default();
    let mut found = None;
    for piece in pieces {
        found = found.or(scan.feed(piece.iter().copied()).map(|(_, head)| head));
    }
    found.or(scan.end()).as_ref().map(words)
}

fn words(head: &Head) -> String {
    let name =
        |namespace: &Option<Box<[u8]>>| String::from_utf8_lossy(namespace.as_deref().unwrap_or(b"/")).into_owned();
    match head {
        Head::Connect(namespace) => format!("connect {}", name(namespace)),
        Head::ConnectError(namespace) => format!("error {}", name(namespace)),
        Head::Disconnect(namespace) => format!("disconnect {}", name(namespace)),
        Head::NameTooLong => "too long".to_owned(),
        Head::Other => "other".to_owned(),
        Head::Ping => "ping".to_owned(),
        Head::Pong => "pong".to_owned(),
    }
}

/// Returns the number of events and answers in a long-polling body.
#[must_use]
pub fn count(body: &[u8]) -> usize {
    count_packets(body)
}

/// Removes the entry namespace's answer from a long-polling response.
#[must_use]
pub fn without_answer(body: &[u8]) -> Option<Bytes> {
    entry::without_answer(body)
}

/// Finds the entry namespace's answer among frames.
#[must_use]
pub fn find_answer(frames: &[u8]) -> Option<(usize, usize)> {
    entry::find_answer(frames)
}

/// Reads the list of an event: its name, and its arguments as JSON.
///
/// # Errors
/// The reason why it is none, or why its arguments are refused.
pub fn event_list(list: &str, attachments: &[Bytes], max_depth: usize) -> Result<(String, Bytes), String> {
    let (name, arguments) = read_event(value(list, attachments)).map_err(|error| error.to_string())?;
    checked(&arguments, max_depth).map(|json| (name, json))
}

/// Reads the list of an answer: its arguments as JSON.
///
/// # Errors
/// The reason why it is none, or why its arguments are refused.
pub fn ack_list(list: &str, attachments: &[Bytes], max_depth: usize) -> Result<Bytes, String> {
    checked(&read_ack(value(list, attachments)).map_err(|error| error.to_string())?, max_depth)
}

fn checked(arguments: &Arguments, max_depth: usize) -> Result<Bytes, String> {
    arguments.check(max_depth).map_err(|error| error.code().to_owned())?;
    Ok(arguments.json.clone())
}

fn value(list: &str, attachments: &[Bytes]) -> Value {
    let attachments: VecDeque<_> = attachments.iter().cloned().collect();
    Value::Str(Str::from(list.to_owned()), (!attachments.is_empty()).then_some(attachments))
}

/// Encodes an event: the list of its packet.
#[must_use]
pub fn event(event: &Event, cursor: Option<Cursor>) -> String {
    SocketIoCodec { cursor_argument: true }.event(event, cursor).packet.text().to_owned()
}

/// The parameters of the protocol in a query.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `true` if the version is ours.
    pub protocol: bool,
    /// The transport; `true` for a websocket.
    pub websocket: Option<bool>,
    /// The secrets of sessions.
    pub secrets: Vec<String>,
    /// `true` if the session is one of another server.
    pub foreign: bool,
    /// The values against caches.
    pub marks: Vec<String>,
}

/// Reads a query, of a request with `Upgrade` or without.
#[must_use]
pub fn query(query: &str, upgrade: bool) -> Parameters {
    let mut headers = HeaderMap::new();
    if upgrade {
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    }
    let Query { protocol, transport, sid, t_values } = Query::read(query, &headers);
    let (secrets, foreign) = match sid {
        SessionParam::Foreign => (Vec::new(), true),
        SessionParam::None => (Vec::new(), false),
        SessionParam::Session(secrets) => (secrets.iter().map(|secret| secret.as_str().to_owned()).collect(), false),
    };
    let websocket = transport.map(|transport| transport == Transport::Websocket);
    Parameters { protocol, websocket, secrets, foreign, marks: t_values }
}

/// Returns the URI with which a session is opened; the same one if it needs no change, and none if
/// it becomes too long.
#[must_use]
pub fn opening(uri: &Uri, websocket: bool) -> Option<Uri> {
    let transport = if websocket { Transport::Websocket } else { Transport::Polling };
    opening_uri(uri, transport).ok().map(|changed| changed.unwrap_or_else(|| uri.clone()))
}

/// Returns the list of a frame's packet.
#[must_use]
pub fn list(frame: &Frame) -> Bytes {
    Bytes::copy_from_slice(frame.packet.text().as_bytes())
}
