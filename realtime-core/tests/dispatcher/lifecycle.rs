//! Attach, shutdown, stalled connections, dropped sends, and what remains afterwards.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::{
    AppendFault, CoreProvider, FaultyBackplane, Guest, LineCodec, eventually, in_time, note, runtime, take_all,
    until_online,
};
use bytes::Bytes;
use futures_util::poll;
use realtime_core::spi::{Outlet, Registration, SessionOutlet};
use realtime_core::{
    CloseReason, Context, Drain, Error, Limits, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, RefusalKind,
    RoomMembership, Router, Target,
};
use realtime_testkit::conformance::{ClientUnderTest, HookLog, Setup, Visitor};
use serde_json::json;

#[tokio::test]
async fn connections_are_rejected_until_the_log_is_read() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let older = CoreProvider::on(backplane.clone()).await;
    older.send_numbers(0..5).await;
    older.shutdown(Drain::now()).await;
    backplane.set_up(false);
    let provider = CoreProvider::full(Setup::default());
    let attaching = tokio::spawn({
        let (provider, backplane) = (provider.clone(), backplane.clone());
        async move { provider.attach(runtime().with_backplane(backplane)).await }
    });
    eventually("the attach has started", || provider.dispatcher.runtime().is_ok()).await;
    assert!(!provider.dispatcher.is_ready());
    let refusal = provider.admit(Visitor::user("ann")).await.unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Draining);
    backplane.set_up(true);
    attaching.await.unwrap().unwrap();
    assert!(provider.dispatcher.is_ready());
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("new")).await.unwrap();
    assert!(guest.texts_until("new").await.is_empty(), "no earlier events");
}

#[tokio::test]
async fn backplane_outage_loses_no_events() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_user("ann", note("1")).await.unwrap();
    provider.lose_log(&backplane).await;
    let sent = provider.dispatcher.to_user("ann", note("refused")).await;
    assert!(matches!(sent, Err(Error::Backplane(_))), "{sent:?}");
    provider.regain_log(&backplane).await;
    provider.dispatcher.to_user("ann", note("2")).await.unwrap();
    assert_eq!(guest.texts(&provider).await, ["1", "2"]);
}

#[tokio::test]
async fn replaced_log_disconnects_clients_with_reason_epoch() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..10 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    provider.dispatcher.join_room("ann", "r").await.unwrap();
    assert_eq!(guest.texts_until("9").await.len(), 9);
    provider.lose_log(&backplane).await;
    backplane.exchange(MemoryBackplane::default());
    backplane.set_up(true);
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    let mut reconnected = Guest::by_session(&provider, Visitor::user("ann").with_cursor(&guest.cursor)).await;
    assert_eq!((&reconnected.welcome["resumed"], &reconnected.welcome["reason"]), (&json!(false), &json!("epoch")));
    assert!(provider.dispatcher.user_rooms("ann").await.unwrap().is_empty(), "earlier joins are gone with the log");
    let receipt = provider.dispatcher.to_user("ann", note("new")).await.unwrap();
    assert_eq!(receipt.position.unwrap().get(), 1);
    assert_eq!(receipt.delivered.unwrap().matched, 1);
    assert!(reconnected.texts_until("new").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn unanswered_append_is_unknown_outcome() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(backplane.clone()).await;
    backplane.set_fault(Some(AppendFault::NoReply));
    let sent = provider.dispatcher.to_all(note("1")).await;
    assert!(matches!(sent, Err(Error::OutcomeUnknown { .. })), "{sent:?}");
    let joined = provider.dispatcher.join_room("ann", "r").await;
    assert!(matches!(joined, Err(Error::OutcomeUnknown { .. })), "{joined:?}");
    backplane.set_fault(None);
    provider.dispatcher.to_all(note("2")).await.unwrap();
}

#[tokio::test]
async fn dropped_send_is_delivered_once() {
    let provider = CoreProvider::full(Setup::default());
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    provider.attach(runtime().with_backplane(backplane)).await.unwrap();
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    for n in 0..50 {
        let text = format!("dropped {n}");
        let mut send = Box::pin(provider.dispatcher.to_user("ann", note(&text)));
        assert!(poll!(send.as_mut()).is_pending(), "the send waits for its record");
        drop(send);
        provider.dispatcher.to_user("ann", note(&format!("kept {n}"))).await.unwrap();
    }
    provider.dispatcher.to_all(note("end")).await.unwrap();
    let expected: Vec<_> = (0..50).flat_map(|n| [format!("dropped {n}"), format!("kept {n}")]).collect();
    assert_eq!(guest.texts_until("end").await, expected);
}

