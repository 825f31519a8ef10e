//! Events as each transport writes them, read by parsers that share no code with the encoders.

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use realtime_core::spi::{Cursor, CursorKey, CursorSigner, Epoch, Mark, Position};
use realtime_core::{Event, HandlerError};
use realtime_wire::sse::Blocks;
use serde_json::Value;

/// One event, as a client reads it.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    name: String,
    id: Option<String>,
    data: Value,
}

/// The first line is the event's name; the rest is its payload: as JSON, or else as a string.
pub(crate) fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    let (name, payload) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(event) = Event::raw_json(name, payload.to_owned()).or_else(|_| Event::json(name, payload)) else {
        return;
    };
    let Ok(value) = serde_json::from_slice::<Value>(event.payload().bytes()) else { return };
    let cursor = (first & 1 != 0).then(|| {
        CursorSigner::new(Epoch::new(7), &CursorKey::new([7; 32])).cursor(Position::new(u64::from(*first)), Mark::NONE)
    });
    let sent = Got { name: name.to_owned(), id: cursor.map(|cursor| cursor.to_string()), data: value };
    check_sse(&event, cursor, &sent, 1 + usize::from(first >> 4));
    check_ws(&event, cursor, &sent);
    check_socketio(&event, cursor, &sent);
}

fn check_sse(event: &Event, cursor: Option<Cursor>, sent: &Got, piece: usize) {
    let block = realtime_sse::fuzzing::event(event, cursor);
    let payload = event.payload().bytes().len();
    // A line break of one byte is `\ndata: `, a line separator of three bytes an escape of six.
    assert!(block.len() <= 8 * payload + event.name().len() + 128);
    let error = HandlerError::new("code", event.name().to_owned());
    let error_block = realtime_sse::fuzzing::error(&error, Some(1)).expect("an error has a block");
    let comment = realtime_sse::fuzzing::comment();
    let bytes = [&block[..], &comment, &error_block, &block].concat();
    // The parser reads all of an event again with each piece.
    let piece = piece.max(bytes.len() / 64);

    let pieces: Vec<_> =
        bytes.chunks(piece).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let read = stream::iter(pieces).eventsource().map(|event| event.expect("an event stream"));
    let read: Vec<_> = read.collect::<Vec<_>>().now_or_never().expect("no waiting");
    // The client keeps the last id for events without one.
    let id = sent.id.clone().unwrap_or_default();
    let of = |event: &eventsource_stream::Event| {
        assert_eq!(event.id, id);
        (event.event.clone(), serde_json::from_str::<Value>(&event.data).expect("JSON"))
    };
    let expected = (sent.name.clone(), sent.data.clone());
    let [first, error, second] = &read[..] else { panic!("{} events", read.len()) };
    assert_eq!((of(first), of(second)), (expected.clone(), expected));
    assert_eq!((&*error.event, &of(error).1["message"]), ("error", &Value::from(event.name())));

    let (mut blocks, mut all) = (Blocks::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        let fed = blocks.feed(piece, &mut |block| {
            let data = serde_json::from_slice(&block.data.ok_or("no data")?).map_err(|error| error.to_string())?;
            let name = block.event.ok_or("no name")?.to_owned();
            all.push(Got { name, id: block.id.map(str::to_owned), data });
            Ok(())
        });
        fed.expect("blocks of an event stream");
    }
    assert!(!blocks.is_incomplete() && all.len() == 3 && all[0] == *sent && all[2] == *sent, "{all:?}");
}

fn check_ws(event: &Event, cursor: Option<Cursor>, sent: &Got) {
    let frame = realtime_ws::fuzzing::event(event, cursor);
    // The frame of a server is not masked.
    let (length, header) = match frame[1] {
        length @ 0..=125 => (usize::from(length), 2),
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        _ => (frame[2..10].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 10),
    };
    assert_eq!((frame[0], frame.len()), (0x81, header + length));
    assert!(length <= 2 * event.payload().bytes().len() + 6 * event.name().len() + 128);
    let text = std::str::from_utf8(&frame[header..]).expect("a text message is UTF-8");
    let value: Value = serde_json::from_str(text).expect("JSON");
    let id = value.get("id").map(|id| id.as_str().expect("a string").to_owned());
    let name = value["type"].as_str().expect("a string").to_owned();
    assert_eq!(Got { name, id, data: value["payload"].clone() }, *sent);
}

fn check_socketio(event: &Event, cursor: Option<Cursor>, sent: &Got) {
    let list = realtime_socketio::fuzzing::event(event, cursor);
    let mut items = match serde_json::from_str(&list).expect("JSON") {
        Value::Array(items) => items.into_iter(),
        other => panic!("not a list: {other}"),
    };
    let name = items.next().expect("a name").as_str().expect("a string").to_owned();
    let data = items.next().expect("a payload");
    let id = items.next().map(|id| id.as_str().expect("a string").to_owned());
    assert_eq!((Got { name, id, data }, items.next()), (sent.clone(), None));
}
