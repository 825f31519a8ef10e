//! Handlers, hooks and policies of the service, which apply to every transport with one context.

use std::sync::{Arc, Mutex};

use crate::support::{Collector, WebSocket, accepted_socket, line, socket, sse_client, start, text_with, ws_client};
use futures_util::SinkExt;
use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider};
use realtime_unified::{
    Authenticator, CloseReason, ConnectRequest, ConnectionInfo, Context, ContextExt, Error, EventId, HandlerError,
    Handlers, Identity, Inbound, NotificationService, NotificationServiceBuilder, Receipt, Refusal, Reply, RoomAccess,
    RoomPolicy, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider, async_trait,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The role of a user, set by the authenticator.
struct Role(String);

/// An authenticator that takes the user from `?token=`, and the role from the user's first letter.
struct ByToken;

#[async_trait]
impl Authenticator for ByToken {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
        Ok(Identity::user(&*user).with_claims(Role(user[..1].to_owned())))
    }
}

/// A policy that allows the lobby, and a room with the name of the user's role; notifies the lobby
/// of users that it rejects.
struct ByRole;

#[async_trait]
impl RoomPolicy for ByRole {
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess {
        let role = cx.identity().claims::<Role>().unwrap();
        if room == "lobby" || room == role.0 {
            cx.data().set(format!("allowed in {room}"));
            return RoomAccess::Allow;
        }
        cx.to_room("lobby").send("rejected", &cx.identity().user_name()).await.unwrap();
        RoomAccess::Deny
    }
}

/// The recorded texts, in order.
#[derive(Default)]
struct Recorded(Mutex<Vec<String>>);

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder().authenticator(ByToken).room_policy(ByRole)
}

/// Sends an event over Socket.IO and returns the answer.
async fn emit(socket: &mut WebSocket, name: &str, payload: Value) -> Value {
    socket.send(Message::text(format!("421{}", json!([name, payload])))).await.unwrap();
    let text = text_with(socket, "431").await;
    let answer: Value = serde_json::from_str(&text[3..]).unwrap();
    answer[0].clone()
}

/// Returns a builder with a provider of each transport.
fn all(ws: WsProvider) -> NotificationServiceBuilder {
    builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(ws)
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
}

/// Appends a name to the notes in the connection's data.
async fn note(cx: Context, name: &str) {
    let mut notes = cx.data().get::<Vec<String>>().map_or_else(Vec::new, |notes| notes.to_vec());
    notes.push(name.to_owned());
    cx.data().set(notes);
}

#[tokio::test]
async fn service_handler_serves_all_transports_unless_overridden() {
    let own = WsProvider::new(WsConfig::default())
        .on("own", async |_: Context, (): ()| Reply("ws"))
        .fallback(async |_, _| Reply("ws fallback"))
        .before(async |cx: Context, _| {
            note(cx, "ws").await;
            Ok(())
        });
    let service = all(own)
        .before(async |cx: Context, inbound: Inbound| {
            note(cx, "service").await;
            if &*inbound.name == "forbidden" { Err(HandlerError::new("forbidden", "not you")) } else { Ok(()) }
        })
        .on("both", async |_: Context, (): ()| Reply("service"))
        .on("own", async |_: Context, (): ()| Reply("service"))
        .on("forbidden", async |_: Context, (): ()| Reply("service"))
        .on_raw("join", async |_: Context, _: Inbound| Reply("service"))
        .on("hooks", async |cx: Context, (): ()| Reply(cx.data().remove::<Vec<String>>().unwrap().to_vec()))
        .fallback(async |_, _| Reply("service fallback"));
    let (_service, address) = start(service).await;
    let mut ws = ws_client(address, "/ws?token=ann").await;
    let mut io = accepted_socket(address, "bob", "").await;
    assert_eq!(ws.request("hooks", &()).await.unwrap(), json!(["service", "ws"]));
    assert_eq!(emit(&mut io, "hooks", Value::Null).await, json!(["service"]));
    let cases = [
        ("both", json!(null), json!("service"), json!("service")),
        ("own", json!(null), json!("ws"), json!("service")),
        ("join", json!("lobby"), json!("service"), json!("service")),
        // A built-in handler.
        ("leave", json!("lobby"), json!(false), json!(false)),
        ("other", json!(null), json!("ws fallback"), json!("service fallback")),
    ];
    for (name, payload, by_ws, by_socket) in cases {
        assert_eq!(ws.request(name, &payload).await.unwrap(), by_ws, "{name}");
        assert_eq!(emit(&mut io, name, payload).await, by_socket, "{name}");
    }
    assert!(ws.request("forbidden", &()).await.unwrap_err().to_string().contains("not you"));
    assert_eq!(emit(&mut io, "forbidden", Value::Null).await["error"]["code"], "forbidden");
}

#[tokio::test]
async fn handler_gets_the_services_state() {
    let service = all(WsProvider::new(WsConfig::default()))
        .state(Recorded::default())
        .on("record", async |cx: Context, text: String| {
            let Recorded(recorded) = cx.state()?;
            recorded.lock().unwrap().push(text);
            Ok::<_, HandlerError>(Reply(recorded.lock().unwrap().clone()))
        })
        .on("missing state", async |cx: Context, (): ()| cx.state::<Role>().map(|_| ()));
    let (_service, address) = start(service).await;
    let mut ws = ws_client(address, "/ws?token=ann").await;
    let mut io = accepted_socket(address, "bob", "").await;
    assert_eq!(ws.request("record", "a").await.unwrap(), json!(["a"]));
    assert_eq!(emit(&mut io, "record", json!("b")).await, json!(["a", "b"]));
    // The missing type appears in the log only.
    let refused = ws.request("missing state", &()).await.unwrap_err().to_string();
    assert!(refused.contains("internal error") && !refused.contains("Role"), "{refused}");
}

