use std::time::Duration;

use realtime_core::{Delivered, Error, Event, Target};
use serde_json::{Value, json};

use crate::conformance::stage::{Stage, note};
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// Names of targets that break the rules are refused before anything is logged.
pub async fn names_that_break_the_rules<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
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
            let sent = stage.broadcast().send(target.clone(), note("no")).await;
            assert!(matches!(&sent, Err(Error::InvalidName { .. })), "{target:?}: {sent:?}");
            let sent = stage.broadcast().send(target.clone(), note("no").volatile()).await;
            assert!(matches!(&sent, Err(Error::InvalidName { .. })), "{target:?}: {sent:?}");
        }
        let closed = stage.provider.close(Target::user(name), realtime_core::CloseReason::KICKED).await;
        assert!(matches!(&closed, Err(Error::InvalidName { .. })), "{name:?}: {closed:?}");
        if let Some(rooms) = stage.provider.rooms() {
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
    let receipt = stage.note(Target::user("ann"), "the first record").await;
    assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1), "nothing was logged");
    assert_eq!(stage.labels(&mut guest).await, ["the first record"]);
}

/// Names at the edge of the rules arrive as they are.
pub async fn names_with_unusual_characters<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let user = "ann/ä&?#+%20 \"'\\ \u{1f600}";
    let mut guest = stage.guest(Visitor::user(user).tenant(" t ")).await;
    let longest = "x".repeat(256);
    let names =
        ["a:b", " leading", "trailing ", "data: x", "räume/1", "\"quoted\\\"", "message", "ping", longest.as_str()];
    for name in names {
        let event = Event::json(name, name).expect("the rules allow it");
        stage.broadcast().send(Target::user_in(" t ", user), event).await.expect("sent");
        let received = guest.next().await;
        assert_eq!((received.name.as_str(), received.payload.as_str()), (name, Some(name)));
    }
}

/// Any JSON arrives as it is: line breaks in the text and between its parts, empty, deep, a mebibyte.
pub async fn payloads_of_any_text<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    let values = [
        Value::Null,
        json!(""),
        json!("a\nb\rc\r\nd\n\n"),
        json!("data: x\n\nevent: y\n\nid: z\n\n"),
        json!("\u{0}\u{1f}\u{2028}\u{2029}\u{feff}ä\u{1f600}"),
        json!({"a": [1, 2.5, -3, true, null, {"": {}}], "line\nbreak": []}),
        json!([[[[[[[[1]]]]]]]]),
        json!(u64::MAX),
        json!("x".repeat(1024 * 1024)),
        json!((0..20_000).collect::<Vec<_>>()),
    ];
    for value in values {
        stage.broadcast().to_user("ann", Event::json("value", &value).expect("a value")).await.expect("sent");
        let received = guest.next().await;
        assert_eq!(received.name, "value");
        assert!(
            received.payload == value,
            "{:.100} instead of {:.100}",
            received.payload.to_string(),
            value.to_string()
        );
    }
    let spaced = "\n{ \"a\" :\r\n1,\r\"b\":\n\n[ ]\n}\n";
    stage.broadcast().to_user("ann", Event::raw_json("spaced", spaced).expect("JSON")).await.expect("sent");
    let received = guest.next().await;
    assert_eq!((received.name.as_str(), received.payload), ("spaced", json!({"a": 1, "b": []})));
    assert!(stage.labels(&mut guest).await.is_empty());
}

/// One byte over the limit is refused, before anything is logged; the limit itself is not.
pub async fn too_large_is_refused<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default().with_max_event_bytes(1_000)).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    let text = |bytes: usize| Event::json("text", &"x".repeat(bytes - 2)).expect("text");
    for event in [text(1_001), text(1_001).volatile()] {
        let sent = stage.broadcast().to_user("ann", event).await;
        assert!(matches!(sent, Err(Error::TooLarge { size: 1_001, limit: 1_000 })), "{sent:?}");
    }
    let receipt = stage.broadcast().to_user("ann", text(1_000)).await.expect("sent");
    assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1), "nothing else was logged");
    assert_eq!(guest.next().await.payload.as_str().map(str::len), Some(998));
}

/// Bytes are refused before anything is logged where the transport cannot carry them, and sent where it can.
pub async fn binary_events_arrive_or_are_refused<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    let event = || Event::binary("bytes", vec![0, 1, 254, 255]).expect("bytes");
    let sent = stage.broadcast().to_user("ann", event()).await;
    if stage.provider.capabilities().binary {
        assert_eq!(sent.expect("sent").delivered.map(|delivered| delivered.queued), Some(1));
        assert_eq!(guest.next().await.name, "bytes");
    } else {
        assert!(matches!(&sent, Err(Error::Unsupported { .. })), "{sent:?}");
        let sent = stage.broadcast().to_user("ann", event().volatile()).await;
        assert!(matches!(&sent, Err(Error::Unsupported { .. })), "{sent:?}");
        let receipt = stage.note(Target::all(), "the first record").await;
        assert_eq!(receipt.position.map(realtime_core::spi::Position::get), Some(1));
        assert_eq!(guest.next().await.payload, "the first record");
    }
    assert!(stage.labels(&mut guest).await.is_empty());
}

