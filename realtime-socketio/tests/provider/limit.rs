//! At a user's limit: dead connections make room, and who comes waits for a place, and comes back by itself when that was
//! in vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use realtime_core::{CloseReason, ConnectionId, Context, Handlers, Limits, RealtimeProvider, Reply, Target};
use realtime_socketio::SocketIoConfig;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, soon, until};

const MESSAGE: &str = "this user has too many connections";

/// A `connect_timeout` that passes in a test.
const BRIEF: Duration = Duration::from_secs(1);

async fn limited(places: usize, connect_timeout: Duration) -> Server {
    let limits = Limits::default().with_connections_per_user(places);
    Setup::from(SocketIoConfig::default().with_limits(limits).with_connect_timeout(connect_timeout)).start().await
}

/// A client that reads, and so answers whatever asks whether it is there, until its session ends.
struct Lively {
    id: ConnectionId,
    reading: JoinHandle<()>,
}

impl Lively {
    async fn connect(server: &Server, transport: Transport, user: &str) -> Self {
        let (mut client, id) = server.client(transport, user).await;
        Self { id, reading: tokio::spawn(async move { while client.next().await.is_ok() {} }) }
    }

    async fn leave(self, server: &Server) {
        assert_eq!(server.provider.close(Target::connection(self.id), CloseReason::KICKED).await.unwrap(), 1);
        soon("the end", self.reading).await.unwrap();
    }
}

/// A session whose CONNECT as ann has been looked at.
async fn knocking(server: &Server, transport: Transport) -> Client {
    let mut client = server.open(transport).await;
    let packets = ["40{\"user\":\"ann\"}", "40/none,"].map(|text| Packet::Text(text.to_owned()));
    client.send_all(packets.into()).await;
    // Answered by whoever reads both, so the first one has had its turn when this is read.
    let answer = client.message().await;
    assert_eq!((answer.namespace.as_str(), &answer.data["message"]), ("/none", &json!("Invalid namespace")));
    client
}

#[tokio::test]
async fn as_many_as_have_places_wait_for_the_next_free_ones() {
    for transport in TRANSPORTS {
        let server = limited(2, Duration::from_secs(3600)).await;
        let mut inside = Vec::new();
        for transport in TRANSPORTS {
            inside.push(Lively::connect(&server, transport, "ann").await);
        }
        let mut waiting = Vec::new();
        for _ in 0..2 {
            waiting.push(knocking(&server, transport).await);
        }
        assert_eq!(server.stats().refused.get("user_limit"), None);
        let mut refused = knocking(&server, transport).await;
        assert_eq!(refused.answered().await, Err(format!("user_limit: {MESSAGE}")));
        // Others are not concerned, and who was refused may try again in the same session.
        assert!(refused.connect("/", &json!({"user": "bob"})).await.is_ok());
        for (inside, mut waiting) in inside.into_iter().zip(waiting) {
            inside.leave(&server).await;
            waiting.answered().await.expect("let in");
            waiting.event("connected").await;
            tokio::spawn(async move { while waiting.next().await.is_ok() {} });
        }
        assert_eq!((server.stats().connections, server.stats().refused["user_limit"]), (3, 1));
    }
}

/// After `connect_error` a client would not come back by itself.
#[tokio::test]
async fn who_has_waited_in_vain_is_told_by_an_event_and_its_session_ends() {
    for transport in TRANSPORTS {
        let server = limited(1, BRIEF).await;
        let inside = Lively::connect(&server, Transport::Websocket, "ann").await;
        let begun = Instant::now();
        let mut late = knocking(&server, transport).await;
        let Ok(Packet::Text(error)) = soon("an event", late.next_packet()).await else { panic!("no event") };
        assert_eq!(error, format!(r#"42["error",{{"code":"user_limit","message":"{MESSAGE}"}}]"#));
        match &mut late.wire {
            Wire::Polling(_) => assert_eq!(late.next_packet().await, Ok(Packet::Text("1".to_owned()))),
            Wire::Websocket(websocket) => {
                let Some(Ok(Frame::Close(Some(frame)))) = soon("the end", websocket.0.next()).await else {
                    panic!("no close frame");
                };
                assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1013, "user_limit"));
            }
        }
        assert!(begun.elapsed() >= BRIEF, "{:?}", begun.elapsed());
        late.closed().await;
        assert_eq!((server.stats().refused["user_limit"], server.stats().connections), (1, 1));
        // It comes back, and when there is a place it gets that.
        let mut back = knocking(&server, transport).await;
        inside.leave(&server).await;
        back.answered().await.expect("let in");
    }
}

