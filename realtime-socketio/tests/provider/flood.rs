//! What strangers can make the server do and keep: packets before a connection, CONNECTs under way, sessions without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::StatusCode;
use realtime_core::{Authenticator, CloseReason, ConnectRequest, Identity, Limits, RealtimeProvider, Refusal};
use realtime_http::{HttpProvider, TrustedProxies, serve};
use realtime_socketio::{DirectAdapter, SocketIoConfig, SocketIoProvider};
use realtime_testkit::conformance::{HookLog, VisitorAuthenticator};
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame as Raw,
    coding::{Data, OpCode},
};

use crate::TRANSPORTS;
use crate::support::{Client, Closed, Packet, Server, Setup, Transport, Websocket, Wire, runtime, soon, until};

/// A `connect_timeout` that passes in a test, and leaves a loaded machine time for what has to be done within it.
const BRIEF: Duration = Duration::from_secs(2);

/// Believes visitors when it is told to, and counts.
#[derive(Clone, Default)]
struct Doorman {
    called: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
    open: Arc<tokio::sync::Notify>,
    slow: bool,
}

struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Authenticator for Doorman {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        self.called.fetch_add(1, SeqCst);
        self.busy.fetch_add(1, SeqCst);
        let _busy = Busy(Arc::clone(&self.busy));
        if self.slow {
            self.open.notified().await;
        }
        VisitorAuthenticator.authenticate(request).await
    }
}

async fn guarded(config: SocketIoConfig, doorman: &Doorman) -> Server {
    let provider = Arc::new(SocketIoProvider::new(config));
    let hooks = HookLog::default();
    provider.attach(runtime(&hooks).with_authenticator(doorman.clone())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Arc::clone(&provider).router();
    Server::of(address, provider, hooks, tokio::spawn(serve(listener, router).into_future()))
}

/// Sends these packets at once: by polling, the answer's status and text; on a websocket, the close frame's code and reason.
async fn told(client: &mut Client, packets: &[String]) -> (u16, String) {
    match &mut client.wire {
        Wire::Polling(polling) => {
            let sent = polling.http.post(&polling.url).body(packets.join("\u{1e}")).send();
            let answer = soon("an answer", sent).await.unwrap();
            (answer.status().as_u16(), soon("its text", answer.text()).await.unwrap())
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

fn is_flood(transport: Transport, told: &(u16, String)) -> bool {
    match transport {
        Transport::Polling => {
            let body: Value = serde_json::from_str(&told.1).unwrap_or_default();
            told.0 == 400 && body["error"]["code"] == "flood" && body["error"]["message"].is_string()
        }
        Transport::Websocket => *told == (1008, "flood".to_owned()),
    }
}

fn many(packet: &str, count: usize) -> Vec<String> {
    vec![packet.to_owned(); count]
}

#[tokio::test]
async fn a_flood_before_a_connection_is_refused_and_ends_the_session() {
    // All refused: the session is never connected.
    let cases = [
        many("40{\"user\":\"mallory\"}", 20_000),
        many("3", 20_000),
        vec![format!("40{{\"user\":\"{}\"}}", "x".repeat(17 * 1024))],
        vec![format!("40/{},", "x".repeat(300))],
    ];
    for transport in TRANSPORTS {
        for (case, packets) in cases.iter().enumerate() {
            let doorman = Doorman::default();
            let server = guarded(SocketIoConfig::default(), &doorman).await;
            let mut client = server.open(transport).await;
            let told = told(&mut client, packets).await;
            assert!(is_flood(transport, &told), "{transport:?} {case}: {told:?}");
            assert!(doorman.called.load(SeqCst) <= 16);
            until("the end of its authenticators", || doorman.busy.load(SeqCst) == 0).await;
            assert_eq!(server.stats().refused.get("flood"), Some(&1), "{transport:?} {case}");
            client.closed().await;
            // Nobody else notices.
            server.client(transport, "ann").await;
        }
    }
}

#[tokio::test]
async fn a_flood_after_a_connection_is_refused_and_ends_it() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let told = told(&mut client, &many("40", 20_000)).await;
        assert!(is_flood(transport, &told), "{transport:?}: {told:?}");
        assert_eq!(server.ended(id).await, CloseReason::POLICY);
    }
    assert_eq!(server.stats().refused.get("flood"), Some(&2));
}

/// One after the other is answered, so that few answers wait for the client.
#[tokio::test]
async fn a_flood_of_names_is_read_no_faster_than_it_is_answered() {
    let names = |count| (0..count).map(|n| format!("40/{n}{},", "x".repeat(200))).collect::<Vec<_>>();
    let server = Server::start().await;
    let mut client = server.open(Transport::Websocket).await;
    let flood = told(&mut client, &names(20_000)).await;
    assert!(is_flood(Transport::Websocket, &flood), "{flood:?}");
    // Nobody takes the answers: it ends with its time.
    let short = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    let mut client = short.open(Transport::Polling).await;
    let (status, body) = told(&mut client, &names(4000)).await;
    assert!(status == 400 && body.starts_with("{\"error\":{\"code\":\"bad_request\""), "{status} {body}");
    client.closed().await;
    // After a connection too.
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
                // Those under way, and a ping.
                assert!(now <= 5, "{now}");
                answered += now;
            }
        }
    }
    assert!(answered >= 3990, "{answered}");
}

