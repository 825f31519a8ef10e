//! Events from clients: order, back-pressure, rooms entered by handlers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{CoreProvider, Guest, Message, eventually, note, runtime};
use realtime_core::{
    CloseReason, Context, HandlerError, Inbound, InboundRate, Limits, OutboxConfig, Payload, RealtimeBroadcast,
    RealtimeProvider, Reply, Router,
};
use realtime_testkit::Gate;
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_client_are_handled_in_order() {
    const EVENTS: u64 = 20_000;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let router = Router::new().on("count", {
        let seen = Arc::clone(&seen);
        move |_: Context, n: u64| {
            let seen = Arc::clone(&seen);
            async move {
                if n.is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
                seen.lock().unwrap().push(n);
                (n == EVENTS - 1).then_some(Reply(n))
            }
        }
    });
    let limits = Limits::default().with_inbound_per_connection(InboundRate::unlimited());
    let provider = CoreProvider::started(Setup::default().with_router(router).with_limits(limits)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..EVENTS {
        let inbound = Inbound::new("count", n.to_string());
        let inbound = if n == EVENTS - 1 { inbound.with_ack(1) } else { inbound };
        guest.client.send_message(Message::Event(inbound)).await;
    }
    let answer = guest.next().await;
    assert_eq!((answer.name.as_str(), answer.payload), ("ack", json!(EVENTS - 1)));
    assert!(seen.lock().unwrap().iter().copied().eq(0..EVENTS));
    assert_eq!(provider.stats().events_in, EVENTS);
}

#[tokio::test]
async fn hanging_handler_blocks_only_its_own_client() {
    let gate = Gate::new();
    let router = Router::new().on("wait", gate.handler());
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut blocked = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&provider, Visitor::user("bob")).await;
    // The queue holds about 64 events, then the client is no longer read.
    let mut accepted = 0;
    let full = async {
        loop {
            blocked.client.send("wait", &json!("x"), None).await;
            accepted += 1;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), full).await.is_err());
    assert!((60..80).contains(&accepted), "{accepted} events were accepted from a client whose handler hangs");
    assert!(blocked.texts(&provider).await.is_empty(), "events are still delivered to the blocked client");
    assert!(other.texts_until("end").await.is_empty());
    other.client.send("wait", &json!("x"), None).await;
    gate.let_through(accepted + 1);
    eventually("all accepted events are handled", || gate.passed() == accepted + 1).await;
    blocked.client.send("wait", &json!("later"), None).await;
    gate.let_through(1);
    eventually("the later event is handled", || gate.passed() == accepted + 2).await;
}

/// Includes events without a handler.
#[tokio::test]
async fn before_hook_sees_every_event() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&seen);
    let router = Router::new().before(move |_: Context, inbound: Inbound| {
        names.lock().unwrap().push(inbound.name.to_string());
        let stop = inbound.name.as_ref() == "stop";
        std::future::ready(if stop { Err(HandlerError::new("stopped", "")) } else { Ok(()) })
    });
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for (name, code) in [("unheard of", "unknown_event"), ("stop", "stopped"), ("subscribe", "invalid_payload")] {
        guest.client.send(name, &Value::Null, None).await;
        assert_eq!(guest.next().await.payload["code"], code, "{name}");
    }
    assert_eq!(*seen.lock().unwrap(), ["unheard of", "stop", "subscribe"]);
}

#[tokio::test]
async fn room_changes_by_handler_apply_immediately() {
    let router = Router::new()
        .on("enter", async |cx: Context, room: String| {
            let entered = cx.enter_room(&room)?;
            Ok::<_, HandlerError>(Reply(entered))
        })
        .on("leave", async |cx: Context, room: String| Reply(cx.leave_room(&room)))
        .on("close", async |cx: Context, (): ()| cx.close(CloseReason::POLICY));
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut twin = Guest::by_session(&provider, Visitor::user("ann")).await;
    let rooms = || provider.stats().rooms;
    let send = async |text: &str| provider.dispatcher.to_room("r", note(text)).await.unwrap();
    send("before").await;
    for (name, expected) in [("enter", true), ("enter", false), ("leave", true), ("leave", false), ("enter", true)] {
        guest.client.send(name, &json!("r"), Some(1)).await;
        let answer = guest.next().await;
        assert_eq!((answer.name.as_str(), answer.payload), ("ack", json!(expected)), "{name}");
        let is_in = name == "enter";
        assert_eq!(rooms(), u64::from(is_in));
        let receipt = send(name).await;
        assert_eq!(receipt.delivered.unwrap().matched, usize::from(is_in));
        if is_in {
            assert_eq!(guest.next().await.payload, name);
        }
    }
    guest.client.send("enter", &json!("bad\nname"), Some(2)).await;
    let error = guest.next().await;
    assert_eq!((error.name.as_str(), &error.payload["code"]), ("error", &json!("invalid_name")));
    guest.client.send("close", &Value::Null, None).await;
    assert_eq!(guest.closed().await.code, Some(1008));
    eventually("the room is empty", || rooms() == 0).await;
    assert!(twin.texts(&provider).await.is_empty());
}

