use std::time::Duration;

use realtime_core::spi::{Backplane, Directory, Position};
use realtime_core::{Error, NodeId, NodeInfo};
use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_record, assert_nothing_shared, follow, key, record, texts};

use crate::operator::Operator;
use crate::server::Server;
use crate::support::{connect, connect_with, log_stream};

/// Connects, and returns the error.
async fn refused(url: &str, config: NatsConfig) -> Error {
    in_time("an answer", NatsBackplane::connect(url, config)).await.expect_err("no connection")
}

#[tokio::test]
async fn small_max_payload_is_an_error_that_names_both_figures() {
    let server = Server::start_with("max_payload: 65536\njetstream {}").await;
    let error = refused(&server.url(), NatsConfig::default()).await;
    let Error::Config(text) = error else { panic!("{error:?}") };
    assert!(text.contains("max_payload 65536") && text.contains("1048576 is required"), "{text}");
    let fits = NatsConfig::default().with_max_event_bytes(65536 - 16 * 1024);
    append(&connect_with(&server, fits).await, "1").await;
}

#[tokio::test]
async fn server_without_jetstream_is_an_error_that_says_so() {
    let server = Server::start_with("").await;
    let error = refused(&server.url(), NatsConfig::default()).await;
    let Error::Config(text) = error else { panic!("{error:?}") };
    assert!(text.contains("has no JetStream"), "{text}");
}

#[tokio::test]
async fn server_without_room_for_the_log_is_an_error_that_names_it() {
    let server = Server::start_with("jetstream { max_file_store: 16MB }").await;
    let error = refused(&server.url(), NatsConfig::default()).await;
    let Error::Config(text) = error else { panic!("{error:?}") };
    assert!(text.contains("max_bytes 67108864") && text.contains("max_file_store"), "{text}");
    append(&connect_with(&server, NatsConfig::default().with_bytes(4_000_000)).await, "1").await;
}

#[tokio::test]
async fn newer_format_is_an_error_that_names_both() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let found = server.ask("STREAM.MSG.GET.realtime_state", r#"{"last_by_subj":"realtime.state.life"}"#).await;
    let life = base64_text(found["message"]["data"].as_str().unwrap());
    server.send("realtime.state.life", &life.replace("\"format\":1", "\"format\":7")).await;
    let error = refused(&server.url(), NatsConfig::default()).await.to_string();
    assert!(error.contains("format 7") && error.contains("format 1"), "{error}");
    let Err(Error::Config(text)) = log.state().await else { panic!("expected an error") };
    assert!(text.contains("format 7"), "{text}");
    server.send("realtime.state.life", &life).await;
    assert_eq!(texts(&log).await, ["1"], "nothing was changed");
}

fn base64_text(data: &str) -> String {
    use base64::Engine;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
}

#[tokio::test]
async fn credentials_are_in_no_error_and_no_debug_text() {
    let server = Server::start_with("authorization { user: app, password: open-sesame }\njetstream {}").await;
    let with = |password: &str| format!("nats://app:{password}@127.0.0.1:{}", server.port());
    let wrong = [
        (with("s3cret-w0rd"), NatsConfig::default()),
        (server.url(), NatsConfig::default().with_user_and_password("app", "s3cret-w0rd")),
        (server.url(), NatsConfig::default().with_token("s3cret-w0rd")),
        ("nats://app:s3cret-w0rd@127.0.0.1:1".to_owned(), NatsConfig::default()),
        ("nats://app:s3cret-w0rd@[::/".to_owned(), NatsConfig::default()),
        ("http://app:s3cret-w0rd@host".to_owned(), NatsConfig::default()),
    ];
    for (url, config) in wrong {
        let error = refused(&url, config.clone()).await;
        let text = format!("{error} {error:?} {config:?}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    let logs = [
        (with("open-sesame"), NatsConfig::default()),
        (server.url(), NatsConfig::default().with_user_and_password("app", "open-sesame")),
    ];
    for (url, config) in logs {
        let log = in_time("a connection", NatsBackplane::connect(&url, config)).await.unwrap();
        append(&log, "1").await;
        let debug = format!("{log:?} {:?}", log.directory());
        assert!(!debug.contains("sesame") && debug.contains("127.0.0.1"), "{debug}");
    }
}

#[tokio::test]
async fn token_is_accepted() {
    let server = Server::start_with("authorization { token: open-sesame }\njetstream {}").await;
    append(&connect_with(&server, NatsConfig::default().with_token("open-sesame")).await, "1").await;
    let error = refused(&server.url(), NatsConfig::default()).await;
    assert!(matches!(error, Error::Backplane(_)) && error.to_string().contains("authorization"), "{error}");
}

#[tokio::test]
async fn credentials_file_is_accepted() {
    let operator = Operator::new();
    let server = Server::start_with(&operator.settings()).await;
    let path = server.path().join("user.creds");
    std::fs::write(&path, operator.credentials()).unwrap();
    append(&connect_with(&server, NatsConfig::default().with_credentials_file(&path)).await, "1").await;
    let missing = server.path().join("missing.creds");
    let error = refused(&server.url(), NatsConfig::default().with_credentials_file(missing)).await;
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("missing.creds"), "{error}");
}

