//! Packets of Socket.IO in the body of a long-polling request, however it is split.

use bytes::Bytes;
use realtime_core::spi::replace_lone_surrogates;
use realtime_socketio::fuzzing::{MAX_GROWTH, ack_list, count, event_list, find_answer, head, post, without_answer};
use serde_json::Value;

use crate::pieces::pieces;

const SEPARATOR: u8 = 0x1e;
const MAX_DEPTH: usize = 8;

pub(crate) fn run(data: &[u8]) {
    let (whole, parts) = pieces(data);
    let rewritten = post([whole]);
    assert_eq!(post(parts.iter().copied()), rewritten, "another result in pieces");
    let packets = whole.split(|byte| *byte == SEPARATOR);
    let each: Vec<_> = packets.clone().map(|packet| post([packet])).collect();
    assert_eq!(each.join(&SEPARATOR), rewritten, "packets of one body change each other");
    for (packet, rewritten) in packets.clone().zip(&each) {
        assert!(rewritten.len() <= packet.len() + MAX_GROWTH);
        check_event(packet, rewritten);
        check_ack(packet, rewritten);
    }
    assert!(count(whole) <= packets.count());
    if !whole.contains(&SEPARATOR) {
        assert_eq!(head(parts), head([whole]), "another head in pieces");
    }
    assert!(without_answer(whole).is_none_or(|rest| rest.len() < whole.len()));
    assert!(find_answer(whole).is_none_or(|(from, to)| from < to && to <= whole.len()));
}

/// Checks that an event of the main namespace has the name and arguments that the client sent.
fn check_event(packet: &[u8], rewritten: &[u8]) {
    let (Some(sent), Some(list)) = (list_of(packet, "42"), list_of(rewritten, "42")) else { return };
    let read = event_list(list.1, &[], MAX_DEPTH);
    // With an attachment that no placeholder names, the same is read.
    let attached = event_list(list.1, &[Bytes::from_static(b"x")], MAX_DEPTH);
    if let (Ok(read), Ok(attached)) = (&read, &attached) {
        assert_eq!(read, attached);
    }
    let Ok(items) = serde_json::from_str::<Vec<Value>>(&replace_lone_surrogates(sent.1)) else { return };
    let is_valid_id = sent.0.is_empty() || sent.0.parse::<i64>().is_ok();
    match (items.split_first(), read) {
        (Some((name @ (Value::String(_) | Value::Number(_)), rest)), Ok((read, json))) if is_valid_id => {
            if let Value::String(name) = name {
                assert_eq!(read, *name);
            }
            if let Ok(json) = serde_json::from_slice::<Value>(&json) {
                assert_eq!(json, joined(rest));
                assert!(crate::targets::depth(&json) <= MAX_DEPTH);
            }
        }
        (Some((Value::String(_) | Value::Number(_), rest)), Err(reason)) if is_valid_id => {
            assert_eq!(reason, "too_deep");
            assert!(rest.iter().map(crate::targets::depth).max().unwrap_or(0) >= MAX_DEPTH);
        }
        (_, Ok(read)) => panic!("an event that is none: {read:?}"),
        (_, Err(_)) => {}
    }
}

/// Checks that an answer has the id and arguments that the client sent.
fn check_ack(packet: &[u8], rewritten: &[u8]) {
    let (Some(sent), Some(list)) = (list_of(packet, "43"), list_of(rewritten, "43")) else { return };
    assert_eq!(list.1, sent.1, "the arguments of an answer are changed");
    let id = list.0.parse::<i64>().expect("an id that is read");
    assert_eq!(id, sent.0.parse().unwrap_or(i64::MAX));
    let read = ack_list(list.1, &[], MAX_DEPTH);
    match (serde_json::from_str::<Vec<Value>>(&replace_lone_surrogates(sent.1)), read) {
        (Ok(items), Ok(json)) => {
            assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), joined(&items));
        }
        (Ok(_), Err(reason)) => assert_eq!(reason, "too_deep"),
        (Err(_), _) => {}
    }
}

/// Returns the digits and the list of a packet of the main namespace.
fn list_of<'a>(packet: &'a [u8], kind: &str) -> Option<(&'a str, &'a str)> {
    let rest = std::str::from_utf8(packet).ok()?.strip_prefix(kind)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // Longer numbers are not read to their end, and are no ids.
    let (id, list) = rest.split_at(digits);
    (list.starts_with('[') && digits <= 200).then_some((id, list))
}

/// Returns several arguments as one value, as handlers get them.
fn joined(items: &[Value]) -> Value {
    match items {
        [] => Value::Null,
        [one] => one.clone(),
        several => Value::Array(several.to_vec()),
    }
}
