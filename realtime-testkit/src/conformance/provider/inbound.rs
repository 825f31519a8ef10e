use std::sync::{Arc, Mutex, PoisonError};

use realtime_core::{Capabilities, Context, HandlerError, Inbound, Reply, Router, Target};
use serde_json::{Value, json};

use crate::conformance::fixture::Fixture;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};
use crate::eventually;

/// Events from a client reach their handlers in order and without loss, and are answered if the
/// client wants an ack.
pub async fn handlers_answer_in_order<P: ProviderUnderTest>() {
    const EVENTS: u64 = 1_000;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let router = Router::new()
        .on("count", {
            let seen = Arc::clone(&seen);
            move |_: Context, n: u64| {
                let seen = Arc::clone(&seen);
                async move {
                    // Other tasks run meanwhile, so that a wrong order would be noticed.
                    tokio::task::yield_now().await;
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(n);
                }
            }
        })
        .on("who", async |cx: Context, greeting: String| {
            Reply(
                json!({"greeting": greeting, "user": cx.identity().user_name(), "id": cx.connection_id().to_string()}),
            )
        })
        .on("share", async |cx: Context, text: String| cx.to_all().except_self().send("shared", &text).await)
        .on("echo", async |cx: Context, value: Value| cx.reply("echoed", &value).await);
    let fixture = Fixture::<P>::start(Setup::default().with_router(router)).await;
    if !fixture.provider.capabilities().bidirectional {
        assert!(!fixture.provider.is_bidirectional());
        return;
    }
    assert!(fixture.provider.is_bidirectional());
    let mut ann = fixture.connect(Visitor::user("ann")).await;
    let mut bob = fixture.connect(Visitor::user("bob")).await;
    for n in 0..EVENTS {
        ann.send("count", json!(n), None).await;
    }
    ann.send("who", json!("hi"), Some(7)).await;
    let answer = ann.answer_to(7).await;
    assert_eq!(answer, json!({"greeting": "hi", "user": "ann", "id": ann.id.to_string()}));
    assert_eq!(*seen.lock().unwrap_or_else(PoisonError::into_inner), (0..EVENTS).collect::<Vec<_>>());
    ann.send("share", json!("x"), None).await;
    let shared = bob.next().await;
    assert_eq!((shared.name.as_str(), shared.payload), ("shared", json!("x")));
    ann.send("echo", json!({"a": [1]}), None).await;
    let echoed = ann.next().await;
    assert_eq!((echoed.name.as_str(), echoed.payload), ("echoed", json!({"a": [1]})));
    assert!(fixture.labels(&mut bob).await.is_empty(), "the reply was for one connection");
    assert_eq!(fixture.provider.stats().events_in, EVENTS + 3);
}

/// A handler that fails, panics or does not exist is an error for its client only; the connection
/// stays open.
pub async fn failing_handlers_answer_with_an_error<P: ProviderUnderTest>() {
    let router = Router::new()
        .on("boom", async |_: Context, (): ()| {
            if true {
                panic!("a panic of this test");
            }
        })
        .on("number", async |_: Context, n: u64| Reply(n + 1))
        .on_raw("never", async |_: Context, _: Inbound| Err::<(), _>(HandlerError::new("no_way", "never")));
    let Some(fixture) = Fixture::<P>::start_if(|can| can.bidirectional, Setup::default().with_router(router)).await
    else {
        return;
    };
    let mut ann = fixture.connect(Visitor::user("ann")).await;
    let mut bob = fixture.connect(Visitor::user("bob")).await;
    let cases = [
        ("boom", Value::Null, "internal"),
        ("number", json!("text"), "invalid_payload"),
        ("never", Value::Null, "no_way"),
        ("unknown", Value::Null, "unknown_event"),
    ];
    for (ack, (name, payload, code)) in (1..).zip(cases) {
        for ack in [Some(ack), None] {
            ann.send(name, payload.clone(), ack).await;
            let error = ann.next().await;
            assert_eq!((error.name.as_str(), error.payload["code"].as_str()), ("error", Some(code)), "{error:?}");
            assert_eq!(error.ack, ack);
            assert!(name != "boom" || error.payload["message"] == "internal error", "{error:?}");
        }
    }
    ann.send("number", json!(41), Some(99)).await;
    assert_eq!(ann.answer_to(99).await, json!(42));
    assert!(fixture.labels(&mut ann).await.is_empty());
    let labels = fixture.labels(&mut bob).await;
    assert_eq!(labels, ["mark 0"]);
    eventually("the panics are counted", || fixture.provider.stats().panics == 2).await;
    assert_eq!(fixture.provider.stats().rejected.get("no_way"), Some(&2));
    assert_eq!(fixture.provider.stats().connections, 2);
}

/// A client enters and leaves rooms with `subscribe` and `unsubscribe`, or `join` and `leave`.
pub async fn clients_enter_and_leave_rooms_by_events<P: ProviderUnderTest>() {
    let needed = |can: Capabilities| can.bidirectional && can.rooms;
    let Some(fixture) = Fixture::<P>::start_if(needed, Setup::default()).await else { return };
    let mut ann = fixture.connect(Visitor::user("ann")).await;
    let calls = [
        ("subscribe", json!({"channel": "a"}), json!({"channel": "a"})),
        ("subscribe", json!({"room": "b"}), json!({"channel": "b"})),
        ("subscribe", json!("c"), json!({"channel": "c"})),
        ("join", json!("d"), json!(true)),
        ("join", json!({"channel": "d"}), json!(false)),
        ("join", json!({"room": "e"}), json!(true)),
        ("unsubscribe", json!("b"), json!({"channel": "b"})),
        ("unsubscribe", json!({"channel": "c"}), json!({"channel": "c"})),
        ("leave", json!("e"), json!(true)),
        ("leave", json!({"room": "e"}), json!(false)),
    ];
    for (ack, (name, payload, answer)) in (1..).zip(calls) {
        ann.send(name, payload.clone(), Some(ack)).await;
        assert_eq!(ann.answer_to(ack).await, answer, "{name} {payload}");
    }
    for name in ["subscribe", "unsubscribe", "join", "leave"] {
        for payload in [json!(1), json!({"name": "a"}), json!({"channel": 7}), Value::Null] {
            ann.send(name, payload.clone(), Some(99)).await;
            let error = ann.next().await;
            let message = error.payload["message"].as_str().unwrap_or_default();
            assert_eq!((error.name.as_str(), error.payload["code"].as_str()), ("error", Some("invalid_payload")));
            assert!(message.contains("a room's name"), "{payload}: {message}");
        }
    }
    ann.send("join", json!("secret"), Some(100)).await;
    let refused = ann.next().await;
    assert_eq!(refused.payload["code"], "room", "{refused:?}");
    for (room, is_in) in [("a", true), ("b", false), ("c", false), ("d", true), ("e", false)] {
        let matched = fixture.note(Target::room(room), room).await.delivered.map(|delivered| delivered.matched);
        assert_eq!(matched, Some(usize::from(is_in)), "{room}");
    }
}
