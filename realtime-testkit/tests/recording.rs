//! The recording provider as an application's tests use it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::Runtime;
use realtime_core::{
    AckStatus, Capabilities, CloseReason, Drain, Error, Event, RealtimeBroadcast, RealtimeProvider, RoomMembership,
    Target,
};
use realtime_testkit::RecordingProvider;
use serde_json::{Value, json};

fn event(text: &str) -> Event {
    Event::json("note", text).unwrap()
}

#[tokio::test]
async fn sends_are_recorded_in_order_and_by_target() {
    let recorder = RecordingProvider::new("socket");
    let provider: Arc<dyn RealtimeProvider> = Arc::new(recorder.clone());
    provider.attach(Runtime::in_memory()).await.unwrap();
    let broadcast = provider.broadcast();
    let first = broadcast.to_user("ann", event("1")).await.unwrap();
    broadcast.send(Target::user_in("acme", "ann"), event("2")).await.unwrap();
    broadcast.to_tenant("acme", event("3")).await.unwrap();
    broadcast.to_room("r", event("4")).await.unwrap();
    let volatile = broadcast.to_all(event("5").as_volatile()).await.unwrap();
    let last = broadcast.to_all(event("6")).await.unwrap();
    assert_eq!(first.position.map(|position| position.get()), Some(1));
    assert_eq!((volatile.position, last.position.map(|position| position.get())), (None, Some(5)));
    let texts = |sent: Vec<realtime_testkit::Sent>| sent.iter().map(|sent| sent.json::<String>()).collect::<Vec<_>>();
    assert_eq!(texts(recorder.sent_to_user("ann")), ["1", "2"]);
    assert_eq!(texts(recorder.sent_to_tenant("acme")), ["3"]);
    assert_eq!(texts(recorder.sent_to_room("r")), ["4"]);
    assert_eq!(texts(recorder.sent_to_all()), ["5", "6"]);
    assert!(recorder.sent_to_user("bob").is_empty());
    assert_eq!(texts(recorder.take()), ["1", "2", "3", "4", "5", "6"]);
    assert!(recorder.sent().is_empty());
}

#[tokio::test]
async fn room_members_answer_asks_as_scripted() {
    let recorder = RecordingProvider::new("socket");
    let io = recorder.socket_io().unwrap();
    io.join_room("ann", "r").await.unwrap();
    io.join_room("ann", "q").await.unwrap();
    io.join_room("bob", "r").await.unwrap();
    assert_eq!(io.user_rooms("ann").await.unwrap(), ["q", "r"]);
    io.leave_room("bob", "r").await.unwrap();
    assert_eq!(recorder.stats().rooms, 2);
    let phone = recorder.answer("ann", &json!({"ok": true})).unwrap();
    let laptop = recorder.leave_unanswered("ann", AckStatus::TimedOut);
    recorder.answer("bob", "not asked").unwrap();
    let replies = io.to_room_with_ack("r", event("?"), Duration::from_secs(5)).await.unwrap().all().await;
    assert_eq!(replies.len(), 2);
    assert_eq!((replies[0].connection, replies[0].status), (phone, AckStatus::Answered));
    assert_eq!(replies[0].json::<Value>().unwrap(), json!({"ok": true}));
    assert_eq!((replies[1].connection, replies[1].status), (laptop, AckStatus::TimedOut));
    assert!(io.to_user_with_ack("nobody", event("?"), Duration::ZERO).await.unwrap().all().await.is_empty());
    let asks = recorder.sent();
    assert_eq!((asks.len(), asks[0].ask), (2, Some(Duration::from_secs(5))));
}

#[tokio::test]
async fn users_of_two_tenants_have_their_own_rooms_and_answers() {
    let recorder = RecordingProvider::new("socket");
    let io = recorder.socket_io().unwrap();
    io.join_room("ann", "all").await.unwrap();
    io.join_room_in("acme", "ann", "board").await.unwrap();
    io.leave_room_in("globex", "ann", "all").await.unwrap();
    assert_eq!(io.user_rooms("ann").await.unwrap(), ["all", "board"]);
    assert_eq!(io.user_rooms_in("acme", "ann").await.unwrap(), ["all", "board"]);
    assert!(io.user_rooms_in("globex", "ann").await.unwrap().is_empty());
    let acme = recorder.answer_in("acme", "ann", "a").unwrap();
    let globex = recorder.answer_in("globex", "ann", "g").unwrap();
    let asked = async |target: Target| {
        let replies = io.ask(target, event("?"), Duration::ZERO).await.unwrap().all().await;
        replies.iter().map(|reply| reply.connection).collect::<Vec<_>>()
    };
    assert_eq!(asked(Target::user("ann")).await, [acme, globex]);
    assert_eq!(asked(Target::user_in("globex", "ann")).await, [globex]);
    assert_eq!(asked(Target::room("all")).await, [acme]);
    assert_eq!(asked(Target::all().except_user_in("acme", "ann")).await, [globex]);
    io.join_room("ann", "all").await.unwrap();
    assert_eq!(
        io.user_rooms_in("globex", "ann").await.unwrap(),
        ["all"],
        "a join with the bare name ends the tenant's leave"
    );
    io.leave_room("ann", "board").await.unwrap();
    assert_eq!(io.user_rooms("ann").await.unwrap(), ["all"]);
}

#[tokio::test]
async fn invalid_sends_are_refused_as_by_a_real_provider() {
    let recorder = RecordingProvider::with_capabilities("sse", Capabilities::none());
    assert!(recorder.socket_io().is_none() && recorder.rooms().is_none() && !recorder.is_bidirectional());
    assert!(matches!(recorder.to_user("", event("1")).await, Err(Error::InvalidName { .. })));
    let bytes = Event::binary("b", vec![1]).unwrap();
    assert!(matches!(recorder.to_all(bytes).await, Err(Error::Unsupported { .. })));
    assert!(matches!(recorder.join_room("ann", "a\nb").await, Err(Error::InvalidName { .. })));
    recorder.fail_with(Some(|| Error::Backplane("down".into())));
    assert!(matches!(recorder.to_all(event("1")).await, Err(Error::Backplane(_))));
    recorder.fail_with(None);
    recorder.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    assert_eq!(recorder.closed(), [(Target::user("ann"), CloseReason::KICKED)]);
    recorder.shutdown(Drain::now()).await;
    assert!(matches!(recorder.to_all(event("1")).await, Err(Error::Closed { .. })));
    assert!(recorder.sent().is_empty());
}
