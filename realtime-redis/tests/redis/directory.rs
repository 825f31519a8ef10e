use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange};
use realtime_core::{ConnectionId, NodeId, NodeInfo, OnlineIn, Presence};
use realtime_redis::RedisConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::conformance::DirectoryUnderTest;
use realtime_testkit::in_time;

use crate::conformance::shared;
use crate::server::Server;
use crate::support::{connect, connect_with};

/// A directory with a prefix of its own; every node has its own connections.
struct InRedis {
    server: Arc<Server>,
    prefix: String,
}

#[async_trait]
impl DirectoryUnderTest for InRedis {
    async fn start() -> Self {
        let (server, prefix) = shared().await;
        // The keys are named in commands whose words are separated by spaces.
        Self { server, prefix: prefix.replace(' ', "-") + "-directory" }
    }

    async fn node(&self) -> Arc<dyn Directory> {
        let options = RedisConfig::default().with_prefix(self.prefix.clone());
        Arc::new(connect_with(&self.server, options).await.directory())
    }

    async fn lose(&self) {
        let redis::Value::Array(keys) = self.server.command(&format!("KEYS {{{}}}:*", self.prefix)).await else {
            panic!("expected keys")
        };
        for key in keys {
            let redis::Value::BulkString(key) = key else { panic!("expected a key") };
            self.server.command(&format!("DEL {}", String::from_utf8(key).unwrap())).await;
        }
    }
}

realtime_testkit::directory_conformance!(InRedis);

fn new_node() -> NodeInfo {
    NodeInfo::new(NodeId::random())
}

fn presence(user: &str) -> Presence {
    Presence::new(NodeId::random(), ConnectionId::random(), "ws", SystemTime::now()).with_user(user).with_tenant("acme")
}

#[tokio::test]
async fn entries_of_a_node_that_is_gone_are_removed() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let directory = log.directory();
    let gone: Vec<_> = (0..2_500).map(|_| DirectoryChange::Online(presence("ann"))).collect();
    directory.update(&new_node(), &gone, Duration::from_millis(50)).await.unwrap();
    let here = new_node();
    let stays = presence("ann");
    let removed = async {
        // One place for everything, and one for the tenant.
        while server.command("ZCARD {realtime}:online").await != redis::Value::Int(2) {
            directory.update(&here, &[DirectoryChange::Online(stays.clone())], Duration::from_secs(60)).await.unwrap();
        }
    };
    in_time("entries that are removed", removed).await;
    assert_eq!(directory.of_user("ann").await.unwrap(), std::slice::from_ref(&stays));
    for key in ["ZCARD {realtime}:nodes", "HLEN {realtime}:names"] {
        assert_eq!(server.command(key).await, redis::Value::Int(1));
    }
}

#[tokio::test]
async fn names_that_begin_alike_are_told_apart() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let names = ["a", "ab", "a:", "1:a", "a:b", "räume", "%s", "\"x\""];
    let all: Vec<_> = names.map(presence).into();
    let changes: Vec<_> = all.iter().cloned().map(DirectoryChange::Online).collect();
    directory.update(&new_node(), &changes, Duration::from_secs(60)).await.unwrap();
    for (name, expected) in names.iter().zip(&all) {
        assert_eq!(directory.of_user(name).await.unwrap(), std::slice::from_ref(expected), "{name}");
    }
    let acme = OnlineIn::Tenant("acme".to_owned());
    assert_eq!(directory.count(&acme).await.unwrap().users, names.len() as u64);
}

#[tokio::test]
async fn entry_that_changes_its_user_is_found_by_the_new_one() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let (node, old) = (new_node(), presence("old"));
    let mut new = old.clone();
    new.user = Some("new".to_owned());
    for entry in [&old, &new] {
        directory.update(&node, &[DirectoryChange::Online(entry.clone())], Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(directory.of_user("old").await.unwrap(), []);
    assert_eq!(directory.of_user("new").await.unwrap(), [new]);
}

#[tokio::test]
async fn update_of_many_entries_is_one_update() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let node = new_node();
    let all: Vec<_> = (0..1_700).map(|_| DirectoryChange::Online(presence("ann"))).collect();
    let begun = directory.update(&node, &all, Duration::from_secs(60)).await.unwrap();
    assert_eq!(directory.of_user("ann").await.unwrap().len(), all.len());
    assert_eq!(directory.update(&node, &[], Duration::from_secs(60)).await.unwrap(), begun);
}

#[tokio::test]
async fn node_that_returns_while_it_is_removed_begins_anew() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let (node, stays) = (new_node(), presence("ann"));
    let gone: Vec<_> = (0..1_500).map(|_| DirectoryChange::Online(presence("ann"))).collect();
    let begun = directory.update(&node, &gone, Duration::from_secs(60)).await.unwrap();
    // What the first part of a removal leaves.
    server.command(&format!("HDEL {{realtime}}:node:{} incarnation", node.id)).await;
    let anew = directory.update(&node, &[DirectoryChange::Online(stays.clone())], Duration::from_secs(60)).await;
    assert_ne!(anew.unwrap(), begun);
    assert_eq!(directory.of_user("ann").await.unwrap(), [stays]);
    assert_eq!(server.command("ZCARD {realtime}:online").await, redis::Value::Int(2));
}

#[tokio::test]
async fn many_users_are_counted_and_read_in_several_steps() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let lease = Duration::from_secs(60);
    // Far more connections of one user, and of nodes that are gone, than one step looks at.
    let online = |user: String| DirectoryChange::Online(presence(&user));
    let gone: Vec<_> = (0..6_000).map(|n| online(format!("b{n}"))).collect();
    let one: Vec<_> = (0..6_000).map(|_| online("a".to_owned())).collect();
    let many: Vec<_> = (0..3_000).map(|n| online(format!("c{n:04}"))).collect();
    directory.update(&new_node(), &gone, Duration::from_millis(1)).await.unwrap();
    // The entries of that node are removed by the updates of others, of which there are none yet.
    let here = new_node();
    for changes in [one, many] {
        directory.update(&here, &changes, lease).await.unwrap();
    }
    let acme = OnlineIn::Tenant("acme".to_owned());
    let count = directory.count(&acme).await.unwrap();
    assert_eq!((count.users, count.connections), (3_001, 9_000));
    let mut users = directory.users(&acme, None, 2_000).await.unwrap();
    assert_eq!(users.len(), 2_000);
    users.extend(directory.users(&acme, users.last().cloned(), 2_000).await.unwrap());
    assert_eq!(users.len(), 3_001);
    assert!(users.is_sorted() && users[0].user == "a" && users[1].user == "c0000");
}