#[tokio::test]
async fn repeating_oneself_a_little_is_harmless() {
    let doorman = Doorman { slow: true, ..Doorman::default() };
    let server = guarded(SocketIoConfig::default(), &doorman).await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        // As a client does that is disconnected and connected again by its page before it has an answer.
        for _ in 0..3 {
            client.send("40{\"user\":\"ann\"}").await;
        }
        until("the authenticator", || doorman.busy.load(SeqCst) == 1).await;
        doorman.open.notify_one();
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
    }
    assert_eq!(doorman.called.load(SeqCst), 2);
}

/// Frames and segments as small as they get.
#[tokio::test]
async fn fragments_do_not_hide_a_flood() {
    let doorman = Doorman::default();
    let server = guarded(SocketIoConfig::default(), &doorman).await;
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
    assert!(doorman.called.load(SeqCst) <= 16);
    assert_eq!(server.stats().refused.get("flood"), Some(&1));
}

#[tokio::test]
async fn authenticators_end_with_their_session() {
    let doorman = Doorman { slow: true, ..Doorman::default() };
    let config = SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300));
    let server = guarded(config, &doorman).await;
    for transport in TRANSPORTS {
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = server.open(transport).await;
            client.send("40{\"user\":\"ann\"}").await;
            clients.push(client);
        }
        until("all authenticators", || doorman.busy.load(SeqCst) == 50).await;
        for client in &mut clients {
            // Polling clients say goodbye; the others hang up.
            if transport == Transport::Polling {
                client.send("1").await;
            }
        }
        drop(clients);
        until("their end", || doorman.busy.load(SeqCst) == 0).await;
    }
    // And with `connect_timeout`, when nobody says anything.
    let server = guarded(SocketIoConfig::default().with_connect_timeout(BRIEF), &doorman).await;
    let mut client = server.open(Transport::Polling).await;
    client.send("40{\"user\":\"ann\"}").await;
    until("the authenticator", || doorman.busy.load(SeqCst) == 1).await;
    until("its end", || doorman.busy.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn many_namespaces_are_connected_to_in_turns() {
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
            // A client that polls asks while it posts.
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
        assert!(most.load(SeqCst) <= 4, "{} at once", most.load(SeqCst));
    }
}

async fn opened(
    server: &Server,
    query: &str,
    forwarded: Option<&str>,
) -> Result<(reqwest::Client, String), StatusCode> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling{query}", server.address);
    let mut request = http.get(&url);
    if let Some(address) = forwarded {
        request = request.header("x-forwarded-for", address);
    }
    let answer = soon("an answer", request.send()).await.unwrap();
    if answer.status() != StatusCode::OK {
        return Err(answer.status());
    }
    let text = answer.text().await.unwrap();
    let open: Value = serde_json::from_str(text.strip_prefix('0').unwrap()).unwrap();
    Ok((http, format!("{url}&sid={}", open["sid"].as_str().unwrap())))
}

/// Whether the session still takes packets.
async fn lives((http, url): &(reqwest::Client, String)) -> bool {
    soon("an answer", http.post(url).body("3").send()).await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn sessions_without_a_connection_take_nobodys_place() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300))).start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address);
    for round in 0..30 {
        let opened = join_all((0..100).map(|_| http.get(&url).send())).await;
        for answer in opened {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
        if round % 10 == 9 {
            for transport in TRANSPORTS {
                server.client(transport, "ann").await;
            }
        }
    }
    assert_eq!(server.stats().refused.len(), 0);
}

