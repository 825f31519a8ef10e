//! Several providers of one kind, distinguished by their names.

use std::net::SocketAddr;

use crate::support::{sse_client, start, text_with, websocket, ws_client};
use realtime_testkit::WsClient;
use realtime_unified::{
    AllowRooms, Authenticator, ConnectRequest, Context, Error, Handlers, Identity, NotificationService, Refusal, Reply,
    SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider, async_trait,
};

/// An authenticator that takes the user from `?user=`, and allows only "root" at providers whose
/// name starts with "admin".
struct ByEndpoint;

#[async_trait]
impl Authenticator for ByEndpoint {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.query("user").unwrap_or_default();
        if request.provider().starts_with("admin") && user != "root" {
            return Err(Refusal::forbidden("not you"));
        }
        Ok(Identity::user(&*user))
    }
}

async fn started() -> (NotificationService, SocketAddr) {
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .provider(
            WsProvider::named("admin", WsConfig::default().with_path("/admin/ws"))
                .on("which", async |_: Context, (): ()| Reply("own")),
        )
        .provider(SseProvider::named("admin-sse", SseConfig::default().with_path("/admin/sse")))
        .provider(SocketIoProvider::named("admin-io", SocketIoConfig::default().with_path("/admin/io")))
        .on("which", async |cx: Context, (): ()| Reply(cx.provider()))
        .authenticator(ByEndpoint)
        .room_policy(AllowRooms);
    start(service).await
}

#[tokio::test]
async fn two_endpoints_of_one_kind_are_two_providers() {
    let (service, address) = started().await;
    let mut user = ws_client(address, "/ws?user=root").await;
    let mut admin = ws_client(address, "/admin/ws?user=root").await;
    let mut stream = sse_client(address, "/admin/sse?user=root").await;
    let mut io = websocket(address, "/admin/io/?EIO=4&transport=websocket&user=root").await;
    futures_util::SinkExt::send(&mut io, "40".into()).await.unwrap();
    text_with(&mut io, "40").await;

    assert_eq!(user.request("which", &()).await.unwrap(), "ws");
    assert_eq!(admin.request("which", &()).await.unwrap(), "own");
    service.broadcast_to_user("admin", "root", "news", &1).await.unwrap();
    service.broadcast_to_all("ws", "news", &2).await.unwrap();
    service.broadcast_to_all("admin-sse", "news", &3).await.unwrap();
    service.broadcast_to_all("admin-io", "news", &4).await.unwrap();
    let sent = service.to_user("root", "news", &5).await.unwrap();
    assert_eq!(sent.by_provider.keys().collect::<Vec<_>>(), ["admin", "admin-io", "admin-sse", "ws"]);
    for (client, own) in [(&mut admin, 1), (&mut user, 2)] {
        for number in [own, 5] {
            assert_eq!(client.next_of("news").await.unwrap().payload, number);
        }
    }
    for number in [3, 5] {
        assert_eq!(stream.next_of("news").await.unwrap().json::<u32>(), number);
    }
    for number in [4, 5] {
        assert!(text_with(&mut io, "42[\"news\"").await.starts_with(&format!("42[\"news\",{number},")), "{number}");
    }
    let refused = WsClient::connect(format!("ws://{address}/admin/ws?user=ann")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(service.stats()["admin"].refused["forbidden"], 1);
}

#[tokio::test]
async fn provider_is_found_by_name_and_type() {
    let (service, _) = started().await;
    assert_eq!(service.provider_as::<WsProvider>("admin").unwrap().config().path(), "/admin/ws");
    assert_eq!(service.ws().unwrap().config().path(), "/ws");
    assert!(matches!(service.provider_as::<SseProvider>("admin"), Err(Error::UnknownProvider { .. })));
    assert!(matches!(service.sse().err(), Some(Error::UnknownProvider { .. })), "the SSE provider has another name");
}

#[tokio::test]
async fn duplicate_and_invalid_provider_names_are_rejected() {
    for (name, message) in [("ws", "two providers are named \"ws\""), ("", "invalid provider name")] {
        let built = NotificationService::builder()
            .provider(WsProvider::new(WsConfig::default()))
            .provider(WsProvider::named(name, WsConfig::default().with_path("/other")))
            .allow_anonymous()
            .build()
            .await;
        match built {
            Err(Error::Config(text)) => assert!(text.contains(message), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
