//! A log whose primary is found by sentinels, or in a cluster, and can become another server.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::NodeId;
use realtime_core::spi::{Backplane, Position, RepeatKey};
use realtime_redis::{RedisBackplane, RedisConfig};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, record, state, text};
use tempfile::TempDir;

use crate::server::{Server, free_port};

/// Longer than a failover takes, on a busy machine too.
const MINUTE: Duration = Duration::from_secs(60);

/// A sentinel of one primary; it ends with this value.
struct Sentinel {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Sentinel {
    /// Starts a sentinel that decides alone, after a second.
    fn start(name: &str, primary: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, file) = (free_port(), directory.path().join("sentinel.conf"));
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("sentinel monitor {name} 127.0.0.1 {} 1", primary.port()),
            format!("sentinel down-after-milliseconds {name} 1000"),
            format!("sentinel failover-timeout {name} 3000"),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), port, _directory: directory }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until the sentinel knows a replica, to which it can fail over.
    async fn until_replica_known(&self, name: &str) {
        let client = redis::Client::open(self.url()).unwrap();
        let known = async {
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                    let mut command = redis::cmd("SENTINEL");
                    command.arg("REPLICAS").arg(name);
                    if let Ok(redis::Value::Array(replicas)) = command.query_async(&mut connection).await
                        && !replicas.is_empty()
                    {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(MINUTE, known).await.expect("the sentinel knows the replica");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn log_goes_on_at_the_primary_after_a_failover() {
    let mut primary = Server::start_synced().await;
    let _replica = Server::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]).await;
    let sentinel = Sentinel::start("main", &primary);
    sentinel.until_replica_known("main").await;
    let sentinels = ["redis://127.0.0.1:1", &sentinel.url()];
    let connecting = RedisBackplane::connect_sentinel(&sentinels, "redis://main/0", RedisConfig::default());
    let log = in_time("a connection", connecting).await.expect("a backplane");
    let before = state(&log).await;
    let (node, mut tail) = (NodeId::random(), log.tail(Position::START));
    let mut pipe = log.subscribe(node).await.unwrap();
    for n in ["1", "2", "3"] {
        append(&log, n).await;
    }
    let copied = async { while primary.command("WAIT 1 100").await != redis::Value::Int(1) {} };
    in_time("a replica that has all records", copied).await;
    primary.kill();
    let fourth = record("4");
    let failed_over = async {
        loop {
            // With a key, since an append whose outcome is unknown may have been made.
            match log.append(before.epoch, Arc::clone(&fourth), Some(RepeatKey::new([4; 16], [4; 16], MINUTE))).await {
                Ok(appended) => return appended.position,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(MINUTE, failed_over).await.expect("a failover"), Position::new(4));
    assert_eq!(state(&log).await.epoch, before.epoch, "nothing is lost");
    // A tail ends with its server, as the node's loop expects, and the next one goes on.
    let mut read = Vec::new();
    while let Some(Ok(entries)) = in_time("records", tail.next()).await {
        read.extend(entries.iter().map(text));
        if read.len() == 4 {
            break;
        }
    }
    // Reads have a connection of their own, which moves when it is noticed that it is broken.
    let place = Position::new(read.len() as u64);
    let rest = async {
        loop {
            match log.range(place, 10).await {
                Ok(entries) => return entries,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    read.extend(in_time("a read", rest).await.iter().map(text));
    assert_eq!(read, ["1", "2", "3", "4"]);
    // Messages are lost until the subscription has moved.
    let message = async {
        loop {
            let _ = log.publish(record("message"), Some(node)).await;
            if tokio::time::timeout(Duration::from_millis(100), pipe.next()).await.is_ok() {
                return;
            }
        }
    };
    in_time("a message", message).await;
}

#[tokio::test]
async fn sentinels_that_know_no_such_primary_are_an_error() {
    let primary = Server::start().await;
    let sentinel = Sentinel::start("main", &primary);
    let connect = async |sentinels: &[&str], primary: &str| {
        RedisBackplane::connect_sentinel(sentinels, primary, RedisConfig::default()).await.map(drop)
    };
    let error = async {
        loop {
            let error = connect(&[&sentinel.url()], "redis://other").await.unwrap_err().to_string();
            // Until it has started.
            if error.contains("other") {
                return error;
            }
        }
    };
    let error = in_time("an answer", error).await;
    assert!(error.contains("knows no primary \"other\"") && error.contains(&sentinel.port.to_string()), "{error}");
    for sentinels in [&[][..], &["not a url"]] {
        assert!(connect(sentinels, "redis://main").await.is_err());
    }
}

#[tokio::test]
async fn cluster_is_asked_for_the_shard_of_the_log() {
    let server = async || {
        let bus = free_port().to_string();
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await
    };
    let (one, two) = (server().await, server().await);
    one.command("CLUSTER ADDSLOTSRANGE 0 16383").await;
    let info = one.command("CLUSTER MYID").await;
    assert!(matches!(info, redis::Value::BulkString(_)), "{info:?}");
    let bus = one.argument("--cluster-port");
    two.command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", one.port())).await;
    let connecting = async {
        loop {
            // Until the second server knows the first one's shards.
            let servers = ["redis://127.0.0.1:1", &two.url()];
            match RedisBackplane::connect_cluster(&servers, RedisConfig::default()).await {
                Ok(log) => return log,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let log = in_time("a connection", connecting).await;
    let (node, mut tail) = (NodeId::random(), log.tail(Position::START));
    let mut pipe = log.subscribe(node).await.unwrap();
    assert_eq!(append(&log, "1").await, Position::new(1));
    assert_eq!(text(&in_time("a record", tail.next()).await.unwrap().unwrap()[0]), "1");
    log.publish(record("message"), Some(node)).await.unwrap();
    in_time("a message", pipe.next()).await.unwrap();
    log.probe().await.unwrap();
}
