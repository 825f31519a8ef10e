use std::net::TcpListener;
use std::time::Duration;

use realtime_core::spi::Position;
use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append_until_ok, follow, state, state_again, text, timed_append};

use crate::server::Server;

/// Starts three servers that are one cluster.
async fn start() -> Vec<Server> {
    let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = ports.map(|free| free.local_addr().unwrap().port());
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
    let mut servers = Vec::new();
    for port in ports {
        let settings = format!(
            "server_name: n{port}\ncluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: [ {routes} ] }}\n\
             jetstream {{}}"
        );
        servers.push(Server::start_with(&settings).await);
    }
    servers
}

/// Connects once the cluster has a leader.
async fn connect(servers: &[Server]) -> NatsBackplane {
    let urls = servers.iter().map(Server::url).collect::<Vec<_>>().join(",");
    let connected = async {
        loop {
            match NatsBackplane::connect(&urls, NatsConfig::default().with_replicas(3)).await {
                Ok(log) => return log,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    in_time("a cluster", connected).await
}

#[tokio::test]
async fn cluster_loses_nothing_with_one_of_its_servers() {
    let mut servers = start().await;
    let log = connect(&servers).await;
    let before = state(&log).await;
    let mut answered = Vec::new();
    for (killed, server) in servers.iter_mut().enumerate().take(2) {
        for n in 0..50 {
            let text = format!("{killed}-{n}");
            if let Ok(appended) = timed_append(&log, before.epoch, &text).await {
                answered.push((appended.position, text));
            }
        }
        server.kill();
        let text = format!("{killed}-killed");
        answered.push((append_until_ok(&log, before.epoch, &text).await, text));
        server.restart().await;
        let text = format!("{killed}-restarted");
        answered.push((append_until_ok(&log, before.epoch, &text).await, text));
        assert_eq!(state_again(&log).await.epoch, before.epoch);
    }
    let last = answered.last().unwrap().0;
    let read = follow(&log, Position::START, last.get() as usize).await;
    for (position, expected) in &answered {
        assert_eq!(text(&read[position.get() as usize - 1]), *expected, "{position}");
    }
    assert!(answered.len() > 50, "{}", answered.len());
}
