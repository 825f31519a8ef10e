//! Asks: answers, dropped asks, and clients that disconnect in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Client, CoreProvider, FaultyBackplane, Guest, eventually, in_time, note, parse, runtime};
use futures_util::future::join_all;
use futures_util::poll;
use realtime_core::spi::MAX_OPEN_ASKS;
use realtime_core::{
    AckStatus, Context, InboundPayload, Limits, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, Reply, Router,
    SocketIoBroadcast, Target,
};
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};
use serde_json::json;

#[tokio::test]
async fn dropped_ask_leaves_no_pending_entry() {
    let provider = CoreProvider::full(Setup::default());
    // Its records arrive later, like those of a log in another process.
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    provider.attach(runtime().with_backplane(backplane)).await.unwrap();
    let registration = provider.register(Visitor::user("ann")).await;
    for applied_first in [true, false] {
        let mut ask = Box::pin(provider.dispatcher.to_user_with_ack("ann", note("?"), Duration::from_secs(60)));
        assert!(poll!(ask.as_mut()).is_pending());
        let before = provider.dispatcher.hub().applied();
        let number = before.get() + 1;
        if applied_first {
            eventually("the ask is applied", || provider.dispatcher.hub().applied() > before).await;
            drop(ask);
        } else {
            drop(ask);
            eventually("the ask is applied", || provider.dispatcher.hub().applied() > before).await;
        }
        // After a later send the tail loop has finished with the ask.
        provider.dispatcher.to_all(note("next")).await.unwrap();
        let answered = registration.answer(number, InboundPayload::json_text("1"));
        assert!(!answered, "no ask waits for the answer (applied first: {applied_first})");
    }
    let mut frames = Vec::new();
    registration.try_take(usize::MAX, &mut frames);
    let texts: Vec<_> = frames.iter().skip(1).map(|frame| parse(frame).payload).collect();
    assert_eq!(texts, [json!("?"), json!("next"), json!("?"), json!("next")], "the client still got the asks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ask_does_not_wait_for_disconnected_clients() {
    let limits = Limits::default().with_connections_per_user(1_000);
    let provider = CoreProvider::started(Setup::default().with_limits(limits)).await;
    let started = Instant::now();
    let mut gone_count = 0;
    for _ in 0..150 {
        let mut guests = Vec::new();
        for _ in 0..8 {
            let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
            guests.push(Client::by_session(&provider.dispatcher, admitted));
        }
        let disconnecting = tokio::task::spawn_blocking(move || drop(guests));
        let acks = provider.dispatcher.to_user_with_ack("ann", note("?"), Duration::from_secs(600)).await.unwrap();
        let replies = in_time("all replies", acks.all()).await;
        assert!(replies.iter().all(|reply| reply.status == AckStatus::Gone), "{replies:?}");
        gone_count += replies.len();
        disconnecting.await.unwrap();
    }
    println!("{gone_count} gone in {:?}", started.elapsed());
    eventually("no connection is left", || provider.stats().connections == 0).await;
}

#[tokio::test]
async fn handler_can_ask_its_own_connection() {
    let asking = Arc::new(std::sync::OnceLock::<CoreProvider>::new());
    let router = Router::new().on("ask me", {
        let asking = Arc::clone(&asking);
        move |cx: Context, (): ()| {
            let provider = asking.get().unwrap().clone();
            async move {
                let target = Target::connection(cx.connection_id());
                let acks = provider.dispatcher.ask(target, note("name?"), Duration::from_secs(10)).await?;
                let replies = acks.all().await;
                Ok::<_, realtime_core::Error>(Reply(json!(replies.len())))
            }
        }
    });
    let provider = CoreProvider::full(Setup::default().with_router(router));
    asking.set(provider.clone()).ok().unwrap();
    provider.attach(runtime()).await.unwrap();
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    guest.client.send("ask me", &json!(null), Some(1)).await;
    let ask = guest.next().await;
    assert_eq!(ask.payload, "name?");
    guest.client.answer(ask.ack.unwrap(), &json!("ann")).await;
    let answer = guest.next().await;
    assert_eq!((answer.name.as_str(), answer.payload), ("ack", json!(1)));
}

#[tokio::test]
async fn concurrent_asks_get_their_own_answers() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let asks = (0..100).map(|n| {
        let dispatcher = Arc::clone(&provider.dispatcher);
        async move {
            let acks = dispatcher.to_user_with_ack("ann", note(&n.to_string()), Duration::from_secs(10)).await.unwrap();
            let replies = acks.all().await;
            assert_eq!(replies[0].json::<String>().unwrap(), format!("{n}!"));
        }
    });
    let answers = async {
        for _ in 0..100 {
            let ask = guest.next().await;
            let answer = format!("{}!", ask.payload.as_str().unwrap());
            guest.client.answer(ask.ack.unwrap(), &json!(answer)).await;
        }
    };
    tokio::join!(join_all(asks), answers);
}

#[tokio::test]
async fn unlimited_ask_timeout_does_not_overflow() {
    let provider = CoreProvider::started(Setup::default()).await;
    let acks = provider.dispatcher.to_user_with_ack("nobody", note("?"), Duration::MAX).await.unwrap();
    assert!(acks.all().await.is_empty());
}

/// A client has at most `MAX_OPEN_ASKS` open asks; the caller of the oldest gets its result
/// immediately.
#[tokio::test(start_paused = true)]
async fn oldest_open_ask_is_abandoned_beyond_the_limit() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let ask = async || {
        let start = tokio::time::Instant::now();
        let acks = provider.dispatcher.to_user_with_ack("ann", note("?"), Duration::from_secs(60)).await.unwrap();
        (start, acks)
    };
    let mut open = Vec::new();
    for _ in 0..MAX_OPEN_ASKS + 2 {
        open.push(ask().await);
    }
    let rest = open.split_off(2);
    for (start, acks) in open {
        assert_eq!(acks.all().await[0].status, AckStatus::GivenUp);
        assert!(start.elapsed() < Duration::from_secs(1), "immediately");
    }
    // An ask that is still open can be answered.
    let last = provider.dispatcher.hub().applied().get();
    while guest.client.next().await.unwrap().ack != Some(last) {}
    guest.client.answer(last, &json!("here")).await;
    let replies = rest.into_iter().next_back().unwrap().1.all().await;
    assert_eq!(replies[0].status, AckStatus::Answered);
}
