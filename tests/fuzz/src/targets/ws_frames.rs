//! Frames of a WebSocket's client, however they are split into reads.

use realtime_ws::fuzzing::frames;

use crate::frames::messages;
use crate::pieces::pieces;

/// The largest message, in bytes.
const MAX: usize = 300;

pub(crate) fn run(data: &[u8]) {
    let (whole, parts) = pieces(data);
    let read = frames([whole], MAX);
    assert_eq!(frames(parts, MAX), read, "another result in pieces");
    // The reason of a close that breaks the protocol is this side's own.
    let of_client = read.messages.iter().filter(|(opcode, _)| *opcode != 8);
    let total: usize = of_client.clone().map(|(_, payload)| payload.len()).sum();
    assert!(total <= whole.len() && read.replies.len() <= whole.len() + 127);
    assert!(of_client.clone().all(|(_, payload)| payload.len() <= MAX));
    assert!(read.error.is_none_or(|code| [0, 1002, 1007, 1009].contains(&code)), "{:?}", read.error);

    let expected = messages(whole);
    let until_close = expected.messages.iter().take_while(|message| message.opcode != 8);
    let mut until_close = until_close.map(|message| (message.opcode, &*message.payload));
    for (opcode, payload) in of_client {
        assert_eq!(Some((*opcode, &**payload)), until_close.next(), "not what the client sent");
    }
    let has_closed = read.messages.iter().any(|(opcode, _)| *opcode == 8);
    if read.error.is_none() && !has_closed && expected.valid {
        assert_eq!(until_close.next(), None, "a message is missing");
    }
    if !expected.valid {
        assert!(read.error.is_some() || has_closed, "a broken protocol is accepted");
    }
}