#[tokio::test]
async fn who_leaves_its_namespace_again_takes_nobodys_place() {
    let config = SocketIoConfig::default()
        .with_limits(Limits::default().with_connections(5))
        .with_unconnected_sessions(20_usize)
        .with_connect_timeout(Duration::from_secs(300));
    let server = Setup::from(config).start().await;
    let mut left = Vec::new();
    for n in 0..60 {
        let transport = TRANSPORTS[n % 2];
        let (mut client, id) = server.client(transport, "bob").await;
        client.send("41").await;
        server.ended(id).await;
        left.push(client);
    }
    // The bound holds for them.
    for client in &mut left[..40] {
        client.closed().await;
    }
    for transport in TRANSPORTS {
        server.client(transport, "ann").await;
    }
    // The youngest of them are still there and may connect again.
    let youngest = left.last_mut().unwrap();
    youngest.connect("/", &json!({"user": "bob"})).await.expect("let in");
    assert_eq!(server.stats().refused.len(), 0);
}

#[tokio::test]
async fn a_session_ends_some_time_after_it_was_left() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    server.provider.io().ns("/own", async |_: SocketRef<DirectAdapter>| {});
    server.provider.io().ns("/kicks", async |socket: SocketRef<DirectAdapter>| socket.disconnect().unwrap());
    for transport in TRANSPORTS {
        let mut stays = server.open(transport).await;
        stays.connect("/own", &json!({})).await.expect("let in");
        let mut kicked = server.open(transport).await;
        kicked.connect("/kicks", &json!({})).await.expect("let in");
        assert_eq!(kicked.message().await.kind, 1);
        let (mut leaves, id) = server.client(transport, "ann").await;
        leaves.connect("/own", &json!({})).await.expect("let in");
        leaves.send("41").await;
        server.ended(id).await;
        let mut silent = server.open(transport).await;
        kicked.closed().await;
        silent.closed().await;
        // Connected elsewhere, both are still there.
        for client in [&mut stays, &mut leaves] {
            client.connect("/", &json!({"user": "ann"})).await.expect("let in");
            client.event("connected").await;
        }
        for client in [&mut stays, &mut leaves] {
            client.send("41").await;
            client.send("41/own,").await;
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn one_address_turns_out_its_own_sessions_only() {
    let config = SocketIoConfig::default()
        .with_unconnected_sessions_per_address(3_usize)
        .with_connect_timeout(Duration::from_secs(300))
        .with_trusted_proxies(TrustedProxies::new(["127.0.0.0/8"]).unwrap());
    let server = Setup::from(config).start().await;
    let honest = opened(&server, "", Some("2.2.2.2")).await.unwrap();
    let nameless = opened(&server, "", None).await.unwrap();
    let mut flood = Vec::new();
    for n in 0..20 {
        // The left part is what a client says about itself.
        flood.push(opened(&server, "", Some(&format!("9.9.9.{n}, 1.1.1.1"))).await.unwrap());
    }
    assert!(lives(&honest).await && lives(&nameless).await);
    let living = join_all(flood.iter().map(lives)).await;
    assert_eq!(living.iter().filter(|lives| **lives).count(), 3);
    assert!(living.ends_with(&[true; 3]), "the youngest");
}

#[tokio::test]
async fn what_a_client_says_of_its_address_is_not_believed() {
    let config = SocketIoConfig::default().with_unconnected_sessions_per_address(1_usize);
    let server = Setup::from(config).start().await;
    // On the same host, whatever it says, it has no bound of its own.
    let all = join_all((0..5).map(|_| opened(&server, "", Some("1.1.1.1")))).await;
    for session in all {
        assert!(lives(&session.unwrap()).await);
    }
}

/// A websocket that is turned out is told to come again.
#[tokio::test]
async fn a_websocket_is_turned_out_too() {
    let config = SocketIoConfig::default().with_unconnected_sessions(2_usize);
    let server = Setup::from(config).start().await;
    let mut first = server.open(Transport::Websocket).await;
    let _others = [server.open(Transport::Websocket).await, server.open(Transport::Polling).await];
    assert_eq!(first.closed().await, Closed { code: None });
    let url = format!("http://{}/", server.address);
    assert!(Websocket::open(server.address, "/nowhere", None).await.is_err(), "{url}");
}
