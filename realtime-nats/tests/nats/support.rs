use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::spi::{AppendError, AppendResult, Backplane, Entry, LogState, Position, Record, RepeatKey, Tail};
use realtime_core::{Event, EventId, Target};
use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::in_time;

use crate::server::Server;

/// The longest time that an append may take, whatever the server does.
pub(crate) const PROMISE: Duration = Duration::from_secs(2);

pub(crate) async fn connect(server: &Server) -> NatsBackplane {
    connect_with(server, NatsConfig::default()).await
}

pub(crate) async fn connect_with(server: &Server, options: NatsConfig) -> NatsBackplane {
    in_time("a connection", NatsBackplane::connect(&server.url(), options)).await.expect("a backplane")
}

pub(crate) fn record(text: &str) -> Arc<Record> {
    let event = Event::binary("record", text.as_bytes().to_vec()).expect("an event");
    Arc::new(Record::of_event(EventId::random(), Target::all(), event))
}

pub(crate) fn text(entry: &Entry) -> String {
    let record = entry.record.decode().expect("a record");
    String::from_utf8(record.event().expect("an event").1.payload().bytes().to_vec()).expect("text")
}

pub(crate) async fn append(log: &NatsBackplane, text: &str) -> Position {
    append_record(log, record(text), None).await.expect("appended").position
}

pub(crate) async fn append_record(log: &NatsBackplane, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
    let epoch = state(log).await.epoch;
    in_time("an append", log.append(epoch, record, key)).await
}

/// Appends until it succeeds; every attempt ends in time.
pub(crate) async fn append_until_ok(log: &NatsBackplane, epoch: realtime_core::spi::Epoch, text: &str) -> Position {
    let appending = async {
        loop {
            match timed_append(log, epoch, text).await {
                Ok(appended) => return appended.position,
                Err(AppendError::Refused(_) | AppendError::Unknown(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("expected an outage, got {error}"),
            }
        }
    };
    in_time("an append that succeeds", appending).await
}

/// Appends, which takes no longer than is promised.
pub(crate) async fn timed_append(log: &NatsBackplane, epoch: realtime_core::spi::Epoch, text: &str) -> AppendResult {
    tokio::time::timeout(PROMISE, log.append(epoch, record(text), None)).await.expect("an outcome within 2 s")
}

pub(crate) async fn state(log: &NatsBackplane) -> LogState {
    in_time("a state", log.state()).await.expect("a state")
}

/// Returns the state once the server answers again.
pub(crate) async fn state_again(log: &NatsBackplane) -> LogState {
    in_time("a state", async {
        loop {
            match log.state().await {
                Ok(state) => return state,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

pub(crate) async fn entries(log: &NatsBackplane) -> Vec<Entry> {
    in_time("a range", async {
        loop {
            match log.range(Position::START, usize::MAX).await {
                Ok(entries) => return entries,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

pub(crate) async fn texts(log: &NatsBackplane) -> Vec<String> {
    entries(log).await.iter().map(text).collect()
}

/// Reads this many records, from tails that begin where the last one ended.
pub(crate) async fn follow(log: &NatsBackplane, mut after: Position, count: usize) -> Vec<Entry> {
    let mut read = Vec::new();
    let reading = async {
        while read.len() < count {
            let mut tail = log.tail(after);
            while read.len() < count
                && let Some(Ok(batch)) = tail.next().await
            {
                after = batch.last().expect("no empty batch").position;
                read.extend(batch);
            }
        }
    };
    in_time(format!("{count} records"), reading).await;
    read
}

/// Reads one batch of a tail.
pub(crate) async fn batch(tail: &mut Tail) -> realtime_core::Result<Vec<Entry>> {
    in_time("a batch", tail.next()).await.expect("a tail that has not ended")
}

pub(crate) fn key(number: u8, keep: Duration) -> RepeatKey {
    RepeatKey::new([number; 16], [number; 16], keep)
}

/// Returns the name of the only stream that has records.
pub(crate) async fn log_stream(server: &Server) -> String {
    let mut logs: Vec<_> = server.streams().await.into_iter().filter(|name| name.contains("_log_")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}