#[tokio::test]
async fn client_that_never_reads_acks_is_slowed_and_closed() {
    let router = Router::new()
        .on_raw("echo", async |_: Context, inbound: Inbound| Payload::Json(inbound.payload.bytes().clone()));
    let setup = Setup::default()
        .with_router(router)
        .with_outbox(OutboxConfig::default().with_frames(16))
        .with_write_stall(Duration::from_millis(300));
    let provider = CoreProvider::started(setup).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&provider, Visitor::user("bob")).await;
    for n in 0..1_000 {
        guest.client.send("echo", &json!(n), Some(n)).await;
    }
    let ended = guest.closed().await;
    assert_eq!(ended.code, Some(CloseReason::WRITE_STALL.code()));
    other.client.send("echo", &json!(1), Some(1)).await;
    assert_eq!(other.next().await.payload, json!(1));
}

#[tokio::test]
async fn events_before_normal_close_are_handled_before_hooks() {
    let order = Arc::new(Mutex::new(Vec::new()));
    struct Hook(Arc<Mutex<Vec<String>>>);
    #[async_trait::async_trait]
    impl realtime_core::LifecycleHook for Hook {
        async fn disconnected(&self, _: &realtime_core::Context, _: &CloseReason) {
            self.0.lock().unwrap().push("gone".to_owned());
        }
    }
    let gate = Gate::new();
    let router = Router::new().on("x", {
        let (order, gate) = (Arc::clone(&order), gate.clone());
        move |_: Context, n: u64| {
            let (order, gate) = (Arc::clone(&order), gate.clone());
            async move {
                gate.pass().await;
                order.lock().unwrap().push(n.to_string());
            }
        }
    });
    let provider =
        CoreProvider::attached(Setup::default().with_router(router), runtime().with_hook(Hook(Arc::clone(&order))))
            .await;
    let registration = provider.register(Visitor::user("ann")).await;
    for n in 0..5 {
        registration.receive(Inbound::new("x", n.to_string()));
    }
    registration.leave(CloseReason::NORMAL);
    assert_eq!(provider.stats().connections, 0);
    gate.let_through(5);
    eventually("the hook has run", || order.lock().unwrap().len() == 6).await;
    assert_eq!(*order.lock().unwrap(), ["0", "1", "2", "3", "4", "gone"]);
}

#[tokio::test]
async fn before_hook_can_reject_events() {
    let router = Router::new()
        .on("ok", async |_: Context, (): ()| Reply("handled"))
        .before(async |cx: Context, inbound: Inbound| {
            if cx.identity().user_name() == Some("bob") {
                return Err(HandlerError::new("not_you", format!("no {} for bob", inbound.name)));
            }
            Ok(())
        })
        .fallback(async |_: Context, inbound: Inbound| Reply(json!({ "fallback": *inbound.name })));
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut bob = Guest::by_session(&provider, Visitor::user("bob")).await;
    ann.client.send("ok", &Value::Null, Some(1)).await;
    assert_eq!(ann.next().await.payload, "handled");
    ann.client.send("else", &Value::Null, Some(2)).await;
    assert_eq!(ann.next().await.payload, json!({"fallback": "else"}));
    for name in ["ok", "else"] {
        bob.client.send(name, &Value::Null, Some(1)).await;
        let error = bob.next().await;
        assert_eq!((error.name.as_str(), &error.payload["code"]), ("error", &json!("not_you")));
    }
    eventually("the counters", || provider.stats().rejected.get("not_you") == Some(&2)).await;
}
