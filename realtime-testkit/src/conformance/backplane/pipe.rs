//! The tests of the pipe and of the probe.

use futures_util::StreamExt;
use realtime_core::spi::Position;
use realtime_core::{EventId, NodeId};

use super::BackplaneUnderTest;
use super::steps::{record_of, text};
use super::tests::start;
use crate::in_time;

/// A published message reaches every current subscriber, the publisher's own included, and no
/// later one.
pub async fn pipe_reaches_current_subscribers_only<B: BackplaneUnderTest>() {
    let (_backplane, [one, two]) = start::<B, 2>().await;
    let publish = async |text: &str| {
        one.publish(record_of(EventId::random(), text), None).await.expect("published");
    };
    publish("unheard").await;
    let mut own = one.subscribe(NodeId::random()).await.expect("subscribed");
    let mut other = two.subscribe(NodeId::random()).await.expect("subscribed");
    for n in 0..50 {
        publish(&n.to_string()).await;
    }
    let mut late = two.subscribe(NodeId::random()).await.expect("subscribed");
    publish("last").await;
    for pipe in [&mut own, &mut other] {
        for n in 0..50 {
            let message = in_time("a message", pipe.next()).await.expect("a message");
            assert_eq!(text(&message), n.to_string());
        }
    }
    for pipe in [&mut own, &mut other, &mut late] {
        let message = in_time("a message", pipe.next()).await.expect("a message");
        assert_eq!(text(&message), "last");
    }
    assert_eq!(one.state().await.expect("a state").last, Position::START, "the pipe is not in the log");
}

/// A message for one node reaches that node, and other nodes at most on a backplane that cannot
/// tell them apart.
pub async fn pipe_reaches_one_node<B: BackplaneUnderTest>() {
    let (_backplane, [one, two]) = start::<B, 2>().await;
    let (here, there) = (NodeId::random(), NodeId::random());
    let mut own = one.subscribe(here).await.expect("subscribed");
    let mut other = two.subscribe(there).await.expect("subscribed");
    for (text, to) in [("for one", Some(there)), ("for all", None)] {
        one.publish(record_of(EventId::random(), text), to).await.expect("published");
    }
    for expected in ["for one", "for all"] {
        assert_eq!(text(&in_time("a message", other.next()).await.expect("a message")), expected);
    }
    let mut first = text(&in_time("a message", own.next()).await.expect("a message"));
    if first == "for one" {
        first = text(&in_time("a message", own.next()).await.expect("a message"));
    }
    assert_eq!(first, "for all");
}

/// A probe succeeds, and leaves no record.
pub async fn probe_leaves_no_record<B: BackplaneUnderTest>() {
    let (_backplane, [node]) = start::<B, 1>().await;
    for _ in 0..40 {
        in_time("a probe", node.probe()).await.expect("the log can be written");
    }
    assert_eq!(node.state().await.expect("a state").last, Position::START);
}
