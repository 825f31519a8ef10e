//! Measures what a log and a directory take in a Redis, and how many records a second are appended
//! to it. The server should do nothing else:
//!
//! ```sh
//! redis-server --port 6390 --save '' --appendonly yes --dir "$(mktemp -d)" &
//! cargo run --release -p realtime-redis --example sizes -- redis://127.0.0.1:6390
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use realtime_core::spi::{Backplane as _, Directory as _, DirectoryChange, LogState, Record};
use realtime_core::{ConnectionId, Event, EventId, NodeId, NodeInfo, OnlineIn, Presence, Target};
use realtime_redis::{RedisBackplane, RedisConfig};

/// The number of users, and of records.
const COUNT: u32 = 5_000;
const LEASE: Duration = Duration::from_secs(600);
/// The time for which appends are counted.
const SPAN: Duration = Duration::from_secs(3);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The server, asked for the memory of keys.
struct Server(redis::aio::MultiplexedConnection);

impl Server {
    /// Returns the bytes of a log's keys, and of those of its directory, divided by the number of
    /// entries.
    async fn used(&mut self, prefix: &str) -> Outcome<u64> {
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{{{prefix}}}:*")).query_async(&mut self.0).await?;
        let mut used = 0;
        for key in keys {
            let mut usage = redis::cmd("MEMORY");
            usage.arg("USAGE").arg(key).arg("SAMPLES").arg(0);
            used += usage.query_async::<Option<u64>>(&mut self.0).await?.unwrap_or(0);
        }
        Ok(used / u64::from(COUNT))
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::args().nth(1).ok_or("name the Redis: redis://host:port")?;
    let mut server = Server(redis::Client::open(&*url)?.get_multiplexed_async_connection().await?);
    directory(&url, &mut server, 0).await?;
    directory(&url, &mut server, 1).await?;
    directory(&url, &mut server, 5).await?;
    rooms(&url, &mut server).await?;
    records(&url, &mut server).await?;
    for tasks in [1, 64] {
        appends(&url, tasks).await?;
    }
    Ok(())
}

/// Connects to a log of its own; returns its prefix, too.
async fn connect(url: &str, config: RedisConfig) -> Outcome<(RedisBackplane, String)> {
    let prefix = format!("sizes-{}", NodeId::random());
    Ok((RedisBackplane::connect(url, config.with_prefix(&prefix)).await?, prefix))
}

/// Measures users who are online with one connection, which entered so many rooms.
async fn directory(url: &str, server: &mut Server, rooms: usize) -> Outcome<()> {
    let (log, prefix) = connect(url, RedisConfig::default()).await?;
    let directory = log.directory();
    let node = NodeInfo::new(NodeId::random());
    let online = |n: u32| {
        let presence = Presence::new(node.id, ConnectionId::random(), "ws", SystemTime::now());
        let presence = presence.with_user(format!("user-{n:05}")).with_tenant("acme");
        DirectoryChange::Online(presence.with_rooms((0..rooms).map(|room| format!("room-{room:05}"))))
    };
    let changes: Vec<_> = (0..COUNT).map(online).collect();
    directory.update(&node, &changes, LEASE).await?;
    let bytes = server.used(&prefix).await?;
    let start = Instant::now();
    let page = directory.users(&OnlineIn::Everywhere, None, 100).await?;
    let page_time = start.elapsed();
    println!("online user with {rooms} entered rooms: {bytes} B; a page of {} takes {page_time:.1?}", page.len());
    Ok(())
}

/// Measures rooms that users were joined to, once their records have left the log.
async fn rooms(url: &str, server: &mut Server) -> Outcome<()> {
    let (log, prefix) = connect(url, RedisConfig::default().with_records(1)).await?;
    let state = log.state().await?;
    for user in 0..COUNT / 5 {
        for room in 0..5 {
            let (user, room) = (format!("user-{user:05}"), format!("room-{room:05}"));
            let record = Record::of_join(EventId::random(), &user, Some("acme"), &room);
            log.append(state.epoch, Arc::new(record), None).await?;
        }
    }
    let bytes = server.used(&prefix).await?;
    println!("(user, joined room), 5 rooms each: {bytes} B");
    Ok(())
}

/// Measures records of the log: events with 100 bytes of payload.
async fn records(url: &str, server: &mut Server) -> Outcome<()> {
    let (log, prefix) = connect(url, RedisConfig::default()).await?;
    let state = log.state().await?;
    for _ in 0..COUNT {
        log.append(state.epoch, event()?, None).await?;
    }
    let bytes = server.used(&prefix).await?;
    println!("record with 100 B of payload: {bytes} B, of which {} B are the record's own", event()?.bytes().len());
    Ok(())
}

fn event() -> Outcome<Arc<Record>> {
    let event = Event::json("order:paid", &"x".repeat(98))?;
    Ok(Arc::new(Record::of_event(EventId::random(), Target::user("user-00042"), event)))
}

/// Counts the appends of so many tasks, each of which waits for its last one.
async fn appends(url: &str, tasks: usize) -> Outcome<()> {
    let log = Arc::new(connect(url, RedisConfig::default()).await?.0);
    let LogState { epoch, .. } = log.state().await?;
    let (count, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + SPAN);
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (log, count) = (Arc::clone(&log), Arc::clone(&count));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let Ok(record) = event() else { return };
                    if log.append(epoch, record, None).await.is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in running {
        task.await?;
    }
    let rate = count.load(Ordering::Relaxed) as f64 / SPAN.as_secs_f64();
    println!("appends of {tasks} tasks: {rate:.0}/s");
    Ok(())
}
