//! Clients that send more than their rate.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use realtime_core::{CloseReason, Context, Handlers, InboundRate, Limits, RealtimeProvider, Reply};
use realtime_socketio::{DirectAdapter, SocketIoConfig};
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;
use tokio_tungstenite::tungstenite::Message;

use crate::TRANSPORTS;
use crate::support::{Packet, Server, Setup, Transport, Wire, eventually, in_time};

type Seen = Arc<Mutex<Vec<u64>>>;

/// Starts a server with this rate of a connection, and the numbers that its handler gets.
async fn start(rate: InboundRate) -> (Server, Seen) {
    let seen = Seen::default();
    let numbers = Arc::clone(&seen);
    let config = SocketIoConfig::default().with_limits(Limits::default().with_inbound_per_connection(rate));
    let setup = Setup::from(config).with_handlers(move |provider| {
        provider.on("echo", async |_: Context, value: Value| Reply(value)).on("count", move |_: Context, n: u64| {
            numbers.lock().unwrap().push(n);
            std::future::ready(())
        })
    });
    (setup.start().await, seen)
}

fn count(n: u64) -> Packet {
    Packet::Text(format!("42[\"count\",{n}]"))
}

#[tokio::test]
async fn flood_is_handled_in_order_while_others_are_answered() {
    let rate = InboundRate::default().with_events_per_second(100).with_events_burst(20);
    for transport in TRANSPORTS {
        let (server, seen) = start(rate).await;
        let (mut healthy, _) = server.client(Transport::Websocket, "healthy").await;
        let (mut flooder, _) = server.client(transport, "ann").await;
        let flood = tokio::spawn(async move {
            match &mut flooder.wire {
                Wire::Polling(polling) => polling.send((0..200).map(count).collect()).await,
                Wire::Websocket(websocket) => websocket.send((0..200).map(count).collect()).await,
            }
            flooder
        });
        eventually("the client is held back", || server.stats().throttled_now == 1).await;
        for n in 0..5 {
            healthy.emit("echo", &[json!(n)], Some(n)).await;
            assert_eq!(healthy.ack(n).await, json!([n]));
        }
        assert!(seen.lock().unwrap().len() < 200, "the flood is not read to its end yet");
        eventually("all are handled", || seen.lock().unwrap().len() == 200).await;
        assert_eq!(*seen.lock().unwrap(), (0..200).collect::<Vec<_>>(), "{transport:?}");
        let stats = server.stats();
        assert!(stats.throttled > 0 && stats.connections == 2 && stats.unhandled == 0, "{stats:?}");
        drop(flood.await.unwrap());
    }
}

#[tokio::test]
async fn client_that_never_stops_is_disconnected() {
    let rate = InboundRate::default().with_events_per_second(50).with_patience(Duration::from_millis(500));
    for transport in TRANSPORTS {
        let (server, _) = start(rate).await;
        let (mut healthy, _) = server.client(Transport::Websocket, "healthy").await;
        let (mut client, id) = server.client(transport, "ann").await;
        let flood: Vec<_> = (0..5_000).map(count).collect();
        match &mut client.wire {
            Wire::Websocket(websocket) => websocket.send(flood).await,
            Wire::Polling(polling) => {
                let (http, url) = (polling.http.clone(), polling.url.clone());
                let texts: Vec<_> = (0..5_000).map(|n| format!("42[\"count\",{n}]")).collect();
                tokio::spawn(async move { http.post(url).body(texts.join("\u{1e}")).send().await });
            }
        }
        let mut texts = Vec::new();
        let closed = loop {
            match in_time("a packet or the close", client.wire.next()).await {
                Ok(Packet::Text(text)) => texts.push(text),
                Ok(Packet::Binary(_)) => {}
                Err(closed) => break closed,
            }
        };
        let error = texts.iter().position(|text| text.starts_with("42[\"error\",{\"code\":\"rate_limited\""));
        let disconnect = texts.iter().position(|text| text == "41");
        assert!(error.is_some() && error < disconnect, "{transport:?} {texts:?}");
        assert_eq!(closed.code, (transport == Transport::Websocket).then_some(1008));
        assert_eq!(server.ended(id).await, CloseReason::RATE_LIMITED);
        let stats = server.stats();
        assert_eq!((stats.rate_limited, stats.rejected.get("rate_limited")), (1, Some(&1)));
        healthy.emit("echo", &[json!(1)], Some(1)).await;
        assert_eq!(healthy.ack(1).await, json!([1]));
    }
}

