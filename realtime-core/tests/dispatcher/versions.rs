//! Nodes of different versions on one log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, Guest, eventually, note, runtime};
use bytes::Bytes;
use futures_util::StreamExt;
use realtime_core::spi::{Entry, Stored};
use realtime_core::{CloseReason, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, SocketIoBroadcast};
use realtime_testkit::Forwarding;
use realtime_testkit::conformance::{Setup, Visitor};

/// The flag of a record that can be skipped.
const SKIPPABLE: u8 = 1;

/// Returns the entry as a newer node would have written it: for readers of a later version.
fn newer(mut entry: Entry, flags: u8) -> Entry {
    let mut bytes = entry.record.bytes().to_vec();
    (bytes[0], bytes[1]) = (u8::MAX, flags);
    entry.record = Stored::Bytes(Bytes::from(bytes));
    entry
}

/// Returns the entry of an ask whose node has given it the longest time that the format can hold.
fn endless(mut entry: Entry) -> Entry {
    let bytes = entry.record.bytes().to_vec();
    let length = u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize;
    let (header, payload) = bytes[6..].split_at(length);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let header = header.replace(r#""secs":5"#, &format!(r#""secs":{}"#, u64::MAX));
    let length = (header.len() as u32).to_be_bytes();
    entry.record = Stored::Bytes([&bytes[..2], &length, header.as_bytes(), payload].concat().into());
    entry
}

/// Starts two nodes; the second finds the record at the position that is set newer than itself.
async fn nodes(flags: u8) -> (CoreProvider, CoreProvider, Arc<AtomicU64>) {
    nodes_with(move |entry| newer(entry, flags)).await
}

/// Starts two nodes; the second finds the record at the position that is set changed.
async fn nodes_with(
    change: impl Fn(Entry) -> Entry + Clone + Send + Sync + 'static,
) -> (CoreProvider, CoreProvider, Arc<AtomicU64>) {
    let log = MemoryBackplane::default();
    let position = Arc::new(AtomicU64::new(0));
    let of_tail = Arc::clone(&position);
    let older = Forwarding::new(log.clone()).map_tail(move |tail| {
        let (position, change) = (Arc::clone(&of_tail), change.clone());
        let change = move |entry: Entry| {
            if entry.position.get() == position.load(Ordering::SeqCst) { change(entry) } else { entry }
        };
        tail.map(move |batch| batch.map(|entries| entries.into_iter().map(&change).collect())).boxed()
    });
    let one = CoreProvider::on(log).await;
    let two = CoreProvider::attached(Setup::default(), runtime().with_backplane(older)).await;
    (one, two, position)
}

#[tokio::test]
async fn newer_record_that_can_be_skipped_is_skipped_and_counted() {
    let (one, two, newer) = nodes(SKIPPABLE).await;
    let mut ann = Guest::by_session(&two, Visitor::user("ann")).await;
    newer.store(2, Ordering::SeqCst);
    for n in ["1", "2", "3"] {
        one.dispatcher.to_all(note(n)).await.unwrap();
    }
    assert_eq!([ann.next().await.payload, ann.next().await.payload], ["1", "3"]);
    assert_eq!(two.stats().skipped_records, 1);
    assert!(two.dispatcher.is_ready());
}

#[tokio::test(start_paused = true)]
async fn node_drains_at_a_newer_record_that_it_must_not_skip() {
    let (one, two, newer) = nodes(0).await;
    let (mut here, mut there) =
        (Guest::by_session(&one, Visitor::user("ann")).await, Guest::by_session(&two, Visitor::user("ann")).await);
    newer.store(2, Ordering::SeqCst);
    for n in ["1", "2", "3"] {
        one.dispatcher.to_all(note(n)).await.unwrap();
    }
    assert_eq!(there.next().await.payload, "1");
    assert_eq!(there.closed().await.code, Some(CloseReason::RESTART.code()));
    assert!(!two.dispatcher.is_ready());
    assert!(two.admit(Visitor::user("ann")).await.is_err(), "no client is accepted");
    eventually("the node is drained", || two.dispatcher.is_draining()).await;
    // The client goes on at the newer node, with what the older one could not read.
    assert_eq!(here.texts_until("3").await, ["1", "2"]);
    let mut again = Guest::by_session(&one, Visitor::user("ann").with_cursor(&there.cursor)).await;
    assert_eq!(again.texts_until("3").await, ["2"]);
}

#[tokio::test]
async fn ask_with_an_endless_timeout_is_applied() {
    let (one, two, changed) = nodes_with(endless).await;
    let mut ann = Guest::by_session(&two, Visitor::user("ann")).await;
    changed.store(1, Ordering::SeqCst);
    let _acks = one.dispatcher.to_user_with_ack("ann", note("well?"), Duration::from_secs(5)).await.unwrap();
    one.dispatcher.to_all(note("after")).await.unwrap();
    assert_eq!([ann.next().await.payload, ann.next().await.payload], ["well?", "after"]);
    assert!(two.dispatcher.is_ready());
}