/// The same event with the same key again is not delivered: the receipt has the first one's place, and says so. Another event
/// with that key is refused.
pub async fn idempotency_key_delivers_once<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    let keyed = |label: &str, key: &str| note(label).with_idempotency_key(key);
    let first = stage.broadcast().to_user("ann", keyed("1", "k")).await.expect("sent");
    let again = stage.broadcast().to_user("ann", keyed("1", "k")).await.expect("sent");
    assert!(!first.repeated() && again.repeated());
    assert_eq!((first.id, first.position), (again.id, again.position));
    assert_eq!(again.delivered, Some(Delivered::default()), "nobody got it again");
    let others = [(Target::user("ann"), "not 1"), (Target::all(), "1")];
    for (target, label) in others {
        let refused = stage.broadcast().send(target, keyed(label, "k")).await;
        assert!(matches!(&refused, Err(Error::KeyReused { key }) if key == "k"), "{refused:?}");
    }
    let other = stage.broadcast().to_user("ann", keyed("2", "l")).await.expect("sent");
    assert!(other.id != again.id && !other.repeated());
    assert_eq!(stage.labels(&mut guest).await, ["1", "2"]);
}

/// A key that would be without effect is refused, before anybody gets the event: on a volatile event, on one for one
/// connection, on an ask.
pub async fn keys_without_effect_are_refused<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    let keyed = [note("no").with_idempotency_key("k"), note("no").with_latest_key("k")];
    for event in keyed {
        for (target, event) in
            [(Target::user("ann"), event.clone().volatile()), (Target::connection(guest.id), event.clone())]
        {
            let sent = stage.broadcast().send(target, event).await;
            assert!(matches!(sent, Err(Error::Unsupported { .. })), "{sent:?}");
        }
        if stage.provider.capabilities().acks {
            let asked = stage.acks().to_user_with_ack("ann", event, Duration::from_secs(1)).await;
            assert!(matches!(asked, Err(Error::Unsupported { .. })), "{asked:?}");
        }
    }
    assert!(stage.labels(&mut guest).await.is_empty());
}

/// A receipt tells the place, and how many of this node's connections matched and have it queued.
pub async fn receipts_tell_what_happened<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let delivered = |count| Some(Delivered::queued(count));
    let nobody = stage.note(Target::user("ann"), "1").await;
    assert_eq!((nobody.position.map(realtime_core::spi::Position::get), nobody.delivered), (Some(1), delivered(0)));
    let mut one = stage.guest(Visitor::user("ann")).await;
    let _two = stage.guest(Visitor::user("ann")).await;
    let both = stage.note(Target::user("ann"), "2").await;
    assert_eq!((both.position.map(realtime_core::spi::Position::get), both.delivered), (Some(2), delivered(2)));
    assert_ne!(nobody.id, both.id);
    let received = one.next().await;
    let cursor: realtime_core::spi::Cursor = received.cursor.expect("a cursor").parse().expect("a cursor");
    assert_eq!(Some(cursor.position()), both.position, "the cursor is the receipt's place");
}

/// The numbers of a provider follow what happens.
pub async fn stats_count<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let before = stage.provider.stats();
    assert_eq!((before.connections, before.events_out, before.bytes_out), (0, 0, 0));
    let mut one = stage.guest(Visitor::user("ann")).await;
    let mut two = stage.guest(Visitor::user("ann")).await;
    let mut nobody = stage.guest(Visitor::anonymous()).await;
    stage.note(Target::user("ann"), &"x".repeat(1_000)).await;
    let mark = stage.mark().await;
    for guest in [&mut one, &mut two, &mut nobody] {
        guest.labels_until(&mark).await;
    }
    let stats = stage.provider.stats();
    assert_eq!((stats.connections, stats.users, stats.connected), (3, 1, 3));
    assert_eq!(stats.events_out, 3 + 2 + 3, "welcomes, the note to two, the mark to three");
    assert!(stats.bytes_out > 2_000 && stats.bytes_out < 10_000, "{}", stats.bytes_out);
    assert_eq!((stats.dropped, stats.overflows, stats.lost, stats.panics, stats.behind), (0, 0, 0, 0, 0));
    assert_eq!(stats.window_records, 2);
    if stage.provider.capabilities().rooms {
        stage.rooms().join_room("ann", "r").await.expect("joined");
        assert_eq!(stage.provider.stats().rooms, 1);
    }
}
