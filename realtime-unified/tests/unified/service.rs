//! The service with mocks and a recording provider, without network and transport.

use std::sync::Arc;
use std::time::Duration;

use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider, RecordingProvider};
use realtime_unified::spi::Position;
use realtime_unified::stats::{Capabilities, Delivered};
use realtime_unified::{
    CloseReason, Drain, Error, Event, EventId, NotificationService, RealtimeProvider, Receipt, Target,
};
use serde_json::json;

fn receipt() -> Receipt {
    Receipt::new(EventId::random(), Some(Position::new(7)), Some(Delivered::default()))
}

fn failing() -> Error {
    Error::Backplane("away".into())
}

/// Returns a provider with or without rooms, whose `to_room` returns this result.
fn room_provider(
    name: &'static str,
    rooms: bool,
    answer: fn() -> realtime_unified::Result<Receipt>,
) -> MockRealtimeProvider {
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast.expect_to_room().times(usize::from(rooms)).returning(move |_, _| answer());
    let mut provider = MockRealtimeProvider::new();
    provider.expect_name().return_const(name);
    provider.expect_capabilities().returning(move || Capabilities::none().with_rooms(rooms));
    let broadcast = Arc::new(broadcast);
    provider.expect_broadcast().returning(move || Arc::clone(&broadcast) as _);
    provider
}

#[tokio::test]
async fn each_broadcast_calls_the_method_of_its_name() {
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast
        .expect_to_user()
        .withf(|user, event| user == "ann" && event.name() == "a" && event.payload().bytes().as_ref() == b"1")
        .times(1)
        .returning(|_, _| Ok(receipt()));
    broadcast.expect_to_tenant().withf(|tenant, _| tenant == "acme").times(1).returning(|_, _| Ok(receipt()));
    broadcast.expect_to_all().times(1).returning(|_| Ok(receipt()));
    let service = NotificationService::mocked([MockRealtimeProvider::named("socket", broadcast)]);
    assert_eq!(service.broadcast_to_user("socket", "ann", "a", &1).await.unwrap().position, Some(Position::new(7)));
    service.broadcast_to_tenant("socket", "acme", "a", "x").await.unwrap();
    service.broadcast_to_all("socket", "a", &json!({})).await.unwrap();
}

#[tokio::test]
async fn broadcast_and_send_call_send_of_a_mock() {
    let mut broadcast = MockRealtimeBroadcast::new();
    let is_expected = |target: &Target, event: &Event| *target == Target::user("ann") && event.name() == "a";
    broadcast.expect_send().withf(is_expected).times(2).returning(|_, _| Ok(receipt()));
    let service = NotificationService::mocked([MockRealtimeProvider::named("ws", broadcast)]);
    service.broadcast(&["ws"], Target::user("ann"), Event::json("a", &1).unwrap()).await.unwrap();
    service.send(Target::user("ann"), Event::json("a", &1).unwrap()).await.unwrap();
}

#[tokio::test]
async fn fakes_of_several_kinds_share_a_service() {
    let recorder = RecordingProvider::new("sse");
    let mut broadcast = MockRealtimeBroadcast::new();
    broadcast.expect_to_user().times(1).returning(|_, _| Ok(receipt()));
    let service = NotificationService::mocked((recorder.clone(), MockRealtimeProvider::named("ws", broadcast)));
    let buyer = "ann".to_owned();
    service.to_user(&buyer, "a", &1).await.unwrap();
    assert_eq!(recorder.sent_to_user(&buyer).len(), 1);
    assert_eq!(Target::user(&buyer), Target::user("ann"));
}

#[tokio::test]
async fn socketio_is_an_alias_unless_a_provider_has_that_name() {
    let socket = RecordingProvider::new("socket");
    let service = NotificationService::mocked([socket.clone()]);
    service.broadcast_to_user("socketio", "ann", "a", &1).await.unwrap();
    service.broadcast(&["socketio"], Target::all(), Event::json("b", &1).unwrap()).await.unwrap();
    assert_eq!(socket.sent().len(), 2);
    let own = RecordingProvider::new("socketio");
    let service = NotificationService::mocked([socket.clone(), own.clone()]);
    service.broadcast_to_user("socketio", "ann", "a", &1).await.unwrap();
    assert_eq!((socket.sent().len(), own.sent().len()), (2, 1));
}

