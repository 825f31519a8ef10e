//! The rooms that a log keeps of the records that it drops.

use std::sync::Arc;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, LogBounds, Position, Record, RoomTable};

use super::BrokerUnderTest;
use crate::SeededRng;
use crate::steps::{append, state};

/// The changes of rooms that are made.
const CHANGES: usize = 600;

/// Returns a random change of a few users' rooms.
fn change(random: &mut SeededRng, last: Position) -> Record {
    let user = ["ann", "bob", "42", "räume \"\\/\u{1}"][random.below(4)];
    let tenant = [None, None, Some("acme"), Some("7")][random.below(4)];
    let room = ["a", "b", "1", "2", "ü"][random.below(5)];
    let id = EventId::random();
    match random.below(8) {
        0..4 => Record::of_join(id, user, tenant, room),
        4..7 => Record::of_leave(id, user, tenant, room),
        _ => Record::of_absence(id, user, tenant, Position::new(last.get().saturating_sub(random.below(20) as u64))),
    }
}

/// Checks that the broker makes the same of random changes, most of which it has dropped, as
/// [`RoomTable::apply`] does.
pub async fn dropped_changes_make_the_rooms_that_the_table_has<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = server.connect(LogBounds::default().with_records(7)).await;
    let epoch = state(&log).await.epoch;
    let mut random = SeededRng::new("rooms");
    let mut tables = vec![RoomTable::default()];
    for last in 0..CHANGES {
        let record = Arc::new(change(&mut random, Position::new(last as u64)));
        let position = log.append(epoch, Arc::clone(&record), None).await.expect("appended").position;
        let mut table = tables[last].clone();
        table.apply(position, &record);
        tables.push(table);
        let start = state(&log).await.start;
        for at in [0, start.get(), start.get() + 2, position.get()] {
            let expected = &tables[at.clamp(start.get(), position.get()) as usize];
            let rooms = log.rooms(Position::new(at)).await.expect("rooms");
            assert_eq!(rooms, *expected, "at {at} of {position}");
        }
    }
    for n in 0..7 {
        append(&log, &n.to_string()).await;
    }
    let rooms = log.rooms(Position::START).await.expect("rooms");
    assert_eq!(rooms, tables[CHANGES], "all changes are dropped");
}