#[tokio::test]
async fn stalled_sink_is_closed_and_its_resources_released() {
    let hooks = HookLog::default();
    let limits = Limits::default().with_connections_per_user(1);
    let setup = Setup::default().with_limits(limits).with_write_stall(Duration::from_millis(200));
    let provider = CoreProvider::attached(setup, runtime().with_hook(hooks.hook("hook"))).await;
    let sink = futures_util::sink::unfold((), |(), _: Bytes| std::future::pending::<Result<(), Error>>());
    let admitted = provider.admit(Visitor::user("ann").with_room("r")).await.unwrap();
    let link = provider.dispatcher.connect_sink(admitted, sink, Bytes::clone);
    let mut healthy = Guest::by_sink(&provider, Visitor::user("bob")).await;
    provider.dispatcher.to_all(note("1")).await.unwrap();
    let id = link.id();
    let calls = in_time("the hooks", hooks.wait_of(id, 2)).await;
    assert_eq!(calls[1].ended, Some(CloseReason::WRITE_STALL));
    in_time("the close of the link", link.closed()).await;
    let stats = provider.stats();
    assert_eq!((stats.stalled, stats.connections, stats.rooms), (1, 1, 0));
    let mut again = Guest::by_sink(&provider, Visitor::user("ann")).await;
    let receipt = provider.dispatcher.to_all(note("2")).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 2);
    assert_eq!(healthy.texts_until("2").await, ["1"]);
    assert!(again.texts_until("2").await.is_empty());
    assert_eq!(hooks.of(id).len(), 2, "one call of each hook");
}

/// An outlet that takes for another connection when woken, in the middle of a delivery.
#[derive(Default)]
struct TakingOutlet {
    other: OnceLock<Arc<Registration<LineCodec>>>,
}

impl Outlet for TakingOutlet {
    fn wake(&self) {
        self.other.get().into_iter().for_each(|other| drop(take_all(other)));
    }
}

#[tokio::test]
async fn connection_that_took_everything_never_stalls() {
    let setup = Setup::default().with_write_stall(Duration::from_millis(500));
    let provider = CoreProvider::started(setup).await;
    let mut registrations = Vec::new();
    for n in 0..20 {
        let user = format!("user {n}");
        let register = async |outlet: Arc<dyn Outlet>| {
            let admitted = provider.admit(Visitor::user(&user)).await.unwrap();
            Arc::new(provider.dispatcher.register(admitted, outlet))
        };
        let outlet = Arc::new(TakingOutlet::default());
        let live = register(Arc::clone(&outlet) as _).await;
        take_all(&live);
        // Not live yet: if the event is pushed to the live connection first, this one reads the
        // event from the window before the event is pushed to this one.
        let late = register(Arc::new(SessionOutlet::new())).await;
        outlet.other.set(Arc::clone(&late)).unwrap();
        provider.dispatcher.to_user(&user, note("1")).await.unwrap();
        take_all(&live);
        registrations.extend([live, late]);
    }
    // A connection that stalls shows that the sweep has checked all of them for long enough.
    let stalled = provider.register(Visitor::user("stalled")).await;
    provider.dispatcher.to_user("stalled", note("1")).await.unwrap();
    eventually("the stalled connection is closed", || provider.stats().users < 21).await;
    assert_eq!(stats_of(&provider), (1, 40, 20));
    drop((stalled, registrations));
}

/// Returns the numbers of stalled connections, of connections and of users.
fn stats_of(provider: &CoreProvider) -> (u64, u64, u64) {
    let stats = provider.stats();
    (stats.stalled, stats.connections, stats.users)
}

