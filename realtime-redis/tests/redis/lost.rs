use realtime_core::spi::{AppendError, Backplane, Position};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_numbers, assert_new_epoch, batch, entries, newest, texts, timed_append};

use crate::server::Server;
use crate::support::connect;

realtime_testkit::broker_tests!(Server; lost);

#[tokio::test]
async fn flushed_log_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    let (old, id) = newest(&log).await;
    server.command("FLUSHALL").await;
    let refused = timed_append(&log, old.epoch, "too early").await;
    assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
    assert_new_epoch(&log, &old, id).await;
    assert_eq!(texts(&log).await, ["of the new epoch"]);
}

#[tokio::test]
async fn log_without_its_records_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    let (old, id) = newest(&log).await;
    server.command("DEL {realtime}:log").await;
    assert_new_epoch(&log, &old, id).await;
    assert_eq!(entries(&log).await[0].position, Position::new(4));
}

#[tokio::test]
async fn tail_does_not_go_on_in_a_log_that_lost_its_place() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    // One that has returned records, and one that has returned nothing yet.
    let (mut tail, mut idle) = (log.tail(Position::START), log.tail(Position::new(3)));
    assert_eq!(batch(&mut tail).await.unwrap().len(), 3);
    let reading = tokio::spawn(async move { batch(&mut idle).await });
    until_blocked(&server).await;
    server.command("FLUSHALL").await;
    for n in 1..=5 {
        append(&log, &format!("other {n}")).await;
    }
    for ended in [batch(&mut tail).await, reading.await.unwrap()] {
        let ended = ended.expect_err("the end of the tail").to_string();
        assert!(ended.contains("lost records"), "{ended}");
    }
}

/// Waits until a reader waits for records.
async fn until_blocked(server: &Server) {
    let waiting = async {
        loop {
            let redis::Value::BulkString(info) = server.command("INFO clients").await else { panic!("expected text") };
            if String::from_utf8(info).unwrap().contains("blocked_clients:1") {
                return;
            }
        }
    };
    in_time("a reader that waits", waiting).await;
}
