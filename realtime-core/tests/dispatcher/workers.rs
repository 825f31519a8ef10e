//! Handlers of disconnected connections, and events of closed clients, which are ignored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{CoreProvider, LineCodec, eventually};
use realtime_core::spi::Registration;
use realtime_core::{
    CloseReason, Context, HandlerError, Inbound, InboundPayload, Limits, RealtimeProvider, Router, Target,
};
use realtime_testkit::conformance::{Setup, Visitor};
use serde_json::Value;
use tokio::sync::Semaphore;

/// A gate at which handlers wait, with the numbers of running and completed handlers.
struct Gate {
    open: Semaphore,
    running: AtomicUsize,
    most: AtomicUsize,
    handled: AtomicUsize,
}

impl Gate {
    async fn pass(&self) {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.handled.fetch_add(1, Ordering::SeqCst);
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }
}

async fn attached(limits: Limits) -> (CoreProvider, Arc<Gate>) {
    let gate = Arc::new(Gate {
        open: Semaphore::new(0),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        handled: AtomicUsize::new(0),
    });
    let router = Router::new().on("wait", {
        let gate = Arc::clone(&gate);
        move |_: Context, _: Value| {
            let gate = Arc::clone(&gate);
            async move { gate.pass().await }
        }
    });
    let provider = CoreProvider::started(Setup::default().with_router(router).with_limits(limits)).await;
    (provider, gate)
}

fn send(registration: &Registration<LineCodec>, events: usize) {
    for n in 0..events {
        registration.receive(Inbound::new("wait", n.to_string()));
    }
}

#[tokio::test]
async fn running_handlers_of_a_user_are_bounded_by_its_limit() {
    for limit in [1, 3] {
        let (provider, gate) = attached(Limits::default().with_connections_per_user(limit)).await;
        for _ in 0..300 {
            // Several at a time, so that all start before the first one disconnects.
            let mut connections = Vec::new();
            for _ in 0..limit {
                let registration = provider.register(Visitor::user("ann")).await;
                send(&registration, 64);
                connections.push(registration);
            }
            tokio::task::yield_now().await;
            drop(connections);
        }
        eventually("the handlers run", || gate.running() == limit).await;
        let stats = provider.stats();
        assert_eq!((stats.connections, stats.lingering), (0, limit as u64));
        assert_eq!(gate.most.load(Ordering::SeqCst), limit);
        let sent = 300 * limit * 64;
        assert_eq!(stats.unhandled as usize, sent - limit, "events without a started handler are dropped");

        // The next connection is accepted, and handled when one of the handlers has finished; other
        // users are handled immediately.
        let ann = provider.register(Visitor::user("ann")).await;
        send(&ann, 1);
        let of_tenant = provider.register(Visitor::user("ann").with_tenant("acme")).await;
        send(&of_tenant, 1);
        eventually("the other user's handler runs", || gate.running() == limit + 1).await;
        gate.open.add_permits(limit + 2);
        eventually("all handlers have finished", || gate.handled() == limit + 2).await;
        eventually("no handler lingers", || provider.stats().lingering == 0).await;
        assert_eq!(provider.stats().unhandled as usize, sent - limit);
    }
}

#[tokio::test]
async fn running_handlers_are_bounded_without_refusing_connections() {
    let (provider, gate) = attached(Limits::default().with_connections(3)).await;
    // Anonymous connections and those of several users.
    let visitors = [Visitor::anonymous(), Visitor::user("ann"), Visitor::user("bob"), Visitor::anonymous()];
    for (n, visitor) in visitors.into_iter().enumerate() {
        let registration = provider.register(visitor).await;
        send(&registration, 5);
        eventually("the handler runs, if a slot is free", || gate.running() == (n + 1).min(3)).await;
        registration.leave(CloseReason::CONNECTION_LOST);
    }
    assert_eq!((provider.stats().connections, provider.stats().lingering), (0, 3));
    let waiting = provider.register(Visitor::user("eve")).await;
    send(&waiting, 1);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(gate.running(), 3);
    gate.open.add_permits(1);
    eventually("one handler has finished and the next one runs", || gate.handled() == 1 && gate.running() == 3).await;
    gate.open.add_permits(3);
    eventually("all handlers have finished", || gate.handled() == 4 && provider.stats().lingering == 0).await;
}

#[tokio::test]
async fn events_before_normal_close_are_handled() {
    let (provider, gate) = attached(Limits::default().with_connections_per_user(1)).await;
    let registration = provider.register(Visitor::user("ann")).await;
    // The first handler may not have started yet.
    send(&registration, 10);
    registration.leave(CloseReason::NORMAL);
    gate.open.add_permits(20);
    eventually("all events are handled", || gate.handled() == 10).await;
    let registration = provider.register(Visitor::user("ann")).await;
    send(&registration, 5);
    eventually("the handlers run", || gate.handled() > 10).await;
    registration.leave(CloseReason::NORMAL);
    eventually("all events are handled", || gate.handled() == 15).await;
    assert_eq!(provider.stats().unhandled, 0);
}

