//! Measurements, printed: `cargo test --release -p realtime-nats -- --ignored --nocapture figures`.

use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use realtime_core::spi::{Backplane, Directory, DirectoryChange, Position};
use realtime_core::{ConnectionId, NodeId, NodeInfo, OnlineIn, OnlineUser, Presence};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::steps::{append_until_ok, record, state};

use crate::server::Server;
use crate::support::connect;

async fn appends_per_second(log: &realtime_nats::NatsBackplane, tasks: usize) -> f64 {
    let epoch = state(log).await.epoch;
    let since = Instant::now();
    let writing = (0..tasks).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut count = 0u64;
            while since.elapsed() < Duration::from_secs(4) {
                log.append(epoch, record(&"x".repeat(200)), None).await.unwrap();
                count += 1;
            }
            count
        })
    });
    let counts = futures_util::future::join_all(writing).await;
    counts.into_iter().map(|count| count.unwrap()).sum::<u64>() as f64 / since.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn figures_of_the_log() {
    let mut server = Server::start().await;
    let log = connect(&server).await;
    for tasks in [1, 64] {
        println!("{tasks} tasks: {:.0} appends/s", appends_per_second(&log, tasks).await);
    }
    let state = state(&log).await;
    let count = state.last.get() - state.start.get();
    let since = Instant::now();
    let (mut tail, mut read) = (log.tail(Position::START), 0);
    while read < count {
        read += tail.next().await.unwrap().unwrap().len() as u64;
    }
    println!("a tail follows: {:.0} records/s of {count}", count as f64 / since.elapsed().as_secs_f64());
    server.kill();
    let since = Instant::now();
    server.restart().await;
    println!("restarted after {:?}", since.elapsed());
    append_until_ok(&log, state.epoch, "again").await;
    println!("the first append after kill -9 and restart: {:?}", since.elapsed());
}

/// Returns the resident memory of a process, in bytes.
fn memory(process: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn figures_of_the_directory() {
    const USERS: usize = 50_000;
    let server = Server::start().await;
    let directory = connect(&server).await.directory();
    let node = NodeInfo::new(NodeId::random());
    let all: Vec<_> = (0..USERS)
        .map(|n| {
            let connection = ConnectionId::random();
            let presence = Presence::new(node.id, connection, "ws", SystemTime::now());
            DirectoryChange::Online(presence.with_user(format!("user-{n:06}")).with_tenant("acme"))
        })
        .collect();
    directory.update(&node, &[], Duration::from_secs(600)).await.unwrap();
    let before = (memory(&server.id()), memory("self"));
    let since = Instant::now();
    for some in all.chunks(1000) {
        directory.update(&node, some, Duration::from_secs(600)).await.unwrap();
    }
    println!("{USERS} users in {:?}", since.elapsed());
    let info = server.ask("STREAM.INFO.realtime_nodes", "{}").await;
    let bytes = info["state"]["bytes"].as_u64().unwrap() as usize;
    println!("bytes per user in the stream: {}", bytes / USERS);
    println!("bytes per user in the server: {}", (memory(&server.id()) - before.0) as usize / USERS);
    println!("bytes per user in the node: {}", (memory("self") - before.1) as usize / USERS);
    let since = Instant::now();
    for n in 0..100 {
        let after = OnlineUser::new(format!("user-{:06}", n * 400), Some("acme"));
        let page = directory.users(&OnlineIn::Tenant("acme".to_owned()), Some(after), 100).await.unwrap();
        assert_eq!(page.len(), 100);
    }
    println!("a page of 100: {:?}", since.elapsed() / 100);
    let since = Instant::now();
    assert_eq!(directory.count(&OnlineIn::Everywhere).await.unwrap().users as usize, USERS);
    println!("a count of all: {:?}", since.elapsed());
    let since = Instant::now();
    let late = connect(&server).await.directory();
    assert_eq!(late.count(&OnlineIn::Everywhere).await.unwrap().users as usize, USERS);
    println!("a node that starts has them after {:?}", since.elapsed());
}
