//! The pipe between nodes, which may close and lose messages.

use crate::support::{CoreProvider, Guest, note};
use realtime_core::{MemoryBackplane, RealtimeBroadcast, Target};
use realtime_testkit::FaultyBackplane;
use realtime_testkit::conformance::{ClientUnderTest, Visitor};

/// Sends repeatedly until the event arrives, since messages before the other node's subscription
/// are lost.
async fn send_until_received(one: &CoreProvider, remote: &mut Guest, text: &str) {
    let sending = async {
        loop {
            one.dispatcher.send(Target::connection(remote.id), note(text)).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let id = remote.id;
    tokio::select! {
        () = sending => {}
        received = remote.client.next() => assert_eq!(received.unwrap().payload, text, "{id}"),
        () = tokio::time::sleep(crate::support::DEADLINE) => panic!("not in time: {text}"),
    }
}

#[tokio::test(start_paused = true)]
async fn closed_pipe_is_resubscribed_after_outage_of_any_length() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let (one, two) = (CoreProvider::on(backplane.clone()).await, CoreProvider::on(backplane.clone()).await);
    for round in 0..3_u64 {
        let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
        send_until_received(&one, &mut remote, "over the first pipe").await;
        backplane.set_pipe_up(false);
        tokio::time::sleep(std::time::Duration::from_secs(600 * round)).await;
        backplane.set_pipe_up(true);
        let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
        send_until_received(&one, &mut remote, "over the next pipe").await;
    }
}

#[tokio::test]
async fn node_delivers_its_own_messages_once() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let one = CoreProvider::on(backplane.clone()).await;
    let mut local = Guest::by_session(&one, Visitor::user("ann")).await;
    one.dispatcher.to_user("ann", note("fleeting").as_volatile()).await.unwrap();
    // Lets the pipe's task run before the next record.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(local.texts(&one).await, ["fleeting"]);
}
