use realtime_core::spi::{AppendError, Backplane, Position};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::steps::{append, append_until_ok, newest, state, state_again, texts, timed_append};

use crate::server::Server;
use crate::support::connect;

realtime_testkit::broker_tests!(Server; faults);

#[tokio::test]
async fn errors_before_every_write_are_certain() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    append(&log, "1").await;
    for (name, begin, end) in [
        ("OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ] {
        server.command(begin).await;
        let outcome = timed_append(&log, epoch, name).await;
        let Err(AppendError::Refused(error)) = outcome else { panic!("{name}: {outcome:?}") };
        assert!(error.to_string().to_lowercase().contains(&name.to_lowercase()[..3]), "{name}: {error}");
        server.command(end).await;
        append_until_ok(&log, epoch, &format!("after {name}")).await;
    }
    let mut kept = texts(&log).await;
    kept.dedup();
    assert_eq!(kept, ["1", "after OOM", "after NOREPLICAS", "after READONLY"]);
    assert_eq!(state_again(&log).await.epoch, epoch);
}

#[tokio::test]
async fn state_can_be_read_while_memory_is_full() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let (before, id) = newest(&log).await;
    server.command("CONFIG SET maxmemory 1").await;
    assert_eq!(log.renew(before.epoch, before.last, id).await.unwrap(), before);
    let new = log.renew(before.epoch, Position::new(9), id).await.unwrap();
    assert_ne!(new.epoch, before.epoch, "a loss is noticed too");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    server.command("SCRIPT FLUSH").await;
    let epoch = state(&log).await.epoch;
    server.command("SCRIPT FLUSH").await;
    timed_append(&log, epoch, "2").await.unwrap();
    assert_eq!(texts(&log).await, ["1", "2"]);
}
