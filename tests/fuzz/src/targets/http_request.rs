//! The parts of a request's query and headers that a transport reads before it knows who asks.

mod addresses;
mod origins;

use std::collections::HashSet;

use http::header::{CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use realtime_core::ConnectRequest;
use realtime_core::spi::{Cursor, Subprotocols};
use realtime_http::spi::{ConnectQuery, ROOM_PARAMETERS, has_token, websocket_request};

/// The headers that a line can set, by its first character.
const HEADERS: [(char, &str); 11] = [
    ('a', "authorization"),
    ('c', "cookie"),
    ('f', "forwarded"),
    ('h', "host"),
    ('l', "last-event-id"),
    ('n', "connection"),
    ('o', "origin"),
    ('p', "sec-websocket-protocol"),
    ('s', "sec-fetch-site"),
    ('u', "upgrade"),
    ('x', "x-forwarded-for"),
];
const ROOMS: usize = 100;

/// The first line is the query; each other one a header: its letter, and its value.
pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let Ok(mut request) = http::Request::get(format!("/ws?{query}")).body(()) else { return };
    for line in lines {
        let Some((first, value)) = line.split_first() else { continue };
        let name = HEADERS.iter().find(|(letter, _)| *letter == char::from(*first)).map(|(_, name)| *name);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    let parts = request.into_parts().0;
    origins::check(&parts);
    addresses::check(&parts);
    check_query(&parts);
    check_credentials(&parts);
    check_lists(&parts);
    if let Some(id) = realtime_sse::fuzzing::last_event_id(&parts) {
        assert!(!id.is_empty());
        assert!(id.parse::<Cursor>().is_err() || id.len() == Cursor::CHARACTERS);
    }
}

fn check_query(parts: &Parts) {
    let request = ConnectRequest::new("ws", parts);
    let query = ConnectQuery::of(&request, ROOMS);
    let pairs: Vec<_> = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).collect();
    let names_rooms = |key: &str| ROOM_PARAMETERS.iter().any(|name| key.strip_prefix(name).is_some_and(is_index));
    let mut seen = HashSet::new();
    let rooms: Vec<_> = pairs
        .iter()
        .filter(|(key, _)| names_rooms(key))
        .map(|(_, room)| &**room)
        .filter(|room| seen.insert(*room))
        .collect();
    assert_eq!(query.channels, rooms[..rooms.len().min(ROOMS + 1)]);
    let last = pairs.iter().find(|(key, _)| key == "lastEventId").map(|(_, value)| value.to_string());
    assert_eq!(query.last_event_id, last);
}

/// Returns whether this is what query builders write behind a list's name.
fn is_index(text: &str) -> bool {
    let digits = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    text.is_empty() || digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
}

fn check_credentials(parts: &Parts) {
    let request = ConnectRequest::new("ws", parts);
    let token = request.token().map(|token| token.into_owned());
    let in_headers = |token: &str| {
        let holds =
            |value: &HeaderValue| value.as_bytes().windows(token.len().max(1)).any(|part| part == token.as_bytes());
        token.is_empty() || parts.headers.values().any(holds)
    };
    if let Some(token) = &token {
        let in_query = request.query("token").as_deref() == Some(token);
        assert!(in_query || in_headers(token), "a token that the client did not send");
        let shown = format!("{request:?}");
        assert!(token.len() < 12 || !shown.contains(token.as_str()), "a token is printed");
    }
    if let Some(former) = request.former_connection() {
        let sent = request.query("connectionId").expect("from the query");
        assert_eq!(former.to_string(), sent.to_ascii_lowercase().replace('-', ""));
    }
    assert!(request.cookie("token").is_none_or(|value| !value.contains(';') && in_headers(value)));
}

fn check_lists(parts: &Parts) {
    let items = |name: HeaderName| -> Vec<Vec<u8>> {
        let lines = parts.headers.get_all(name).into_iter();
        lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(|item| item.trim_ascii().to_vec())
            .collect()
    };
    let has =
        |name: HeaderName, token: &str| items(name).iter().any(|item| item.to_ascii_lowercase() == token.as_bytes());
    for (name, token) in [(CONNECTION, "upgrade"), (UPGRADE, "websocket")] {
        assert_eq!(has_token(&parts.headers, name.clone(), token), has(name, token));
    }
    let request = http::Request::from_parts(parts.clone(), ());
    let plain = websocket_request(&request);
    assert_eq!(websocket_request(&plain).headers(), plain.headers(), "not idempotent");

    check_subprotocols(parts, &items(SEC_WEBSOCKET_PROTOCOL));
}

fn check_subprotocols(parts: &Parts, items: &[Vec<u8>]) {
    let Ok(read) = Subprotocols::read(&parts.headers) else { return };
    let offers: Vec<_> = items.iter().filter(|offer| !offer.is_empty()).map(Vec::as_slice).collect();
    let bearer = offers.iter().position(|offer| offer.eq_ignore_ascii_case(b"bearer"));
    let token = bearer.map(|at| at + 1).filter(|at| *at < offers.len());
    assert_eq!(read.token().map(str::as_bytes), token.map(|at| offers[at]));

    let supported = ["chat".to_owned(), "v2.chat".to_owned()];
    let Ok(chosen) = read.answer(&supported) else { return };
    let others = offers.iter().enumerate().filter(|(at, _)| Some(*at) != token).map(|(_, offer)| *offer);
    let spoken = others.clone().find(|offer| supported.iter().any(|own| own.as_bytes() == *offer));
    assert_eq!(chosen.map(str::as_bytes), spoken.or(bearer.map(|at| offers[at])));
}
