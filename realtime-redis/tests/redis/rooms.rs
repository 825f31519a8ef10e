use std::sync::Arc;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record, RoomTable};
use realtime_redis::RedisConfig;
use realtime_testkit::SeededRng;

use crate::server::Server;
use crate::support::{append, connect_with, state};

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

#[tokio::test]
async fn dropped_changes_make_the_rooms_that_the_table_has() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default().with_records(7)).await;
    let epoch = state(&log).await.epoch;
    let mut random = SeededRng::new("rooms");
    let mut tables = vec![RoomTable::default()];
    for _ in 0..600 {
        let last = Position::new(tables.len() as u64 - 1);
        let record = Arc::new(change(&mut random, last));
        let position = log.append(epoch, Arc::clone(&record), None).await.unwrap().position;
        let mut table = tables.last().unwrap().clone();
        table.apply(position, &record);
        tables.push(table);
        let start = state(&log).await.start;
        for at in [0, start.get(), start.get() + 2, position.get()] {
            let expected = &tables[at.clamp(start.get(), position.get()) as usize];
            assert_eq!(log.rooms(Position::new(at)).await.unwrap(), *expected, "at {at} of {position}");
        }
    }
    for n in 0..7 {
        append(&log, &n.to_string()).await;
    }
    assert_eq!(log.rooms(Position::START).await.unwrap(), *tables.last().unwrap(), "all changes are dropped");
}

#[tokio::test]
async fn new_epoch_has_the_rooms_of_the_records_it_holds() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default().with_records(3)).await;
    let epoch = state(&log).await.epoch;
    let mut expected = RoomTable::default();
    for n in 1..=5u64 {
        let record = Arc::new(Record::of_join(EventId::random(), "ann", None, &n.to_string()));
        let position = log.append(epoch, Arc::clone(&record), None).await.unwrap().position;
        if n > 2 {
            expected.apply(position, &record);
        }
    }
    let new = log.renew(epoch, Position::new(9), EventId::random()).await.unwrap();
    assert_ne!(new.epoch, epoch);
    assert_eq!(log.rooms(new.last).await.unwrap(), expected);
}
