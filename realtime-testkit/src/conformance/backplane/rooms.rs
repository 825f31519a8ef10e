//! The tests of the rooms beside a log.

use std::sync::Arc;

use realtime_core::EventId;
use realtime_core::spi::{Position, Record, RoomTable};

use super::BackplaneUnderTest;
use super::steps::{append, state_of};

/// The rooms at a position are those of the joins and leaves up to it, from every node.
pub async fn rooms_are_those_at_a_position<B: BackplaneUnderTest>() {
    let backplane = B::start().await;
    let (one, two) = (backplane.node().await, backplane.node().await);
    let mut expected = RoomTable::default();
    for record in room_records() {
        let epoch = state_of(&one).await.epoch;
        let position = one.append(epoch, Arc::clone(&record), None).await.expect("appended").position;
        let earlier = two.rooms(position.previous()).await.expect("rooms");
        assert_eq!(earlier, expected, "before {position}");
        expected.apply(position, &record);
        assert_eq!(two.rooms(position).await.expect("rooms"), expected, "at {position}");
    }
    let have_rooms = ["ann", "bob", "cid", "dan", "eve"].map(|user| expected.user(user).is_some());
    assert_eq!(have_rooms, [true, true, false, true, false]);
}

/// The joins and leaves whose records the log no longer holds still count.
pub async fn rooms_outlive_their_records<B: BackplaneUnderTest>() {
    let backplane = B::start_with(5).await;
    let node = backplane.node().await;
    let mut expected = RoomTable::default();
    let mut last = Position::START;
    for record in room_records() {
        let epoch = state_of(&node).await.epoch;
        last = node.append(epoch, Arc::clone(&record), None).await.expect("appended").position;
        expected.apply(last, &record);
    }
    for n in 0..5 {
        append(&node, &n.to_string()).await;
    }
    assert!(state_of(&node).await.start >= last, "expected a log without these records");
    assert_eq!(node.rooms(last).await.expect("rooms"), expected);
    assert_eq!(node.rooms(Position::START).await.expect("rooms"), expected, "as of the log's start");
}

/// Returns changes of rooms of every kind, by bare names and in tenants.
fn room_records() -> Vec<Arc<Record>> {
    let join = |user, tenant, room| Record::of_join(EventId::random(), user, tenant, room);
    let leave = |user, tenant, room| Record::of_leave(EventId::random(), user, tenant, room);
    let present = |user, tenant| Record::of_presence(EventId::random(), user, tenant);
    let absent = |user, tenant, seen| Record::of_absence(EventId::random(), user, tenant, Position::new(seen));
    let records = vec![
        join("ann", None, "a"),
        join("ann", Some("t"), "b"),
        join("bob", None, "a"),
        join("cid", None, "a"),
        leave("ann", Some("t"), "a"),
        join("ann", None, "a"),
        leave("cid", None, "a"),
        leave("ann", Some("t"), "b"),
        join("ann", Some("u"), "räume"),
        leave("bob", Some("t"), "a"),
        leave("nobody", None, "a"),
        join("dan", None, "a"),
        join("dan", Some("t"), "b"),
        join("eve", None, "a"),
        present("dan", None),
        present("dan", Some("t")),
        // Those who were present after the question keep their rooms.
        absent("dan", None, 14),
        absent("dan", Some("t"), 14),
        absent("eve", None, 14),
    ];
    records.into_iter().map(Arc::new).collect()
}
