//! A service, and each kind of provider, that is dropped without a shutdown.

use std::sync::Arc;
use std::time::Duration;

use crate::support::served;
use futures_util::{SinkExt, StreamExt, sink};
use realtime_testkit::{SseClient, WsClient};
use realtime_unified::spi::{Directory, Runtime};
use realtime_unified::{
    Context, ContextExt, Error, Event, Handlers, Identity, Inbound, MemoryDirectory, NotificationService,
    RealtimeProvider, Reply, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};

const WAIT: Duration = Duration::from_secs(15);

/// Tasks of this test's own runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WAIT, held).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

async fn is_empty(directory: &MemoryDirectory) -> bool {
    directory.of_user("ann").await.unwrap().is_empty()
}

fn runtime(directory: &Arc<MemoryDirectory>) -> Runtime {
    Runtime::in_memory().with_directory(Arc::clone(directory))
}

macro_rules! a_dropped_provider_leaves_nothing {
    ($test:ident, $provider:expr) => {
        #[tokio::test]
        async fn $test() {
            let directory = Arc::new(MemoryDirectory::new());
            let provider = Arc::new($provider);
            provider.attach(runtime(&directory)).await.unwrap();
            let link = provider.connect(Identity::user("ann"), sink::drain()).unwrap();
            until("she is online", async || !is_empty(&directory).await).await;
            let left = Arc::downgrade(&provider);
            drop(provider);
            assert!(left.upgrade().is_none());
            tokio::time::timeout(WAIT, link.closed()).await.expect("the connection is closed");
            until("all tasks have ended", async || tasks() == 0).await;
            assert!(is_empty(&directory).await);
        }
    };
}

a_dropped_provider_leaves_nothing!(a_dropped_sse_provider_leaves_nothing, SseProvider::new(SseConfig::default()));
a_dropped_provider_leaves_nothing!(a_dropped_ws_provider_leaves_nothing, WsProvider::new(WsConfig::default()));
a_dropped_provider_leaves_nothing!(
    a_dropped_socket_io_provider_leaves_nothing,
    SocketIoProvider::new(SocketIoConfig::default())
);

async fn service(directory: &Arc<MemoryDirectory>) -> NotificationService {
    NotificationService::builder()
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .directory(Arc::clone(directory))
        .allow_anonymous()
        .build()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_dropped_service_leaves_nothing() {
    let directory = Arc::new(MemoryDirectory::new());
    let service = service(&directory).await;
    let ann = || Identity::user("ann");
    let links = [
        service.socket().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.sse().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.ws().unwrap().connect(ann(), sink::drain()).unwrap(),
    ];
    until("she is online", async || directory.of_user("ann").await.unwrap().len() == 3).await;
    drop(service);
    for link in links {
        tokio::time::timeout(WAIT, link.closed()).await.expect("the connection is closed");
    }
    until("all tasks have ended", async || tasks() == 0).await;
    assert!(is_empty(&directory).await);
}

#[tokio::test]
async fn a_context_that_is_held_keeps_no_service() {
    let (tell, told) = tokio::sync::oneshot::channel::<Context>();
    let tell = std::sync::Mutex::new(Some(tell));
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .on("hold", move |cx: Context, (): ()| {
            tell.lock().unwrap().take().unwrap().send(cx.clone()).ok().unwrap();
            async move {
                while cx.service().is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                cx.service().map(|_| ())
            }
        })
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let link = service.ws().unwrap().connect(Identity::user("ann"), sink::drain()).unwrap();
    assert!(link.receive(Inbound::new("hold", "null")));
    let held = told.await.unwrap();
    held.service().unwrap().to_user("ann", "news", &1).await.unwrap();
    drop(service);
    tokio::time::timeout(WAIT, link.closed()).await.expect("the connection is closed");
    until("all tasks have ended", async || tasks() == 0).await;
    assert!(matches!(held.service(), Err(Error::Closed { .. })));
    assert!(matches!(held.to_all().send("news", &2).await, Err(Error::Closed { .. })));
}

/// For as long as they are served, handlers find the service.
#[tokio::test]
async fn routes_keep_the_service_too() {
    let state = Arc::new(());
    let left = Arc::downgrade(&state);
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .on("who", async |cx: Context, (): ()| cx.service().map(|service| Reply(service.providers().len())))
        .state(state)
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let (address, server) = served(service.router()).await;
    drop(service);
    let mut ws = WsClient::new(format!("ws://{address}/ws")).without_reconnect();
    ws.next_of("connected").await.unwrap();
    assert_eq!(ws.request("who", &()).await.unwrap(), 2);
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send("40".into()).await.unwrap();
    server.abort();
    let ended = async { while ws.next_event().await.is_ok() {} };
    tokio::time::timeout(WAIT, ended).await.expect("the websocket is closed");
    let ended = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(WAIT, ended).await.expect("the session is ended");
    until("nothing is left of the service", async || left.upgrade().is_none()).await;
}

#[tokio::test]
async fn routes_keep_what_they_serve_and_their_end_closes_it() {
    let directory = Arc::new(MemoryDirectory::new());
    let service = service(&directory).await;
    let (address, server) = served(service.router()).await;
    let mut ws = WsClient::new(format!("ws://{address}/ws")).without_reconnect();
    let mut sse = SseClient::new(format!("http://{address}/sse")).without_reconnect();
    ws.next_of("connected").await.unwrap();
    sse.next_of("connected").await.unwrap();
    let broadcasts: Vec<_> = ["sse", "ws"].map(|name| service.provider(name).unwrap().broadcast()).into();
    drop(service);
    for broadcast in &broadcasts {
        let receipt = broadcast.send(Target::all(), Event::json("news", &1).unwrap()).await.unwrap();
        assert_eq!(receipt.delivered.unwrap().matched, 1);
    }
    drop(broadcasts);
    assert_eq!(ws.next_of("news").await.unwrap().json::<u32>(), 1);
    assert_eq!(sse.next_of("news").await.unwrap().json::<u32>(), 1);
    server.abort();
    let ended = async { while ws.next_event().await.is_ok() {} };
    tokio::time::timeout(WAIT, ended).await.expect("the websocket is closed");
    let ended = async { while sse.next().await.is_ok() {} };
    tokio::time::timeout(WAIT, ended).await.expect("the stream is ended");
    drop((ws, sse));
    until("all tasks have ended", async || tasks() == 0).await;
}

#[tokio::test]
async fn socket_io_sessions_that_never_connected_end_too() {
    let service = NotificationService::builder()
        // Long, so that it is not what ends the session.
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300))))
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let (address, server) = served(service.router()).await;
    drop(service);
    // It says nothing after the handshake.
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().into_text().unwrap().starts_with("0{"));
    server.abort();
    let ended = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(WAIT, ended).await.expect("the session is ended");
}