#[tokio::test]
async fn shutdown_waits_for_sessions_and_empties_directory() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let directory = Arc::clone(provider.dispatcher.runtime().unwrap().tracker.directory());
    until_online(&*directory, 1).await;
    for n in 0..100 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    let shutdown = tokio::spawn({
        let provider = provider.clone();
        async move { provider.shutdown(Drain::over(Duration::from_secs(10)).with_hold(Duration::ZERO)).await }
    });
    eventually("the drain has started", || provider.dispatcher.is_draining()).await;
    tokio::task::yield_now().await;
    assert!(!shutdown.is_finished(), "a client is still reading the backlog");
    assert_eq!(guest.texts_until("99").await.len(), 99);
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    in_time("the shutdown", shutdown).await.unwrap();
    assert_eq!(provider.stats().connections, 0);
    assert!(directory.of_user("ann").await.unwrap().is_empty(), "the directory entry is removed");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_hanging_handler() {
    let router = Router::new().on("hang", async |_: Context, (): ()| std::future::pending::<()>().await);
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    guest.client.send("hang", &json!(null), None).await;
    in_time("the shutdown", provider.shutdown(Drain::over(Duration::from_millis(50)).with_hold(Duration::ZERO))).await;
    assert!(matches!(provider.dispatcher.to_all(note("1")).await, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn events_after_write_stall_start_no_worker() {
    let setup = Setup::default()
        .with_router(Router::new().on("x", async |_: Context, (): ()| {}))
        .with_write_stall(Duration::from_millis(50));
    let provider = CoreProvider::started(setup).await;
    let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
    // A session that is blocked in a write but still reads.
    let registration = provider.dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
    provider.dispatcher.to_user("ann", note("1")).await.unwrap();
    eventually("the session is reset", || provider.stats().stalled == 1).await;
    assert!(!registration.receive(realtime_core::Inbound::new("x", "null")));
    // Called by Socket.IO to pause reading.
    assert!(!registration.inbox().is_paused());
    drop(registration);
    let start = std::time::Instant::now();
    in_time("the shutdown", provider.shutdown(Drain::over(Duration::from_secs(30)).with_hold(Duration::ZERO))).await;
    assert!(start.elapsed() < Duration::from_secs(20), "no wait without a task");
}

#[tokio::test]
async fn close_returns_count_and_reaches_rooms_and_tenants() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut member = Guest::by_session(&provider, Visitor::user("ann").with_room("r")).await;
    let mut tenant = Guest::by_session(&provider, Visitor::user("bob").with_tenant("acme")).await;
    let mut other = Guest::by_session(&provider, Visitor::user("cid")).await;
    assert_eq!(provider.close(Target::room("r"), CloseReason::POLICY).await.unwrap(), 1);
    assert_eq!(member.closed().await.code, Some(1008));
    assert_eq!(provider.close(Target::tenant("acme").except_user("bob"), CloseReason::POLICY).await.unwrap(), 0);
    assert_eq!(provider.close(Target::tenant("acme"), CloseReason::POLICY).await.unwrap(), 1);
    assert_eq!(tenant.closed().await.code, Some(1008));
    assert!(other.texts(&provider).await.is_empty());
    Guest::by_sink(&provider, Visitor::user("dee")).await;
}

#[tokio::test(start_paused = true)]
async fn stalled_client_is_disconnected_soon_after_write_stall() {
    let stall = Duration::from_millis(400);
    let setup = Setup::default().with_write_stall(stall);
    let provider = CoreProvider::started(setup).await;
    let _stalled = Guest::by_session(&provider, Visitor::user("ann")).await;
    tokio::time::sleep(Duration::from_millis(130)).await;
    for n in 0..5 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
        // Lets the session take the events one by one instead of all together.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(stall - Duration::from_millis(10)).await;
    assert_eq!(provider.stats().connections, 1);
    tokio::time::sleep(stall / 4 + Duration::from_millis(20)).await;
    assert_eq!((provider.stats().connections, provider.stats().stalled), (0, 1));
}

/// An outlet that counts the resets of its session.
#[derive(Default)]
struct ResetCounter(AtomicUsize);

impl Outlet for ResetCounter {
    fn wake(&self) {}

    fn cut(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn blocked_session_is_reset_and_its_queue_dropped() {
    let setup = Setup::default().with_write_stall(Duration::from_millis(50));
    let provider = CoreProvider::started(setup).await;
    let outlets = [Arc::new(ResetCounter::default()), Arc::new(ResetCounter::default())];
    let mut registrations = Vec::new();
    for outlet in &outlets {
        let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
        registrations.push(provider.dispatcher.register(admitted, Arc::clone(outlet) as _));
        provider.dispatcher.to_user("ann", note("1")).await.unwrap();
        eventually("the session is reset", || outlet.0.load(Ordering::SeqCst) == 1).await;
    }
    let mut frames = Vec::new();
    registrations[0].try_take(usize::MAX, &mut frames);
    assert!(frames.is_empty(), "the queue is dropped");
    // Also at the end of a drain.
    let admitted = provider.admit(Visitor::user("bob")).await.unwrap();
    let outlet = Arc::new(ResetCounter::default());
    let _blocked = provider.dispatcher.register(admitted, Arc::clone(&outlet) as _);
    provider.shutdown(Drain::now()).await;
    assert_eq!(outlet.0.load(Ordering::SeqCst), 1);
}

/// A hook that waits at a semaphore when a connection has ended.
struct SlowHook(Arc<tokio::sync::Semaphore>);

#[async_trait::async_trait]
impl realtime_core::LifecycleHook for SlowHook {
    async fn disconnected(&self, _: &Context, _: &CloseReason) {
        self.0.acquire().await.unwrap().forget();
    }
}

#[tokio::test]
async fn connections_are_rejected_while_too_many_hooks_linger() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let setup = Setup::default().with_limits(Limits::default().with_lingering_hooks(3));
    let provider = CoreProvider::attached(setup, runtime().with_hook(SlowHook(Arc::clone(&gate)))).await;
    for n in 1..=3 {
        drop(provider.register(Visitor::user("ann")).await);
        assert_eq!(provider.stats().lingering_hooks, n);
    }
    let refusal = provider.admit(Visitor::user("bob")).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.setting()), (RefusalKind::Unavailable, Some("limits.lingering_hooks")));
    assert_eq!(provider.stats().refused.get("unavailable"), Some(&1));
    gate.add_permits(1);
    eventually("one has run", || provider.stats().lingering_hooks == 2).await;
    drop(provider.register(Visitor::user("bob")).await);
    gate.add_permits(3);
    eventually("all have run", || provider.stats().lingering_hooks == 0).await;
}
