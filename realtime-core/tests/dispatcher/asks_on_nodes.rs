//! Asks whose answers come from connections of other nodes.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CoreProvider, FaultyBackplane, eventually, note, runtime};
use realtime_core::spi::Registration;
use realtime_core::{
    AckReply, AckStatus, CloseReason, InboundPayload, MemoryBackplane, MemoryDirectory, RealtimeProvider,
    SocketIoBroadcast, Target,
};
use realtime_testkit::conformance::{Setup, Visitor};
use realtime_testkit::{FaultyDirectory, UpdateFault};
use tokio::time::{Instant, sleep};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

/// Nodes that share a log and a directory, each with faults of its own.
struct Nodes {
    log: MemoryBackplane,
    entries: Arc<MemoryDirectory>,
}

struct Node {
    provider: CoreProvider,
    backplane: FaultyBackplane,
    directory: FaultyDirectory,
}

impl Nodes {
    fn new() -> Self {
        Self { log: MemoryBackplane::default(), entries: Arc::default() }
    }

    async fn start(&self) -> Node {
        let backplane = FaultyBackplane::new(self.log.clone());
        let directory = FaultyDirectory::of(Arc::clone(&self.entries));
        let provider = CoreProvider::full(Setup::default());
        let runtime = runtime().with_backplane(backplane.clone()).with_directory(directory.clone());
        provider.attach(runtime).await.unwrap();
        Node { provider, backplane, directory }
    }
}

impl Node {
    async fn connect(&self, user: &str) -> Registration<impl realtime_core::spi::Codec + use<>> {
        self.provider.register(Visitor::user(user)).await
    }

    /// Waits until the ask with this number has been applied here.
    async fn until_asked(&self, number: u64) {
        let hub = self.provider.dispatcher.hub();
        eventually("the ask is applied", || hub.applied().get() >= number).await;
    }
}

fn json(text: &'static str) -> InboundPayload {
    InboundPayload::json_text(text)
}

/// Returns the outcomes, sorted by payload.
fn sorted(mut replies: Vec<AckReply>) -> Vec<(AckStatus, String)> {
    replies.sort_by(|one, other| one.payload.bytes().cmp(other.payload.bytes()));
    replies.iter().map(|reply| (reply.status, String::from_utf8(reply.payload.bytes().to_vec()).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn ask_collects_the_answers_of_all_nodes() {
    let nodes = Nodes::new();
    let (one, two, three) = (nodes.start().await, nodes.start().await, nodes.start().await);
    let (here, there) = (one.connect("ann").await, two.connect("ann").await);
    let (gone, attached) = (two.connect("ann").await, three.connect("ann").await);
    let _other = three.connect("bob").await;
    let start = Instant::now();
    let acks = one.provider.dispatcher.to_user_with_ack("ann", note("?"), LONG).await.unwrap();
    two.until_asked(1).await;
    three.until_asked(1).await;
    assert!(here.answer(1, json("1")) && there.answer(1, json("2")));
    let bytes = InboundPayload::with_attachments(r#"{"_placeholder":true,"num":0}"#, vec!["bytes".into()]);
    assert!(attached.answer(1, bytes.clone()));
    drop(gone);
    let replies = acks.all().await;
    let found = replies.iter().find(|reply| reply.connection == attached.id()).unwrap();
    assert_eq!((&found.payload, found.provider), (&bytes, "core"));
    let expected = [
        (AckStatus::Answered, "1"),
        (AckStatus::Answered, "2"),
        (AckStatus::Gone, "null"),
        (AckStatus::Answered, r#"{"_placeholder":true,"num":0}"#),
    ];
    assert_eq!(sorted(replies), expected.map(|(status, text)| (status, text.to_owned())));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ask_of_nobody_ends_when_all_nodes_have_reported() {
    let nodes = Nodes::new();
    let (one, _two, _three) = (nodes.start().await, nodes.start().await, nodes.start().await);
    let start = Instant::now();
    let acks = one.provider.dispatcher.ask(Target::user("nobody"), note("?"), LONG).await.unwrap();
    assert!(acks.all().await.is_empty());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answer_is_repeated_until_the_asker_has_received_it() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start().await, nodes.start().await);
    let there = two.connect("ann").await;
    let mut acks = one.provider.dispatcher.to_user_with_ack("ann", note("?"), LONG).await.unwrap();
    two.until_asked(1).await;
    // Messages to the asker are lost, then those from it.
    one.backplane.set_pipe_up(false);
    assert!(there.answer(1, json("1")));
    sleep(Duration::from_secs(5)).await;
    one.backplane.set_pipe_up(true);
    two.backplane.set_pipe_up(false);
    let reply = acks.next().await.unwrap();
    assert_eq!(reply.status, AckStatus::Answered);
    sleep(Duration::from_secs(5)).await;
    two.backplane.set_pipe_up(true);
    assert!(acks.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_lost_node_are_settled_after_its_lease() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start().await, nodes.start().await);
    let (here, lost) = (one.connect("ann").await, two.connect("ann").await);
    let mut acks = one.provider.dispatcher.to_user_with_ack("ann", note("?"), LONG).await.unwrap();
    two.until_asked(1).await;
    // Time to report the connection.
    sleep(Duration::from_secs(1)).await;
    two.backplane.set_pipe_up(false);
    two.backplane.set_up(false);
    two.directory.set_fault(Some(UpdateFault::Away));
    let start = Instant::now();
    assert!(here.answer(1, json("1")));
    assert_eq!(acks.next().await.unwrap().status, AckStatus::Answered);
    let reply = acks.next().await.unwrap();
    assert_eq!((reply.connection, reply.status), (lost.id(), AckStatus::NodeLost));
    assert!(acks.next().await.is_none());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropped_ask_is_cancelled_on_other_nodes() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start().await, nodes.start().await);
    let there = two.connect("ann").await;
    for number in [1, 2] {
        let acks = one.provider.dispatcher.to_user_with_ack("ann", note("?"), LONG).await.unwrap();
        two.until_asked(number).await;
        drop(acks);
        sleep(Duration::from_secs(3)).await;
        assert!(!there.answer(number, json("1")), "no ask waits for the answer");
    }
}

#[tokio::test(start_paused = true)]
async fn ask_times_out_with_the_connections_of_all_nodes() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start().await, nodes.start().await);
    let (here, there) = (one.connect("ann").await, two.connect("ann").await);
    let acks = one.provider.dispatcher.to_user_with_ack("ann", note("?"), Duration::from_secs(5)).await.unwrap();
    let replies = acks.all().await;
    assert!(replies.iter().all(|reply| reply.status == AckStatus::TimedOut), "{replies:?}");
    let mut expected = [here.id(), there.id()];
    let mut found: Vec<_> = replies.iter().map(|reply| reply.connection).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn close_counts_what_nodes_with_a_lease_report() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start().await, nodes.start().await);
    let (_here, _there) = (one.connect("ann").await, two.connect("ann").await);
    let _ghost = nodes.start().await;
    assert_eq!(one.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 2);
    two.backplane.set_silent(true);
    let _later = one.connect("ann").await;
    let start = Instant::now();
    assert_eq!(one.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 1);
    assert!(start.elapsed() <= Duration::from_secs(3), "waits for a report for two seconds at most");
}
