//! Closes by the server: reasons, drain, shutdown, timeouts.

use std::time::Duration;

use realtime_core::{CloseReason, Drain, Handlers, RealtimeProvider, Target};
use realtime_http::HttpProvider;
use realtime_socketio::SocketIoConfig;
use serde_json::json;

use crate::TRANSPORTS;
use crate::support::{Client, Server, Setup, Transport, eventually, in_time};

#[tokio::test]
async fn final_close_sends_disconnect_and_others_close_transport() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        for (reason, is_final) in
            [(CloseReason::KICKED, true), (CloseReason::RESTART, false), (CloseReason::EXPIRED, false)]
        {
            let (mut client, id) = server.client(transport, "ann").await;
            // Events queued before the close, more than a window holds, still arrive.
            server.send_numbers("ann", 0..150).await;
            assert_eq!(server.provider.close(Target::connection(id), reason.clone()).await.unwrap(), 1);
            for n in 0..150 {
                assert_eq!(client.event("n").await, n);
            }
            let said = json!({"code": reason.code(), "reason": reason.text(), "reconnect": !is_final});
            assert_eq!(client.event("closed").await, said);
            let last = in_time("the close", client.next()).await;
            assert_eq!(last.is_ok_and(|message| message.kind == 1), is_final, "{transport:?} {reason}");
            client.closed().await;
            assert_eq!(server.ended(id).await, reason);
            // The client may reconnect.
            let (mut back, id) = server.client(transport, "ann").await;
            server.leave(&mut back, id).await;
        }
    }
}

#[tokio::test]
async fn shutdown_runs_hooks_closes_sessions_and_refuses_new_ones() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        clients.push(server.client(transport, "ann").await);
    }
    let (polling, id) = server.client(Transport::Polling, "ann").await;
    clients.push((polling.upgrade().await, id));
    let mut without_namespace = [server.open(Transport::Websocket).await, server.open(Transport::Polling).await];
    assert!(server.provider.is_ready());
    in_time("the shutdown", server.provider.shutdown(Drain::over(Duration::from_secs(5)).with_hold(Duration::ZERO)))
        .await;
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
        assert_eq!(Client::open(server.address(), transport, "").await.err(), Some(503));
    }
    assert_eq!(server.stats().refused.get("draining"), Some(&2));
    in_time("a second shutdown", server.provider.shutdown(Drain::now())).await;
}

#[tokio::test]
async fn drain_sends_reconnect_delay_and_closes_each_session() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        for _ in 0..3 {
            clients.push(server.client(transport, "ann").await.0);
        }
    }
    let read = async {
        for client in &mut clients {
            let reconnect = client.event("reconnect").await;
            assert!((100..2000).contains(&reconnect["delayMs"].as_u64().unwrap()), "{reconnect}");
            assert_eq!(reconnect["reason"], "service restart");
            // On long polling the end is a response to a GET too, not a failed request.
            client.closed_for_reconnect().await;
        }
    };
    let shutdown = server.provider.shutdown(Drain::over(Duration::from_millis(300)).with_hold(Duration::ZERO));
    in_time("the shutdown", async { tokio::join!(shutdown, read) }).await;
    assert_eq!(server.stats().closed[&CloseReason::RESTART.code()], 6);
}

#[tokio::test]
async fn session_connecting_during_drain_is_closed_for_reconnect() {
    let server = Server::start().await;
    let mut late = [server.open(Transport::Polling).await, server.open(Transport::Websocket).await];
    // These two clients keep the drain running.
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(server.client(Transport::Websocket, "ann").await);
    }
    let shutdown = server.provider.shutdown(Drain::over(Duration::from_secs(3)).with_hold(Duration::ZERO));
    let connect = async {
        eventually("the drain", || !server.provider.is_ready()).await;
        for client in &mut late {
            client.send("40").await;
            client.closed_for_reconnect().await;
        }
        assert_eq!(server.stats().connections, 1, "the drain is running");
    };
    in_time("the shutdown", async { tokio::join!(shutdown, connect) }).await;
    assert_eq!(server.stats().refused["draining"], 2);
}

#[tokio::test]
async fn client_that_answers_no_ping_is_closed() {
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
async fn running_handlers_finish_before_disconnect_hooks() {
    let started = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let resume = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (running, gate) = (std::sync::Arc::clone(&started), std::sync::Arc::clone(&resume));
    let setup = Setup::default().with_handlers(move |provider| {
        provider.on("work", move |_: realtime_core::Context, (): ()| {
            let (running, gate) = (std::sync::Arc::clone(&running), std::sync::Arc::clone(&gate));
            async move {
                running.add_permits(1);
                gate.acquire().await.unwrap().forget();
            }
        })
    });
    let server = setup.start().await;
    let (mut client, id) = server.client(Transport::Websocket, "ann").await;
    client.emit("work", &[json!(null)], None).await;
    in_time("the work", started.acquire()).await.unwrap().forget();
    drop(client);
    server.connections(0).await;
    assert_eq!(server.hooks.of(id).len(), 1, "the work is still under way");
    resume.add_permits(1);
    server.ended(id).await;
}
