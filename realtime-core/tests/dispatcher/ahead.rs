//! Clients that have read more than their node has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, FaultyBackplane, Guest, eventually, expected, in_time, outcome, runtime};
use futures_util::future::join_all;
use realtime_core::spi::Position;
use realtime_core::{Error, Limits, RefusalKind};
use realtime_testkit::Forwarding;
use realtime_testkit::conformance::{Setup, Visitor};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Returns a node that is on the same log as another one and reads nothing, and the cursor of a
/// client of that other one.
async fn slow_node() -> (FaultyBackplane, CoreProvider, String) {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    let slow = FaultyBackplane::new(backplane.log());
    let node = CoreProvider::on(slow.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    slow.set_silent(true);
    provider.send_numbers(0..3).await;
    assert_eq!(guest.texts_until("2").await.len(), 2);
    assert_eq!(node.dispatcher.hub().applied(), Position::START);
    (slow, node, guest.cursor)
}

#[tokio::test(start_paused = true)]
async fn client_ahead_of_a_slow_node_waits_and_resumes() {
    let (slow, node, cursor) = slow_node().await;
    let catching_up = async {
        sleep(Duration::from_secs(1)).await;
        slow.set_silent(false);
    };
    let (outcome, ()) = tokio::join!(outcome(&node, &cursor), catching_up);
    assert_eq!(outcome, expected(true, "resumed"));
}

#[tokio::test(start_paused = true)]
async fn client_ahead_of_a_stuck_node_is_refused_and_not_told_epoch() {
    let (_slow, node, cursor) = slow_node().await;
    let refused = in_time("a refusal", node.admit(Visitor::user("ann").with_cursor(&cursor))).await.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Unavailable);
    assert!(refused.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn cursor_beyond_the_end_of_the_log_is_told_at_once() {
    let (slow, node, cursor) = slow_node().await;
    slow.roll_back(Position::new(1)).await;
    let start = Instant::now();
    assert_eq!(outcome(&node, &cursor).await, expected(false, "epoch"));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// The clients that wait at the same time.
const CLIENTS: usize = 100;

/// The handling of a log's answers to questions about its state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Given,
    /// They arrive once they are given again.
    Held,
    /// There are errors in their place.
    Lost,
}

/// A node that reads nothing, beside one that does, on a log whose answers are counted.
struct Asking {
    slow: FaultyBackplane,
    node: CoreProvider,
    other: CoreProvider,
    /// A client of the other node.
    guest: Guest,
    answers: Arc<watch::Sender<Answers>>,
    asked: Arc<AtomicUsize>,
}

impl Asking {
    async fn start() -> Self {
        let (backplane, other) = CoreProvider::on_faulty().await;
        let slow = FaultyBackplane::new(backplane.log());
        let (answers, asked) = (Arc::new(watch::Sender::new(Answers::Given)), Arc::new(AtomicUsize::new(0)));
        let counting = Forwarding::new(slow.clone()).map_state({
            let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
            move |state| {
                asked.fetch_add(1, Ordering::SeqCst);
                let mut answers = answers.subscribe();
                Box::pin(async move {
                    match *answers.wait_for(|answers| *answers != Answers::Held).await.unwrap() {
                        Answers::Lost => Err(Error::Backplane("no answer".into())),
                        _ => state,
                    }
                })
            }
        });
        let setup = Setup::default().with_limits(Limits::default().with_connections_per_user(2 * CLIENTS));
        let node = CoreProvider::attached(setup, runtime().with_backplane(counting)).await;
        let guest = Guest::by_session(&other, Visitor::user("ann")).await;
        slow.set_silent(true);
        asked.store(0, Ordering::SeqCst);
        Self { slow, node, other, guest, answers, asked }
    }

    /// Sends up to this number, and returns the cursor of who has read that.
    async fn cursor_after(&mut self, last: usize) -> String {
        self.other.send_numbers(last..last + 1).await;
        self.guest.texts_until(&last.to_string()).await;
        self.guest.cursor.clone()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Begins to connect to the node.
    fn connecting(&self, cursor: &str) -> JoinHandle<(bool, String)> {
        let (node, cursor) = (self.node.clone(), cursor.to_owned());
        tokio::spawn(async move { outcome(&node, &cursor).await })
    }
}

#[tokio::test(start_paused = true)]
async fn clients_ahead_share_the_questions_to_a_log_that_is_away() {
    let mut asking = Asking::start().await;
    let cursor = asking.cursor_after(1).await;
    asking.answers.send_replace(Answers::Lost);
    let admitting = (0..CLIENTS).map(|_| asking.node.admit(Visitor::user("ann").with_cursor(&cursor)));
    for refused in in_time("the refusals", join_all(admitting)).await {
        assert_eq!(refused.unwrap_err().kind(), RefusalKind::Unavailable);
    }
    let asked = asking.asked();
    assert!((3..20).contains(&asked), "{asked} questions in 5 s");
    // Nobody waits any more.
    sleep(Duration::from_secs(2)).await;
    let asked = asking.asked();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(asking.asked(), asked);
    asking.answers.send_replace(Answers::Given);
    let resuming = asking.connecting(&cursor);
    asking.slow.set_silent(false);
    assert_eq!(resuming.await.unwrap(), expected(true, "resumed"));
}

#[tokio::test(start_paused = true)]
async fn clients_ahead_share_an_answer() {
    let mut asking = Asking::start().await;
    let cursor = asking.cursor_after(1).await;
    let connecting: Vec<_> = (0..CLIENTS).map(|_| asking.connecting(&cursor)).collect();
    sleep(Duration::from_secs(1)).await;
    assert!((1..=2).contains(&asking.asked()), "{} questions", asking.asked());
    asking.slow.set_silent(false);
    for connected in join_all(connecting).await {
        assert_eq!(connected.unwrap(), expected(true, "resumed"));
    }
}

/// The log can have grown since it was asked: the answer says nothing about later cursors.
#[tokio::test(start_paused = true)]
async fn client_that_comes_during_a_question_waits_for_the_next() {
    let mut asking = Asking::start().await;
    asking.answers.send_replace(Answers::Held);
    let cursor = asking.cursor_after(1).await;
    let first = asking.connecting(&cursor);
    eventually("the log is asked", || asking.asked() == 1).await;
    let cursor = asking.cursor_after(2).await;
    let second = asking.connecting(&cursor);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(asking.asked(), 1, "one question at a time");
    asking.answers.send_replace(Answers::Given);
    sleep(Duration::from_millis(100)).await;
    asking.slow.set_silent(false);
    for connected in [first, second] {
        assert_eq!(connected.await.unwrap(), expected(true, "resumed"));
    }
    assert_eq!(asking.asked(), 2);
}
