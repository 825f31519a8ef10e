//! Floods: packets before a connection, and CONNECTs under way.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use realtime_core::{Authenticator, CloseReason, ConnectRequest, Identity, Refusal};
use realtime_socketio::{DirectAdapter, SocketIoConfig};
use realtime_testkit::PendingAuthenticator;
use realtime_testkit::conformance::VisitorAuthenticator;
use serde_json::Value;
use socketioxide::extract::SocketRef;
use tokio::sync::Semaphore;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, eventually, in_time};

/// A `connect_timeout` that passes in a test, and leaves a loaded machine time for the steps within
/// it.
const BRIEF: Duration = Duration::from_secs(2);

/// Authenticator that counts its calls, each of which waits for a permit.
#[derive(Clone)]
struct CountingAuthenticator {
    calls: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl CountingAuthenticator {
    fn new(permits: usize) -> Self {
        Self { calls: Arc::default(), gate: Arc::new(Semaphore::new(permits)) }
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

#[async_trait]
impl Authenticator for CountingAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        self.calls.fetch_add(1, SeqCst);
        self.gate.acquire().await.unwrap().forget();
        VisitorAuthenticator.authenticate(request).await
    }
}

/// Sends these packets together. Returns on long polling the response's status and text, on a
/// websocket the close frame's code and reason.
async fn send_and_close(client: &mut Client, packets: &[String]) -> (u16, String) {
    match &mut client.wire {
        Wire::Polling(polling) => {
            let sent = polling.http.post(&polling.url).body(packets.join("\u{1e}")).send();
            let response = in_time("a response", sent).await.unwrap();
            (response.status().as_u16(), in_time("its text", response.text()).await.unwrap())
        }
        Wire::Websocket(websocket) => {
            websocket.send(packets.iter().cloned().map(Packet::Text).collect()).await;
            websocket.close_frame().await
        }
    }
}

fn is_flood(transport: Transport, closed: &(u16, String)) -> bool {
    match transport {
        Transport::Polling => {
            let body: Value = serde_json::from_str(&closed.1).unwrap_or_default();
            closed.0 == 400 && body["error"]["code"] == "flood" && body["error"]["message"].is_string()
        }
        Transport::Websocket => *closed == (1008, "flood".to_owned()),
    }
}

fn many(packet: &str, count: usize) -> Vec<String> {
    vec![packet.to_owned(); count]
}

#[tokio::test]
async fn flood_before_connection_closes_the_session() {
    // No CONNECT is accepted: the session is never connected.
    let cases = [
        many("40{\"user\":\"mallory\"}", 20_000),
        many("3", 20_000),
        vec![format!("40{{\"user\":\"{}\"}}", "x".repeat(17 * 1024))],
        vec![format!("40/{},", "x".repeat(300))],
    ];
    for transport in TRANSPORTS {
        for (case, packets) in cases.iter().enumerate() {
            let authenticator = CountingAuthenticator::new(1000);
            let server = Setup::default().with_authenticator(authenticator.clone()).start().await;
            let mut client = server.open(transport).await;
            let closed = send_and_close(&mut client, packets).await;
            assert!(is_flood(transport, &closed), "{transport:?} {case}: {closed:?}");
            assert!(authenticator.calls() <= 16);
            assert_eq!(server.stats().refused.get("flood"), Some(&1), "{transport:?} {case}");
            client.closed().await;
            // Other clients are not affected.
            server.client(transport, "ann").await;
        }
    }
}

#[tokio::test]
async fn flood_after_connection_closes_the_connection() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let closed = send_and_close(&mut client, &many("40", 20_000)).await;
        assert!(is_flood(transport, &closed), "{transport:?}: {closed:?}");
        assert_eq!(server.ended(id).await, CloseReason::POLICY);
    }
    assert_eq!(server.stats().refused.get("flood"), Some(&2));
}

/// The CONNECTs are answered one after the other, so that few answers wait for the client.
#[tokio::test]
async fn connects_are_read_no_faster_than_they_are_answered() {
    let names = |count| (0..count).map(|n| format!("40/{n}{},", "x".repeat(200))).collect::<Vec<_>>();
    let server = Server::start().await;
    let mut client = server.open(Transport::Websocket).await;
    let flood = send_and_close(&mut client, &names(20_000)).await;
    assert!(is_flood(Transport::Websocket, &flood), "{flood:?}");
    // No GET takes the answers: the session ends with `connect_timeout`.
    let short = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    let mut client = short.open(Transport::Polling).await;
    let (status, body) = send_and_close(&mut client, &names(4000)).await;
    assert!(status == 400 && body.starts_with("{\"error\":{\"code\":\"bad_request\""), "{status} {body}");
    client.closed().await;
    // The same after a connection.
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    let Wire::Polling(polling) = &mut client.wire else { unreachable!() };
    let post = polling.http.post(&polling.url).body(names(4000).join("\u{1e}"));
    let mut post = std::pin::pin!(post.send());
    let mut answered = 0;
    loop {
        tokio::select! {
            biased;
            posted = &mut post => break assert_eq!(posted.unwrap().status(), StatusCode::OK),
            got = polling.get() => {
                got.unwrap();
                let now = polling.take().len();
                // The answers to CONNECTs under way, and a ping.
                assert!(now <= 5, "{now}");
                answered += now;
            }
        }
    }
    assert!(answered >= 3990, "{answered}");
}

