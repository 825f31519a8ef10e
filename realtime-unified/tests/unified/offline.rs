//! A service with an offline sink: what is an event for it, and a restart with the log on disk.

use std::path::Path;
use std::time::Duration;

use crate::support::{by_token, served, sse_client, start, ws_client};
use realtime_unified::disk::DiskBackplane;
use realtime_unified::memory::MemoryBackplane;
use realtime_unified::{
    BoxError, Drain, Error, Event, NotificationService, NotificationServiceBuilder, OfflineConfig, OfflineEvent,
    OfflineReason, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider,
};
use tokio::sync::mpsc::{Receiver, channel};

/// Returns a builder whose sink passes its calls on, as early as possible.
fn builder() -> (NotificationServiceBuilder, Receiver<OfflineEvent>) {
    let (done, called) = channel(16);
    let sink = move |event: OfflineEvent| {
        let done = done.clone();
        async move { Ok::<_, BoxError>(done.send(event).await?) }
    };
    let builder = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_token)
        .offline_sink(sink)
        .offline_config(OfflineConfig::default().with_delay(Duration::from_secs(3)));
    (builder, called)
}

async fn next(called: &mut Receiver<OfflineEvent>) -> OfflineEvent {
    realtime_testkit::in_time("a call", called.recv()).await.unwrap()
}

#[tokio::test]
async fn event_over_all_providers_is_one_call() {
    let (builder, mut called) = builder();
    let (service, address) = start(builder).await;
    let _sse = sse_client(address, "/sse?token=ann").await;
    let mut ws = ws_client(address, "/ws?token=bob").await.answer_asks(|_| None);
    tokio::spawn(async move { while ws.next_event().await.is_ok() {} });
    service.to_user("ann", "note", "got").await.unwrap();
    let first = service.to_user("eve", "note", "missed").await.unwrap();
    service.broadcast_to_user("ws", "ann", "note", "by WebSocket alone").await.unwrap();
    let question = Event::json("note", "dinner?").unwrap();
    let answers = service.ask("bob", question, Duration::from_millis(100)).await.unwrap().all().await;
    assert_eq!(answers.len(), 1);
    let calls = [next(&mut called).await, next(&mut called).await, next(&mut called).await];
    let texts = calls.iter().map(|call| (&*call.user, call.json::<String>().unwrap()));
    let expected = [("eve", "missed"), ("ann", "by WebSocket alone"), ("bob", "dinner?")];
    assert!(texts.eq(expected.map(|(user, text)| (user, text.to_owned()))), "{calls:?}");
    assert_eq!((calls[0].id, calls[0].reason), (first.id, OfflineReason::NoConnection));
    assert_eq!(calls[2].reason, OfflineReason::NotAnswered);
    service.shutdown(Drain::now()).await;
    assert!(called.try_recv().is_err());
}

/// The address of a server, and its task.
type Served = (std::net::SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>);

/// Starts a service, whose sink is called, with its log in this directory.
async fn on_disk(directory: &Path) -> (NotificationService, Served, Receiver<OfflineEvent>) {
    let open = async {
        loop {
            match DiskBackplane::open(directory) {
                Ok(log) => break log,
                // The service before has not ended yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let (builder, called) = builder();
    let service = builder.backplane(realtime_testkit::in_time("the directory", open).await).build().await.unwrap();
    let served = served(service.router()).await;
    (service, served, called)
}

#[tokio::test]
async fn missed_event_has_its_call_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (service, (address, server), mut called) = on_disk(directory.path()).await;
    let mut bob = ws_client(address, "/ws?token=bob").await;
    service.to_user("ann", "note", "missed").await.unwrap();
    service.to_user("bob", "note", "got").await.unwrap();
    assert_eq!(bob.next_of("note").await.unwrap().payload, "got");
    drop(bob);
    service.shutdown(Drain::now()).await;
    assert!(called.try_recv().is_err(), "it was not decided yet");
    server.abort();
    drop(service);
    let (service, _served, mut called) = on_disk(directory.path()).await;
    assert_eq!(next(&mut called).await.json::<String>().unwrap(), "missed");
    service.to_user("ann", "note", "last").await.unwrap();
    assert_eq!(next(&mut called).await.json::<String>().unwrap(), "last", "and no call for bob");
}

#[tokio::test]
async fn sink_that_cannot_work_is_refused() {
    let refused = async |builder: NotificationServiceBuilder, text: &str| {
        let error = builder.build().await.unwrap_err();
        assert!(matches!(&error, Error::Config(found) if found.contains(text)), "{error}");
    };
    let sink = async |_: OfflineEvent| Ok::<_, BoxError>(());
    refused(NotificationService::publisher(MemoryBackplane::default()).offline_sink(sink), "publisher").await;
    let ok = OfflineConfig::default();
    for (config, text) in [
        (ok.with_delay(Duration::from_secs(2)), "delay"),
        (ok.with_calls(0), "calls"),
        (ok.with_attempts(0), "attempts"),
        (ok.with_call_timeout(Duration::ZERO), "call_timeout"),
    ] {
        refused(builder().0.offline_config(config), text).await;
    }
}
