//! Handlers, hooks and policies that are given to the service: for every transport, with one context.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::support::{Collector, WebSocket, line, served, socket, text_with};
use futures_util::SinkExt;
use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider, SseClient, WsClient};
use realtime_unified::{
    Authenticator, CloseReason, ConnectRequest, ConnectionInfo, Context, ContextExt, Error, EventId, HandlerError,
    Handlers, Identity, Inbound, NotificationService, NotificationServiceBuilder, Receipt, Refusal, Reply, RoomAccess,
    RoomPolicy, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider, async_trait,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// What the authenticator knows beyond the name.
struct Role(String);

/// `?token=` is the user, and the first letter its role.
struct ByToken;

#[async_trait]
impl Authenticator for ByToken {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
        Ok(Identity::user(&*user).with_claims(Role(user[..1].to_owned())))
    }
}

/// Everybody may enter the lobby, and who has the role of the room's name that room; who knocks in vain is told to the lobby.
struct ByRole;

#[async_trait]
impl RoomPolicy for ByRole {
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess {
        let role = cx.identity().claims::<Role>().unwrap();
        if room == "lobby" || room == role.0 {
            cx.data().set(format!("let into {room}"));
            return RoomAccess::Allow;
        }
        cx.to_room("lobby").send("knocked", &cx.identity().user_name()).await.unwrap();
        RoomAccess::Deny
    }
}

/// What was seen, in order.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder().authenticator(ByToken).room_policy(ByRole)
}

async fn started(builder: NotificationServiceBuilder) -> (NotificationService, SocketAddr) {
    let service = builder.build().await.unwrap();
    let (address, _) = served(service.router()).await;
    (service, address)
}

async fn ws(address: SocketAddr, query: &str) -> WsClient {
    let mut client = WsClient::new(format!("ws://{address}/ws?{query}")).without_reconnect();
    client.next_of("connected").await.unwrap();
    client
}

async fn sse(address: SocketAddr, query: &str) -> SseClient {
    let mut client = SseClient::new(format!("http://{address}/sse?{query}")).without_reconnect();
    client.next_of("connected").await.unwrap();
    client
}

/// The answer to an event over Socket.IO.
async fn emit(socket: &mut WebSocket, name: &str, payload: Value) -> Value {
    socket.send(Message::text(format!("421{}", json!([name, payload])))).await.unwrap();
    let text = text_with(socket, "431").await;
    let answer: Value = serde_json::from_str(&text[3..]).unwrap();
    answer[0].clone()
}

fn all(ws: WsProvider) -> NotificationServiceBuilder {
    builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(ws)
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
}

async fn note(cx: Context, who: &str) {
    let mut notes = cx.data().get::<Vec<String>>().map_or_else(Vec::new, |notes| notes.to_vec());
    notes.push(who.to_owned());
    cx.data().set(notes);
}