#[tokio::test]
async fn certificate_is_checked_against_the_given_authority() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nats/tls");
    let tls = format!("tls {{ cert_file: \"{files}/server.pem\", key_file: \"{files}/server.key\" }}\njetstream {{}}");
    let server = Server::start_with(&tls).await;
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://localhost:{}", server.port());
        let config = NatsConfig::default().with_root_certificates(format!("{files}/ca.pem"));
        let log = in_time("a connection", NatsBackplane::connect(&url, config)).await.unwrap();
        append(&log, "1").await;
        let error = refused(&url, NatsConfig::default()).await;
        assert!(matches!(error, Error::Backplane(_)), "{error:?}");
    }
}

#[tokio::test]
async fn prefixes_share_nothing() {
    let server = Server::start().await;
    let named = |prefix: &str| connect_with(&server, NatsConfig::default().with_prefix(prefix));
    let (one, other) = (named("one").await, named("one_log").await);
    assert_nothing_shared(&one, &other).await;
}

#[tokio::test]
async fn prefix_that_is_no_part_of_a_subject_is_an_error() {
    for prefix in ["", "a.b", "a b", "a>", "*", "ä"] {
        let error = refused("nats://127.0.0.1:1", NatsConfig::default().with_prefix(prefix)).await;
        assert!(matches!(error, Error::Config(_)), "{prefix}: {error:?}");
    }
}

#[tokio::test]
async fn one_of_several_servers_is_enough() {
    let server = Server::start().await;
    let url = format!("nats://127.0.0.1:1,{}", server.url());
    let log = in_time("a connection", NatsBackplane::connect(&url, NatsConfig::default())).await.unwrap();
    append(&log, "1").await;
    log_stream(&server).await;
}

#[tokio::test]
async fn documented_rights_are_enough() {
    let server = Server::start_with(
        r#"authorization { users: [ { user: app, password: open-sesame, permissions: {
            publish: [ "shop.>", "$JS.API.>" ], subscribe: [ "shop.pipe", "shop.pipe.*", "_INBOX.>" ] } } ] }
        jetstream {}"#,
    )
    .await;
    let config = NatsConfig::default().with_prefix("shop").with_user_and_password("app", "open-sesame");
    let log = connect_with(&server, config).await;
    append(&log, "1").await;
    append_record(&log, record("keyed"), Some(key(1, Duration::from_secs(600)))).await.unwrap();
    let node = NodeId::random();
    let mut pipe = log.subscribe(node).await.unwrap();
    log.publish(record("here"), Some(node)).await.unwrap();
    in_time("a message", futures_util::StreamExt::next(&mut pipe)).await.unwrap();
    assert_eq!(follow(&log, Position::START, 2).await.len(), 2);
    log.probe().await.unwrap();
    log.rooms(Position::START).await.unwrap();
    log.directory().update(&NodeInfo::new(node), &[], Duration::from_secs(9)).await.unwrap();
}
