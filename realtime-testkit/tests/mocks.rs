//! The mocks as another crate uses them: a service that notifies, its tests, and one
//! dev-dependency.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::{Appended, Epoch, Position, Record, Runtime};
use realtime_core::{
    AckReply, AckStatus, Acks, CloseReason, ConnectionId, ConnectionInfo, Context, Delivered, Error, Event, EventId,
    Handler, HandlerError, Identity, Inbound, LifecycleHook, RealtimeBroadcast, RealtimeProvider, Receipt, RefusalKind,
    RoomAccess, RoomPolicy, Router, SocketIoBroadcast, Target,
};
use realtime_testkit::{
    MockAuthenticator, MockBackplane, MockDirectory, MockHandler, MockLifecycleHook, MockRealtimeBroadcast,
    MockRealtimeProvider, MockRoomMembership, MockRoomPolicy, MockSocketIoBroadcast, Sequence, predicate,
};
use serde_json::{Value, json};

/// The other crate's code: orders that notify their customer and the warehouse.
struct Orders {
    notify: Arc<dyn RealtimeBroadcast>,
}

impl Orders {
    async fn ship(&self, customer: &str, order: u32) -> Result<usize, Error> {
        let event = Event::json("order:shipped", &json!({ "order": order }))?;
        self.notify.to_room("warehouse", event.clone()).await?;
        let receipt = self.notify.to_user(customer, event).await?;
        Ok(receipt.delivered.map_or(0, |delivered| delivered.queued))
    }
}

fn receipt(queued: usize) -> Receipt {
    let delivered = Delivered::queued(queued);
    Receipt::new(EventId::random(), Some(Position::new(1)), Some(delivered))
}

fn payload(event: &Event) -> Value {
    serde_json::from_slice(event.payload().bytes()).unwrap()
}

#[tokio::test]
async fn shipping_notifies_warehouse_then_customer() {
    let mut order = Sequence::new();
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast
        .expect_to_room()
        .with(predicate::eq("warehouse"), predicate::always())
        .once()
        .in_sequence(&mut order)
        .returning(|_, _| Ok(receipt(3)));
    broadcast
        .expect_to_user()
        .withf(|user, event| user == "ann" && event.name() == "order:shipped" && payload(event)["order"] == 42)
        .once()
        .in_sequence(&mut order)
        .returning(|_, _| Ok(receipt(2)));
    let orders = Orders { notify: Arc::new(broadcast) };
    assert_eq!(orders.ship("ann", 42).await.unwrap(), 2);
}

#[tokio::test]
async fn failure_reaches_the_caller() {
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast.expect_to_room().returning(|_, _| Err(Error::Backplane("down".into())));
    broadcast.expect_to_user().never();
    let orders = Orders { notify: Arc::new(broadcast) };
    assert!(matches!(orders.ship("ann", 1).await, Err(Error::Backplane(_))));
}

#[tokio::test]
#[should_panic(expected = "to_user")]
async fn unexpected_call_fails_the_test() {
    let broadcast: Arc<dyn RealtimeBroadcast> = Arc::new(MockRealtimeBroadcast::new());
    let _ = broadcast.to_user("ann", Event::json("x", &1).unwrap()).await;
}

#[tokio::test]
async fn named_provider_returns_its_broadcast() {
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast.expect_to_all().times(2).returning(|_| Ok(receipt(1)));
    let provider: Arc<dyn RealtimeProvider> = Arc::new(MockRealtimeProvider::named("sse", broadcast));
    assert_eq!(provider.name(), "sse");
    assert!(!provider.is_bidirectional() && provider.socket_io().is_none() && provider.rooms().is_none());
    provider.attach(Runtime::in_memory()).await.unwrap();
    for _ in 0..2 {
        provider.broadcast().to_all(Event::json("x", &1).unwrap()).await.unwrap();
    }
    assert_eq!(provider.stats().connections, 0);
}

#[tokio::test]
async fn socket_io_mock_serves_broadcast_rooms_and_acks() {
    let mut io = MockSocketIoBroadcast::new();
    io.expect_to_user().once().returning(|_, _| Ok(receipt(1)));
    io.expect_send().withf(|target, _| *target == Target::tenant("acme")).once().returning(|_, _| Ok(receipt(1)));
    io.expect_join_room().with(predicate::eq("ann"), predicate::eq("r")).once().returning(|_, _| Ok(()));
    io.expect_user_rooms().returning(|_| Ok(vec!["r".to_owned()]));
    io.expect_to_user_with_ack().once().returning(|_, _, timeout| {
        let answered = AckReply::answered(ConnectionId::random(), Duration::from_millis(3), "yes")?;
        Ok(Acks::ready([answered, AckReply::unanswered(ConnectionId::random(), AckStatus::TimedOut, timeout)]))
    });
    let mut provider = MockRealtimeProvider::named_with_socket_io("socket", io);
    provider.expect_close().once().returning(|_, _| Ok(1));
    let provider: Arc<dyn RealtimeProvider> = Arc::new(provider);
    assert!(provider.is_bidirectional());
    provider.broadcast().to_user("ann", Event::json("x", &1).unwrap()).await.unwrap();
    provider.rooms().unwrap().join_room("ann", "r").await.unwrap();
    let io: Arc<dyn SocketIoBroadcast> = provider.socket_io().unwrap();
    io.send(Target::tenant("acme"), Event::json("x", &1).unwrap()).await.unwrap();
    assert_eq!(io.user_rooms("ann").await.unwrap(), ["r"]);
    let replies =
        io.to_user_with_ack("ann", Event::json("q", &1).unwrap(), Duration::from_secs(1)).await.unwrap().all().await;
    assert_eq!(replies[0].json::<String>().unwrap(), "yes");
    assert_eq!((replies.len(), replies[1].status), (2, AckStatus::TimedOut));
    assert_eq!(provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 1);
}

