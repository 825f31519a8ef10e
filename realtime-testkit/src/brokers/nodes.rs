//! Two nodes with real clients on one server.

use std::time::{Duration, Instant};

use realtime_core::explanation::{Fate, Mismatch};
use realtime_core::spi::{Directory, Log, Runtime};
use realtime_core::{AllowRooms, Error, Event, OnlineIn, RealtimeProvider, Target, TraceContext};

use super::{BrokerUnderTest, connect};
use crate::{ByQuery, Served, WsClient, eventually, in_time};

/// Starts a node.
async fn node<B: BrokerUnderTest>(server: &B) -> Served<B::Provider> {
    node_with_log(server).await.0
}

/// Starts a node; returns its side of the log too.
async fn node_with_log<B: BrokerUnderTest>(server: &B) -> (Served<B::Provider>, Log) {
    let log = connect(server).await;
    let runtime = Runtime::in_memory().with_directory(B::directory(&log)).with_backplane(log);
    let runtime = runtime.with_authenticator(ByQuery).with_policy(AllowRooms);
    let log = runtime.log.clone();
    (Served::start(B::provider(), runtime).await, log)
}

/// Starts two nodes.
async fn two_nodes<B: BrokerUnderTest>(server: &B) -> [Served<B::Provider>; 2] {
    [node(server).await, node(server).await]
}

async fn client<P: realtime_http::HttpProvider>(node: &Served<P>, query: &str) -> WsClient {
    let mut client = WsClient::new(node.websocket_url(&format!("/ws?{query}")));
    in_time("a connection", client.next_of("connected")).await.expect("a connection");
    client
}

/// Reads this many notes.
async fn notes(client: &mut WsClient, count: usize) -> Vec<String> {
    let mut notes = Vec::new();
    while notes.len() < count {
        notes.push(in_time("a note", client.next_of("note")).await.expect("a note").json());
    }
    notes
}

/// Reads notes up to the one that says `end`, and returns those before it.
async fn notes_until_end(client: &mut WsClient) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|text| text != "end") {
        seen.extend(notes(client, 1).await);
    }
    seen.pop();
    seen
}

fn note(text: &str) -> Event {
    Event::json("note", text).expect("an event")
}

