use std::time::Duration;

use realtime_core::spi::{AppendError, Backplane};
use realtime_nats::NatsConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_record, entries, key, record, state_again, texts};

use crate::server::Server;
use crate::support::{connect, connect_with, log_stream};

realtime_testkit::broker_tests!(Server; faults);

/// Returns the only key, without the position that says that its record is in the log, as a node
/// leaves it that ends before it has the answer.
async fn leave_key_open(server: &Server, log: &realtime_nats::NatsBackplane) {
    let life = log_stream(server).await.replace("realtime_log_", "");
    let subject = format!("realtime.keys.{life}.{}", "01".repeat(16));
    let found = server.ask("STREAM.MSG.GET.realtime_keys", &format!(r#"{{"last_by_subj":"{subject}"}}"#)).await;
    let entry = entries(log).await.first().map(|entry| entry.id.to_string()).unwrap_or_default();
    let data = found["message"]["data"].as_str().unwrap().to_owned();
    assert!(!data.is_empty());
    let open = format!(r#"{{"id":"{entry}","content":"{}","keep_ms":60000,"after":0}}"#, "01".repeat(16));
    server.send(&subject, &open).await;
}

#[tokio::test]
async fn key_whose_outcome_was_not_noted_is_found_in_the_log() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let keyed = key(1, Duration::from_secs(60));
    let first = append_record(&log, record("keyed"), Some(keyed)).await.unwrap();
    leave_key_open(&server, &log).await;
    for _ in 0..2 {
        assert_eq!(append_record(&log, record("keyed"), Some(keyed)).await.unwrap(), first.as_repeated());
    }
    assert_eq!(texts(&log).await, ["keyed"]);
}

#[tokio::test]
async fn key_whose_first_record_may_be_dropped_has_no_outcome() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_records(2)).await;
    let keyed = key(1, Duration::from_secs(60));
    append_record(&log, record("keyed"), Some(keyed)).await.unwrap();
    leave_key_open(&server, &log).await;
    for n in 0..3 {
        append(&log, &n.to_string()).await;
    }
    let again = append_record(&log, record("keyed"), Some(keyed)).await;
    assert!(matches!(again, Err(AppendError::Unknown(_))), "{again:?}");
    assert_eq!(texts(&log).await, ["1", "2"]);
}

#[tokio::test]
async fn keys_are_known_after_a_restart_without_their_records() {
    let mut server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_records(2)).await;
    let keyed = key(1, Duration::from_secs(60));
    let first = append_record(&log, record("keyed"), Some(keyed)).await.unwrap();
    for n in 0..3 {
        append(&log, &n.to_string()).await;
    }
    server.kill();
    server.restart().await;
    let epoch = state_again(&log).await.epoch;
    let again = async {
        loop {
            match log.append(epoch, record("keyed"), Some(keyed)).await {
                Ok(again) => return again,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert_eq!(in_time("an answer", again).await, first.as_repeated());
    assert_eq!(texts(&log).await, ["1", "2"]);
}

#[tokio::test]
async fn record_that_the_server_does_not_accept_is_refused() {
    let server = Server::start_with("max_payload: 1MB\njetstream {}").await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let refused = append_record(&log, record(&"x".repeat(1024 * 1024)), None).await;
    let Err(AppendError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("exceeds max_payload 1048576 of"), "{error}");
    append(&log, "2").await;
    assert_eq!(texts(&log).await, ["1", "2"]);
}

#[tokio::test]
async fn keys_without_their_stream_begin_anew() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let keyed = key(1, Duration::from_secs(60));
    append_record(&log, record("keyed"), Some(keyed)).await.unwrap();
    server.ask("STREAM.DELETE.realtime_keys", "{}").await;
    assert!(!append_record(&log, record("keyed"), Some(keyed)).await.unwrap().repeated);
    assert!(append_record(&log, record("keyed"), Some(keyed)).await.unwrap().repeated);
}
