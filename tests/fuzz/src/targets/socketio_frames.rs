//! Frames of a Socket.IO client's websocket, however they are split into reads.

use realtime_socketio::fuzzing::{Scanned, frames, head, post, scan};

use crate::frames::{Message, messages};
use crate::pieces::pieces;

/// The largest message, in bytes.
const MAX: usize = 300;
/// The number of frames up to which a message is rewritten for certain.
const REWRITTEN: usize = 16;

pub(crate) fn run(data: &[u8]) {
    let (whole, parts) = pieces(data);
    check_scan(whole, &parts);
    check_rewriting(whole, &parts);
    let limited = frames([whole], MAX);
    assert!(limited.len() <= 2 * whole.len() + MAX + 4096, "{} bytes of {}", limited.len(), whole.len());
    let is_small = |message: &Message| message.payload.len() <= MAX;
    let sent = messages(whole);
    if sent.valid && sent.between && sent.messages.iter().all(is_small) {
        assert_eq!(limited, frames([whole], usize::MAX), "a small message is refused");
    }
}

fn check_scan(whole: &[u8], parts: &[&[u8]]) {
    let scanned = scan([whole]);
    assert_eq!(scan(parts.iter().copied()), scanned, "another result in pieces");
    let sent = messages(whole);
    if !sent.valid || !sent.between {
        return;
    }
    let data = sent.messages.iter().filter(|message| message.opcode < 8);
    let largest = data.clone().map(|message| message.payload.len() as u64).max().unwrap_or(0);
    let heads = data.filter(|message| message.opcode == 1).filter_map(|message| head([&message.payload[..]]));
    assert_eq!(scanned, Scanned { largest, at_boundary: true, heads: heads.collect() });
}

fn check_rewriting(whole: &[u8], parts: &[&[u8]]) {
    let sent = messages(whole);
    let out = frames([whole], usize::MAX);
    assert!(out.len() <= whole.len() + (sent.messages.len() + 2) * 2048);
    if !sent.valid || !sent.between {
        return;
    }
    for out in [out, frames(parts.iter().copied(), usize::MAX)] {
        let got = messages(&out);
        assert!(got.valid && got.between, "frames that are none");
        let (mut got, mut expected) = (got.messages, sent.messages.clone());
        // Control frames may move before the message within which they were sent.
        for messages in [&mut got, &mut expected] {
            messages.sort_by_key(|message| message.opcode >= 8);
        }
        assert_eq!(got.len(), expected.len());
        for (got, sent) in got.iter().zip(&expected) {
            let rewritten = if sent.opcode == 1 { post_of(&sent.payload) } else { sent.payload.clone() };
            let may_be_unchanged = sent.frames > REWRITTEN && got.payload == sent.payload;
            assert!(got.opcode == sent.opcode && (may_be_unchanged || got.payload == rewritten), "{got:?} of {sent:?}");
        }
    }
}

/// Returns a packet as it is rewritten in a long-polling request, in which a separator ends it.
fn post_of(packet: &[u8]) -> Vec<u8> {
    match packet.iter().position(|byte| *byte == 0x1e) {
        Some(_) => frames_of(packet),
        None => post([packet]),
    }
}

/// Returns the payload of a packet that is rewritten in one frame.
fn frames_of(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend((packet.len() as u16).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(packet);
    messages(&frames([&frame[..]], usize::MAX)).messages.pop().map(|message| message.payload).unwrap_or_default()
}
