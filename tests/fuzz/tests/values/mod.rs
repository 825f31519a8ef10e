//! Strategies for the values of the crates.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use realtime_core::spi::{Position, RESERVED_EVENTS, Record};
use realtime_core::{ConnectionId, Event, EventId, Target};
use serde_json::Value;

pub(crate) fn ids() -> impl Strategy<Value = EventId> {
    any::<[u8; 16]>().prop_map(EventId::from_bytes)
}

/// Returns valid names of users, tenants and rooms.
pub(crate) fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,60}"
}

/// Returns valid names of events.
pub(crate) fn event_name() -> impl Strategy<Value = String> {
    let is_free = |name: &String| !RESERVED_EVENTS.contains(&&**name);
    "[^\\p{Cc}\u{2028}\u{2029}]{1,60}".prop_filter("a reserved name", is_free)
}

/// Returns JSON of some depth, whose numbers are kept exactly.
pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Returns events of each kind.
pub(crate) fn events() -> impl Strategy<Value = Event> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let json = (event_name(), json_value()).prop_map(|(name, value)| Event::json(name, &value).unwrap());
    let binary = (event_name(), bytes()).prop_map(|(name, bytes)| Event::binary(name, bytes).unwrap());
    let attached = (event_name(), json_value(), prop::collection::vec(bytes(), 1..4))
        .prop_map(|(name, value, attachments)| Event::attached(name, &value, attachments).unwrap());
    let event = prop_oneof![json, binary, attached];
    (event, any::<bool>(), prop::option::of(name())).prop_map(|(event, volatile, latest)| {
        let event = if volatile { event.as_volatile() } else { event };
        match latest {
            Some(key) if !volatile => event.with_latest_key(key),
            _ => event,
        }
    })
}

/// Returns targets of each scope, with exceptions.
pub(crate) fn targets() -> impl Strategy<Value = Target> {
    let id = || any::<[u8; 16]>().prop_map(|bytes| serde_json::from_value::<ConnectionId>(hex(bytes).into()).unwrap());
    let scope = prop_oneof![
        Just(Target::all()),
        id().prop_map(Target::connection),
        name().prop_map(Target::room),
        (name(), name()).prop_map(|(tenant, room)| Target::room_in(tenant, room)),
        name().prop_map(Target::tenant),
        name().prop_map(Target::user),
        (name(), name()).prop_map(|(tenant, user)| Target::user_in(tenant, user)),
    ];
    let users = prop::collection::vec((prop::option::of(name()), name()), 0..3);
    (scope, prop::option::of(id()), users).prop_map(|(target, connection, users)| {
        let target = connection.into_iter().fold(target, Target::except_connection);
        users.into_iter().fold(target, |target, (tenant, user)| match tenant {
            Some(tenant) => target.except_user_in(tenant, user),
            None => target.except_user(user),
        })
    })
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns records that applications and nodes make.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (ids(), targets(), events()).prop_map(|(id, target, event)| Record::of_event(id, target, event)),
        edit(name()),
    ]
}

/// Returns changes of rooms of two users.
pub(crate) fn edits() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(edit(select(vec!["ann".to_owned(), "bob".to_owned()])), 0..20)
}

fn edit(user: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Record> {
    let tenant = prop::option::of(select(vec!["acme", "globex"]));
    (ids(), user, tenant, select(vec!["lobby", "board"]), 0_u64..20, 0..4).prop_map(
        |(id, user, tenant, room, seen, kind)| match kind {
            0 => Record::of_absence(id, &user, tenant, Position::new(seen)),
            1 => Record::of_leave(id, &user, tenant, room),
            2 => Record::of_presence(id, &user, tenant),
            _ => Record::of_join(id, &user, tenant, room),
        },
    )
}

/// Returns origins as browsers write them: without the default port.
pub(crate) fn origin() -> impl Strategy<Value = String> {
    let port = prop::option::of(1_u16..=u16::MAX);
    ("https?", "[a-z][a-z0-9-]{0,8}(\\.[a-z]{2,4}){0,2}", port).prop_map(|(scheme, host, port)| {
        let default = if scheme == "http" { 80 } else { 443 };
        match port.filter(|port| *port != default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    })
}
