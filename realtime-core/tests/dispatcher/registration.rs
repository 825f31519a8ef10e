//! The registration of a connection in the hub, as used by the session of a transport.

use std::time::Duration;

use crate::support::{CoreProvider, LineCodec, eventually, in_time, runtime, take_all};
use bytes::Bytes;
use realtime_core::spi::{Registration, Take};
use realtime_core::{
    AckStatus, CloseReason, Event, HandlerError, Inbound, RealtimeProvider, SocketIoBroadcast, Target,
};
use realtime_testkit::conformance::{HookLog, Setup, Visitor};

async fn provider(hooks: &HookLog) -> CoreProvider {
    CoreProvider::attached(Setup::default(), runtime().with_hook(hooks.hook("log"))).await
}

async fn register(provider: &CoreProvider) -> Registration<LineCodec> {
    let registration = provider.register(Visitor::user("ann")).await;
    assert_eq!(take_all(&registration).remove(0).name, "connected");
    registration
}

#[tokio::test]
async fn unreadable_answer_settles_its_ask_once() {
    let provider = provider(&HookLog::default()).await;
    let ann = register(&provider).await;
    let event = || Event::json("question", &"?").unwrap();
    let ask = async || {
        let acks = provider.dispatcher.to_user_with_ack("ann", event(), Duration::from_secs(20)).await.unwrap();
        (acks, take_all(&ann).remove(0).ack.unwrap())
    };
    let (acks, number) = ask().await;
    assert!(ann.answer_unreadable(number));
    assert!(!ann.answer_unreadable(number), "the ask is settled");
    assert_eq!(acks.all().await[0].status, AckStatus::Unreadable);
    assert!(!ann.answer_unreadable(number + 1), "never asked");
    let (acks, number) = ask().await;
    ann.close(CloseReason::KICKED);
    assert!(!ann.answer_unreadable(number), "a closed connection is ignored");
    drop(ann);
    assert_eq!(acks.all().await[0].status, AckStatus::Gone);
}

#[tokio::test]
async fn pushed_and_rejection_frames_reach_the_client() {
    let provider = provider(&HookLog::default()).await;
    let ann = register(&provider).await;
    ann.push(Bytes::from_static(b"{\"name\":\"own\"}"));
    assert_eq!(take_all(&ann).len(), 1);
    assert!(ann.reject(HandlerError::new("unreadable", "no"), Some(3)), "the inbox has capacity");
    let mut received = Vec::new();
    eventually("the rejection", || {
        received.extend(take_all(&ann));
        received.len() == 1
    })
    .await;
    assert_eq!(received[0].payload["code"], "unreadable");
    ann.reject_fatally(&HandlerError::new("too_large", "no"));
    assert_eq!(take_all(&ann).remove(0).payload["code"], "too_large");
    assert_eq!((provider.stats().rejected["unreadable"], provider.stats().rejected["too_large"]), (1, 1));
}

#[tokio::test]
async fn closed_registration_ignores_its_client() {
    let provider = provider(&HookLog::default()).await;
    let ann = register(&provider).await;
    assert!(!ann.is_closed() && ann.close_reason().is_none());
    ann.close(CloseReason::KICKED);
    assert_eq!((ann.is_closed(), ann.close_reason()), (true, Some(CloseReason::KICKED)));
    assert!(!ann.receive(Inbound::new("e", "1")) && !ann.reject(HandlerError::new("e", "e"), None));
    assert_eq!(ann.try_take(1, &mut Vec::new()), Take::Closed(CloseReason::KICKED));
    assert_eq!(provider.stats().events_in, 0);
}

#[tokio::test(start_paused = true)]
async fn partial_write_restarts_the_waiting_time() {
    let provider = provider(&HookLog::default()).await;
    let ann = register(&provider).await;
    let waiting_ms = || provider.dispatcher.connections(&Target::connection(ann.id())).remove(0).waiting_ms;
    ann.push(Bytes::from_static(b"{}"));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(waiting_ms(), 9000);
    ann.progressed();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(waiting_ms(), 1000);
}

#[tokio::test]
async fn noted_close_reason_applies_when_registration_is_dropped() {
    let hooks = HookLog::default();
    let provider = provider(&hooks).await;
    for (noted, requested, expected) in [
        (None, None, CloseReason::CONNECTION_LOST),
        (Some(CloseReason::HEARTBEAT), None, CloseReason::HEARTBEAT),
        (Some(CloseReason::HEARTBEAT), Some(CloseReason::KICKED), CloseReason::KICKED),
    ] {
        let ann = register(&provider).await;
        let id = ann.id();
        if let Some(reason) = noted {
            ann.set_reason(reason);
            ann.set_reason(CloseReason::NORMAL);
        }
        if let Some(reason) = requested {
            ann.close(reason);
        }
        drop(ann);
        let calls = in_time("the hooks", hooks.wait_of(id, 2)).await;
        assert_eq!(calls[1].ended, Some(expected));
    }
}