#[tokio::test]
async fn a_handler_of_the_service_is_for_every_transport_and_a_providers_own_wins() {
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
    let (_service, address) = started(service).await;
    let mut ws = ws(address, "token=ann").await;
    let mut io = socket(address, "bob", "").await;
    text_with(&mut io, "40").await;
    assert_eq!(ws.request("hooks", &()).await.unwrap(), json!(["service", "ws"]));
    assert_eq!(emit(&mut io, "hooks", Value::Null).await, json!(["service"]));
    let cases = [
        ("both", json!(null), json!("service"), json!("service")),
        ("own", json!(null), json!("ws"), json!("service")),
        ("join", json!("lobby"), json!("service"), json!("service")),
        // Ready-made.
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
async fn a_handler_finds_the_state_that_the_service_was_given() {
    let service = all(WsProvider::new(WsConfig::default()))
        .state(Seen::default())
        .on("see", async |cx: Context, what: String| {
            let Seen(seen) = cx.state()?;
            seen.lock().unwrap().push(what);
            Ok::<_, HandlerError>(Reply(seen.lock().unwrap().clone()))
        })
        .on("miss", async |cx: Context, (): ()| cx.state::<Role>().map(|_| ()));
    let (_service, address) = started(service).await;
    let mut ws = ws(address, "token=ann").await;
    let mut io = socket(address, "bob", "").await;
    text_with(&mut io, "40").await;
    assert_eq!(ws.request("see", "a").await.unwrap(), json!(["a"]));
    assert_eq!(emit(&mut io, "see", json!("b")).await, json!(["a", "b"]));
    // What is missing is for the log.
    let refused = ws.request("miss", &()).await.unwrap_err().to_string();
    assert!(refused.contains("internal error") && !refused.contains("Role"), "{refused}");
}

#[tokio::test]
async fn a_handler_reaches_the_service_and_with_it_every_transport() {
    let service = all(WsProvider::new(WsConfig::default())).on("tell", async |cx: Context, to: String| {
        cx.service()?.to_user(&to, "told", &cx.identity().user_name()).await
    });
    let (_service, address) = started(service).await;
    let mut carl = sse(address, "token=carl").await;
    let mut io = socket(address, "bob", "").await;
    text_with(&mut io, "40").await;
    let mut ws = ws(address, "token=ann").await;
    ws.request("tell", "carl").await.unwrap();
    assert_eq!(carl.next_of("told").await.unwrap().json::<String>(), "ann");
    emit(&mut io, "tell", json!("carl")).await;
    assert_eq!(carl.next_of("told").await.unwrap().json::<String>(), "bob");
}

#[tokio::test]
async fn hooks_and_policies_know_who_it_is_and_send_to_every_transport() {
    let service = all(WsProvider::new(WsConfig::default()))
        .state(Seen::default())
        .on_connected(async |cx: Context| {
            let seen = format!("{:?} {}", cx.data().get::<String>(), cx.identity().claims::<Role>().unwrap().0);
            cx.state::<Seen>()?.0.lock().unwrap().push(seen);
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
        .on("seen", async |cx: Context, (): ()| cx.state::<Seen>().map(|seen| Reply(seen.0.lock().unwrap().clone())))
        .on("rooms", async |cx: Context, (): ()| Reply(["all", "b", "lobby"].map(|room| cx.is_in_room(room))));
    let (service, address) = started(service).await;
    let mut ann = sse(address, "token=ann&channel=lobby").await;
    let mut bob = ws(address, "token=bob&channel=b").await;
    assert_eq!(ann.next_of("online").await.unwrap().json::<String>(), "bob");
    assert_eq!(bob.request("rooms", &()).await.unwrap(), json!([true, true, false]));
    assert_eq!(
        bob.request("seen", &()).await.unwrap(),
        json!(["Some(\"let into lobby\") a", "Some(\"let into b\") b"])
    );
    bob.request("subscribe", "c").await.unwrap_err();
    assert_eq!(ann.next_of("knocked").await.unwrap().json::<String>(), "bob");
    // The next policy's data are read by the hook that comes last.
    bob.request("subscribe", "lobby").await.unwrap();
    drop(bob);
    assert_eq!(ann.next_of("offline").await.unwrap().json::<String>(), "let into lobby");

    // One that is refused was never there, but its policy sends.
    let mut refused = socket(address, "eve", r#"{"rooms":["b"]}"#).await;
    text_with(&mut refused, "44").await;
    assert_eq!(ann.next_of("knocked").await.unwrap().json::<String>(), "eve");
    let mut carl = socket(address, "carl", r#"{"rooms":["c"]}"#).await;
    text_with(&mut carl, "40").await;
    assert_eq!(ann.next_of("online").await.unwrap().json::<String>(), "carl");
    assert_eq!(emit(&mut carl, "rooms", Value::Null).await, json!([true, false, false]));
    drop(carl);
    assert_eq!(ann.next_of("offline").await.unwrap().json::<String>(), "let into c");
    drop(service);
}

#[tokio::test(flavor = "current_thread")]
async fn an_error_of_a_hook_is_in_the_log() {
    let (collector, _guard) = Collector::listen();
    let service = builder()
        .provider(WsProvider::new(WsConfig::default()))
        .on_connected(async |_: Context| Err::<(), _>(HandlerError::new("mine", "went wrong")))
        .build()
        .await
        .unwrap();
    let _link = service.ws().unwrap().connect(Identity::user("ann"), futures_util::sink::drain()).unwrap();
    let failed = line(&collector, &["a lifecycle hook failed", "went wrong"]).await;
    assert_eq!(failed.level, tracing::Level::WARN);
    assert!(failed.span.contains("user=\"ann\""), "{failed:?}");
}

/// A handler that asks for the service is tested as any other: with mocks, and without a connection.
#[tokio::test]
async fn a_detached_context_finds_the_service_that_it_is_given() {
    let mut ws = MockRealtimeBroadcast::new();
    ws.expect_to_user()
        .withf(|user, event| user == "bob" && event.name() == "told")
        .once()
        .returning(|_, _| Ok(Receipt::new(EventId::random(), None, None)));
    let service = NotificationService::mocked([MockRealtimeProvider::named("ws", ws)]);
    let info = ConnectionInfo::new("ws", Identity::user("ann"));
    let cx = Context::detached(info, Arc::new(MockRealtimeBroadcast::new()));
    assert!(matches!(cx.service(), Err(Error::NotAttached { .. })));
    let cx = cx.with_service(&service);
    cx.service().unwrap().to_user("bob", "told", &1).await.unwrap();
    drop(service);
    assert!(matches!(cx.service(), Err(Error::Closed { .. })), "it keeps none");
}
