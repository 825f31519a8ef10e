//! The pipe between nodes, which may end and lose.

use crate::support::{CoreProvider, Guest, note, runtime};
use realtime_core::{MemoryBackplane, RealtimeBroadcast, RealtimeProvider, Target};
use realtime_testkit::FaultyBackplane;
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};

async fn node(backplane: &FaultyBackplane) -> CoreProvider {
    let node = CoreProvider::full(Setup::default());
    node.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    node
}

/// Sends until it arrives: what is published before the other node has subscribed is lost.
async fn arrives(one: &CoreProvider, there: &mut Guest, text: &str) {
    let sending = async {
        loop {
            one.dispatcher.send(Target::connection(there.id), note(text)).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let id = there.id;
    tokio::select! {
        () = sending => {}
        received = there.client.next() => assert_eq!(received.unwrap().payload, text, "{id}"),
        () = tokio::time::sleep(crate::support::WAIT) => panic!("not in time: {text}"),
    }
}

#[tokio::test(start_paused = true)]
async fn closed_pipe_is_resubscribed_after_outage_of_any_length() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let (one, two) = (node(&backplane).await, node(&backplane).await);
    for round in 0..3_u64 {
        let mut there = Guest::by_session(&two, Visitor::user("ann")).await;
        arrives(&one, &mut there, "by the pipe").await;
        backplane.set_pipe_up(false);
        tokio::time::sleep(std::time::Duration::from_secs(600 * round)).await;
        backplane.set_pipe_up(true);
        let mut there = Guest::by_session(&two, Visitor::user("ann")).await;
        arrives(&one, &mut there, "by the next one").await;
    }
}

#[tokio::test]
async fn node_delivers_its_own_messages_once() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let one = node(&backplane).await;
    let mut here = Guest::by_session(&one, Visitor::user("ann")).await;
    one.dispatcher.to_user("ann", note("fleeting").volatile()).await.unwrap();
    // The pipe has had its turn when a record that was sent later has come through the log and another message after it.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    one.dispatcher.to_all(note("end")).await.unwrap();
    assert_eq!(here.texts_until("end").await, ["fleeting"]);
}
