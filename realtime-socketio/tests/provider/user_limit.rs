//! The limit of connections per user: dead connections free their slots, a new connection waits for
//! a slot, and its client reconnects by itself when none becomes free.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_core::{CloseReason, ConnectionId, Limits, RealtimeProvider, Target};
use realtime_socketio::SocketIoConfig;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::TRANSPORTS;
use crate::heartbeat::{EVENTS, send_slow, slow_acks};
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, in_time, on_slow};

const MESSAGE: &str = "this user has too many connections";

/// A `connect_timeout` that passes in a test.
const BRIEF: Duration = Duration::from_secs(1);

async fn limited(slots: usize, connect_timeout: Duration) -> Server {
    let limits = Limits::default().with_connections_per_user(slots);
    Setup::from(SocketIoConfig::default().with_limits(limits).with_connect_timeout(connect_timeout)).start().await
}

/// A client that reads, and so gives signs of life, until its session ends.
struct ReadingClient {
    id: ConnectionId,
    reading: JoinHandle<()>,
}

impl ReadingClient {
    async fn connect(server: &Server, transport: Transport, user: &str) -> Self {
        let (mut client, id) = server.client(transport, user).await;
        Self { id, reading: tokio::spawn(async move { while client.next().await.is_ok() {} }) }
    }

    async fn leave(self, server: &Server) {
        assert_eq!(server.provider.close(Target::connection(self.id), CloseReason::KICKED).await.unwrap(), 1);
        in_time("the close", self.reading).await.unwrap();
    }
}

/// Opens a session and sends a CONNECT as ann, which has been read when this returns.
async fn send_connect(server: &Server, transport: Transport) -> Client {
    let mut client = server.open(transport).await;
    let packets = ["40{\"user\":\"ann\"}", "40/none,"].map(|text| Packet::Text(text.to_owned()));
    client.send_all(packets.into()).await;
    // The CONNECTs are read in order, so the first one was read when the second one is answered.
    let answer = client.message().await;
    assert_eq!((answer.namespace.as_str(), &answer.data["message"]), ("/none", &json!("Invalid namespace")));
    client
}

#[tokio::test]
async fn connects_at_user_limit_wait_for_free_slots() {
    for transport in TRANSPORTS {
        let server = limited(2, Duration::from_secs(3600)).await;
        let mut inside = Vec::new();
        for transport in TRANSPORTS {
            inside.push(ReadingClient::connect(&server, transport, "ann").await);
        }
        let mut waiting = Vec::new();
        for _ in 0..2 {
            waiting.push(send_connect(&server, transport).await);
        }
        assert_eq!(server.stats().refused.get("user_limit"), None);
        let mut refused = send_connect(&server, transport).await;
        assert_eq!(refused.answered().await, Err(format!("user_limit: {MESSAGE}")));
        // Other users are not affected, and the refused client may try again in the same session.
        assert!(refused.connect("/", &json!({"user": "bob"})).await.is_ok());
        for (inside, mut waiting) in inside.into_iter().zip(waiting) {
            inside.leave(&server).await;
            waiting.answered().await.expect("accepted");
            waiting.event("connected").await;
            tokio::spawn(async move { while waiting.next().await.is_ok() {} });
        }
        assert_eq!((server.stats().connections, server.stats().refused["user_limit"]), (3, 1));
    }
}

