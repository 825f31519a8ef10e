//! The probe of a websocket while a session is on long polling. The session stays open, whether or
//! not the probe succeeds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use realtime_core::{CloseReason, Handlers, RealtimeProvider, Target};
use realtime_socketio::SocketIoConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Packet, Polling, Server, Setup, Transport, Websocket, Wire, in_time};

fn text(text: &str) -> Packet {
    Packet::Text(text.to_owned())
}

fn polling(client: &mut Client) -> &mut Polling {
    let Wire::Polling(polling) = &mut client.wire else { panic!("upgraded") };
    polling
}

async fn websocket(server: &Server, client: &Client) -> Websocket {
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid());
    Websocket::open(server.address(), &path, None).await.expect("a handshake")
}

/// Opens a websocket whose probe has been answered.
async fn probed(server: &Server, client: &Client) -> Websocket {
    let mut websocket = websocket(server, client).await;
    websocket.send(vec![text("2probe")]).await;
    assert_eq!(in_time("the answer", websocket.next()).await, Ok(text("3probe")));
    websocket
}

/// Checks that the session is on long polling, and that an event arrives there.
async fn check_polling(server: &Server, client: &mut Client, n: usize) {
    let (event, _) = tokio::join!(client.event("n"), server.send(Target::user("ann"), "n", n));
    assert_eq!(event, n);
    assert!(matches!(client.wire, Wire::Polling(_)));
}

#[tokio::test]
async fn session_stays_on_polling_when_websocket_breaks() {
    let server = Server::start().await;
    let (mut client, id) = server.client(Transport::Polling, "ann").await;
    drop(websocket(&server, &client).await);
    check_polling(&server, &mut client, 1).await;
    drop(probed(&server, &client).await);
    check_polling(&server, &mut client, 2).await;
    let mut reset = websocket(&server, &client).await;
    reset.0.get_mut().set_zero_linger().unwrap();
    drop(reset);
    check_polling(&server, &mut client, 3).await;
    assert_eq!(server.hooks.of(id).len(), 1, "the connect hook only");
}

/// The client sends anything else than the probe and, when that has been answered, the upgrade
/// packet.
#[tokio::test]
async fn failed_probe_closes_only_its_websocket() {
    let server = Server::start().await;
    let (mut client, id) = server.client(Transport::Polling, "ann").await;
    let fragment = Message::Frame(Frame::message("2probe", OpCode::Data(Data::Text), false));
    let mut bad: Vec<Message> =
        ["hello", "", "2", "3", "5", "6", "1", "2probed", "42[\"a\"]"].into_iter().map(Message::text).collect();
    bad.extend([Message::text("2".repeat(126)), Message::Binary(Bytes::from_static(b"2probe")), fragment]);
    let mut n = 0;
    for message in bad {
        use futures_util::SinkExt;
        // The upgrade packet is correct after the probe.
        for first in if message == Message::text("5") { &[false][..] } else { &[false, true] } {
            let mut websocket = if *first { probed(&server, &client).await } else { websocket(&server, &client).await };
            websocket.0.send(message.clone()).await.unwrap();
            assert!(in_time("the close", websocket.next()).await.is_err(), "{message:?}");
            n += 1;
            check_polling(&server, &mut client, n).await;
        }
    }
    let mut client = client.upgrade().await;
    server.deliver(&mut client, "ann", n).await;
    assert_eq!(server.hooks.of(id).len(), 1, "the connect hook only");
    assert_eq!((server.stats().lost, server.stats().rejected.len()), (0, 0));
}

#[tokio::test]
async fn close_frame_during_probe_is_answered() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    let mut websocket = websocket(&server, &client).await;
    websocket.0.close(None).await.unwrap();
    assert!(in_time("the close", websocket.next()).await.is_err());
    check_polling(&server, &mut client, 1).await;
}

#[tokio::test]
async fn pings_are_answered_during_the_probe() {
    use futures_util::{SinkExt, StreamExt};
    let server = Server::start().await;
    let (client, _) = server.client(Transport::Polling, "ann").await;
    let mut websocket = probed(&server, &client).await;
    websocket.0.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    let pong = in_time("a pong", websocket.0.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    // The number of pings is limited.
    for _ in 0..1000 {
        let _ = websocket.0.feed(Message::Ping(Bytes::new())).await;
    }
    let _ = websocket.0.flush().await;
    assert!(in_time("the close", websocket.next()).await.is_err());
}

#[tokio::test]
async fn probe_timeout_closes_only_the_websocket() {
    let config = SocketIoConfig::default().with_connect_timeout(Duration::from_secs(2));
    let server = Setup::from(config).start().await;
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    let start = Instant::now();
    for n in 0..2 {
        let mut websocket = if n == 0 { websocket(&server, &client).await } else { probed(&server, &client).await };
        assert!(in_time("the close", websocket.next()).await.is_err());
        assert!(start.elapsed() >= Duration::from_secs(2 * (n + 1)));
        check_polling(&server, &mut client, n as usize).await;
    }
    let mut client = client.upgrade().await;
    server.deliver(&mut client, "ann", 5).await;
}

#[tokio::test]
async fn get_during_probe_waits_before_its_noop() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    check_polling(&server, &mut client, 0).await;
    let _websocket = probed(&server, &client).await;
    let (http, url) = (polling(&mut client).http.clone(), polling(&mut client).url.clone());
    for _ in 0..3 {
        let start = Instant::now();
        let response = in_time("a noop", http.get(&url).send()).await.unwrap();
        assert_eq!((response.status(), response.text().await.unwrap()), (StatusCode::OK, "6".to_owned()));
        assert!(start.elapsed() >= Duration::from_millis(95), "{:?}", start.elapsed());
    }
    // An event is sent immediately, and without a noop.
    server.send(Target::user("ann"), "n", 1).await;
    let body = in_time("an event", http.get(&url).send()).await.unwrap().text().await.unwrap();
    assert!(body.starts_with("42[\"n\",1,") && !body.contains('\u{1e}'), "{body}");
}

