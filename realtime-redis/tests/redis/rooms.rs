use std::sync::Arc;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record, RoomTable};
use realtime_redis::RedisConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::steps::state;

use crate::server::Server;
use crate::support::connect_with;

realtime_testkit::broker_tests!(Server; rooms);

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