#[tokio::test]
async fn invalid_key_is_rejected_when_the_event_is_sent() {
    let recorder = RecordingProvider::new("ws");
    let service = NotificationService::mocked([recorder.clone()]);
    // Without an expectation: a call of the mock would panic.
    let mocked = NotificationService::mocked([MockRealtimeProvider::named("ws", MockRealtimeBroadcast::new())]);
    let event = || Event::json("a", &1).unwrap();
    for event in [event().with_idempotency_key(""), event().with_latest_key("a\nb")] {
        let error = service.send(Target::user("ann"), event.clone()).await.unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error}");
        let one = Target::connection(realtime_unified::ConnectionId::random());
        let error = mocked.send(one, event.clone()).await.unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error}");
        let error = recorder.broadcast().to_user("ann", event).await.unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{error}");
    }
    assert!(recorder.sent().is_empty());
}

#[tokio::test]
async fn unknown_provider_error_lists_the_registered_ones() {
    let service = NotificationService::mocked([MockRealtimeProvider::named("socket", MockRealtimeBroadcast::new())]);
    let error = service.broadcast_to_user("pigeon", "ann", "a", &1).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownProvider { registered, .. } if registered == &["socket"]), "{error}");
    assert_eq!(error.to_string(), "unknown provider \"pigeon\"; registered: socket");
}