/// After `connect_error` a client would not reconnect by itself.
#[tokio::test]
async fn waiting_connect_times_out_with_event_and_close() {
    for transport in TRANSPORTS {
        let server = limited(1, BRIEF).await;
        let inside = ReadingClient::connect(&server, Transport::Websocket, "ann").await;
        let start = Instant::now();
        let mut late = send_connect(&server, transport).await;
        let Ok(Packet::Text(error)) = in_time("an event", late.next_packet()).await else { panic!("no event") };
        assert_eq!(error, format!(r#"42["error",{{"code":"user_limit","message":"{MESSAGE}"}}]"#));
        match &mut late.wire {
            Wire::Polling(_) => assert_eq!(late.next_packet().await, Ok(Packet::Text("1".to_owned()))),
            Wire::Websocket(websocket) => {
                assert_eq!(websocket.close_frame().await, (1013, "user_limit".to_owned()));
            }
        }
        assert!(start.elapsed() >= BRIEF, "{:?}", start.elapsed());
        late.closed().await;
        assert_eq!((server.stats().refused["user_limit"], server.stats().connections), (1, 1));
        // The client reconnects, and gets the next free slot.
        let mut back = send_connect(&server, transport).await;
        inside.leave(&server).await;
        back.answered().await.expect("accepted");
    }
}

#[tokio::test]
async fn waiting_session_does_not_count_as_unconnected() {
    let limits = Limits::default().with_connections_per_user(1);
    let config = SocketIoConfig::default().with_limits(limits).with_unconnected_sessions(3usize);
    let server = Setup::from(config).start().await;
    let inside = ReadingClient::connect(&server, Transport::Websocket, "ann").await;
    let mut waiting = send_connect(&server, Transport::Websocket).await;
    let mut older = server.open(Transport::Websocket).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(server.open(Transport::Websocket).await);
    }
    older.closed().await;
    inside.leave(&server).await;
    waiting.answered().await.expect("accepted");
}

#[tokio::test]
async fn waiting_client_that_leaves_frees_its_queue_slot() {
    let server = limited(1, Duration::from_secs(3600)).await;
    for transport in TRANSPORTS {
        let inside = ReadingClient::connect(&server, transport, "ann").await;
        let mut first = send_connect(&server, Transport::Websocket).await;
        let mut refused = send_connect(&server, Transport::Websocket).await;
        assert!(refused.answered().await.is_err(), "one waits");
        first.send("1").await;
        first.closed().await;
        let mut next = send_connect(&server, transport).await;
        inside.leave(&server).await;
        next.answered().await.expect("accepted");
        next.event("connected").await;
        next.send("41").await;
        server.connections(0).await;
    }
}

/// Six tabs whose network has failed, and the same six tabs again.
#[tokio::test]
async fn dead_connections_free_slots_for_the_same_user() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let mut dead = Vec::new();
        for n in 0..6 {
            let (client, id) = server.client(transport, "ann").await;
            // On a websocket by upgrade or from the start, and on long polling.
            let client = if transport == Transport::Polling && n % 2 == 0 { client.upgrade().await } else { client };
            dead.push((client, id));
        }
        let mut alive = Vec::new();
        for transport in TRANSPORTS {
            alive.push(ReadingClient::connect(&server, transport, "ann").await);
        }
        let start = Instant::now();
        for _ in 0..6 {
            alive.push(ReadingClient::connect(&server, transport, "ann").await);
        }
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        for (_, id) in &dead {
            assert_eq!(server.ended(*id).await, CloseReason::HEARTBEAT);
        }
        assert!(alive.iter().all(|client| !client.reading.is_finished()));
        let stats = server.stats();
        assert_eq!((stats.connections, stats.closed[&4002], stats.refused.len()), (8, 6, 0));
        for (client, _) in &mut dead {
            if let Wire::Websocket(websocket) = &mut client.wire {
                // Other packets may have been sent before the close frame.
                assert_eq!(websocket.close_frame().await.0, 4002);
            }
        }
    }
}

/// The client has more to send than its handlers accept, so that it is not read.
#[tokio::test]
async fn client_that_waits_for_handlers_keeps_its_slot() {
    for transport in TRANSPORTS {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let limits = Limits::default().with_connections_per_user(1);
        let config = SocketIoConfig::default().with_limits(limits).with_connect_timeout(Duration::from_secs(3));
        let server = Setup::from(config).with_handlers(move |provider| on_slow(provider, waits)).start().await;
        let (mut busy, id) = server.client(transport, "ann").await;
        let sending = send_slow(&mut busy).await;
        // Engine.IO's pings are not answered: a pong would be a second POST while the first one
        // waits.
        let reading = tokio::spawn(async move {
            let mut acks = Vec::new();
            while acks.len() < EVENTS as usize {
                match busy.wire.next().await.expect("an open session") {
                    Packet::Text(text) if text.starts_with("43") => acks.push(text),
                    _ => {}
                }
            }
            acks
        });
        let mut late = send_connect(&server, Transport::Websocket).await;
        assert!(late.answered().await.unwrap_err().starts_with("user_limit: "));
        assert_eq!(server.hooks.of(id).len(), 1, "still connected");
        gate.add_permits(EVENTS as usize);
        assert_eq!(in_time("all answers", reading).await.unwrap(), slow_acks());
        sending.await.unwrap();
    }
}
