//! Connection limits: waiting, refusals, probes, and deciders that panic or hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{CoreProvider, LineCodec, eventually, in_time, runtime};
use async_trait::async_trait;
use realtime_core::spi::{Admitted, Outlet, PROBE_TIMEOUT, Registration, ServiceLimits};
use realtime_core::{
    ConnectRequest, Context, Identity, LifecycleHook, Limits, RealtimeProvider, Refusal, RefusalKind, RoomAccess,
    RoomPolicy,
};
use realtime_testkit::PendingAuthenticator;
use realtime_testkit::conformance::{HookLog, Setup, Visitor};

/// An outlet that counts its probes.
#[derive(Default)]
struct ProbeCounter(AtomicUsize);

impl Outlet for ProbeCounter {
    fn wake(&self) {}

    fn probe(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl ProbeCounter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn limited(most: usize) -> CoreProvider {
    let limits = Limits::default().with_connections_per_user(most);
    CoreProvider::started(Setup::default().with_limits(limits)).await
}

async fn register(provider: &CoreProvider, visitor: Visitor) -> (Registration<LineCodec>, Arc<ProbeCounter>) {
    let outlet = Arc::new(ProbeCounter::default());
    let admitted = provider.admit(visitor).await.unwrap();
    (provider.dispatcher.register(admitted, Arc::clone(&outlet) as _), outlet)
}

/// Waits for a slot for at most `most`; returns the admission and the values that the callback got:
/// `true` when the wait begins and `false` when it ends.
async fn wait_for_slot(
    provider: &CoreProvider,
    visitor: Visitor,
    most: Duration,
) -> (Result<Admitted, Refusal>, Vec<bool>) {
    let parts = http::Request::get(format!("/?{}", visitor.query())).body(()).unwrap().into_parts().0;
    let waits = Mutex::new(Vec::new());
    let on_wait = |waiting| waits.lock().unwrap().push(waiting);
    let request = ConnectRequest::new("core", &parts);
    let admitted = provider.dispatcher.admit_in_turn(&request, &visitor.rooms, None, most, on_wait).await;
    (admitted, waits.into_inner().unwrap())
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn waiting_connection_gets_first_free_slot() {
    let provider = limited(2).await;
    let (first, _) = register(&provider, Visitor::user("ann")).await;
    let _second = register(&provider, Visitor::user("ann")).await;
    let waiting = tokio::spawn({
        let provider = provider.clone();
        async move { wait_for_slot(&provider, Visitor::user("ann"), LONG).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    drop(first);
    let (admitted, waits) = in_time("a slot", waiting).await.unwrap();
    assert_eq!((admitted.unwrap().identity().user_name(), waits), (Some("ann"), vec![true, false]));
    assert!(provider.stats().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_in_time_and_in_number() {
    let provider = limited(2).await;
    let _slots = [register(&provider, Visitor::user("ann")).await, register(&provider, Visitor::user("ann")).await];
    let most = Duration::from_secs(10);
    let attempts = (0..5).map(|_| wait_for_slot(&provider, Visitor::user("ann"), most));
    let start = tokio::time::Instant::now();
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    let waited = |waited: bool| results.iter().filter(|(_, waits)| waits.len() == if waited { 2 } else { 0 }).count();
    assert_eq!((waited(true), waited(false)), (2, 3));
    for (admitted, _) in results {
        let refusal = admitted.unwrap_err();
        assert_eq!(refusal.kind(), RefusalKind::UserLimit);
        assert!(refusal.retry_after().is_some());
    }
    assert_eq!(provider.stats().refused["user_limit"], 5);
}

#[tokio::test(start_paused = true)]
async fn users_connections_are_probed_in_rounds_at_the_limit() {
    let provider = limited(2).await;
    let acme = || Visitor::user("ann").with_tenant("acme");
    let ann = [register(&provider, acme()).await, register(&provider, acme()).await];
    let others = [register(&provider, Visitor::user("ann")).await, register(&provider, Visitor::user("bob")).await];
    let probes =
        || (ann.each_ref().map(|(_, outlet)| outlet.count()), others.each_ref().map(|(_, outlet)| outlet.count()));
    assert_eq!(probes(), ([0, 0], [0, 0]));
    for _ in 0..3 {
        assert_eq!(provider.admit(acme()).await.unwrap_err().kind(), RefusalKind::UserLimit);
    }
    assert_eq!(probes(), ([1, 1], [0, 0]));
    tokio::time::sleep(PROBE_TIMEOUT).await;
    // Also without an HTTP request.
    let identity = Identity::user("ann").with_tenant("acme");
    assert!(provider.dispatcher.admit_as(identity, &[], None, None).is_err());
    assert_eq!(probes(), ([2, 2], [0, 0]));
    tokio::time::sleep(PROBE_TIMEOUT).await;
    wait_for_slot(&provider, acme(), Duration::from_secs(1)).await.0.unwrap_err();
    assert_eq!(probes(), ([3, 3], [0, 0]));
}

/// A policy that counts its calls and allows every room.
#[derive(Clone, Default)]
struct CountingPolicy(Arc<AtomicUsize>);

#[async_trait]
impl RoomPolicy for CountingPolicy {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        self.0.fetch_add(1, Ordering::SeqCst);
        RoomAccess::Allow
    }
}

/// Three slots in the service and two in each of its two providers.
#[tokio::test(start_paused = true)]
async fn users_slots_are_counted_over_all_providers() {
    let runtime = runtime().with_limits(ServiceLimits::none().with_connections_per_user(3));
    let limits = Setup::default().with_limits(Limits::default().with_connections_per_user(2));
    let [one, two] = std::array::from_fn(|_| CoreProvider::full(limits.clone()));
    one.attach(runtime.clone()).await.unwrap();
    two.attach(runtime.clone()).await.unwrap();
    let ann = || Visitor::user("ann");
    let (first, local) = register(&one, ann()).await;
    let (_second, _) = register(&one, ann()).await;
    let (_third, remote) = register(&two, ann()).await;
    let refusal = two.admit(ann()).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.setting()), (RefusalKind::UserLimit, Some("connections_per_user")));
    assert_eq!((local.count(), remote.count()), (1, 1), "connections of all providers are probed");
    assert!(two.admit(Visitor::user("bob")).await.is_ok());
    let waiting = wait_for_slot(&two, ann(), Duration::from_secs(5));
    let disconnecting = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
    };
    let ((admitted, waits), ()) = tokio::join!(waiting, disconnecting);
    let admitted = admitted.unwrap();
    assert_eq!(waits, [true, false]);
    // The provider's own limit applies as well.
    assert_eq!(two.admit(ann()).await.unwrap_err().setting(), Some("limits.connections_per_user"));
    drop(admitted);
    assert!(two.admit(ann()).await.is_ok(), "both slots are free again");
}

#[tokio::test]
async fn room_policy_is_not_called_beyond_the_user_limit() {
    let policy = CountingPolicy::default();
    let limits = Limits::default().with_connections_per_user(1);
    let provider =
        CoreProvider::attached(Setup::default().with_limits(limits), runtime().with_policy(policy.clone())).await;
    let visitor = || (0..100).fold(Visitor::user("ann"), |visitor, n| visitor.with_room(&n.to_string()));
    let (registration, _) = register(&provider, visitor()).await;
    assert_eq!(policy.0.swap(0, Ordering::SeqCst), 100);
    assert_eq!(provider.admit(visitor()).await.unwrap_err().kind(), RefusalKind::UserLimit);
    assert_eq!(policy.0.load(Ordering::SeqCst), 0);
    drop(registration);
    assert!(provider.admit(visitor()).await.is_ok());
}

/// A hook, policy and authenticator that panics.
struct Panics;

#[async_trait]
impl LifecycleHook for Panics {
    async fn connected(&self, _: &realtime_core::Context) {
        panic!("on purpose");
    }

    async fn disconnected(&self, _: &realtime_core::Context, _: &realtime_core::CloseReason) {
        panic!("on purpose");
    }
}

#[async_trait]
impl RoomPolicy for Panics {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        panic!("on purpose");
    }
}

#[async_trait]
impl realtime_core::Authenticator for Panics {
    async fn authenticate(&self, _: &ConnectRequest) -> Result<Identity, Refusal> {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn panicking_hook_does_not_stop_other_hooks() {
    let hooks = HookLog::default();
    let provider = CoreProvider::full(Setup::default());
    let runtime = runtime().with_hook(hooks.hook("first")).with_hook(Panics).with_hook(hooks.hook("last"));
    provider.attach(runtime).await.unwrap();
    let (registration, _) = register(&provider, Visitor::user("ann")).await;
    let id = registration.id();
    drop(registration);
    let calls = in_time("the hooks", hooks.wait_of(id, 4)).await;
    let calls: Vec<_> = calls.iter().map(|call| (call.hook, call.ended.is_some())).collect();
    assert_eq!(calls, [("first", false), ("last", false), ("first", true), ("last", true)]);
    eventually("the panics are counted", || provider.stats().panics == 2).await;
}

#[tokio::test]
async fn panicking_authenticator_or_policy_refuses() {
    let by_authenticator = CoreProvider::attached(Setup::default(), runtime().with_authenticator(Panics)).await;
    let by_policy = CoreProvider::attached(Setup::default(), runtime().with_policy(Panics)).await;
    for provider in [by_authenticator, by_policy] {
        let refusal = provider.admit(Visitor::user("ann").with_room("r")).await.unwrap_err();
        assert_eq!((refusal.kind(), refusal.message()), (RefusalKind::Internal, "internal error"));
        assert_eq!(provider.stats().panics, 1);
        assert_eq!(provider.dispatcher.stats().refused["internal"], 1);
    }
}

/// A policy that never answers.
struct Hangs;

#[async_trait]
impl RoomPolicy for Hangs {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_authenticator_or_policy_refuses_in_time() {
    let by_authenticator =
        CoreProvider::attached(Setup::default(), runtime().with_authenticator(PendingAuthenticator::default())).await;
    let by_policy = CoreProvider::attached(
        Setup::default().with_limits(Limits::default().with_connections_per_user(1)),
        runtime().with_policy(Hangs).with_decision_timeout(Duration::from_secs(3)),
    )
    .await;
    for (provider, limit) in [(by_authenticator, 10), (by_policy, 3)] {
        let start = tokio::time::Instant::now();
        // The timeout covers all rooms together.
        let refusal = provider.admit(Visitor::user("ann").with_room("r").with_room("q")).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), limit);
        assert_eq!((refusal.kind(), refusal.kind().status().as_u16()), (RefusalKind::Unavailable, 503));
        assert!(refusal.retry_after().is_some());
        assert_eq!(provider.stats().overdue, 1);
        assert_eq!(provider.stats().refused["unavailable"], 1);
        // The slot is free again.
        provider.dispatcher.admit_as(Identity::user("ann"), &[], None, None).unwrap();
    }
}
