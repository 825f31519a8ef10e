//! A service, and each kind of provider, dropped without a shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{served, sse_client, websocket, ws_client};
use futures_util::{SinkExt, StreamExt, sink};
use realtime_testkit::{eventually, in_time};
use realtime_unified::memory::MemoryDirectory;
use realtime_unified::spi::{Directory, Runtime};
use realtime_unified::{
    Context, ContextExt, Error, Event, Handlers, Identity, Inbound, NotificationService, NotificationServiceBuilder,
    RealtimeProvider, Reply, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};
use tokio::task::JoinHandle;

/// Returns the number of tasks of this test's own runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits until `count` connections of ann are in the directory.
async fn until_online(directory: &MemoryDirectory, count: usize) {
    let online = async {
        while directory.of_user("ann").await.unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time("the connections in the directory", online).await;
}

async fn is_empty(directory: &MemoryDirectory) -> bool {
    directory.of_user("ann").await.unwrap().is_empty()
}

fn runtime(directory: &Arc<MemoryDirectory>) -> Runtime {
    Runtime::in_memory().with_directory(Arc::clone(directory))
}

macro_rules! dropped_provider_test {
    ($test:ident, $provider:expr) => {
        #[tokio::test]
        async fn $test() {
            let directory = Arc::new(MemoryDirectory::new());
            let provider = Arc::new($provider);
            provider.attach(runtime(&directory)).await.unwrap();
            let link = provider.connect(Identity::user("ann"), sink::drain()).unwrap();
            until_online(&directory, 1).await;
            let left = Arc::downgrade(&provider);
            drop(provider);
            assert!(left.upgrade().is_none());
            in_time("the connection is closed", link.closed()).await;
            eventually("all tasks have finished", || tasks() == 0).await;
            assert!(is_empty(&directory).await);
        }
    };
}

dropped_provider_test!(dropped_sse_provider_leaves_nothing, SseProvider::new(SseConfig::default()));
dropped_provider_test!(dropped_ws_provider_leaves_nothing, WsProvider::new(WsConfig::default()));
dropped_provider_test!(dropped_socket_io_provider_leaves_nothing, SocketIoProvider::new(SocketIoConfig::default()));

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
async fn dropped_service_leaves_nothing() {
    let directory = Arc::new(MemoryDirectory::new());
    let service = service(&directory).await;
    let ann = || Identity::user("ann");
    let links = [
        service.socket().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.sse().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.ws().unwrap().connect(ann(), sink::drain()).unwrap(),
    ];
    until_online(&directory, 3).await;
    drop(service);
    for link in links {
        in_time("the connection is closed", link.closed()).await;
    }
    eventually("all tasks have finished", || tasks() == 0).await;
    assert!(is_empty(&directory).await);
}

#[tokio::test]
async fn held_context_does_not_keep_the_service() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<Context>();
    let sender = std::sync::Mutex::new(Some(sender));
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .on("hold", move |cx: Context, (): ()| {
            sender.lock().unwrap().take().unwrap().send(cx.clone()).ok().unwrap();
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
    let held = receiver.await.unwrap();
    held.service().unwrap().to_user("ann", "news", &1).await.unwrap();
    drop(service);
    in_time("the connection is closed", link.closed()).await;
    eventually("all tasks have finished", || tasks() == 0).await;
    assert!(matches!(held.service(), Err(Error::Closed { .. })));
    assert!(matches!(held.to_all().send("news", &2).await, Err(Error::Closed { .. })));
}

/// Builds a service and drops it; its routes are served.
async fn served_without_service(builder: NotificationServiceBuilder) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let service = builder.build().await.unwrap();
    served(service.router()).await
}

/// Handlers can use the service for as long as the routes are served.
#[tokio::test]
async fn routes_keep_the_service() {
    let state = Arc::new(());
    let left = Arc::downgrade(&state);
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .on("providers", async |cx: Context, (): ()| cx.service().map(|service| Reply(service.providers().len())))
        .state(state)
        .allow_anonymous();
    let (address, server) = served_without_service(service).await;
    let mut ws = ws_client(address, "/ws").await;
    assert_eq!(ws.request("providers", &()).await.unwrap(), 2);
    let mut socket = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
    socket.send("40".into()).await.unwrap();
    server.abort();
    let closed = async { while ws.next_event().await.is_ok() {} };
    in_time("the websocket is closed", closed).await;
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    in_time("the session is closed", closed).await;
    eventually("nothing is left of the service", || left.upgrade().is_none()).await;
}

#[tokio::test]
async fn stopped_server_closes_the_connections_its_routes_kept() {
    let directory = Arc::new(MemoryDirectory::new());
    let service = service(&directory).await;
    let (address, server) = served(service.router()).await;
    let (mut ws, mut sse) = (ws_client(address, "/ws").await, sse_client(address, "/sse").await);
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
    let closed = async { while ws.next_event().await.is_ok() {} };
    in_time("the websocket is closed", closed).await;
    let closed = async { while sse.next().await.is_ok() {} };
    in_time("the stream is closed", closed).await;
    drop((ws, sse));
    eventually("all tasks have finished", || tasks() == 0).await;
}

#[tokio::test]
async fn unconnected_socket_io_sessions_end_with_the_server() {
    let service = NotificationService::builder()
        // Long enough that this timeout does not end the session.
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300))))
        .allow_anonymous();
    let (address, server) = served_without_service(service).await;
    // The client sends nothing after the handshake.
    let mut stream = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
    assert!(stream.next().await.unwrap().unwrap().into_text().unwrap().starts_with("0{"));
    server.abort();
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    in_time("the session is closed", closed).await;
}