#[tokio::test]
async fn who_waits_is_none_of_the_sessions_without_a_connection() {
    let limits = Limits::default().with_connections_per_user(1);
    let config = SocketIoConfig::default().with_limits(limits).with_unconnected_sessions(3usize);
    let server = Setup::from(config).start().await;
    let inside = Lively::connect(&server, Transport::Websocket, "ann").await;
    let mut waiting = knocking(&server, Transport::Websocket).await;
    let mut older = server.open(Transport::Websocket).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(server.open(Transport::Websocket).await);
    }
    older.closed().await;
    inside.leave(&server).await;
    waiting.answered().await.expect("let in");
}

#[tokio::test]
async fn whoever_leaves_while_it_waits_gives_its_turn_to_the_next() {
    let server = limited(1, Duration::from_secs(3600)).await;
    for transport in TRANSPORTS {
        let inside = Lively::connect(&server, transport, "ann").await;
        let mut first = knocking(&server, Transport::Websocket).await;
        let mut refused = knocking(&server, Transport::Websocket).await;
        assert!(refused.answered().await.is_err(), "one waits");
        first.send("1").await;
        first.closed().await;
        let mut next = knocking(&server, transport).await;
        inside.leave(&server).await;
        next.answered().await.expect("let in");
        next.event("connected").await;
        next.send("41").await;
        until("its end", || server.stats().connections == 0).await;
    }
}

/// Six tabs whose network is gone, and the same six again.
#[tokio::test]
async fn dead_connections_of_a_user_make_room_for_it() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let mut dead = Vec::new();
        for n in 0..6 {
            let (client, id) = server.client(transport, "ann").await;
            // It does not matter how they came there.
            let client = if transport == Transport::Polling && n % 2 == 0 { client.upgrade().await } else { client };
            dead.push((client, id));
        }
        let mut alive = Vec::new();
        for transport in TRANSPORTS {
            alive.push(Lively::connect(&server, transport, "ann").await);
        }
        let begun = Instant::now();
        for _ in 0..6 {
            alive.push(Lively::connect(&server, transport, "ann").await);
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        for (_, id) in &dead {
            assert_eq!(server.ended(*id).await, CloseReason::HEARTBEAT);
        }
        assert!(alive.iter().all(|client| !client.reading.is_finished()));
        let stats = server.stats();
        assert_eq!((stats.connections, stats.closed[&4002], stats.refused.len()), (8, 6, 0));
        for (client, _) in &mut dead {
            if let Wire::Websocket(websocket) = &mut client.wire {
                // Others than it may have come before.
                let end = soon("the end", async {
                    loop {
                        match websocket.0.next().await {
                            Some(Ok(Frame::Close(frame))) => return frame,
                            Some(Ok(_)) => {}
                            end => panic!("no close frame: {end:?}"),
                        }
                    }
                });
                assert_eq!(end.await.map(|frame| u16::from(frame.code)), Some(4002));
            }
        }
    }
}

/// One round after the other, while it has more to send than its handlers take.
#[tokio::test]
async fn a_client_that_waits_for_its_handlers_is_not_taken_for_dead() {
    for transport in TRANSPORTS {
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let limits = Limits::default().with_connections_per_user(1);
        let config = SocketIoConfig::default().with_limits(limits).with_connect_timeout(Duration::from_secs(3));
        let setup = Setup::from(config).with_handlers(move |provider| {
            provider.on("slow", move |_: Context, n: u64| {
                let gate = Arc::clone(&opened);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Reply(n)
                }
            })
        });
        let server = setup.start().await;
        let (mut busy, id) = server.client(transport, "ann").await;
        let sending = match &mut busy.wire {
            Wire::Polling(polling) => {
                let events = (0..200).map(|n| format!("42{n}[\"slow\",{n}]")).collect::<Vec<_>>().join("\u{1e}");
                let post = polling.http.post(&polling.url).body(events).send();
                Some(tokio::spawn(async move { assert!(post.await.unwrap().status().is_success()) }))
            }
            Wire::Websocket(_) => {
                busy.send_all((0..200).map(|n| Packet::Text(format!("42{n}[\"slow\",{n}]"))).collect()).await;
                None
            }
        };
        // Engine.IO's pings stay unanswered: that would be a second POST beside the one that waits.
        let reading = tokio::spawn(async move {
            let mut acks = Vec::new();
            while acks.len() < 200 {
                let packet = match &mut busy.wire {
                    Wire::Polling(polling) => polling.next().await,
                    Wire::Websocket(websocket) => websocket.next().await,
                };
                match packet.expect("the session goes on") {
                    Packet::Text(text) if text.starts_with("43") => acks.push(text),
                    _ => {}
                }
            }
            acks
        });
        let mut late = knocking(&server, Transport::Websocket).await;
        assert!(late.answered().await.unwrap_err().starts_with("user_limit: "));
        assert_eq!(server.hooks.of(id).len(), 1, "it is still there");
        gate.add_permits(200);
        let expected: Vec<_> = (0..200).map(|n| format!("43{n}[{n}]")).collect();
        assert_eq!(soon("all answers", reading).await.unwrap(), expected);
        if let Some(sending) = sending {
            sending.await.unwrap();
        }
    }
}