struct Greeting(&'static str);

#[tokio::test]
async fn handler_is_tested_without_a_connection() {
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast
        .expect_send()
        .withf(|target, event| matches!(target.scope(), realtime_core::Scope::Room { .. }) && event.name() == "said")
        .withf(|_, event| event.payload().bytes().as_ref() == b"\"hi, bob\"")
        .once()
        .returning(|_, _| Ok(receipt(1)));
    let cx = Context::detached(ConnectionInfo::new("ws", Identity::user("ann")), Arc::new(broadcast))
        .with_state(Greeting("hi"));
    let router = Router::new().on("say", async |cx: Context, text: String| {
        if !cx.is_in_room("r") {
            return Err(HandlerError::new("not_in_room", "join the room first"));
        }
        let Greeting(greeting) = cx.state()?;
        cx.data().set(text.len());
        Ok(cx.to_room("r").except_self().send("said", &format!("{greeting}, {text}")).await?)
    });
    let say = async || router.handle(cx.clone(), Inbound::new("say", "\"bob\"")).await;
    assert_eq!(say().await.unwrap_err().code(), "not_in_room");
    assert!(cx.enter_room("r").unwrap() && !cx.subscribe("r").await.unwrap(), "a second join has no effect");
    assert_eq!(say().await, Ok(None));
    assert_eq!(cx.data().get::<usize>().as_deref(), Some(&3));
    assert_eq!((cx.leave_room("r"), cx.leave_room("r"), cx.is_in_room("r")), (true, false, false));
    assert_eq!(say().await.unwrap_err().code(), "not_in_room");
    assert!(matches!(cx.enter_room(""), Err(Error::InvalidName { .. })));
    assert_eq!(cx.subscribe("").await.unwrap_err().kind(), RefusalKind::BadRequest);
}

#[tokio::test]
async fn every_other_trait_has_a_mock() {
    let mut authenticator = MockAuthenticator::new();
    authenticator.expect_authenticate().once().returning(|request| {
        assert_eq!(request.provider(), "sse");
        Ok(Identity::user("ann"))
    });
    let mut policy = MockRoomPolicy::new();
    policy.expect_access().returning(|_, room| if room == "r" { RoomAccess::Allow } else { RoomAccess::Deny });
    let mut hook = MockLifecycleHook::new();
    hook.expect_connected().never();
    let mut handler = MockHandler::new();
    handler.expect_call().once().returning(|_, _| Ok(None));
    let mut rooms = MockRoomMembership::new();
    rooms.expect_leave_room().once().returning(|_, _| Ok(()));
    let mut backplane = MockBackplane::new();
    backplane.expect_append().once().returning(|_, record, _| Ok(Appended::new(Position::new(7), record.id())));
    let mut directory = MockDirectory::new();
    directory.expect_of_user().once().returning(|_| Ok(Vec::new()));

    let parts = http_parts();
    let request = realtime_core::ConnectRequest::new("sse", &parts);
    let runtime = Runtime::in_memory()
        .with_authenticator(authenticator)
        .with_policy(policy)
        .with_hook(hook)
        .with_backplane(backplane);
    assert_eq!(runtime.authenticator.authenticate(&request).await.unwrap().user_name(), Some("ann"));
    let info = ConnectionInfo::new("ws", Identity::anonymous());
    let cx = Context::detached(info, Arc::new(MockRealtimeBroadcast::new()));
    assert_eq!(runtime.policy.access(&cx, "q").await, RoomAccess::Deny);
    let event = Event::json("note", &1).unwrap();
    let record = Arc::new(Record::of_event(EventId::random(), Target::all(), event));
    let appended = runtime.log.backplane().append(Epoch::new(1), Arc::clone(&record), None).await;
    assert_eq!(appended.unwrap().position, Position::new(7));
    assert_eq!(runtime.hooks.len(), 1);
    let router = Router::new().with_handler("x", handler);
    assert_eq!(router.handle(cx, Inbound::new("x", "1")).await, Ok(None));
    let rooms: Arc<dyn realtime_core::RoomMembership> = Arc::new(rooms);
    rooms.leave_room("ann", "r").await.unwrap();
    let directory: Arc<dyn realtime_core::spi::Directory> = Arc::new(directory);
    assert!(directory.of_user("ann").await.unwrap().is_empty());
    let _: &dyn LifecycleHook = &*runtime.hooks[0];
    let _: fn(MockHandler) -> Box<dyn Handler> = |handler| Box::new(handler);
    let _: fn(MockRoomPolicy) -> Box<dyn RoomPolicy> = |policy| Box::new(policy);
}

fn http_parts() -> http::request::Parts {
    http::Request::get("/").body(()).unwrap().into_parts().0
}
