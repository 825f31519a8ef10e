//! Users who miss an event, with several nodes and over restarts: one node calls the sink, and
//! another one goes on when it is gone.

use std::sync::Arc;

use crate::support::{
    CoreProvider, Fault, FaultyBackplane, Guest, NodeWithSink, Nodes, Sink, note, pass, read_log, runtime,
};
use realtime_core::{OfflineConfig, RealtimeBroadcast, SocketIoBroadcast};
use realtime_testkit::conformance::{Setup, Visitor};

/// Longer than a record waits to be decided, also while a node that is gone has its lease.
const DECIDED: u64 = 40;

async fn send(node: &NodeWithSink, user: &str, text: &str) {
    node.provider.dispatcher.to_user(user, note(text)).await.unwrap();
}

/// Splits two nodes into the one that decides and the other.
fn by_leader(nodes: [NodeWithSink; 2]) -> (NodeWithSink, NodeWithSink) {
    let [one, two] = nodes;
    assert_ne!(one.stats().works, two.stats().works, "exactly one decides");
    if one.stats().works { (one, two) } else { (two, one) }
}

#[tokio::test(start_paused = true)]
async fn one_node_calls_for_all() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let all = [nodes.start(&sink).await, nodes.start(&sink).await, nodes.start(&sink).await];
    for (n, node) in all.iter().enumerate() {
        send(node, "ann", &n.to_string()).await;
    }
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["0", "1", "2"]);
    assert_eq!(all.iter().filter(|node| node.stats().works).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn user_at_another_node_is_not_offline() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let both = [nodes.start(&sink).await, nodes.start(&sink).await];
    pass(5).await;
    let (leader, other) = by_leader(both);
    let mut guest = Guest::by_session(&other.provider, Visitor::user("ann")).await;
    let left = Guest::left(&other.provider, Visitor::user("bob")).await;
    send(&leader, "ann", "got").await;
    send(&leader, "bob", "replayed").await;
    send(&leader, "eve", "missed").await;
    assert_eq!(guest.next().await.payload, "got");
    drop(guest);
    pass(5).await;
    let mut bob = Guest::by_sink(&other.provider, Visitor::user("bob").with_cursor(&left)).await;
    assert_eq!(bob.next().await.payload, "replayed");
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["missed"]);
}

