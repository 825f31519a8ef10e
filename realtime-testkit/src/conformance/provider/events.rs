use std::time::Duration;

use realtime_core::{Delivered, Error, Event, Target};
use serde_json::{Value, json};

use crate::conformance::fixture::{Fixture, note};
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// Invalid names are refused before anything is logged.
pub async fn invalid_names_are_refused<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let long = "x".repeat(257);
    for name in ["", "a\nb", "a\r\nb", "a\0b", "\u{85}", long.as_str()] {
        for target in [
            Target::user(name),
            Target::tenant(name),
            Target::room(name),
            Target::user_in(name, "ann"),
            Target::room_in(name, "r"),
            Target::all().except_user(name),
        ] {
            let sent = fixture.broadcast().send(target.clone(), note("no")).await;
            assert!(matches!(&sent, Err(Error::InvalidName { .. })), "{target:?}: {sent:?}");
            let sent = fixture.broadcast().send(target.clone(), note("no").as_volatile()).await;
            assert!(matches!(&sent, Err(Error::InvalidName { .. })), "{target:?}: {sent:?}");
        }
        let closed = fixture.provider.close(Target::user(name), realtime_core::CloseReason::KICKED).await;
        assert!(matches!(&closed, Err(Error::InvalidName { .. })), "{name:?}: {closed:?}");
        if let Some(rooms) = fixture.provider.rooms() {
            for result in [
                rooms.join_room(name, "r").await,
                rooms.join_room("ann", name).await,
                rooms.leave_room(name, "r").await,
                rooms.leave_room("ann", name).await,
                rooms.user_rooms(name).await.map(drop),
            ] {
                assert!(matches!(&result, Err(Error::InvalidName { .. })), "{name:?}: {result:?}");
            }
        }
        assert!(matches!(Event::json(name, &1), Err(Error::InvalidName { .. })), "{name:?}");
    }
    let receipt = fixture.note(Target::user("ann"), "the first record").await;
    assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1), "the only record");
    assert_eq!(fixture.labels(&mut peer).await, ["the first record"]);
}

/// Valid names with unusual characters arrive unchanged.
pub async fn names_with_unusual_characters<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let user = "ann/ä&?#+%20 \"'\\ \u{1f600}";
    let mut peer = fixture.connect(Visitor::user(user).with_tenant(" t ")).await;
    let longest = "x".repeat(256);
    let names =
        ["a:b", " leading", "trailing ", "data: x", "räume/1", "\"quoted\\\"", "message", "ping", longest.as_str()];
    for name in names {
        let event = Event::json(name, name).expect("a valid name");
        fixture.broadcast().send(Target::user_in(" t ", user), event).await.expect("sent");
        let received = peer.next().await;
        assert_eq!((received.name.as_str(), received.payload.as_str()), (name, Some(name)));
    }
}

/// Any JSON arrives unchanged: line breaks in and between its parts, empty, deep, of any size.
pub async fn payloads_of_any_text<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let large = ["x".repeat(1024 * 1024), "z\n".repeat(1 << 20), "line\r\n\u{2028}\0ä".repeat(90_000)];
    let lengths = ["x".repeat(123), "x".repeat(124), "x".repeat(70_000)];
    let texts =
        ["", " ", "\n", "\r\n", "\n\n", "\0", "\"\\", "a\nb", "a\rb", "a\r\nb", ": x", "data: x\n\nevent: fake"];
    let texts = texts.into_iter().chain(lengths.iter().map(String::as_str)).chain(large.iter().map(String::as_str));
    let values = [
        Value::Null,
        json!("a\nb\rc\r\nd\n\n"),
        json!("data: x\n\nevent: y\n\nid: z\n\n"),
        json!("\u{0}\u{1f}\u{2028}\u{2029}\u{feff}ä\u{1f600}"),
        json!({"a": [1, 2.5, -3, true, null, {"": {}}], "line\nbreak": []}),
        json!([[[[[[[[1]]]]]]]]),
        json!(u64::MAX),
        json!((0..20_000).collect::<Vec<_>>()),
    ];
    for value in values.into_iter().chain(texts.map(Value::from)) {
        fixture.broadcast().to_user("ann", Event::json("value", &value).expect("a value")).await.expect("sent");
        let received = peer.next().await;
        assert_eq!(received.name, "value");
        assert!(
            received.payload == value,
            "expected {:.100}, got {:.100}",
            value.to_string(),
            received.payload.to_string()
        );
    }
    let spaced = "\n{ \"a\" :\r\n1,\r\"b\":\n\n[ ]\n}\n";
    fixture.broadcast().to_user("ann", Event::raw_json("spaced", spaced).expect("JSON")).await.expect("sent");
    let received = peer.next().await;
    assert_eq!((received.name.as_str(), received.payload), ("spaced", json!({"a": 1, "b": []})));
    assert!(fixture.labels(&mut peer).await.is_empty());
}

/// An event of one byte over the limit is refused before anything is logged; one of the limit is
/// sent.
pub async fn too_large_event_is_refused<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default().with_max_event_bytes(1_000)).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let text = |bytes: usize| Event::json("text", &"x".repeat(bytes - 2)).expect("text");
    for event in [text(1_001), text(1_001).as_volatile()] {
        let sent = fixture.broadcast().to_user("ann", event).await;
        assert!(matches!(sent, Err(Error::TooLarge { size: 1_001, limit: 1_000 })), "{sent:?}");
    }
    let receipt = fixture.broadcast().to_user("ann", text(1_000)).await.expect("sent");
    assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1), "the only record");
    assert_eq!(peer.next().await.payload.as_str().map(str::len), Some(998));
}