#[tokio::test]
async fn get_waits_without_noop_until_the_probe_arrives() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    check_polling(&server, &mut client, 0).await;
    let mut silent = websocket(&server, &client).await;
    let polling = polling(&mut client);
    let get = async {
        let response = in_time("a noop", polling.http.get(&polling.url).send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "6");
        Instant::now()
    };
    let probe = async {
        // Twice as long as a GET waits after a probe.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let sent = Instant::now();
        silent.send(vec![text("2probe")]).await;
        sent
    };
    let (answered, sent) = tokio::join!(get, probe);
    assert!(answered.duration_since(sent) >= Duration::from_millis(95), "{:?}", answered.duration_since(sent));
}

#[tokio::test]
async fn second_websocket_is_rejected_without_affecting_the_first() {
    let server = Server::start().await;
    let (mut client, id) = server.client(Transport::Polling, "ann").await;
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid());
    let mut first = probed(&server, &client).await;
    assert!(Websocket::open(server.address(), &path, None).await.is_err());
    in_time("the last response", polling(&mut client).get()).await.expect("a noop");
    first.send(vec![text("5")]).await;
    server.send(Target::user("ann"), "n", 1).await;
    let Ok(Packet::Text(event)) = in_time("an event", async {
        loop {
            match first.next().await {
                // A ping.
                Ok(Packet::Text(text)) if text == "2" => {}
                packet => break packet,
            }
        }
    })
    .await
    else {
        panic!("no event")
    };
    assert!(event.starts_with("42[\"n\",1,"), "{event}");
    assert!(Websocket::open(server.address(), &path, None).await.is_err(), "upgraded already");
    assert_eq!(polling(&mut client).get().await, Err(Some(StatusCode::BAD_REQUEST)));
    assert_eq!(server.hooks.of(id).len(), 1);
}

#[tokio::test]
async fn probe_ends_when_the_session_closes() {
    let server = Server::start().await;
    for answered in [false, true] {
        let (client, id) = server.client(Transport::Polling, "ann").await;
        let mut websocket = if answered { probed(&server, &client).await } else { websocket(&server, &client).await };
        server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
        assert!(in_time("the close", websocket.next()).await.is_err());
        assert_eq!(server.ended(id).await, CloseReason::KICKED);
    }
}

/// The client writes the upgrade packet and the first events directly behind the probe, before it
/// could read the answer.
#[tokio::test]
async fn events_directly_behind_upgrade_packet_are_read() {
    let setup =
        Setup::default().with_handlers(|provider| provider.on("n", |_, n: u64| async move { realtime_core::Reply(n) }));
    let server = setup.start().await;
    for split in [1, 7, 13, 19, 500] {
        let (mut client, _) = server.client(Transport::Polling, "ann").await;
        let websocket = websocket(&server, &client).await;
        let mut io = websocket.0.into_inner();
        let mut bytes = Vec::new();
        let events = (0..50).map(|n| format!("42{n}[\"n\",{n}]"));
        for packet in ["2probe".to_owned(), "5".to_owned()].into_iter().chain(events) {
            bytes.extend([0x81, 0x80 | packet.len() as u8, 0, 0, 0, 0]);
            bytes.extend(packet.as_bytes());
        }
        for chunk in bytes.chunks(split) {
            io.write_all(chunk).await.unwrap();
            tokio::task::yield_now().await;
        }
        // The answer to the probe, then 50 acks in order, between pings.
        let mut acks = Vec::new();
        while acks.len() < 51 {
            let mut head = [0; 2];
            in_time("a frame", io.read_exact(&mut head)).await.unwrap();
            let mut payload = vec![0; head[1] as usize];
            io.read_exact(&mut payload).await.unwrap();
            match String::from_utf8(payload).unwrap() {
                ping if ping == "2" => {}
                other => acks.push(other),
            }
        }
        let expected: Vec<_> = (0..50).map(|n| format!("43{n}[{n}]")).collect();
        assert_eq!((acks[0].as_str(), &acks[1..]), ("3probe", &expected[..]));
        assert!(polling(&mut client).get().await.is_err(), "upgraded");
    }
}

/// Probes fail in several ways while events are sent, then one succeeds.
#[tokio::test]
async fn events_are_delivered_once_and_in_order_during_probes() {
    const COUNT: usize = 3000;
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Polling, "ann").await;
    let mut read = 0;
    let sending = async {
        for start in (0..COUNT).step_by(10) {
            server.send_numbers("ann", start..start + 10).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reading = async {
        for round in 0..20 {
            let mut websocket =
                if round % 2 == 0 { websocket(&server, &client).await } else { probed(&server, &client).await };
            for _ in 0..20 {
                assert_eq!(client.event("n").await, read);
                read += 1;
            }
            if round % 3 == 0 {
                websocket.send(vec![text("hello")]).await;
                assert!(in_time("the close", websocket.next()).await.is_err());
            }
        }
        let mut client = client.upgrade().await;
        while read < COUNT {
            assert_eq!(client.event("n").await, read);
            read += 1;
        }
        client
    };
    let ((), _client) = tokio::join!(sending, reading);
    assert_eq!((server.stats().lost, server.stats().dropped, server.stats().connections), (0, 0, 1));
}
