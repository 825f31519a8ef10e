//! The steps that tests of logs consist of: records of a text, appended to a backplane and read
//! again. Each step ends in time or panics.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::spi::{
    AppendError, AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Stored, Tail,
};
use realtime_core::{Event, EventId, NodeId, Target};

use crate::in_time;

/// The longest time that an append may take, whatever the log does: 2 s, when a send gives up.
pub const APPEND_TIME: Duration = Duration::from_secs(2);
/// The pause before something is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Returns a record for everyone with a binary event of this text.
#[must_use]
pub fn record(text: &str) -> Arc<Record> {
    record_of(EventId::random(), text)
}

/// Returns the record of [`record`] with this id.
#[must_use]
pub fn record_of(id: EventId, text: &str) -> Arc<Record> {
    let event = Event::binary("record", text.as_bytes().to_vec()).expect("an event");
    Arc::new(Record::of_event(id, Target::all(), event))
}

/// Returns the text of a record in the log.
pub fn text(entry: &Entry) -> String {
    text_of(&entry.record)
}

/// Returns the text of a stored record.
pub fn text_of(record: &Stored) -> String {
    let record = record.decode().expect("a record");
    let (_, event) = record.event().expect("an event");
    String::from_utf8(event.payload().bytes().to_vec()).expect("text")
}

/// Returns an idempotency key made of this number, for content of the same number.
#[must_use]
pub fn key(number: u8, keep: Duration) -> RepeatKey {
    RepeatKey::new([number; 16], [number; 16], keep)
}

/// Appends a text, and returns its position.
pub async fn append(log: &dyn Backplane, text: &str) -> Position {
    append_record(log, record(text), None).await.expect("appended").position
}

/// Appends the numbers from 1 to this one, as texts.
pub async fn append_numbers(log: &dyn Backplane, last: usize) {
    for n in 1..=last {
        append(log, &n.to_string()).await;
    }
}

/// Appends a record in the current epoch.
///
/// # Errors
/// Those of the append.
pub async fn append_record(log: &dyn Backplane, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
    let epoch = state(log).await.epoch;
    in_time("an append", log.append(epoch, record, key)).await
}

/// Appends a text until that succeeds; every attempt takes at most [`APPEND_TIME`].
///
/// # Panics
/// If an attempt fails for another reason than an outage, or [`in_time`] ends.
pub async fn append_until_ok(log: &dyn Backplane, epoch: Epoch, text: &str) -> Position {
    let appending = async {
        loop {
            match timed_append(log, epoch, text).await {
                Ok(appended) => return appended.position,
                Err(AppendError::Refused(_) | AppendError::Unknown(_)) => tokio::time::sleep(RETRY).await,
                Err(error) => panic!("expected an outage, got {error}"),
            }
        }
    };
    in_time("an append that succeeds", appending).await
}

/// Appends a text, which takes at most [`APPEND_TIME`].
///
/// # Errors
/// Those of the append.
pub async fn timed_append(log: &dyn Backplane, epoch: Epoch, text: &str) -> AppendResult {
    tokio::time::timeout(APPEND_TIME, log.append(epoch, record(text), None)).await.expect("an outcome within 2 s")
}

/// Returns the log's state.
pub async fn state(log: &dyn Backplane) -> LogState {
    in_time("a state", log.state()).await.expect("a state")
}

/// Returns the log's state once it can be read again.
pub async fn state_again(log: &dyn Backplane) -> LogState {
    let reading = async {
        loop {
            match log.state().await {
                Ok(state) => return state,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    };
    in_time("a state", reading).await
}

/// Returns all that the log holds, once it can be read.
pub async fn entries(log: &dyn Backplane) -> Vec<Entry> {
    let reading = async {
        loop {
            match log.range(Position::START, usize::MAX).await {
                Ok(entries) => return entries,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    };
    in_time("a range", reading).await
}

/// Returns the texts of all that the log holds, once it can be read.
pub async fn texts(log: &dyn Backplane) -> Vec<String> {
    entries(log).await.iter().map(text).collect()
}

/// Returns the state of a log with records, and the id of the newest one.
pub async fn newest(log: &dyn Backplane) -> (LogState, EventId) {
    (state(log).await, entries(log).await.last().expect("a record").id)
}

/// Reads this many records, from tails that begin where the last one ended.
pub async fn follow(log: &dyn Backplane, mut after: Position, count: usize) -> Vec<Entry> {
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
///
/// # Errors
/// Those of the tail.
pub async fn batch(tail: &mut Tail) -> realtime_core::Result<Vec<Entry>> {
    in_time("a batch", tail.next()).await.expect("a tail that has not ended")
}

/// Expects that the log notices a loss of all after a state, whose newest record had this id: a new
/// epoch and key, the same for all nodes, and none of the old epoch's records is appended.
///
/// Leaves the text `of the new epoch` as the newest record.
///
/// # Panics
/// If the log does not notice it.
pub async fn assert_new_epoch(log: &dyn Backplane, old: &LogState, id: EventId) {
    let new = log.renew(old.epoch, old.last, id).await.expect("a state");
    assert!(new.epoch != old.epoch && new.key != old.key);
    assert_eq!(log.renew(old.epoch, old.last, id).await.expect("a state"), new, "a second renewal");
    let refused = timed_append(log, old.epoch, "of the old epoch").await;
    assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
    append(log, "of the new epoch").await;
    assert_eq!(texts(log).await.last().expect("a record"), "of the new epoch");
}

/// Expects that a log has nothing of another one: records, keys, epoch, and what is published to
/// all nodes or to the same node.
///
/// # Panics
/// If it does.
pub async fn assert_nothing_shared(one: &dyn Backplane, other: &dyn Backplane) {
    let node = NodeId::random();
    let mut pipe = other.subscribe(node).await.expect("a subscription");
    append(one, "1").await;
    for to in [None, Some(node)] {
        one.publish(record("from one"), to).await.expect("published");
    }
    other.publish(record("from other"), None).await.expect("published");
    let heard = in_time("a message", pipe.next()).await.expect("a message");
    assert_eq!(text_of(&heard), "from other");
    assert!(texts(other).await.is_empty());
    assert_ne!(state(one).await.epoch, state(other).await.epoch);
    let keyed = key(1, Duration::from_secs(60));
    for log in [one, other] {
        assert!(!append_record(log, record("keyed"), Some(keyed)).await.expect("appended").repeated);
    }
}
