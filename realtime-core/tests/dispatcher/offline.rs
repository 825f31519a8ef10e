//! Users who miss an event: the sink is called for them, and for nobody else. The times are
//! simulated: a record is decided when it has been in the log for 12 s.

use std::time::{Duration, SystemTime};

use crate::support::{Fault, FaultyBackplane, Guest, NodeWithSink, Nodes, Sink, note, pass, read_log};
use realtime_core::spi::Position;
use realtime_core::{
    Event, InboundPayload, MemoryBackplane, OfflineConfig, OfflineReason, RealtimeBroadcast, SocketIoBroadcast, Target,
};
use realtime_testkit::conformance::Visitor;

/// Longer than a record waits to be decided, with the ticks on its way.
const DECIDED: u64 = 15;

async fn node() -> (Nodes, Sink, NodeWithSink) {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let node = nodes.start(&sink).await;
    (nodes, sink, node)
}

async fn send(node: &NodeWithSink, user: &str, text: &str) -> Position {
    node.provider.dispatcher.to_user(user, note(text)).await.unwrap().position.unwrap()
}

#[tokio::test(start_paused = true)]
async fn event_of_an_absent_user_is_one_call() {
    let (_nodes, sink, node) = node().await;
    let receipt = node.provider.dispatcher.to_user_in("acme", "ann", note("hi")).await.unwrap();
    pass(10).await;
    assert_eq!(sink.count(), 0, "ann has time to reconnect");
    pass(DECIDED - 10).await;
    let calls = sink.calls();
    assert_eq!((calls.len(), calls[0].id, Some(calls[0].position)), (1, receipt.id, receipt.position));
    let event = &calls[0];
    assert_eq!((&*event.user, event.tenant.as_deref(), &*event.name), ("ann", Some("acme"), "note"));
    assert_eq!((event.json::<String>().unwrap(), event.reason), ("hi".to_owned(), OfflineReason::NoConnection));
    let age = SystemTime::now().duration_since(event.sent_at).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    pass(600).await;
    assert_eq!((sink.count(), node.stats().calls["ok"], node.stats().works), (1, 1, true));
}

#[tokio::test(start_paused = true)]
async fn only_durable_events_to_users_are_calls() {
    let (_nodes, sink, node) = node().await;
    let sends = &node.provider.dispatcher;
    for target in [Target::all(), Target::tenant("acme"), Target::room("r"), Target::user("ann").except_user("ann")] {
        sends.send(target, note("no")).await.unwrap();
    }
    sends.to_user("ann", note("no").as_volatile()).await.unwrap();
    let keyed = || note("once").with_idempotency_key("k");
    for _ in 0..2 {
        sends.to_user("ann", keyed()).await.unwrap();
    }
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["once"]);
}

#[tokio::test(start_paused = true)]
async fn user_who_got_the_event_is_not_offline() {
    let (_nodes, sink, node) = node().await;
    let mut guest = Guest::by_sink(&node.provider, Visitor::user("ann")).await;
    send(&node, "ann", "got").await;
    assert_eq!(guest.next().await.payload, "got");
    drop(guest);
    pass(1).await;
    send(&node, "ann", "missed").await;
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["missed"], "she left after the first, and before the second");
}

#[tokio::test(start_paused = true)]
async fn user_who_resumes_in_time_is_not_offline() {
    let (_nodes, sink, node) = node().await;
    let cursor = Guest::left(&node.provider, Visitor::user("ann").with_tenant("acme")).await;
    Guest::left(&node.provider, Visitor::user("bob")).await;
    pass(1).await;
    send(&node, "ann", "replayed").await;
    node.provider.dispatcher.to_user_in("other", "ann", note("of another tenant")).await.unwrap();
    send(&node, "bob", "missed").await;
    pass(5).await;
    let resumed = Visitor::user("ann").with_tenant("acme").with_cursor(&cursor);
    let mut ann = Guest::by_sink(&node.provider, resumed).await;
    assert_eq!(ann.next().await.payload, "replayed");
    // Bob begins anew, after the event: he does not get it.
    let _bob = Guest::by_sink(&node.provider, Visitor::user("bob")).await;
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["of another tenant", "missed"]);
}