/// Sends a note to `ann`, until that succeeds.
async fn send_until_ok<P: RealtimeProvider>(node: &Served<P>, text: &str) {
    let sending = async {
        while node.provider.broadcast().to_user("ann", note(text)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("a send that succeeds", sending).await;
}

/// Waits until `ann` has this many connections.
async fn until_online(directory: &dyn Directory, count: usize) {
    let waiting = async {
        while directory.of_user("ann").await.expect("an answer").len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(format!("{count} connections"), waiting).await;
}

/// Checks that events which two nodes send at the same time have one order at both.
pub async fn nodes_deliver_to_each_other_in_one_order<B: BrokerUnderTest>() {
    let server = B::start().await;
    let nodes = two_nodes(&server).await;
    let mut here = client(&nodes[0], "user=ann").await;
    let mut there = client(&nodes[1], "user=ann").await;
    let sending = |node: usize| {
        let broadcast = nodes[node].provider.broadcast();
        async move {
            for n in 0..100 {
                broadcast.to_user("ann", note(&format!("{node}-{n}"))).await.expect("sent");
            }
        }
    };
    tokio::join!(sending(0), sending(1));
    let seen = notes(&mut here, 200).await;
    assert_eq!(seen, notes(&mut there, 200).await);
    nodes[0].provider.broadcast().to_user("ann", note("by the pipe").as_volatile()).await.expect("sent");
    assert_eq!(notes(&mut there, 1).await, ["by the pipe"]);
    assert_eq!(notes(&mut here, 1).await, ["by the pipe"]);
}

/// An event's trace is with it at another node, from the log and from the pipe.
pub async fn trace_of_an_event_reaches_another_node<B: BrokerUnderTest>() {
    let server = B::start().await;
    let [here, there] = two_nodes(&server).await;
    let mut ann = client(&there, "user=ann").await;
    for (text, parent) in [("log", "4bf92f3577b34da6a3ce929d0e0e4736"), ("pipe", "0af7651916cd43dd8448eb211c80319c")] {
        let parent = format!("00-{parent}-00f067aa0ba902b7-01");
        let event = note(text).with_trace(TraceContext::parse(&parent, None).expect("a trace"));
        let event = if text == "pipe" { event.as_volatile() } else { event };
        here.provider.broadcast().to_user("ann", event).await.expect("sent");
        let received = in_time("a note", ann.next_of("note")).await.expect("a note");
        assert_eq!((received.json::<String>().as_str(), received.traceparent), (text, Some(parent)));
    }
}

/// Checks that the explanation of an event has its outcome for the connections of all nodes, open
/// and ended.
pub async fn explanation_comes_from_all_nodes<B: BrokerUnderTest>() {
    let server = B::start().await;
    let [(here, log), (there, _)] = [node_with_log(&server).await, node_with_log(&server).await];
    let mut open = client(&here, "user=ann").await;
    drop(client(&there, "user=ann").await);
    let connections = || there.provider.connections(&Target::user("ann")).len();
    eventually("the end of a connection", || connections() == 0).await;
    let sent = here.provider.broadcast().to_user("ann", note("one")).await.expect("sent");
    notes(&mut open, 1).await;
    let explanation = in_time("an explanation", log.explain(sent.id, "ann", None)).await.expect("an explanation");
    let fates: Vec<_> = explanation.connections.iter().map(|known| (known.node, known.fate.clone())).collect();
    let ended = Fate::NotMatched { why: Mismatch::EndedBefore };
    assert!(fates.len() == 2 && explanation.unknown.is_empty(), "{explanation}");
    let of_node =
        |is_here: bool| fates.iter().find(|(node, _)| (*node == log.node().id) == is_here).map(|(_, fate)| fate);
    assert_eq!((of_node(true), of_node(false)), (Some(&Fate::Written), Some(&ended)), "{explanation}");
    assert_eq!(explanation.published.map(|published| Some(published.position)), Some(sent.position));
}

/// A cursor of a node that is gone is valid at another, and at one that starts later.
pub async fn client_resumes_at_another_node<B: BrokerUnderTest>() {
    let server = B::start().await;
    let [one, two] = two_nodes(&server).await;
    let mut ann = client(&one, "user=ann").await;
    let broadcast = two.provider.broadcast();
    two.provider.rooms().expect("rooms").join_room("ann", "board").await.expect("joined");
    broadcast.to_room("board", note("1")).await.expect("sent");
    let cursor = in_time("a note", ann.next_of("note")).await.expect("a note").id.expect("a cursor");
    drop(ann);
    broadcast.to_room("board", note("2")).await.expect("sent");
    drop(one);
    let later = node(&server).await;
    for node in [&two, &later] {
        let mut ann = WsClient::new(node.websocket_url(&format!("/ws?user=ann&lastEventId={cursor}")));
        let connected = in_time("a connection", ann.next_of("connected")).await.expect("a connection");
        assert_eq!(connected.payload["resumed"], true, "{connected:?}");
        assert_eq!(notes(&mut ann, 1).await, ["2"]);
    }
}

/// A join at one node has effect at another, and its directory has the connections of all.
pub async fn rooms_and_presence_are_those_of_all_nodes<B: BrokerUnderTest>() {
    let server = B::start().await;
    let nodes = two_nodes(&server).await;
    let mut ann = client(&nodes[1], "user=ann&tenant=acme").await;
    let here = nodes[0].provider.broadcast();
    let rooms = nodes[0].provider.rooms().expect("rooms");
    rooms.join_room("ann", "board").await.expect("joined");
    here.to_room("board", note("1")).await.expect("sent");
    rooms.leave_room("ann", "board").await.expect("left");
    here.to_room("board", note("not for ann")).await.expect("sent");
    here.to_user("ann", note("2")).await.expect("sent");
    assert_eq!(notes(&mut ann, 2).await, ["1", "2"]);
    let directory = B::directory(&connect(&server).await);
    until_online(&directory, 1).await;
    let acme = directory.count(&OnlineIn::Tenant("acme".to_owned())).await.expect("an answer");
    assert_eq!(acme.connections, 1);
    ann.close().await.expect("closed");
    until_online(&directory, 0).await;
}

/// A client gets all that was sent around a kill, once and in order.
pub async fn clients_miss_nothing_of_a_killed_server<B: BrokerUnderTest>() {
    let mut server = B::start_synced().await;
    let nodes = two_nodes(&server).await;
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
    send_until_ok(&nodes[0], "end").await;
    let seen = notes_until_end(&mut there).await;
    let expected: Vec<_> = seen.iter().filter(|text| !unknown.contains(text)).cloned().collect();
    assert_eq!(expected, answered, "unknown: {unknown:?}");
    assert!(answered.len() > 100, "expected sends that succeed after the restart");
}

/// Sends to a suspended server fail in time, and a client gets what was sent before and after.
pub async fn clients_miss_nothing_of_a_suspended_server<B: BrokerUnderTest>() {
    let server = B::start().await;
    let nodes = two_nodes(&server).await;
    let mut there = client(&nodes[1], "user=ann").await;
    let broadcast = nodes[0].provider.broadcast();
    broadcast.to_user("ann", note("before")).await.expect("sent");
    server.suspend();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        let sent = Instant::now();
        broadcast.to_user("ann", note("during")).await.expect_err("no answer");
        assert!(sent.elapsed() < Duration::from_millis(2_200), "{:?}", sent.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.resume();
    send_until_ok(&nodes[0], "end").await;
    let seen = notes_until_end(&mut there).await;
    // The sends with an unknown outcome are there once each, or not at all.
    assert_eq!(seen[0], "before");
    assert!(seen[1..].iter().all(|text| text == "during"), "{seen:?}");
}

/// A wiped log makes clients start again, at all nodes.
pub async fn clients_are_told_when_the_log_is_wiped<B: BrokerUnderTest>() {
    let mut server = B::start().await;
    let nodes = two_nodes(&server).await;
    let mut ann = client(&nodes[1], "user=ann").await;
    nodes[0].provider.broadcast().to_user("ann", note("1")).await.expect("sent");
    assert_eq!(notes(&mut ann, 1).await, ["1"]);
    server.wipe().await;
    let connected = in_time("a new connection", ann.next_of("connected")).await.expect("a connection");
    assert_eq!(connected.payload["resumed"], false, "{connected:?}");
    assert_eq!(connected.payload["reason"], "epoch", "{connected:?}");
    for (n, node) in nodes.iter().enumerate() {
        send_until_ok(node, &n.to_string()).await;
    }
    assert_eq!(notes(&mut ann, 2).await, ["0", "1"]);
}
