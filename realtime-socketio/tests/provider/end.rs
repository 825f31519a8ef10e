//! How connections end that the server ends.

use std::time::Duration;

use realtime_core::{CloseReason, Drain, Handlers, RealtimeProvider, Target};
use realtime_http::HttpProvider;
use realtime_socketio::SocketIoConfig;
use serde_json::json;

use crate::TRANSPORTS;
use crate::support::{Client, Server, Setup, Transport, soon, until};

#[tokio::test]
async fn a_final_close_says_disconnect_and_another_one_only_closes() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        for (reason, is_told) in
            [(CloseReason::KICKED, true), (CloseReason::RESTART, false), (CloseReason::EXPIRED, false)]
        {
            let (mut client, id) = server.client(transport, "ann").await;
            // Queued before the close, more than a window: all of it still arrives.
            server.send_numbers("ann", 0..150).await;
            assert_eq!(server.provider.close(Target::connection(id), reason.clone()).await.unwrap(), 1);
            for n in 0..150 {
                assert_eq!(client.event("n").await, n);
            }
            let last = soon("the end", client.next()).await;
            assert_eq!(last.is_ok_and(|message| message.kind == 1), is_told, "{transport:?} {reason}");
            client.closed().await;
            assert_eq!(server.ended(id).await, reason);
            // It may come back.
            let (mut back, id) = server.client(transport, "ann").await;
            back.send("41").await;
            server.ended(id).await;
        }
    }
}

#[tokio::test]
async fn a_shutdown_ends_every_session_after_its_hooks_and_lets_none_in() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        clients.push(server.client(transport, "ann").await);
    }
    let (polling, id) = server.client(Transport::Polling, "ann").await;
    clients.push((polling.upgrade().await, id));
    let mut without_namespace = [server.open(Transport::Websocket).await, server.open(Transport::Polling).await];
    assert!(server.provider.is_ready());
    soon("the shutdown", server.provider.shutdown(Drain::over(Duration::from_secs(5)).hold(Duration::ZERO))).await;
    assert!(!server.provider.is_ready());
    for (client, id) in &mut clients {
        let calls = server.hooks.of(*id);
        assert_eq!((calls.len(), calls[1].ended.clone()), (2, Some(CloseReason::RESTART)));
        client.closed().await;
    }
    for client in &mut without_namespace {
        client.closed().await;
    }
    for transport in TRANSPORTS {
        assert_eq!(Client::open(server.address, transport, "").await.err(), Some(503));
    }
    assert_eq!(server.stats().refused.get("draining"), Some(&2));
    soon("a second shutdown", server.provider.shutdown(Drain::now())).await;
}

#[tokio::test]
async fn a_drain_tells_each_client_when_to_come_back_and_ends_its_session() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        for _ in 0..3 {
            clients.push(server.client(transport, "ann").await.0);
        }
    }
    let read = async {
        for client in &mut clients {
            let told = client.event("reconnect").await;
            assert!((100..2000).contains(&told["delayMs"].as_u64().unwrap()), "{told}");
            assert_eq!(told["reason"], "service restart");
            // Long polling too hears that the session is over, in an answer and not by the failure of a request.
            client.sent_away().await;
        }
    };
    let shutdown = server.provider.shutdown(Drain::over(Duration::from_millis(300)).hold(Duration::ZERO));
    soon("the shutdown", async { tokio::join!(shutdown, read) }).await;
    assert_eq!(server.stats().closed[&CloseReason::RESTART.code()], 6);
}

#[tokio::test]
async fn a_session_that_connects_during_a_drain_is_sent_away_without_an_error() {
    let server = Server::start().await;
    let mut late = [server.open(Transport::Polling).await, server.open(Transport::Websocket).await];
    // These keep the drain going.
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(server.client(Transport::Websocket, "ann").await);
    }
    let shutdown = server.provider.shutdown(Drain::over(Duration::from_secs(3)).hold(Duration::ZERO));
    let connect = async {
        until("the drain", || !server.provider.is_ready()).await;
        for client in &mut late {
            client.send("40").await;
            client.sent_away().await;
        }
        assert_eq!(server.stats().connections, 1, "the drain goes on");
    };
    soon("the shutdown", async { tokio::join!(shutdown, connect) }).await;
    assert_eq!(server.stats().refused["draining"], 2);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone() {
    let config = SocketIoConfig::default()
        .with_ping_interval(Duration::from_millis(300))
        .with_ping_timeout(Duration::from_millis(300));
    let server = Setup::from(config).start().await;
    for transport in TRANSPORTS {
        let (_silent, id) = server.client(transport, "ann").await;
        assert_eq!(server.ended(id).await, CloseReason::HEARTBEAT, "{transport:?}");
    }
}

#[tokio::test]
async fn a_session_that_never_connects_is_ended() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(Duration::from_millis(200))).start().await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.closed().await;
    }
    assert_eq!(server.stats().connected, 0);
}

#[tokio::test]
async fn handlers_that_are_under_way_end_before_the_hooks_are_told() {
    let begun = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let go_on = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (told, gate) = (std::sync::Arc::clone(&begun), std::sync::Arc::clone(&go_on));
    let setup = Setup::default().with_handlers(move |provider| {
        provider.on("work", move |_: realtime_core::Context, (): ()| {
            let (told, gate) = (std::sync::Arc::clone(&told), std::sync::Arc::clone(&gate));
            async move {
                told.add_permits(1);
                gate.acquire().await.unwrap().forget();
            }
        })
    });
    let server = setup.start().await;
    let (mut client, id) = server.client(Transport::Websocket, "ann").await;
    client.emit("work", &[json!(null)], None).await;
    soon("the work", begun.acquire()).await.unwrap().forget();
    drop(client);
    server.connections(0).await;
    assert_eq!(server.hooks.of(id).len(), 1, "the work is still under way");
    go_on.add_permits(1);
    server.ended(id).await;
}
