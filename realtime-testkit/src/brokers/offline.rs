//! Users who miss an event, with two nodes on one server.

use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::{Log, OfflineWorker, Runtime};
use realtime_core::{
    AllowRooms, BoxError, Event, NodeId, NodeInfo, OfflineConfig, OfflineEvent, OfflineSink, RealtimeProvider,
};
use tokio::sync::mpsc;

use super::{BrokerUnderTest, connect};
use crate::{ByQuery, Served, WsClient, eventually, in_time};

struct Node<P> {
    served: Served<P>,
    worker: OfflineWorker,
    log: Log,
}

/// Starts a node with this sink.
async fn node<B: BrokerUnderTest>(server: &B, sink: impl OfflineSink) -> Node<B::Provider> {
    let backplane = connect(server).await;
    let (info, directory) = (NodeInfo::new(NodeId::random()).with_offline_sink(), B::directory(&backplane));
    let log = Log::of_node(info, Arc::new(backplane), directory);
    let config = OfflineConfig::default().with_delay(Duration::from_secs(3));
    let worker = OfflineWorker::start(&log, Arc::new(sink), config);
    let runtime = Runtime::new(log.clone(), Arc::new(ByQuery)).with_policy(AllowRooms);
    Node { served: Served::start(B::provider(), runtime).await, worker, log }
}

/// Sends a note to a user.
async fn send<P: RealtimeProvider>(node: &Served<P>, user: &str, text: &str) {
    let event = Event::json("note", text).expect("an event");
    node.provider.broadcast().to_user(user, event).await.expect("sent");
}

/// A node dies during its call: the other one calls, for that event alone.
pub async fn event_that_a_dead_node_was_to_call_for_is_called<B: BrokerUnderTest>() {
    let server = B::start().await;
    let (begun, mut stuck) = mpsc::channel(16);
    let first = node(&server, move |event: OfflineEvent| {
        let begun = begun.clone();
        async move {
            begun.send(event).await?;
            std::future::pending::<Result<(), BoxError>>().await
        }
    })
    .await;
    eventually("the first node decides", || first.log.stats().offline.is_some_and(|stats| stats.works)).await;
    let (done, mut called) = mpsc::channel(16);
    let second = node(&server, move |event: OfflineEvent| {
        let done = done.clone();
        async move { Ok::<_, BoxError>(done.send(event).await?) }
    })
    .await;
    let mut bob = WsClient::new(second.served.websocket_url("/ws?user=bob"));
    in_time("a connection", bob.next_of("connected")).await.expect("a connection");
    send(&first.served, "bob", "got").await;
    send(&first.served, "ann", "missed").await;
    send(&second.served, "ann", "missed too").await;
    in_time("a note", bob.next_of("note")).await.expect("a note");
    drop(bob);
    for expected in ["missed", "missed too"] {
        let event = in_time("a call", stuck.recv()).await.expect("a call");
        assert_eq!((&*event.user, event.json::<String>().expect("a text")), ("ann", expected.to_owned()));
    }
    drop((first.worker, first.served));
    for expected in ["missed", "missed too"] {
        let event = in_time("a call of the other node", called.recv()).await.expect("a call");
        assert_eq!(event.json::<String>().expect("a text"), expected);
    }
    second.worker.stop().await;
    assert!(called.try_recv().is_err(), "nothing else was missed");
}