#[tokio::test]
async fn ping_frames_on_a_websocket_are_held_back_too() {
    let rate = InboundRate::default().with_events_per_second(1_000).with_events_burst(100);
    let (server, seen) = start(rate).await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    let begun = Instant::now();
    let Wire::Websocket(websocket) = &mut client.wire else { panic!("a websocket") };
    for _ in 0..2_000 {
        websocket.0.feed(Message::Ping("".into())).await.unwrap();
    }
    websocket.send(vec![count(1)]).await;
    eventually("it is held back", || server.stats().throttled_now == 1).await;
    eventually("what follows is handled", || seen.lock().unwrap().len() == 1).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_800), "2,000 pings within {took:?}");
    assert!(server.stats().throttled_kinds["control"] > 0, "{:?}", server.stats());
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn empty_posts_are_held_back_too() {
    let rate = InboundRate::default().with_events_per_second(20).with_events_burst(10);
    let (server, _) = start(rate).await;
    let (client, _) = server.client(Transport::Polling, "ann").await;
    let begun = Instant::now();
    for _ in 0..30 {
        client.wire.polling().post("").await;
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(800), "30 requests within {took:?}");
    assert!(server.stats().throttled > 0);
}

/// They have handlers of the application's own, and no connection of the provider's.
#[tokio::test]
async fn packets_to_other_namespaces_count() {
    let rate = InboundRate::default().with_events_per_second(20).with_events_burst(20);
    let (server, _) = start(rate).await;
    let seen = Arc::new(Mutex::new(0));
    let handled = Arc::clone(&seen);
    server.provider.io().ns("/own", async move |socket: SocketRef<DirectAdapter>| {
        socket.on("x", move || {
            let handled = Arc::clone(&handled);
            async move { *handled.lock().unwrap() += 1 }
        });
    });
    let mut client = server.open(Transport::Websocket).await;
    client.connect("/own", &json!({})).await.expect("accepted");
    let begun = Instant::now();
    for _ in 0..50 {
        client.send("42/own,[\"x\"]").await;
    }
    eventually("all are handled", || *seen.lock().unwrap() == 50).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_000), "50 events within {took:?}");
}

/// Checks that the end of a session which does not stop is counted as a rejection: it has no
/// connection of the provider's, whose close would be counted.
#[tokio::test]
async fn session_of_another_namespace_that_never_stops_is_counted() {
    let rate = InboundRate::default().with_events_per_second(20).with_events_burst(20);
    let (server, _) = start(rate.with_patience(Duration::from_millis(500))).await;
    server.provider.io().ns("/own", async |_: SocketRef<DirectAdapter>| {});
    let mut client = server.open(Transport::Websocket).await;
    client.connect("/own", &json!({})).await.expect("accepted");
    let Wire::Websocket(websocket) = &mut client.wire else { panic!("a websocket") };
    let flood = async { while websocket.0.send(Message::text("42/own,[\"x\"]")).await.is_ok() {} };
    in_time("the end of the session", flood).await;
    let stats = server.stats();
    assert_eq!((stats.rejected.get("rate_limited"), stats.rate_limited), (Some(&1), 0), "{stats:?}");
}

#[tokio::test]
async fn answered_pings_and_asks_do_not_count() {
    let rate = InboundRate::default().with_events_per_second(1).with_events_burst(4);
    let limits = Limits::default().with_inbound_per_connection(rate);
    let config = SocketIoConfig::default().with_limits(limits).with_ping_interval(Duration::from_millis(10));
    let server = Setup::from(config).start().await;
    for transport in TRANSPORTS {
        let user = format!("{transport:?}");
        let (mut client, _) = server.client(transport, &user).await;
        let io = server.provider.socket_io().unwrap();
        for n in 0..30 {
            let asked = realtime_core::Event::json("question", &n).unwrap();
            let acks = io.to_user_with_ack(&user, asked, Duration::from_secs(20)).await.unwrap();
            let question = client.message().await;
            client.send(&format!("43{}[{n}]", question.id.unwrap())).await;
            assert_eq!(acks.all().await.len(), 1);
        }
    }
    assert_eq!((server.stats().throttled, server.stats().connections), (0, 2));
}
