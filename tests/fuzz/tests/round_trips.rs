//! Round trips over generated values: what is written is read again as it was.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod values;

use http::Request;
use http::header::{HOST, HeaderValue, ORIGIN};
use proptest::prelude::*;
use realtime_core::spi::{
    Cursor, CursorKey, CursorSigner, Epoch, Mark, Position, Record, RoomTable, Stored, UserRooms,
};
use realtime_fuzz::TARGETS;
use realtime_http::{Origins, TrustedProxies};
use serde_json::{Value, json};

use crate::values::{edits, event_name, events, ids, json_value, name, origin, record, targets};

fn run(target: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|found| found.name == target).unwrap();
    (target.run)(input);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cursors_keep_their_parts(epoch: u64, other: u64, position: u64, id in ids(), key: [u8; 32], wrong: [u8; 32]) {
        let signer = CursorSigner::new(Epoch::new(epoch), &CursorKey::new(key));
        let cursor: Cursor = signer.cursor(Position::new(position), Mark::of(id)).to_string().parse().unwrap();
        let parts = (cursor.epoch(), cursor.position(), cursor.mark());
        prop_assert_eq!(parts, (Epoch::new(epoch), Position::new(position), Mark::of(id)));
        prop_assert!(signer.verify(&cursor));
        prop_assert_eq!(CursorSigner::new(Epoch::new(epoch), &CursorKey::new(wrong)).verify(&cursor), wrong == key);
        prop_assert_eq!(CursorSigner::new(Epoch::new(other), &CursorKey::new(key)).verify(&cursor), other == epoch);
    }

    #[test]
    fn records_are_read_as_they_were_written(record in record()) {
        let read = Stored::from(record.bytes().clone()).decode().unwrap();
        prop_assert_eq!(&*read, &record);
        run("record", record.bytes());
    }

    #[test]
    fn events_keep_target_and_payload(id in ids(), target in targets(), event in events()) {
        let record = Record::of_event(id, target.clone(), event.clone());
        let read = Stored::from(record.bytes().clone()).decode().unwrap();
        prop_assert_eq!(read.id(), id);
        prop_assert_eq!(read.event(), Some((&target, &event)));
    }

    #[test]
    fn rooms_of_users_are_restored(edits in edits()) {
        let mut table = RoomTable::default();
        for (position, record) in (1..).map(Position::new).zip(&edits) {
            table.apply(position, record);
        }
        let mut restored = RoomTable::default();
        for user in ["ann", "bob"] {
            if let Some(rooms) = table.user(user) {
                let stored = serde_json::to_vec(rooms).unwrap();
                restored.restore(user, serde_json::from_slice::<UserRooms>(&stored).unwrap());
            }
        }
        prop_assert_eq!(restored, table);
    }

    #[test]
    fn envelopes_are_read_as_events(
        name in event_name(),
        payload in json_value(),
        ack in prop::option::of(0_u64..1 << 53),
    ) {
        let mut envelope = json!({ "payload": payload, "type": name });
        if let Some(ack) = ack {
            envelope["ack"] = ack.into();
        }
        let text = envelope.to_string();
        let inbound = realtime_ws::fuzzing::envelope(&text, 64, false).unwrap();
        prop_assert_eq!((&*inbound.name, inbound.ack), (&*name, ack));
        prop_assert_eq!(inbound.payload.json::<Value>().unwrap(), payload);
        run("ws_envelope", &[b"\xfe", text.as_bytes()].concat());
    }

    #[test]
    fn socketio_events_are_read_as_they_were_sent(
        name in event_name(),
        arguments in prop::collection::vec(json_value(), 0..4),
        id in prop::option::of(0..i64::MAX),
        places: [u8; 3],
    ) {
        let list = [vec![Value::from(&*name)], arguments.clone()].concat();
        let packet = format!("42{}{}", id.map_or(String::new(), |id| id.to_string()), Value::from(list));
        run("socketio_packet", &[&places[..], packet.as_bytes()].concat());
        let sent = realtime_socketio::fuzzing::post([packet.as_bytes()]);
        let list = std::str::from_utf8(&sent).unwrap().trim_start_matches(|c: char| c.is_ascii_digit());
        let (read, json) = realtime_socketio::fuzzing::event_list(list, &[], 64).unwrap();
        let expected = match &*arguments {
            [] => Value::Null,
            [one] => one.clone(),
            several => several.into(),
        };
        prop_assert_eq!((read, serde_json::from_slice::<Value>(&json).unwrap()), (name, expected));
    }

    #[test]
    fn events_are_read_by_clients_of_each_transport(first: u8, name in event_name(), payload in json_value()) {
        run("events", &[&[first], name.as_bytes(), b"\n", payload.to_string().as_bytes()].concat());
    }

    #[test]
    fn listed_pages_may_connect_and_others_may_not(page in origin(), other in origin(), upper: bool) {
        let origins = Origins::only([page.clone()]);
        prop_assert!(origins.verify().is_ok());
        let checked = |sent: &str| {
            let mut request = Request::get("/ws").header(HOST, "api.example").body(()).unwrap();
            request.headers_mut().insert(ORIGIN, HeaderValue::from_str(sent).unwrap());
            origins.check(&request.into_parts().0).is_ok()
        };
        let shown = if upper { page.to_ascii_uppercase() } else { page.clone() };
        prop_assert!(checked(&shown));
        prop_assert_eq!(checked(&other), other == page);
        let longer = [format!("{page}.evil.example"), format!("{page}x")];
        prop_assert!(!longer.iter().any(|page| checked(page)));
    }

    #[test]
    fn client_is_the_first_address_before_the_proxies(
        claimed in prop::collection::vec("[ -~]{0,20}", 0..4),
        client: u32,
        proxies in prop::collection::vec(0_u32..1 << 24, 0..3),
        v6: bool,
    ) {
        let client = std::net::Ipv4Addr::from(client | 0x8000_0000);
        let of = |low: &u32| std::net::Ipv4Addr::from(0x0a00_0000 | low).to_string();
        let named = if v6 { format!("[::ffff:{client}]:443") } else { client.to_string() };
        let hops: Vec<_> = claimed.into_iter().chain([named]).chain(proxies.iter().map(of)).collect();
        let mut request = Request::get("/ws").header("x-forwarded-for", hops.join(",")).body(()).unwrap();
        let peer: std::net::SocketAddr = "10.1.2.3:1".parse().unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        let trusted = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        prop_assert_eq!(trusted.client(&request.into_parts().0), Some(client.into()));
    }

    #[test]
    fn names_of_rooms_survive_the_query(rooms in prop::collection::btree_set(name(), 0..5), position in 0_usize..3) {
        let parameter = ["channel", "room[]", "rooms[0]"][position];
        let query: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(rooms.iter().map(|room| (parameter, room)))
            .finish();
        let parts = Request::get(format!("/ws?{query}")).body(()).unwrap().into_parts().0;
        let request = realtime_core::ConnectRequest::new("ws", &parts);
        let read = realtime_http::spi::ConnectQuery::of(&request, 100);
        prop_assert_eq!(read.channels, rooms.into_iter().collect::<Vec<_>>());
    }

    #[cfg(feature = "stores")]
    #[test]
    fn ids_are_read_as_they_were_written(id in ids()) {
        prop_assert_eq!(realtime_nats::fuzzing::id(&id.to_string()), Some(id));
    }
}
