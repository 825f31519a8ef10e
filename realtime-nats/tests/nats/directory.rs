use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange};
use realtime_core::{ConnectionId, NodeId, NodeInfo, OnlineCount, OnlineIn, Presence};
use realtime_nats::{NatsConfig, NatsDirectory};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::conformance::DirectoryUnderTest;
use realtime_testkit::in_time;

use crate::conformance::shared;
use crate::server::Server;
use crate::support::{connect, connect_with};

/// A directory with a prefix of its own; every node has its own connections.
struct InNats {
    server: Arc<Server>,
    prefix: String,
}

#[async_trait]
impl DirectoryUnderTest for InNats {
    async fn start() -> Self {
        let (server, prefix) = shared().await;
        Self { server, prefix }
    }

    async fn node(&self) -> Arc<dyn Directory> {
        let config = NatsConfig::default().with_prefix(self.prefix.clone());
        Arc::new(connect_with(&self.server, config).await.directory())
    }

    async fn lose(&self) {
        self.server.ask(&format!("STREAM.DELETE.{}_nodes", self.prefix), "{}").await;
    }
}

realtime_testkit::directory_conformance!(InNats);

const LONG: Duration = Duration::from_secs(60);

fn presence(user: &str) -> Presence {
    Presence::new(NodeId::random(), ConnectionId::random(), "ws", SystemTime::now()).with_user(user)
}

fn online(presences: &[Presence]) -> Vec<DirectoryChange> {
    presences.iter().cloned().map(DirectoryChange::Online).collect()
}

async fn until_connections(directory: &NatsDirectory, expected: u64) {
    let counted = async {
        loop {
            if let Ok(OnlineCount { connections, .. }) = directory.count(&OnlineIn::Everywhere).await
                && connections == expected
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(format!("{expected} connections"), counted).await;
}

#[tokio::test]
async fn update_of_many_entries_is_one_update() {
    let server = Server::start().await;
    let directories = [connect(&server).await.directory(), connect(&server).await.directory()];
    let node = NodeInfo::new(NodeId::random());
    let all: Vec<_> = (0..1_700).map(|n| presence(&format!("user {n}"))).collect();
    let begun = directories[0].update(&node, &online(&all), LONG).await.unwrap();
    assert_eq!(directories[0].count(&OnlineIn::Everywhere).await.unwrap(), OnlineCount::new(1_700, 1_700));
    until_connections(&directories[1], 1_700).await;
    let offline: Vec<_> = all.iter().step_by(2).map(|presence| DirectoryChange::Offline(presence.connection)).collect();
    assert_eq!(directories[0].update(&node, &offline, LONG).await.unwrap(), begun);
    for directory in &directories {
        until_connections(directory, 850).await;
    }
    let more: Vec<_> = (0..850).map(|n| presence(&format!("other {n}"))).collect();
    directories[0].update(&node, &online(&more), LONG).await.unwrap();
    until_connections(&directories[1], 1_700).await;
    let parts = server.count("realtime_nodes").await - 1;
    assert_eq!(parts, 1_700u64.div_ceil(16), "the space of those who left is used again");
    let late = connect(&server).await.directory();
    until_connections(&late, 1_700).await;
}

#[tokio::test]
async fn entries_of_a_node_that_is_gone_are_removed() {
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let gone: Vec<_> = (0..100).map(|_| presence("ann")).collect();
    let gone_node = NodeInfo::new(NodeId::random());
    let begun = directory.update(&gone_node, &online(&gone), Duration::from_millis(50)).await.unwrap();
    let (here, stays) = (NodeInfo::new(NodeId::random()), presence("bob"));
    let removed = async {
        while server.count("realtime_nodes").await > 3 {
            directory.update(&here, &online(std::slice::from_ref(&stays)), LONG).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    in_time("entries that are removed", removed).await;
    until_connections(&directory, 1).await;
    let anew = directory.update(&gone_node, &online(&gone[..1]), LONG).await.unwrap();
    assert_ne!(anew, begun, "a node that returns learns that its entries are gone");
    until_connections(&directory, 2).await;
}

#[tokio::test]
async fn restarted_server_has_another_incarnation_for_each_node() {
    let mut server = Server::start().await;
    let directory = connect(&server).await.directory();
    let (node, ann) = (NodeInfo::new(NodeId::random()), presence("ann"));
    let begun = directory.update(&node, &online(std::slice::from_ref(&ann)), LONG).await.unwrap();
    server.kill();
    server.restart().await;
    let anew = async {
        loop {
            match directory.update(&node, &[], LONG).await {
                Ok(incarnation) => return incarnation,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert_ne!(in_time("an update", anew).await, begun);
    assert_eq!(directory.of_user("ann").await.unwrap(), []);
    directory.update(&node, &online(std::slice::from_ref(&ann)), LONG).await.unwrap();
    let found = directory.of_user("ann").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].node, found[0].connection), (ann.node, ann.connection));
}

#[tokio::test]
async fn directory_that_cannot_be_read_is_an_error() {
    let mut server = Server::start().await;
    let directory = connect(&server).await.directory();
    let node = NodeInfo::new(NodeId::random());
    directory.update(&node, &online(&[presence("ann")]), LONG).await.unwrap();
    server.kill();
    let unknown = async {
        while directory.of_user("ann").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time("an error", unknown).await;
    assert!(directory.update(&node, &[], LONG).await.is_err());
}