#[tokio::test(start_paused = true)]
async fn answer_at_another_node_is_an_answer() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let both = [nodes.start(&sink).await, nodes.start(&sink).await];
    pass(5).await;
    let (leader, other) = by_leader(both);
    let guest = other.provider.register(Visitor::user("ann")).await;
    for (text, seconds) in [("answered", 5), ("answered late", 60), ("silent", 5), ("silent for long", 60)] {
        let timeout = std::time::Duration::from_secs(seconds);
        let sends = Arc::clone(&leader.provider.dispatcher);
        tokio::spawn(async move { sends.to_user_with_ack("ann", note(text), timeout).await.unwrap().all().await });
        pass(1).await;
        // Otherwise it is closed as stalled.
        guest.try_take(usize::MAX, &mut Vec::new());
    }
    let asks: Vec<_> =
        read_log(&nodes.log).await.into_iter().filter(|record| record.kind.get("ask").is_some()).collect();
    assert_eq!(asks.len(), 4);
    let number = |ask: usize| asks[ask].position;
    assert!(guest.answer(number(0), realtime_core::InboundPayload::json_text("1")));
    pass(35).await;
    assert!(guest.answer(number(1), realtime_core::InboundPayload::json_text("1")));
    pass(90).await;
    assert_eq!(sink.texts(), ["silent", "silent for long"]);
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_during_a_call_loses_nothing() {
    let (nodes, stuck, sink) = (Nodes::default(), Sink::failing(&[Fault::Hang; 2]), Sink::default());
    let first = nodes.start(&stuck).await;
    pass(5).await;
    let second = nodes.start(&sink).await;
    send(&first, "ann", "1").await;
    send(&second, "bob", "2").await;
    pass(20).await;
    assert_eq!((stuck.texts().len(), sink.count()), (2, 0), "called, without an outcome");
    drop(first);
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["1", "2"]);
    send(&second, "ann", "3").await;
    pass(DECIDED).await;
    assert_eq!((sink.count(), second.stats().works), (3, true));
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_before_a_call_loses_nothing() {
    let (nodes, none, sink) = (Nodes::default(), Sink::default(), Sink::default());
    let first = nodes.start(&none).await;
    pass(5).await;
    let second = nodes.start(&sink).await;
    let mut guest = Guest::by_session(&first.provider, Visitor::user("bob")).await;
    send(&first, "ann", "1").await;
    send(&first, "bob", "got").await;
    assert_eq!(guest.next().await.payload, "got");
    pass(8).await;
    drop((guest, first));
    pass(DECIDED).await;
    assert_eq!((none.count(), sink.texts()), (0, vec!["1".to_owned()]), "what the node had sent stays known");
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn node_that_cannot_read_the_log_is_replaced() {
    let (nodes, none, sink) = (Nodes::default(), Sink::default(), Sink::default());
    let faulty = FaultyBackplane::new(nodes.log.clone());
    let first = nodes.start_on(faulty.clone(), &none, OfflineConfig::default()).await;
    pass(5).await;
    let second = nodes.start(&sink).await;
    pass(20).await;
    assert!(first.stats().works && !second.stats().works);
    first.provider.lose_log(&faulty).await;
    send(&second, "ann", "1").await;
    pass(2 * DECIDED).await;
    assert_eq!((none.count(), sink.texts(), second.stats().works), (0, vec!["1".to_owned()], true));
    first.provider.regain_log(&faulty).await;
    pass(DECIDED).await;
    assert_eq!((none.count(), sink.count()), (0, 1), "it has read that another one decides");
}

#[tokio::test(start_paused = true)]
async fn node_that_ends_in_order_has_nothing_called_twice() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let both = [nodes.start(&sink).await, nodes.start(&sink).await];
    pass(5).await;
    let (leader, other) = by_leader(both);
    let mut guest = Guest::by_session(&leader.provider, Visitor::user("bob")).await;
    for n in 0..30 {
        send(&leader, "ann", &n.to_string()).await;
        send(&other, "bob", "got").await;
        assert_eq!(guest.next().await.payload, "got");
        pass(1).await;
    }
    drop(guest);
    leader.worker.stop().await;
    drop(leader);
    pass(DECIDED).await;
    assert_eq!(sink.texts(), (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn next_process_goes_on_where_the_last_one_ended() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let first = nodes.start(&sink).await;
    let mut guest = Guest::by_session(&first.provider, Visitor::user("bob")).await;
    send(&first, "ann", "1").await;
    pass(30).await;
    send(&first, "ann", "2").await;
    send(&first, "bob", "got").await;
    assert_eq!(guest.next().await.payload, "got");
    drop(guest);
    first.worker.stop().await;
    drop(first);
    pass(600).await;
    let directory = Arc::default();
    let next = Nodes { log: nodes.log.clone(), directory }.start(&sink).await;
    pass(5).await;
    assert_eq!(sink.texts(), ["1"], "users have time to reconnect after a restart");
    pass(DECIDED).await;
    assert_eq!(sink.texts(), ["1", "2"]);
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn killed_process_calls_at_least_once() {
    let (nodes, stuck, sink) = (Nodes::default(), Sink::failing(&[Fault::Hang]), Sink::default());
    let first = nodes.start(&stuck).await;
    for n in 1..=3 {
        send(&first, "ann", &n.to_string()).await;
    }
    pass(13).await;
    assert_eq!(stuck.texts(), ["1", "2", "3"]);
    drop(first);
    let directory = Arc::default();
    let _next = Nodes { log: nodes.log.clone(), directory }.start(&sink).await;
    pass(DECIDED).await;
    assert!(sink.texts().contains(&"1".to_owned()), "{:?}", sink.texts());
}

#[tokio::test(start_paused = true)]
async fn new_sink_ignores_earlier_events() {
    let (nodes, sink) = (Nodes::default(), Sink::default());
    let runtime = runtime().with_backplane(nodes.log.clone()).with_directory(Arc::clone(&nodes.directory));
    let older = CoreProvider::attached(Setup::default(), runtime).await;
    older.dispatcher.to_user("ann", note("before")).await.unwrap();
    let node = nodes.start(&sink).await;
    let _guest = Guest::by_session(&older, Visitor::user("bob")).await;
    older.dispatcher.to_user("ann", note("after")).await.unwrap();
    older.dispatcher.to_user("bob", note("at a node without a sink")).await.unwrap();
    pass(DECIDED).await;
    assert_eq!((sink.texts(), node.stats().unknown), (vec!["after".to_owned()], 1));
}