#[tokio::test]
async fn closed_client_is_ignored() {
    for reason in [CloseReason::KICKED, CloseReason::EXPIRED, CloseReason::POLICY] {
        let (provider, gate) = attached(Limits::default()).await;
        let registration = provider.register(Visitor::user("ann")).await;
        send(&registration, 41);
        eventually("the first handler runs", || gate.running() == 1).await;
        assert_eq!(provider.close(Target::user("ann"), reason.clone()).await.unwrap(), 1);
        // The session has not noticed, or waits for a client that does not read.
        let events_in = provider.stats().events_in;
        assert!(!registration.receive(Inbound::new("wait", "1")));
        assert!(!registration.answer(1, InboundPayload::json_text("1".to_owned())));
        assert!(!registration.reject(HandlerError::new("bad", "bad"), None));
        assert_eq!(provider.stats().events_in, events_in);
        gate.open.add_permits(100);
        registration.leave(CloseReason::CONNECTION_LOST);
        eventually("the running handler has finished", || provider.stats().lingering == 0 && gate.running() == 0).await;
        assert_eq!((gate.handled(), provider.stats().unhandled), (1, 40), "{reason}");
        assert_eq!(provider.stats().closed[&reason.code()], 1);
    }
}

/// A session that is blocked in a write notices the close late: its client is ignored meanwhile.
#[tokio::test(start_paused = true)]
async fn queue_of_kicked_client_is_dropped_before_its_session_ends() {
    let (provider, gate) = attached(Limits::default()).await;
    let registration = provider.register(Visitor::user("ann")).await;
    send(&registration, 10);
    eventually("the first handler runs", || gate.running() == 1).await;
    provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    gate.open.add_permits(10);
    eventually("the first handler has finished", || gate.handled() == 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(gate.handled(), 1);
    drop(registration);
    assert_eq!(provider.stats().unhandled, 9);
}

/// The handler of a disconnected connection holds one of two slots; two connections share the
/// other.
#[tokio::test(start_paused = true)]
async fn connections_that_share_a_slot_take_turns() {
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let router =
        Router::new().on("hang", async |_: Context, _: Value| std::future::pending::<()>().await).on("name", {
            let names = Arc::clone(&names);
            move |_: Context, name: String| {
                let names = Arc::clone(&names);
                async move {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    names.lock().unwrap().push(name);
                }
            }
        });
    let limits = Limits::default().with_connections_per_user(2);
    let provider = CoreProvider::started(Setup::default().with_router(router).with_limits(limits)).await;
    let disconnected = provider.register(Visitor::user("ann")).await;
    disconnected.receive(Inbound::new("hang", "null"));
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    disconnected.leave(CloseReason::CONNECTION_LOST);
    assert_eq!(provider.stats().lingering, 1);

    let [one, two] = [provider.register(Visitor::user("ann")).await, provider.register(Visitor::user("ann")).await];
    let send = |by: &Registration<LineCodec>, name: &str| by.receive(Inbound::new("name", format!("{name:?}")));
    // A connection without events holds no slot.
    send(&one, "first");
    eventually("the event is handled", || names.lock().unwrap().len() == 1).await;
    send(&two, "second");
    eventually("the event is handled", || names.lock().unwrap().len() == 2).await;
    // A connection with many events gives up the slot after each of them.
    for _ in 0..20 {
        send(&one, "many");
    }
    for _ in 0..2 {
        send(&two, "few");
    }
    eventually("all events are handled", || names.lock().unwrap().len() == 24).await;
    let names = names.lock().unwrap();
    let turns: Vec<_> = (0..names.len()).filter(|at| names[*at] == "few").collect();
    assert!(turns[1] < 10, "{turns:?}");
}

#[tokio::test]
async fn handlers_of_one_tenant_leave_half_to_the_others() {
    let (provider, gate) = attached(Limits::default().with_handlers(4)).await;
    let mut connections = Vec::new();
    for user in ["ann", "bob", "cid"] {
        let registration = provider.register(Visitor::user(user).with_tenant("acme")).await;
        send(&registration, 5);
        connections.push(registration);
    }
    eventually("two handlers run, and one waits", || gate.running() == 2 && provider.stats().waiting_handlers == 1)
        .await;
    for (at, visitor) in [Visitor::user("ann").with_tenant("globex"), Visitor::user("eve")].into_iter().enumerate() {
        let registration = provider.register(visitor).await;
        send(&registration, 1);
        connections.push(registration);
        eventually("another's handler runs", || gate.running() == 3 + at).await;
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 4);
    gate.open.add_permits(100);
    eventually("all are handled", || gate.handled() == 17 && provider.stats().waiting_handlers == 0).await;
}

/// Two tenants keep all slots of the node busy: a third one's event comes next.
#[tokio::test(start_paused = true)]
async fn busy_tenants_give_up_their_slots_to_another() {
    let (provider, gate) = attached(Limits::default().with_handlers(2)).await;
    let order = |tenant: &str| {
        let provider = provider.clone();
        let visitor = Visitor::user("ann").with_tenant(tenant);
        async move { provider.register(visitor).await }
    };
    let [acme, globex, last] = [order("acme").await, order("globex").await, order("initech").await];
    send(&acme, 50);
    send(&globex, 50);
    eventually("both run", || gate.running() == 2).await;
    send(&last, 1);
    eventually("the third one waits", || provider.stats().waiting_handlers == 1).await;
    gate.open.add_permits(3);
    eventually("three are handled", || gate.handled() == 3 && gate.running() == 2).await;
    // Its only event is handled: a busy tenant waited for it.
    eventually("nobody waits", || provider.stats().waiting_handlers == 0).await;
    assert_eq!(provider.stats().unhandled, 0);
    last.leave(CloseReason::CONNECTION_LOST);
    assert_eq!((provider.stats().unhandled, provider.stats().lingering), (0, 0), "its event was handled");
}
