//! Two nodes with real clients on one server.

use std::time::Duration;

use realtime_core::spi::{Directory, Runtime};
use realtime_core::{AllowRooms, Error, Event, OnlineIn, RealtimeProvider, Target};
use realtime_nats::NatsDirectory;
use realtime_testkit::{ByQuery, Served, WsClient, in_time};
use realtime_ws::{WsConfig, WsProvider};

use crate::server::Server;
use crate::support::connect;

async fn node(server: &Server) -> Served<WsProvider> {
    let nats = connect(server).await;
    let runtime = Runtime::in_memory().with_directory(nats.directory()).with_backplane(nats);
    let runtime = runtime.with_authenticator(ByQuery).with_policy(AllowRooms);
    Served::start(WsProvider::new(WsConfig::default()), runtime).await
}

async fn client(node: &Served<WsProvider>, query: &str) -> WsClient {
    let mut client = WsClient::new(node.websocket_url(&format!("/ws?{query}")));
    in_time("a connection", client.next_of("connected")).await.unwrap();
    client
}

/// Reads this many notes.
async fn notes(client: &mut WsClient, count: usize) -> Vec<String> {
    let mut notes = Vec::new();
    while notes.len() < count {
        notes.push(in_time("a note", client.next_of("note")).await.unwrap().json());
    }
    notes
}

fn note(text: &str) -> Event {
    Event::json("note", text).unwrap()
}

#[tokio::test]
async fn nodes_deliver_to_each_other_in_one_order() {
    let server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut here = client(&nodes[0], "user=ann").await;
    let mut there = client(&nodes[1], "user=ann").await;
    let sending = |node: usize| {
        let broadcast = nodes[node].provider.broadcast();
        async move {
            for n in 0..100 {
                broadcast.to_user("ann", note(&format!("{node}-{n}"))).await.unwrap();
            }
        }
    };
    tokio::join!(sending(0), sending(1));
    let seen = notes(&mut here, 200).await;
    assert_eq!(seen, notes(&mut there, 200).await);
    nodes[0].provider.broadcast().to_user("ann", note("by the pipe").as_volatile()).await.unwrap();
    assert_eq!(notes(&mut there, 1).await, ["by the pipe"]);
    assert_eq!(notes(&mut here, 1).await, ["by the pipe"]);
}

#[tokio::test]
async fn client_resumes_at_another_node() {
    let server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut ann = client(&nodes[0], "user=ann").await;
    let broadcast = nodes[1].provider.broadcast();
    nodes[1].provider.rooms().unwrap().join_room("ann", "board").await.unwrap();
    broadcast.to_room("board", note("1")).await.unwrap();
    let cursor = in_time("a note", ann.next_of("note")).await.unwrap().id.unwrap();
    drop(ann);
    broadcast.to_room("board", note("2")).await.unwrap();
    let [one, two] = nodes;
    drop(one);
    let later = node(&server).await;
    for node in [&two, &later] {
        let mut ann = WsClient::new(node.websocket_url(&format!("/ws?user=ann&lastEventId={cursor}")));
        let connected = in_time("a connection", ann.next_of("connected")).await.unwrap();
        assert_eq!(connected.payload["resumed"], true, "{connected:?}");
        assert_eq!(notes(&mut ann, 1).await, ["2"]);
    }
}

#[tokio::test]
async fn rooms_and_presence_are_those_of_all_nodes() {
    let server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut ann = client(&nodes[1], "user=ann&tenant=acme").await;
    let here = nodes[0].provider.broadcast();
    let rooms = nodes[0].provider.rooms().unwrap();
    rooms.join_room("ann", "board").await.unwrap();
    here.to_room("board", note("1")).await.unwrap();
    rooms.leave_room("ann", "board").await.unwrap();
    here.to_room("board", note("not for ann")).await.unwrap();
    here.to_user("ann", note("2")).await.unwrap();
    assert_eq!(notes(&mut ann, 2).await, ["1", "2"]);
    let directory = connect(&server).await.directory();
    until_online(&directory, 1).await;
    assert_eq!(directory.count(&OnlineIn::Tenant("acme".to_owned())).await.unwrap().connections, 1);
    ann.close().await.unwrap();
    until_online(&directory, 0).await;
}

/// Waits until `ann` has this many connections.
async fn until_online(directory: &NatsDirectory, count: usize) {
    let waiting = async {
        while directory.of_user("ann").await.unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(format!("{count} connections"), waiting).await;
}

#[tokio::test]
async fn clients_miss_nothing_of_a_killed_server() {
    let mut server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut there = client(&nodes[1], "user=ann").await;
    let broadcast = nodes[0].provider.broadcast();
    let mut answered = Vec::new();
    let mut unknown = Vec::new();
    for n in 0..400 {
        if n == 100 {
            server.kill();
        }
        if n == 200 {
            server.restart().await;
        }
        let text = n.to_string();
        match broadcast.send(Target::user("ann"), note(&text)).await {
            Ok(_) => answered.push(text),
            Err(Error::OutcomeUnknown { .. }) => unknown.push(text),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let last = async {
        while broadcast.to_user("ann", note("end")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("a send that succeeds", last).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != "end") {
        seen.extend(notes(&mut there, 1).await);
    }
    seen.pop();
    let expected: Vec<_> = seen.iter().filter(|text| !unknown.contains(text)).cloned().collect();
    assert_eq!(expected, answered, "unknown: {unknown:?}");
    assert!(answered.len() > 100, "expected sends that succeed after the restart");
}

#[tokio::test]
async fn clients_miss_nothing_of_a_suspended_server() {
    let server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut there = client(&nodes[1], "user=ann").await;
    let broadcast = nodes[0].provider.broadcast();
    broadcast.to_user("ann", note("before")).await.unwrap();
    server.suspend();
    let since = tokio::time::Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        let sent = tokio::time::Instant::now();
        broadcast.to_user("ann", note("during")).await.unwrap_err();
        assert!(sent.elapsed() < Duration::from_millis(2_200), "{:?}", sent.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.resume();
    send_until_ok(&nodes[0], "end").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != "end") {
        seen.extend(notes(&mut there, 1).await);
    }
    // The sends with an unknown outcome are there once each, or not at all.
    assert_eq!(seen[0], "before");
    assert!(seen[1..seen.len() - 1].iter().all(|text| text == "during"), "{seen:?}");
}

async fn send_until_ok(node: &Served<WsProvider>, text: &str) {
    in_time("a send that succeeds", async {
        while node.provider.broadcast().to_user("ann", note(text)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn clients_are_told_when_the_log_is_wiped() {
    let mut server = Server::start().await;
    let nodes = [node(&server).await, node(&server).await];
    let mut ann = client(&nodes[1], "user=ann").await;
    nodes[0].provider.broadcast().to_user("ann", note("1")).await.unwrap();
    assert_eq!(notes(&mut ann, 1).await, ["1"]);
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    server.restart().await;
    let connected = in_time("a new connection", ann.next_of("connected")).await.unwrap();
    assert_eq!(connected.payload["resumed"], false, "{connected:?}");
    assert_eq!(connected.payload["reason"], "epoch", "{connected:?}");
    for (n, node) in nodes.iter().enumerate() {
        send_until_ok(node, &n.to_string()).await;
    }
    assert_eq!(notes(&mut ann, 2).await, ["0", "1"]);
}