#[test]
fn error_names_the_disabled_feature_of_a_provider() {
    let service = NotificationService::mocked(Vec::<MockRealtimeProvider>::new());
    for (name, feature, on) in [
        ("sse", "sse", cfg!(feature = "sse")),
        ("ws", "ws", cfg!(feature = "ws")),
        ("socket", "socketio", cfg!(feature = "socketio")),
    ] {
        match service.provider(name).err().unwrap() {
            Error::UnknownProvider { .. } => assert!(on, "{name}"),
            Error::FeatureOff { feature: named, .. } => assert!(!on && named == feature, "{name}"),
            error => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn invalid_event_is_rejected_before_any_provider_call() {
    let service = NotificationService::mocked([MockRealtimeProvider::named("socket", MockRealtimeBroadcast::new())]);
    for (name, code) in [("", "invalid_name"), ("a\nb", "invalid_name"), ("connected", "reserved_name")] {
        assert_eq!(service.broadcast_to_user("socket", "ann", name, &1).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn room_event_reaches_every_provider_with_rooms() {
    let service = NotificationService::mocked([
        room_provider("a", true, || Ok(receipt())),
        room_provider("b", false, || Ok(receipt())),
        room_provider("c", true, || Ok(receipt())),
    ]);
    let sent = service.broadcast_to_room("r", "message", &1).await.unwrap();
    assert_eq!(sent.by_provider.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!((sent.position, sent.skipped), (Some(Position::new(7)), vec!["b".to_owned()]));
}

#[tokio::test]
async fn room_event_without_a_capable_provider_is_an_error() {
    let service = NotificationService::mocked([room_provider("a", false, || Ok(receipt()))]);
    let error = service.broadcast_to_room("r", "message", &1).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider \"a\" does not support rooms");
    let service = NotificationService::mocked([room_provider("a", true, || Err(failing()))]);
    assert_eq!(service.broadcast_to_room("r", "message", &1).await.unwrap_err().code(), "backplane");
}

#[tokio::test]
async fn nothing_is_sent_if_a_named_provider_is_unknown() {
    let mocked = |sends| {
        let mut broadcast = MockRealtimeBroadcast::new();
        let to = |target: &Target, _: &Event| *target == Target::user("ann");
        broadcast.expect_send().withf(to).times(sends).returning(|_, _| Ok(receipt()));
        NotificationService::mocked([MockRealtimeProvider::named("socket", broadcast)])
    };
    let event = || Event::json("a", &1).unwrap();
    let service = mocked(1);
    let sent = service.broadcast(&["socket", "socket"], Target::user("ann"), event()).await.unwrap();
    assert_eq!(sent.by_provider.keys().collect::<Vec<_>>(), ["socket"]);
    let service = mocked(0);
    for names in [&["socket", "pigeon"][..], &["pigeon"], &[]] {
        let error = service.broadcast(names, Target::user("ann"), event()).await.unwrap_err();
        assert_eq!(error.code(), "unknown_provider", "{names:?}");
    }
}

#[tokio::test]
async fn builder_requires_authenticator_provider_and_unique_names() {
    let recorder = || Arc::new(RecordingProvider::new("recorder")) as Arc<dyn RealtimeProvider>;
    let config = |result: realtime_unified::Result<NotificationService>| match result.unwrap_err() {
        Error::Config(message) => message,
        error => panic!("{error}"),
    };
    assert!(config(NotificationService::builder().custom(recorder()).build().await).contains("allow_anonymous"));
    assert!(config(NotificationService::builder().allow_anonymous().build().await).contains("no provider"));
    let twice = NotificationService::builder().custom(recorder()).custom(recorder()).allow_anonymous();
    assert!(config(twice.build().await).contains("two providers"));
}

#[tokio::test]
async fn custom_provider_is_attached_joined_closed_and_shut_down() {
    let recorder = Arc::new(RecordingProvider::new("recorder"));
    let service =
        NotificationService::builder().custom(Arc::clone(&recorder) as _).allow_anonymous().build().await.unwrap();
    service.join_room("ann", "r").await.unwrap();
    assert_eq!(service.user_rooms("ann").await.unwrap(), ["r"]);
    service.broadcast_to_room("r", "message", &1).await.unwrap();
    service.leave_room("ann", "r").await.unwrap();
    assert_eq!(service.user_rooms("ann").await.unwrap(), Vec::<String>::new());
    service.join_room_in("acme", "ann", "r").await.unwrap();
    assert_eq!(service.user_rooms_in("acme", "ann").await.unwrap(), ["r"]);
    assert_eq!(service.user_rooms_in("globex", "ann").await.unwrap(), Vec::<String>::new());
    service.leave_room_in("acme", "ann", "r").await.unwrap();
    assert_eq!(service.user_rooms("ann").await.unwrap(), Vec::<String>::new());
    service.broadcast_to_user_in("recorder", "acme", "ann", "message", &1).await.unwrap();
    assert_eq!(recorder.take().pop().unwrap().target, Target::user_in("acme", "ann"));
    assert!(service.online_in("acme", "ann").await.unwrap().is_empty());
    assert!(service.online("ann").await.unwrap().is_empty());
    service.close(Target::all(), CloseReason::KICKED).await.unwrap();
    assert_eq!(service.stats().keys().copied().collect::<Vec<_>>(), ["recorder"]);
    tokio::time::timeout(Duration::from_secs(5), service.shutdown(Drain::now())).await.unwrap();
}

#[cfg(feature = "ws")]
#[tokio::test]
async fn custom_provider_gets_handler_sends_but_no_repeats() {
    use realtime_unified::{Context, Handlers, Identity, Inbound, WsConfig, WsProvider};

    let pager = Arc::new(RecordingProvider::new("pager"));
    let ws = Arc::new(WsProvider::new(WsConfig::default()).on("page", async |cx: Context, text: String| {
        cx.to_user("ann").send("paged", &text).await?;
        cx.to_user("ann").over("ws").send("over ws", &text).await?;
        cx.to_user("ann").over("pager").send("over pager", &text).await
    }));
    let service = NotificationService::builder()
        .custom(Arc::clone(&ws) as _)
        .custom(Arc::clone(&pager) as _)
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let link = ws.connect(Identity::user("bob"), futures_util::sink::drain()).unwrap();
    link.receive(Inbound::new("page", "\"now\""));
    realtime_testkit::eventually("both are sent", || pager.sent().len() == 2).await;
    let names =
        |sent: Vec<realtime_testkit::Sent>| sent.iter().map(|sent| sent.event.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(pager.take()), ["paged", "over pager"]);

    let keyed = || Event::json("once", &1).unwrap().with_idempotency_key("k");
    assert!(!service.send(Target::user("ann"), keyed()).await.unwrap().repeated());
    assert!(service.send(Target::user("ann"), keyed()).await.unwrap().repeated());
    assert_eq!(names(pager.take()), ["once"]);
}