#[tokio::test(start_paused = true)]
async fn ask_without_an_answer_is_a_call() {
    let (nodes, sink, node) = node().await;
    let ask = async |user: &str, text: &str, seconds| {
        let question = Event::json("note", text).unwrap();
        node.provider.dispatcher.to_user_with_ack(user, question, Duration::from_secs(seconds)).await.unwrap()
    };
    let silent = node.provider.register(Visitor::user("ann")).await;
    let answering = node.provider.register(Visitor::user("bob")).await;
    let also_bob = node.provider.register(Visitor::user("bob")).await;
    let _acks = [ask("ann", "silent", 2).await, ask("eve", "nobody", 2).await, ask("ann", "patient", 60).await];
    let bobs = ask("bob", "answered by one", 2).await;
    let late = ask("bob", "answered late", 60).await;
    let asks = read_log(&nodes.log).await.into_iter().filter(|record| record.kind.get("ask").is_some());
    let numbers: Vec<_> = asks.map(|record| record.position).collect();
    for connection in [&silent, &answering, &also_bob] {
        // Otherwise it is closed as stalled.
        connection.try_take(usize::MAX, &mut Vec::new());
    }
    for (ask, wait) in [(3, 0), (4, 40)] {
        pass(wait).await;
        assert!(answering.answer(numbers[ask], InboundPayload::json_text("1")));
    }
    assert_eq!(sink.texts(), ["silent", "nobody"]);
    let reasons: Vec<_> = sink.calls().iter().map(|call| call.reason).collect();
    assert_eq!(reasons, [OfflineReason::NotAnswered, OfflineReason::NoConnection]);
    pass(30).await;
    assert_eq!(sink.texts()[2..], ["patient"]);
    drop((silent, bobs, late));
}

#[tokio::test(start_paused = true)]
async fn failing_sink_is_called_again() {
    let sink = Sink::failing(&[Fault::Error, Fault::Panic, Fault::Hang, Fault::Error]);
    let node = Nodes::default().start(&sink).await;
    send(&node, "ann", "hi").await;
    pass(120).await;
    assert_eq!(sink.texts(), ["hi"; 5]);
    let calls = node.stats().calls;
    let counted = ["failed", "panicked", "timed_out", "ok", "given_up"].map(|outcome| calls[outcome]);
    assert_eq!(counted, [2, 1, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn event_whose_calls_all_fail_is_given_up() {
    let sink = Sink::failing(&[Fault::Error; 3]);
    let nodes = Nodes::default();
    let node = nodes.start_on(nodes.log.clone(), &sink, OfflineConfig::default().with_attempts(3).with_calls(1)).await;
    send(&node, "ann", "lost").await;
    send(&node, "bob", "later").await;
    pass(60).await;
    let calls = node.stats().calls;
    assert_eq!((sink.count(), calls["failed"], calls["given_up"], calls["ok"]), (4, 3, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn slow_sink_has_a_bounded_number_of_calls() {
    let (nodes, sink) = (Nodes::default(), Sink::slow(Duration::from_secs(2)));
    let node = nodes.start_on(nodes.log.clone(), &sink, OfflineConfig::default().with_calls(20)).await;
    let mut guest = Guest::by_sink(&node.provider, Visitor::user("ann")).await;
    for n in 0..1_000 {
        send(&node, &format!("user-{n}"), &n.to_string()).await;
    }
    pass(DECIDED).await;
    assert!(sink.count() < 200, "{}", sink.count());
    let begun = tokio::time::Instant::now();
    send(&node, "ann", "meanwhile").await;
    assert_eq!(guest.next().await.payload, "meanwhile");
    assert!(begun.elapsed() < Duration::from_millis(100), "no send waits for the sink");
    pass(10).await;
    assert!(node.stats().lag > Duration::from_secs(5), "{:?}", node.stats());
    pass(120).await;
    let mut texts: Vec<usize> = sink.texts().iter().map(|text| text.parse().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, (0..1_000).collect::<Vec<_>>());
    assert_eq!((sink.most(), node.stats().lag), (20, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn record_that_left_the_log_is_unknown() {
    let log = MemoryBackplane::new(50);
    let (nodes, sink) = (Nodes { log, ..Nodes::default() }, Sink::default());
    let node = nodes.start(&sink).await;
    for n in 0..100 {
        send(&node, "ann", &n.to_string()).await;
    }
    pass(DECIDED).await;
    let (texts, unknown) = (sink.texts(), node.stats().unknown);
    assert_eq!(texts, (unknown..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!((45..=50).contains(&texts.len()), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_while_the_log_is_away() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let faulty = FaultyBackplane::new(nodes.log.clone());
    let node = nodes.start_on(faulty.clone(), &sink, OfflineConfig::default()).await;
    send(&node, "ann", "hi").await;
    node.provider.lose_log(&faulty).await;
    pass(60).await;
    assert_eq!(sink.count(), 0);
    node.provider.regain_log(&faulty).await;
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["hi"]);
}

#[tokio::test(start_paused = true)]
async fn log_that_lost_its_records_is_decided_from_its_start() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let faulty = FaultyBackplane::new(nodes.log.clone());
    let node = nodes.start_on(faulty.clone(), &sink, OfflineConfig::default()).await;
    send(&node, "ann", "lost with the log").await;
    let wiped = MemoryBackplane::default();
    faulty.exchange(wiped.clone());
    pass(5).await;
    send(&node, "ann", "in the new one").await;
    pass(DECIDED * 2).await;
    assert_eq!(sink.texts(), ["in the new one"]);
}
