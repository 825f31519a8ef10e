use realtime_core::spi::Backplane;
use realtime_core::{Error, EventId, Result};
use realtime_redis::{RedisBackplane, RedisConfig};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, assert_nothing_shared, state, texts};

use crate::server::Server;
use crate::support::{connect, connect_with};

/// Connects, and returns the text of the error.
async fn refused(url: &str) -> String {
    let connecting = RedisBackplane::connect(url, RedisConfig::default());
    in_time("an answer", connecting).await.expect_err("no connection").to_string()
}

#[tokio::test]
async fn server_that_evicts_is_an_error_that_names_both_policies() {
    let server = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let error = refused(&server.url()).await;
    assert!(error.contains("allkeys-lru") && error.contains("noeviction"), "{error}");
}

#[tokio::test]
async fn replica_is_an_error() {
    let server = Server::start().await;
    server.command("REPLICAOF 127.0.0.1 1").await;
    let error = refused(&server.url()).await;
    assert!(error.contains("slave") && error.contains("primary"), "{error}");
}

#[tokio::test]
async fn newer_format_is_an_error_that_names_both() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    server.command("HSET {realtime}:meta format 7").await;
    let error = refused(&server.url()).await;
    assert!(error.contains("format 7") && error.contains("format 1"), "{error}");
    let Err(Error::Config(text)) = log.state().await else { panic!("expected an error") };
    assert!(text.contains("format 7"), "{text}");
    server.command("HSET {realtime}:meta format 1").await;
    assert_eq!(texts(&log).await, ["1"], "nothing was changed");
}

#[tokio::test]
async fn password_is_in_no_error_and_no_debug_text() {
    let server = Server::start_with(&["--requirepass", "open-sesame"]).await;
    let with = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let error = refused(&with("s3cret-w0rd")).await;
    assert!(!error.contains("s3cret"), "{error}");
    for url in ["redis://:s3cret-w0rd@127.0.0.1:1", "redis://u:s3cret-w0rd@[::/", "s3cret-w0rd", "redis://u:s3cret@h:x"]
    {
        let error = refused(url).await;
        assert!(!error.contains("s3cret"), "{error}");
    }
    let log = RedisBackplane::connect(&with("open-sesame"), RedisConfig::default()).await.unwrap();
    append(&log, "1").await;
    let debug = format!("{log:?} {:?}", log.directory());
    assert!(!debug.contains("sesame") && debug.contains("127.0.0.1"), "{debug}");
}

#[tokio::test]
async fn prefixes_share_nothing() {
    let server = Server::start().await;
    let named = |prefix: &str| connect_with(&server, RedisConfig::default().with_prefix(prefix));
    let (one, other) = (named("one").await, named("other").await);
    assert_nothing_shared(&one, &other).await;
}

#[tokio::test]
async fn prefix_with_braces_or_without_letters_is_an_error() {
    for prefix in ["", "{a}", "a}"] {
        let options = RedisConfig::default().with_prefix(prefix);
        let result: Result<_> = RedisBackplane::connect("redis://127.0.0.1:1", options).await;
        assert!(matches!(result, Err(Error::Config(_))), "{prefix}");
    }
}

#[tokio::test]
async fn state_without_a_readable_key_begins_an_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    for change in ["HDEL {realtime}:meta key", "HSET {realtime}:meta key short", "HSET {realtime}:meta epoch ?"] {
        append(&log, "1").await;
        let old = state(&log).await;
        server.command(change).await;
        let new = log.renew(old.epoch, old.last, EventId::random()).await.unwrap();
        assert!(new.epoch != old.epoch && new.key != old.key, "{change}");
        assert_eq!(state(&log).await, new, "{change}");
    }
}