#[tokio::test]
async fn few_repeated_connects_are_accepted() {
    let authenticator = CountingAuthenticator::new(0);
    let server = Setup::default().with_authenticator(authenticator.clone()).start().await;
    for (transport, count) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = server.open(transport).await;
        // Like a client whose page disconnects and connects it again before it has an answer.
        for _ in 0..3 {
            client.send("40{\"user\":\"ann\"}").await;
        }
        eventually("the authenticator", || authenticator.calls() == count).await;
        authenticator.gate.add_permits(1);
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
    }
    assert_eq!(authenticator.calls(), 2);
}

/// The packets are sent in the smallest possible frames and segments.
#[tokio::test]
async fn flood_in_fragments_is_detected() {
    let authenticator = CountingAuthenticator::new(1000);
    let server = Setup::default().with_authenticator(authenticator.clone()).start().await;
    let mut client = server.open(Transport::Websocket).await;
    let Wire::Websocket(websocket) = &mut client.wire else { unreachable!() };
    for _ in 0..1000 {
        let _ = websocket.send_parts(&[b"", b"4", b"0", b""]).await;
    }
    client.closed().await;
    assert!(authenticator.calls() <= 16);
    assert_eq!(server.stats().refused.get("flood"), Some(&1));
}

#[tokio::test]
async fn authenticators_are_dropped_with_their_session() {
    let authenticator = PendingAuthenticator::default();
    let start = async |connect_timeout| {
        let config = SocketIoConfig::default().with_connect_timeout(connect_timeout);
        Setup::from(config).with_authenticator(authenticator.clone()).start().await
    };
    let server = start(Duration::from_secs(300)).await;
    for transport in TRANSPORTS {
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = server.open(transport).await;
            client.send("40{\"user\":\"ann\"}").await;
            clients.push(client);
        }
        eventually("all authenticators", || authenticator.in_progress() == 50).await;
        for client in &mut clients {
            // Clients on long polling send a close packet; the others drop their connection.
            if transport == Transport::Polling {
                client.send("1").await;
            }
        }
        drop(clients);
        eventually("their end", || authenticator.in_progress() == 0).await;
    }
    // The same with `connect_timeout`, when the client sends nothing.
    let server = start(BRIEF).await;
    let mut client = server.open(Transport::Polling).await;
    client.send("40{\"user\":\"ann\"}").await;
    eventually("the authenticator", || authenticator.in_progress() == 1).await;
    eventually("its end", || authenticator.in_progress() == 0).await;
}

#[tokio::test]
async fn at_most_four_connects_are_under_way() {
    let server = Server::start().await;
    let busy = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    for n in 0..12 {
        let (busy, most) = (Arc::clone(&busy), Arc::clone(&most));
        let middleware = async move |_: SocketRef<DirectAdapter>| {
            most.fetch_max(busy.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            busy.fetch_sub(1, SeqCst);
            Ok::<(), std::convert::Infallible>(())
        };
        use socketioxide::handler::ConnectHandler;
        let handler = async |_: SocketRef<DirectAdapter>| {};
        server.provider.io().ns(format!("/own{n}"), handler.with(middleware));
    }
    for transport in TRANSPORTS {
        most.store(0, SeqCst);
        let mut client = server.open(transport).await;
        let all = (0..12).map(|n| Packet::Text(format!("40/own{n},"))).collect();
        let mut connected = match client.wire {
            Wire::Websocket(_) => {
                client.send_all(all).await;
                Vec::new()
            }
            // A client on long polling sends GETs during its POST.
            Wire::Polling(ref mut polling) => {
                let body = (0..12).map(|n| format!("40/own{n},")).collect::<Vec<_>>().join("\u{1e}");
                let post = polling.http.post(&polling.url).body(body).send();
                let mut answers = Vec::new();
                let (posted, ()) = tokio::join!(post, async {
                    while answers.len() < 12 {
                        match in_time("a packet", polling.next()).await.unwrap() {
                            Packet::Text(text) if text.starts_with("40/own") => answers.push(text),
                            _ => {}
                        }
                    }
                });
                assert_eq!(posted.unwrap().status(), StatusCode::OK);
                answers
            }
        };
        while connected.len() < 12 {
            let message = client.message().await;
            assert_eq!(message.kind, 0);
            connected.push(message.namespace);
        }
        assert!(most.load(SeqCst) <= 4, "{} at a time", most.load(SeqCst));
    }
}
