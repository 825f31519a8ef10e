//! A provider that the application drops without a shutdown.

use std::sync::Arc;

use crate::support::{
    CoreProvider, FaultyBackplane, Guest, Message, eventually, foreign, in_time, note, runtime, until_online,
};
use bytes::Bytes;
use realtime_core::spi::{Backplane, Directory};
use realtime_core::{
    CloseReason, Error, Inbound, MemoryBackplane, MemoryDirectory, RealtimeBroadcast, RealtimeProvider, Router,
};
use realtime_testkit::conformance::{HookLog, Setup, Visitor};

/// Returns the number of tasks of this test's own runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits until no task is left, and checks that the directory is empty.
async fn assert_nothing_left(directory: &MemoryDirectory) {
    eventually("all tasks have finished", || tasks() == 0).await;
    assert!(directory.of_user("ann").await.unwrap().is_empty());
}

async fn attached(setup: Setup, hooks: &HookLog) -> (CoreProvider, Arc<MemoryDirectory>) {
    let provider = CoreProvider::full(setup);
    let directory = Arc::new(MemoryDirectory::new());
    let runtime = runtime().with_hook(hooks.hook("hook")).with_directory(Arc::clone(&directory));
    provider.attach(runtime).await.unwrap();
    (provider, directory)
}

#[tokio::test]
async fn dropped_provider_without_connections_leaves_nothing() {
    let (provider, directory) = attached(Setup::default(), &HookLog::default()).await;
    assert!(tasks() > 0);
    let dispatcher = Arc::downgrade(&provider.dispatcher);
    drop(provider);
    assert!(dispatcher.upgrade().is_none());
    assert_nothing_left(&directory).await;
}

#[tokio::test]
async fn dropped_provider_closes_connections_and_runs_hooks() {
    let hooks = HookLog::default();
    let (provider, directory) = attached(Setup::default(), &hooks).await;
    let mut session = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut sink = Guest::by_sink(&provider, Visitor::user("ann")).await;
    until_online(&*directory, 2).await;
    provider.dispatcher.to_user("ann", note("last")).await.unwrap();
    drop(provider);
    for guest in [&mut session, &mut sink] {
        assert!(guest.texts_until("last").await.is_empty());
    }
    assert_eq!(session.closed().await.code, Some(CloseReason::RESTART.code()));
    sink.closed().await;
    for guest in [&session, &sink] {
        let calls = in_time("the hooks", hooks.wait_of(guest.id, 2)).await;
        assert_eq!(calls[1].ended, Some(CloseReason::RESTART));
    }
    drop((session, sink));
    assert_nothing_left(&directory).await;
}

#[tokio::test]
async fn stalled_connection_does_not_keep_dropped_provider() {
    let (provider, directory) = attached(Setup::default(), &HookLog::default()).await;
    let sink = futures_util::sink::unfold((), |(), _: Bytes| std::future::pending::<Result<(), Error>>());
    let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
    let link = provider.dispatcher.connect_sink(admitted, sink, Bytes::clone);
    until_online(&*directory, 1).await;
    drop(provider);
    until_online(&*directory, 0).await;
    drop(link);
    assert_nothing_left(&directory).await;
}

#[tokio::test]
async fn broadcast_handle_keeps_provider_alive() {
    let (provider, directory) = attached(Setup::default(), &HookLog::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let broadcast = provider.broadcast();
    drop(provider);
    broadcast.to_user("ann", note("still here")).await.unwrap();
    assert_eq!(guest.next().await.payload, "still here");
    drop(broadcast);
    guest.closed().await;
    drop(guest);
    assert_nothing_left(&directory).await;
}

#[tokio::test]
async fn stored_handler_context_does_not_keep_provider() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let router = Router::new().on_raw("hello", {
        let kept = Arc::clone(&kept);
        move |cx: realtime_core::Context, _| {
            *kept.lock().unwrap() = Some(cx);
            async {}
        }
    });
    let (provider, directory) = attached(Setup::default().with_router(router), &HookLog::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    guest.client.send_message(Message::Event(Inbound::new("hello", "null"))).await;
    eventually("the event is handled", || kept.lock().unwrap().is_some()).await;
    drop(provider);
    guest.closed().await;
    drop(guest);
    assert_nothing_left(&directory).await;
    let cx = kept.lock().unwrap().take().unwrap();
    let late = cx.to_all().send("note", "late").await;
    assert!(matches!(late, Err(Error::Closed { .. })), "{late:?}");
}

#[tokio::test]
async fn aborted_attach_leaves_nothing() {
    let log = MemoryBackplane::default();
    let epoch = log.state().await.unwrap().epoch;
    log.append(epoch, foreign(), None).await.unwrap();
    let backplane = FaultyBackplane::new(log);
    backplane.set_up(false);
    let provider = CoreProvider::full(Setup::default());
    let dispatcher = Arc::downgrade(&provider.dispatcher);
    let attaching = tokio::spawn(async move { provider.attach(runtime().with_backplane(backplane)).await });
    eventually("the attach reads the log", || tasks() > 2).await;
    attaching.abort();
    eventually("all tasks have finished", || tasks() == 0).await;
    assert!(dispatcher.upgrade().is_none());
}
