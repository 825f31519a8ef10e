use std::sync::Arc;
use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record, RoomTable};
use realtime_nats::NatsConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_record, state};

use crate::server::Server;
use crate::support::{connect_with, log_stream};

realtime_testkit::broker_tests!(Server; rooms);

#[tokio::test]
async fn new_epoch_has_no_rooms() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default()).await;
    let joined = Arc::new(Record::of_join(EventId::random(), "ann", None, "board"));
    append_record(&log, joined, None).await.unwrap();
    let old = state(&log).await;
    let new = log.renew(old.epoch, Position::new(9), EventId::random()).await.unwrap();
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(log.rooms(new.last).await.unwrap(), RoomTable::default());
    assert_eq!(server.count("realtime_state").await, 1, "the life alone is left");
}

#[tokio::test]
async fn change_of_a_node_that_ended_is_completed() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_age(Duration::from_secs(1))).await;
    append_record(&log, Arc::new(Record::of_join(EventId::random(), "ann", None, "a")), None).await.unwrap();
    // What a node leaves that ends before it has stored the rooms.
    let record = Record::of_join(EventId::random(), "ann", None, "b");
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = log_stream(&server).await;
    let subject = format!("realtime.log.{}.rooms", stream.strip_prefix("realtime_log_").unwrap());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", record.id().to_string());
    client.request_with_headers(subject, headers, record.bytes().clone()).await.unwrap();
    let mut expected = RoomTable::default();
    for (position, room) in [(1, "a"), (2, "b")] {
        let record = Record::of_join(EventId::random(), "ann", None, room);
        expected.apply(Position::new(position), &record);
    }
    assert_eq!(log.rooms(Position::new(2)).await.unwrap(), expected, "from the log");
    for n in 0..3 {
        append(&log, &n.to_string()).await;
    }
    let dropped = async {
        while state(&log).await.start.get() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("a log without these records", dropped).await;
    assert_eq!(log.rooms(Position::START).await.unwrap(), expected, "from the user's value");
}

#[tokio::test]
async fn concurrent_changes_of_one_user_are_all_kept() {
    let server = Server::start().await;
    let nodes =
        [connect_with(&server, NatsConfig::default()).await, connect_with(&server, NatsConfig::default()).await];
    let epoch = state(&nodes[0]).await.epoch;
    let joins = (0..60).map(|n| {
        let node = nodes[n % 2].clone();
        tokio::spawn(async move {
            let record = Arc::new(Record::of_join(EventId::random(), "ann", None, &n.to_string()));
            let position = node.append(epoch, Arc::clone(&record), None).await.unwrap().position;
            (position, record)
        })
    });
    let mut joined: Vec<_> =
        futures_util::future::join_all(joins).await.into_iter().map(|joined| joined.unwrap()).collect();
    joined.sort_by_key(|(position, _)| *position);
    let mut expected = RoomTable::default();
    for (position, record) in &joined {
        expected.apply(*position, record);
        if position.get() % 20 == 0 {
            assert_eq!(nodes[0].rooms(*position).await.unwrap(), expected, "at {position}");
        }
    }
}