#[tokio::test]
async fn handler_sends_to_every_transport_through_the_service() {
    let service = all(WsProvider::new(WsConfig::default())).on("forward", async |cx: Context, to: String| {
        cx.service()?.to_user(&to, "forwarded", &cx.identity().user_name()).await
    });
    let (_service, address) = start(service).await;
    let mut carl = sse_client(address, "/sse?token=carl").await;
    let mut io = accepted_socket(address, "bob", "").await;
    let mut ws = ws_client(address, "/ws?token=ann").await;
    ws.request("forward", "carl").await.unwrap();
    assert_eq!(carl.next_of("forwarded").await.unwrap().json::<String>(), "ann");
    emit(&mut io, "forward", json!("carl")).await;
    assert_eq!(carl.next_of("forwarded").await.unwrap().json::<String>(), "bob");
}

#[tokio::test]
async fn hooks_and_policies_know_identity_and_reach_transports() {
    let service = all(WsProvider::new(WsConfig::default()))
        .state(Recorded::default())
        .on_connected(async |cx: Context| {
            let recorded = format!("{:?} {}", cx.data().get::<String>(), cx.identity().claims::<Role>().unwrap().0);
            cx.state::<Recorded>()?.0.lock().unwrap().push(recorded);
            cx.enter_room("all")?;
            cx.to_room("lobby")
                .except_self()
                .send("online", &cx.identity().user_name())
                .await
                .map_err(HandlerError::from)
        })
        .on_disconnected(async |cx: Context, _: CloseReason| {
            cx.to_room("lobby").send("offline", &cx.data().get::<String>().as_deref()).await
        })
        .on("recorded", async |cx: Context, (): ()| {
            cx.state::<Recorded>().map(|recorded| Reply(recorded.0.lock().unwrap().clone()))
        })
        .on("rooms", async |cx: Context, (): ()| Reply(["all", "b", "lobby"].map(|room| cx.is_in_room(room))));
    let (service, address) = start(service).await;
    let mut ann = sse_client(address, "/sse?token=ann&channel=lobby").await;
    let mut bob = ws_client(address, "/ws?token=bob&channel=b").await;
    assert_eq!(ann.next_of("online").await.unwrap().json::<String>(), "bob");
    assert_eq!(bob.request("rooms", &()).await.unwrap(), json!([true, true, false]));
    assert_eq!(
        bob.request("recorded", &()).await.unwrap(),
        json!(["Some(\"allowed in lobby\") a", "Some(\"allowed in b\") b"])
    );
    bob.request("subscribe", "c").await.unwrap_err();
    assert_eq!(ann.next_of("rejected").await.unwrap().json::<String>(), "bob");
    // The disconnect hook reads the data that the policy set last.
    bob.request("subscribe", "lobby").await.unwrap();
    drop(bob);
    assert_eq!(ann.next_of("offline").await.unwrap().json::<String>(), "allowed in lobby");

    // A refused connection calls no hooks, but the policy can send.
    let mut refused = socket(address, "eve", r#"{"rooms":["b"]}"#).await;
    text_with(&mut refused, "44").await;
    assert_eq!(ann.next_of("rejected").await.unwrap().json::<String>(), "eve");
    let mut carl = accepted_socket(address, "carl", r#"{"rooms":["c"]}"#).await;
    assert_eq!(ann.next_of("online").await.unwrap().json::<String>(), "carl");
    assert_eq!(emit(&mut carl, "rooms", Value::Null).await, json!([true, false, false]));
    drop(carl);
    assert_eq!(ann.next_of("offline").await.unwrap().json::<String>(), "allowed in c");
    drop(service);
}

#[tokio::test(flavor = "current_thread")]
async fn hook_error_is_logged() {
    let (collector, _guard) = Collector::install();
    let service = builder()
        .provider(WsProvider::new(WsConfig::default()))
        .on_connected(async |_: Context| Err::<(), _>(HandlerError::new("mine", "went wrong")))
        .build()
        .await
        .unwrap();
    let _link = service.ws().unwrap().connect(Identity::user("ann"), futures_util::sink::drain()).unwrap();
    let failed = line(&collector, &["a lifecycle hook failed", "went wrong"]).await;
    assert_eq!(failed.level, tracing::Level::WARN);
    assert!(failed.spans[0].contains("user=\"ann\""), "{failed:?}");
}

/// A handler that uses the service can be tested with mocks and without a connection.
#[tokio::test]
async fn detached_context_finds_the_service_it_was_given() {
    let mut ws = MockRealtimeBroadcast::new();
    ws.expect_to_user()
        .withf(|user, event| user == "bob" && event.name() == "forwarded")
        .once()
        .returning(|_, _| Ok(Receipt::new(EventId::random(), None, None)));
    let service = NotificationService::mocked([MockRealtimeProvider::named("ws", ws)]);
    let info = ConnectionInfo::new("ws", Identity::user("ann"));
    let cx = Context::detached(info, Arc::new(MockRealtimeBroadcast::new()));
    assert!(matches!(cx.service(), Err(Error::NotAttached { .. })));
    let cx = cx.with_service(&service);
    cx.service().unwrap().to_user("bob", "forwarded", &1).await.unwrap();
    drop(service);
    assert!(matches!(cx.service(), Err(Error::Closed { .. })), "the context does not keep the service");
}
