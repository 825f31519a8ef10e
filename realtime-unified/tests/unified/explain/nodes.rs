//! Explanations over several nodes.

use std::time::Duration;

use super::client::{Client, Opening};
use super::{builder, explain, over, send, until_connected};
use crate::support::Shared;
use realtime_unified::Drain;
use realtime_unified::explanation::{Fate, Mismatch, Unknown};
use realtime_unified::spi::Directory;
use realtime_unified::stats::{NodeId, NodeInfo};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn connections_of_all_nodes_are_explained_anywhere() {
    let shared = Shared::default();
    let ((one, first), (two, second)) = (shared.start("a", builder()).await, shared.start("b", builder()).await);
    let mut here = Client::open(first, "ws", "ann", Opening::default()).await;
    let gone = Client::open(second, "sse", "ann", Opening::default()).await;
    drop(gone);
    until_connected(&two, "ann", 0).await;
    let mut there = Client::open(second, "socket", "ann", Opening::default()).await;
    let event = send(&one, "sent").await;
    let cursor = here.next_of("note").await;
    there.next_of("note").await;
    let publisher = shared.publisher().await;
    for service in [&one, &two, &publisher] {
        let explanation = explain(service, event).await;
        let fates = ["ws", "sse", "socket"].map(|provider| over(&explanation, provider).fate.clone());
        let ended = Fate::NotMatched { why: Mismatch::EndedBefore };
        assert_eq!(fates, [Fate::Written, ended, Fate::Written], "{explanation}");
        assert_eq!((explanation.nodes.len(), &*explanation.unknown), (2, &[][..]), "{explanation}");
        let named = |provider| {
            let node = over(&explanation, provider).node;
            explanation.nodes.iter().find(|known| known.node.id == node).unwrap().node.to_string()
        };
        assert_eq!([named("ws"), named("sse"), named("socket")], ["a", "b", "b"]);
    }
    // A client that moves to the other node gets there what it missed.
    drop(here);
    until_connected(&one, "ann", 0).await;
    let missed = send(&one, "missed").await;
    let opening = Opening { cursor: Some(&cursor), ..Opening::default() };
    let mut moved = Client::open(second, "ws", "ann", opening).await;
    moved.next_of("note").await;
    let explanation = explain(&one, missed).await;
    let at = explanation.connections.iter().find(|known| known.connection.to_string() == moved.id).unwrap();
    assert_eq!((&at.fate, at.replayed), (&Fate::Written, true), "{explanation}");
    assert_eq!(at.node, two.health().unwrap().node.id);
}

#[tokio::test]
async fn node_that_does_not_answer_is_named() {
    let shared = Shared::default();
    let (service, address) = shared.start("a", builder()).await;
    let mut client = Client::open(address, "ws", "ann", Opening::default()).await;
    let silent = NodeInfo::new(NodeId::random()).with_name("silent");
    let mut older = NodeInfo::new(NodeId::random()).with_name("older");
    older.reads = 2;
    for node in [&silent, &older] {
        shared.directory.update(node, &[], LONG).await.unwrap();
    }
    let event = send(&service, "sent").await;
    client.next_of("note").await;
    let begun = std::time::Instant::now();
    let explanation = explain(&service, event).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "it has two seconds");
    let expected = [Unknown::Version { node: older }, Unknown::Silent { node: silent }];
    assert_eq!(explanation.unknown, expected, "{explanation}");
    assert_eq!(explanation.nodes.iter().filter(|known| known.answered).count(), 1);
    assert_eq!(over(&explanation, "ws").fate, Fate::Written, "{explanation}");
    assert!(explanation.to_string().contains("? node silent did not answer in time"), "{explanation}");
}

#[tokio::test]
async fn node_that_is_gone_or_began_later_is_a_gap() {
    let shared = Shared::default();
    let (one, first) = shared.start("a", builder()).await;
    let client = Client::open(first, "ws", "ann", Opening::default()).await;
    let event = send(&one, "sent").await;
    drop(client);
    until_connected(&one, "ann", 0).await;
    one.shutdown(Drain::now()).await;
    // Its lease is not over yet.
    let (two, _) = shared.start("b", builder()).await;
    let explanation = explain(&two, event).await;
    assert!(explanation.published.is_some() && explanation.connections.is_empty(), "{explanation}");
    match &*explanation.unknown {
        [Unknown::NodeStarted { node: later, .. }, Unknown::Silent { node: gone }] => {
            assert_eq!((later.to_string(), gone.to_string()), ("b".to_owned(), "a".to_owned()));
        }
        _ => panic!("{explanation}"),
    }
    // In a directory that does not know it.
    let shared = Shared { backplane: shared.backplane.clone(), ..Shared::default() };
    let (three, _) = shared.start("c", builder()).await;
    let explanation = explain(&three, event).await;
    let unknown = &*explanation.unknown;
    assert!(matches!(unknown, [Unknown::NodeStarted { .. }, Unknown::PublisherGone]), "{explanation}");
}