/// Binary events are sent if the transport supports them, and refused before anything is logged if
/// not.
pub async fn binary_events_arrive_or_are_refused<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let event = || Event::binary("bytes", vec![0, 1, 254, 255]).expect("bytes");
    let sent = fixture.broadcast().to_user("ann", event()).await;
    if fixture.provider.capabilities().binary {
        assert_eq!(sent.expect("sent").delivered.map(|delivered| delivered.queued), Some(1));
        assert_eq!(peer.next().await.name, "bytes");
    } else {
        assert!(matches!(&sent, Err(Error::Unsupported { .. })), "{sent:?}");
        let sent = fixture.broadcast().to_user("ann", event().as_volatile()).await;
        assert!(matches!(&sent, Err(Error::Unsupported { .. })), "{sent:?}");
        let receipt = fixture.note(Target::all(), "the first record").await;
        assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1));
        assert_eq!(peer.next().await.payload, "the first record");
    }
    assert!(fixture.labels(&mut peer).await.is_empty());
}

/// A repeated event with the same key is not delivered: its receipt has the first one's position,
/// and says that it is repeated. Another event with that key is refused.
pub async fn idempotency_key_delivers_once<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let keyed = |label: &str, key: &str| note(label).with_idempotency_key(key);
    let first = fixture.broadcast().to_user("ann", keyed("1", "k")).await.expect("sent");
    let again = fixture.broadcast().to_user("ann", keyed("1", "k")).await.expect("sent");
    assert!(!first.repeated() && again.repeated());
    assert_eq!((first.id, first.position), (again.id, again.position));
    assert_eq!(again.delivered, Some(Delivered::default()), "no connection got it again");
    let others = [(Target::user("ann"), "not 1"), (Target::all(), "1")];
    for (target, label) in others {
        let refused = fixture.broadcast().send(target, keyed(label, "k")).await;
        assert!(matches!(&refused, Err(Error::KeyReused { key }) if key == "k"), "{refused:?}");
    }
    let other = fixture.broadcast().to_user("ann", keyed("2", "l")).await.expect("sent");
    assert!(other.id != again.id && !other.repeated());
    assert_eq!(fixture.labels(&mut peer).await, ["1", "2"]);
}

/// A key that would have no effect is refused before the event is delivered: of a volatile event,
/// of an event for one connection, of an ask.
pub async fn keys_without_effect_are_refused<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let keyed = [note("no").with_idempotency_key("k"), note("no").with_latest_key("k")];
    for event in keyed {
        for (target, event) in
            [(Target::user("ann"), event.clone().as_volatile()), (Target::connection(peer.id), event.clone())]
        {
            let sent = fixture.broadcast().send(target, event).await;
            assert!(matches!(sent, Err(Error::Unsupported { .. })), "{sent:?}");
        }
        if fixture.provider.capabilities().acks {
            let asked = fixture.acks().to_user_with_ack("ann", event, Duration::from_secs(1)).await;
            assert!(matches!(asked, Err(Error::Unsupported { .. })), "{asked:?}");
        }
    }
    assert!(fixture.labels(&mut peer).await.is_empty());
}

/// A receipt has the position, and the numbers of this node's connections that matched and queued.
pub async fn receipts_have_position_and_counts<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let delivered = |count| Some(Delivered::queued(count));
    let unmatched = fixture.note(Target::user("ann"), "1").await;
    assert_eq!(
        (unmatched.position.map(realtime_core::spi::Position::get), unmatched.delivered),
        (Some(1), delivered(0))
    );
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let _two = fixture.connect(Visitor::user("ann")).await;
    let both = fixture.note(Target::user("ann"), "2").await;
    assert_eq!((both.position.map(realtime_core::spi::Position::get), both.delivered), (Some(2), delivered(2)));
    assert_ne!(unmatched.id, both.id);
    let received = one.next().await;
    let cursor: realtime_core::spi::Cursor = received.cursor.expect("a cursor").parse().expect("a cursor");
    assert_eq!(Some(cursor.position()), both.position, "the cursor's position is the receipt's");
}

/// The stats of a provider follow what happens.
pub async fn stats_follow_what_happens<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let before = fixture.provider.stats();
    assert_eq!((before.connections, before.events_out, before.bytes_out), (0, 0, 0));
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    let mut anonymous = fixture.connect(Visitor::anonymous()).await;
    fixture.note(Target::user("ann"), &"x".repeat(1_000)).await;
    let mark = fixture.mark().await;
    for peer in [&mut one, &mut two, &mut anonymous] {
        peer.labels_until(&mark).await;
    }
    let stats = fixture.provider.stats();
    assert_eq!((stats.connections, stats.users, stats.connected), (3, 1, 3));
    assert_eq!(stats.events_out, 3 + 2 + 3, "three welcomes, the note to two, the marker to three");
    assert!(stats.bytes_out > 2_000 && stats.bytes_out < 10_000, "{}", stats.bytes_out);
    assert_eq!((stats.dropped, stats.overflows, stats.lost, stats.panics, stats.behind), (0, 0, 0, 0, 0));
    assert_eq!(stats.window_records, 2);
    if fixture.provider.capabilities().rooms {
        fixture.rooms().join_room("ann", "r").await.expect("joined");
        assert_eq!(fixture.provider.stats().rooms, 1);
    }
}
