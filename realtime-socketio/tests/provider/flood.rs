//! Floods: packets before a connection, and CONNECTs under way.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use realtime_core::{Authenticator, CloseReason, ConnectRequest, Identity, RealtimeProvider, Refusal};
use realtime_http::{HttpProvider, serve};
use realtime_socketio::{DirectAdapter, SocketIoConfig, SocketIoProvider};
use realtime_testkit::conformance::{HookLog, VisitorAuthenticator};
use serde_json::Value;
use socketioxide::extract::SocketRef;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame as Raw,
    coding::{Data, OpCode},
};

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, runtime, soon, until};

/// A `connect_timeout` that passes in a test, and leaves a loaded machine time for the steps within
/// it.
const BRIEF: Duration = Duration::from_secs(2);

/// Authenticator that counts its calls, and may wait to be released.
#[derive(Clone, Default)]
struct CountingAuthenticator {
    calls: Arc<AtomicUsize>,
    /// Number of calls under way.
    busy: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Notify>,
    /// `true` if each call waits to be released.
    waits: bool,
}

struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Authenticator for CountingAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        self.calls.fetch_add(1, SeqCst);
        self.busy.fetch_add(1, SeqCst);
        let _busy = Busy(Arc::clone(&self.busy));
        if self.waits {
            self.release.notified().await;
        }
        VisitorAuthenticator.authenticate(request).await
    }
}

async fn start_with(config: SocketIoConfig, authenticator: &CountingAuthenticator) -> Server {
    let provider = Arc::new(SocketIoProvider::new(config));
    let hooks = HookLog::default();
    provider.attach(runtime(&hooks).with_authenticator(authenticator.clone())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Arc::clone(&provider).router();
    Server::of(address, provider, hooks, tokio::spawn(serve(listener, router).into_future()))
}

/// Sends these packets together. Returns on long polling the response's status and text, on a
/// websocket the close frame's code and reason.
async fn send_and_close(client: &mut Client, packets: &[String]) -> (u16, String) {
    match &mut client.wire {
        Wire::Polling(polling) => {
            let sent = polling.http.post(&polling.url).body(packets.join("\u{1e}")).send();
            let response = soon("a response", sent).await.unwrap();
            (response.status().as_u16(), soon("its text", response.text()).await.unwrap())
        }
        Wire::Websocket(websocket) => {
            websocket.send(packets.iter().cloned().map(Packet::Text).collect()).await;
            soon("a close frame", async {
                use futures_util::StreamExt;
                loop {
                    match websocket.0.next().await {
                        Some(Ok(Frame::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                        Some(Ok(Frame::Close(None))) | Some(Err(_)) | None => return (0, String::new()),
                        Some(Ok(_)) => {}
                    }
                }
            })
            .await
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
            let authenticator = CountingAuthenticator::default();
            let server = start_with(SocketIoConfig::default(), &authenticator).await;
            let mut client = server.open(transport).await;
            let closed = send_and_close(&mut client, packets).await;
            assert!(is_flood(transport, &closed), "{transport:?} {case}: {closed:?}");
            assert!(authenticator.calls.load(SeqCst) <= 16);
            until("the end of its authenticators", || authenticator.busy.load(SeqCst) == 0).await;
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
    let authenticator = CountingAuthenticator { waits: true, ..CountingAuthenticator::default() };
    let server = start_with(SocketIoConfig::default(), &authenticator).await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        // Like a client whose page disconnects and connects it again before it has an answer.
        for _ in 0..3 {
            client.send("40{\"user\":\"ann\"}").await;
        }
        until("the authenticator", || authenticator.busy.load(SeqCst) == 1).await;
        authenticator.release.notify_one();
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
    }
    assert_eq!(authenticator.calls.load(SeqCst), 2);
}

/// The packets are sent in the smallest possible frames and segments.
#[tokio::test]
async fn flood_in_fragments_is_detected() {
    let authenticator = CountingAuthenticator::default();
    let server = start_with(SocketIoConfig::default(), &authenticator).await;
    let mut client = server.open(Transport::Websocket).await;
    let Wire::Websocket(websocket) = &mut client.wire else { unreachable!() };
    for _ in 0..1000 {
        use futures_util::SinkExt;
        for (payload, opcode, last) in
            [("", Data::Text, false), ("4", Data::Continue, false), ("0", Data::Continue, false)].into_iter().chain([(
                "",
                Data::Continue,
                true,
            )])
        {
            let mut frame = Raw::message(payload.as_bytes().to_vec(), OpCode::Data(opcode), last);
            frame.header_mut().mask = Some([1, 2, 3, 4]);
            let _ = websocket.0.send(Frame::Frame(frame)).await;
        }
    }
    client.closed().await;
    assert!(authenticator.calls.load(SeqCst) <= 16);
    assert_eq!(server.stats().refused.get("flood"), Some(&1));
}

#[tokio::test]
async fn authenticators_are_dropped_with_their_session() {
    let authenticator = CountingAuthenticator { waits: true, ..CountingAuthenticator::default() };
    let config = SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300));
    let server = start_with(config, &authenticator).await;
    for transport in TRANSPORTS {
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = server.open(transport).await;
            client.send("40{\"user\":\"ann\"}").await;
            clients.push(client);
        }
        until("all authenticators", || authenticator.busy.load(SeqCst) == 50).await;
        for client in &mut clients {
            // Clients on long polling send a close packet; the others drop their connection.
            if transport == Transport::Polling {
                client.send("1").await;
            }
        }
        drop(clients);
        until("their end", || authenticator.busy.load(SeqCst) == 0).await;
    }
    // The same with `connect_timeout`, when the client sends nothing.
    let server = start_with(SocketIoConfig::default().with_connect_timeout(BRIEF), &authenticator).await;
    let mut client = server.open(Transport::Polling).await;
    client.send("40{\"user\":\"ann\"}").await;
    until("the authenticator", || authenticator.busy.load(SeqCst) == 1).await;
    until("its end", || authenticator.busy.load(SeqCst) == 0).await;
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
                        match soon("a packet", polling.next()).await.unwrap() {
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
