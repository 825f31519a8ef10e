//! Cursors of records that a node has not seen, or that the log has lost.

use crate::support::{Client, CoreProvider, FaultyBackplane, Guest, expected, in_time, note, outcome};
use realtime_core::spi::{Cursor, Position};
use realtime_core::{Drain, MemoryBackplane, OutboxConfig, RealtimeBroadcast, RealtimeProvider, Target, WindowConfig};
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};

/// No node is left that knows the earlier records: the cursors themselves reveal the rollback.
#[tokio::test(start_paused = true)]
async fn cursors_reveal_rollback_after_restart_of_all_nodes() {
    let (backplane, old) = CoreProvider::on_faulty().await;
    let mut guest = Guest::by_sink(&old, Visitor::user("ann")).await;
    let mut cursors = vec![guest.cursor.clone()];
    for n in 0..10 {
        old.send_numbers(n..n + 1).await;
        guest.next().await;
        cursors.push(guest.cursor.clone());
    }
    let epoch = old.epoch();
    old.shutdown(Drain::now()).await;
    backplane.roll_back(Position::new(4)).await;
    let new = CoreProvider::on(backplane.clone()).await;
    assert_eq!(new.epoch(), epoch, "the rollback is unnoticed");
    for (at, cursor) in cursors.iter().enumerate() {
        let expected = if at <= 4 { expected(true, "resumed") } else { expected(false, "epoch") };
        assert_eq!(outcome(&new, cursor).await, expected, "{at} before the next send");
    }
    new.send_numbers(10..15).await;
    for (at, cursor) in cursors.iter().enumerate() {
        let expected = if at <= 4 { expected(true, "resumed") } else { expected(false, "epoch") };
        assert_eq!(outcome(&new, cursor).await, expected, "{at} after the next sends");
    }
    let mut resumed = Guest::by_sink(&new, Visitor::user("ann").with_cursor(&cursors[3])).await;
    assert_eq!(resumed.texts(&new).await, ["3", "10", "11", "12", "13", "14"]);
}

/// The position before the oldest kept record has no record to verify it: a client cannot resume
/// there.
#[tokio::test(start_paused = true)]
async fn cursor_of_record_unseen_by_node_is_expired() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(3));
    let one = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_sink(&one, Visitor::user("ann")).await;
    let mut cursors = vec![guest.cursor.clone()];
    for n in 0..10 {
        one.send_numbers(n..n + 1).await;
        guest.next().await;
        cursors.push(guest.cursor.clone());
    }
    let two = CoreProvider::on(backplane.clone()).await;
    let reasons = [(6, expected(false, "expired")), (7, expected(false, "expired")), (8, expected(true, "resumed"))];
    for (at, expected) in reasons {
        assert_eq!(outcome(&two, &cursors[at]).await, expected, "{at}");
    }
    let mut resumed = Guest::by_sink(&two, Visitor::user("ann").with_cursor(&cursors[8])).await;
    assert_eq!(resumed.texts(&two).await, ["8", "9"]);
}

/// A client cannot resume where `lost` begins, but can where it ends.
#[tokio::test(start_paused = true)]
async fn cursor_from_before_a_loss_expires_and_from_its_end_resumes() {
    let setup = Setup::default()
        .with_window(WindowConfig::default().with_records(5))
        .with_outbox(OutboxConfig::default().with_frames(2));
    let provider = CoreProvider::started(setup).await;
    let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
    let mut client = Client::by_session(&provider.dispatcher, admitted);
    let welcome = in_time("the connected event", client.next()).await.unwrap();
    assert_eq!(welcome.name, "connected");
    // Sent without a pause, so that the client is far behind when it reads.
    let mut sends: Vec<_> =
        (0..40).map(|n| Box::pin(provider.dispatcher.send(Target::all(), note(&n.to_string())))).collect();
    for sent in futures_util::future::join_all(sends.drain(..)).await {
        sent.unwrap();
    }
    let lost = loop {
        let received = in_time("the lost event", client.next()).await.unwrap();
        if received.name == "lost" {
            break received;
        }
    };
    let bound = |field: &str| lost.payload[field].as_str().unwrap().to_owned();
    assert_eq!(outcome(&provider, &bound("from")).await, expected(false, "expired"));
    let until = bound("until");
    assert_eq!(lost.cursor.as_deref(), Some(&*until));
    // The oldest quarter of five records is one.
    assert_eq!(until.parse::<Cursor>().unwrap().position(), provider.dispatcher.window().start().next());
    assert_eq!(outcome(&provider, &until).await, expected(true, "resumed"));
}
