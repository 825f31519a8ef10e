//! The task that applies a record: its sender if all earlier records are applied, else the tail
//! loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{CoreProvider, FaultyBackplane, Guest, in_time, note};
use futures_util::FutureExt;
use futures_util::future::join_all;
use realtime_core::spi::{Backplane, Position, Record};
use realtime_core::{Event, EventId, MemoryBackplane, RealtimeBroadcast, Target};
use realtime_testkit::Forwarding;
use realtime_testkit::conformance::Visitor;

/// Returns a log in this process, to which another node appends a record just before the next local
/// one, once each time that the flag is set.
fn crossed() -> (impl Backplane, Arc<AtomicBool>) {
    let crosses = Arc::new(AtomicBool::new(false));
    let is_set = Arc::clone(&crosses);
    let backplane = Forwarding::new(MemoryBackplane::default()).before_append_now(move |log, epoch| {
        if is_set.swap(false, Ordering::Relaxed) {
            let foreign = Record::of_event(EventId::random(), Target::all(), note("crossed"));
            log.append_now(epoch, &Arc::new(foreign), None).unwrap().unwrap();
        }
    });
    (backplane, crosses)
}

/// Needs no other task, which could be late.
#[tokio::test(start_paused = true)]
async fn send_into_in_process_log_is_applied_immediately() {
    let provider = CoreProvider::on(MemoryBackplane::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for number in 1..=3 {
        let receipt = provider.dispatcher.to_user("ann", note(&number.to_string())).now_or_never();
        let receipt = receipt.expect("the send does not wait").unwrap();
        assert_eq!((receipt.position, receipt.delivered.unwrap().matched), (Some(Position::new(number)), 1));
        assert_eq!(provider.dispatcher.hub().applied(), Position::new(number));
    }
    assert_eq!(guest.texts(&provider).await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn send_waits_for_unapplied_earlier_record() {
    let (backplane, crosses) = crossed();
    let provider = CoreProvider::on(backplane).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for round in 0..3 {
        crosses.store(true, Ordering::Relaxed);
        let mut send = provider.dispatcher.to_all(note("ours"));
        assert!((&mut send).now_or_never().is_none(), "the other record comes first");
        let receipt = in_time("a receipt", send).await.unwrap();
        assert_eq!((receipt.position, receipt.delivered.unwrap().matched), (Some(Position::new(round * 3 + 2)), 1));
        assert_eq!(guest.texts(&provider).await, ["crossed", "ours"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_agree_on_one_order() {
    let provider = CoreProvider::on(MemoryBackplane::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let senders = (0..8).map(|sender| {
        let dispatcher = Arc::clone(&provider.dispatcher);
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for number in 0..200 {
                let text = format!("{sender} {number}");
                let receipt = dispatcher.to_user("ann", note(&text)).await.unwrap();
                assert_eq!(receipt.delivered.unwrap().matched, 1);
                sent.push((receipt.position, text));
            }
            sent
        })
    });
    let mut sent: Vec<_> = join_all(senders).await.into_iter().flat_map(|sent| sent.unwrap()).collect();
    provider.dispatcher.to_all(note("end")).await.unwrap();
    sent.sort();
    assert!(sent.iter().zip(1..).all(|((position, _), number)| *position == Some(Position::new(number))));
    let sent: Vec<_> = sent.into_iter().map(|(_, text)| text).collect();
    assert_eq!(guest.texts_until("end").await, sent);
}

#[tokio::test(start_paused = true)]
async fn panicking_codec_loses_only_its_record() {
    let by_the_tail = FaultyBackplane::new(MemoryBackplane::default());
    for provider in [CoreProvider::on(MemoryBackplane::default()).await, CoreProvider::on(by_the_tail).await] {
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        provider.dispatcher.to_all(note("before")).await.unwrap();
        let broken = provider.dispatcher.to_all(Event::json("broken", &1).unwrap()).await.unwrap();
        assert_eq!((broken.position, broken.delivered.unwrap().matched), (Some(Position::new(2)), 0));
        assert_eq!(guest.texts(&provider).await, ["before"]);
        assert_eq!(provider.dispatcher.stats().skipped_records, 1);
        let resumed = Guest::by_session(&provider, Visitor::user("ann").with_cursor(&guest.cursor)).await;
        assert_eq!(resumed.welcome["resumed"], true);
    }
}

#[tokio::test(start_paused = true)]
async fn nested_send_is_applied_after_the_outer_record() {
    let by_the_tail = FaultyBackplane::new(MemoryBackplane::default());
    for provider in [CoreProvider::on(MemoryBackplane::default()).await, CoreProvider::on(by_the_tail).await] {
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        let dispatcher = provider.dispatcher.unowned();
        let send = move || {
            let dispatcher = Arc::clone(&dispatcher);
            let mut inner = Box::pin(async move { dispatcher.to_all(note("inner")).await });
            assert!((&mut inner).now_or_never().is_none(), "the outer record is not applied yet");
            tokio::spawn(inner);
        };
        assert!(provider.dispatcher.codec().nested.set(Box::new(send)).is_ok());
        in_time("a receipt", provider.dispatcher.to_all(Event::json("nested", "outer").unwrap())).await.unwrap();
        assert_eq!([guest.next().await.payload, guest.next().await.payload], ["outer", "inner"]);
    }
}

#[tokio::test(start_paused = true)]
async fn nested_repeat_waits_for_the_outer_record() {
    let provider = CoreProvider::on(MemoryBackplane::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let keyed = || note("once").with_idempotency_key("k");
    let first = provider.dispatcher.to_all(keyed()).await.unwrap();
    let dispatcher = provider.dispatcher.unowned();
    let repeats = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sent = Arc::clone(&repeats);
    let send = move || {
        let dispatcher = Arc::clone(&dispatcher);
        let mut inner = Box::pin(async move { dispatcher.to_all(keyed()).await });
        assert!((&mut inner).now_or_never().is_none(), "a record is being applied");
        sent.lock().unwrap().push(tokio::spawn(inner));
    };
    assert!(provider.dispatcher.codec().nested.set(Box::new(send)).is_ok());
    in_time("a receipt", provider.dispatcher.to_all(Event::json("nested", "outer").unwrap())).await.unwrap();
    let repeat = repeats.lock().unwrap().pop().unwrap();
    let repeat = in_time("the repeat", repeat).await.unwrap().unwrap();
    assert_eq!((repeat.id, repeat.repeated()), (first.id, true));
    assert_eq!([guest.next().await.payload, guest.next().await.payload], ["once", "outer"]);
}
