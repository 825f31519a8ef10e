//! Clients that send more than their rate, and tenants that do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{CoreProvider, Guest, Message, eventually, runtime};
use realtime_core::spi::MeteredKind;
use realtime_core::{
    AckReply, AckStatus, CloseReason, Context, Event, Inbound, InboundPayload, InboundRate, Limits, RealtimeProvider,
    Reply, Router, SocketIoBroadcast,
};
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};
use serde_json::json;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Ten messages per second, and twenty at once.
fn ten() -> InboundRate {
    InboundRate::unlimited().with_events_per_second(10)
}

/// The numbers that the handler of `count` was called with, by user.
type Seen = Arc<Mutex<Vec<(String, u64)>>>;

/// Starts a provider with this rate of a connection and of a tenant.
async fn started(of_connection: InboundRate, of_tenant: InboundRate) -> (CoreProvider, Seen) {
    let seen = Seen::default();
    let router = Router::new().on("count", {
        let seen = Arc::clone(&seen);
        move |cx: Context, n: u64| {
            seen.lock().unwrap().push((cx.identity().user_name().unwrap().to_owned(), n));
            std::future::ready(Reply(n))
        }
    });
    let limits = Limits::default().with_inbound_per_connection(of_connection);
    let setup = Setup::default().with_router(router).with_limits(limits);
    (CoreProvider::attached(setup, runtime().with_inbound_per_tenant(of_tenant)).await, seen)
}

fn count(n: u64) -> Message {
    Message::Event(Inbound::new("count", n.to_string()))
}

fn of(seen: &Seen, user: &str) -> Vec<u64> {
    seen.lock().unwrap().iter().filter(|(of, _)| of == user).map(|(_, n)| *n).collect()
}

#[tokio::test(start_paused = true)]
async fn flood_is_handled_in_order_at_the_rate() {
    let (provider, seen) = started(ten(), InboundRate::unlimited()).await;
    let guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let begun = Instant::now();
    for n in 0..60 {
        guest.client.send_message(count(n)).await;
    }
    eventually("all are handled", || of(&seen, "ann").len() == 60).await;
    assert_eq!(of(&seen, "ann"), (0..60).collect::<Vec<_>>());
    let took = begun.elapsed();
    assert!(took >= 3 * SECOND && took < 5 * SECOND, "{took:?} for 40 above the burst");
    let stats = provider.stats();
    assert!(stats.throttled > 0 && stats.throttled_by_tenant == 0, "{stats:?}");
    eventually("it is held back no longer", || provider.stats().throttled_now == 0).await;
    assert_eq!((provider.stats().connections, provider.stats().unhandled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn client_that_never_stops_is_closed_for_its_rate() {
    let (provider, seen) = started(ten().with_patience(5 * SECOND), InboundRate::unlimited()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&provider, Visitor::user("bob")).await;
    let begun = Instant::now();
    while provider.stats().rejected.is_empty() {
        // Pending while the client is held back.
        let _ = tokio::time::timeout(SECOND / 10, guest.client.send_message(count(1))).await;
    }
    assert_eq!(begun.elapsed().as_secs(), 5);
    let error = guest.next().await.payload;
    let ended = guest.closed().await;
    assert_eq!(ended.code, Some(1008));
    assert_eq!(error["code"], "rate_limited");
    assert!(error["message"].as_str().unwrap().contains("10 messages per second"), "{error}");
    assert!((60..=80).contains(&of(&seen, "ann").len()), "the burst and five seconds' worth");
    let stats = provider.stats();
    assert_eq!((stats.closed.get(&1008), stats.rate_limited, stats.throttled_now), (Some(&1), 1, 0));
    assert_eq!(stats.rejected.get("rate_limited"), Some(&1));
    other.client.send("count", &json!(7), Some(1)).await;
    assert_eq!(other.next().await.payload, json!(7));
}

#[tokio::test(start_paused = true)]
async fn quiet_second_begins_the_patience_anew() {
    let (provider, seen) = started(ten().with_patience(3 * SECOND), InboundRate::unlimited()).await;
    let guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut sent = 0;
    for _ in 0..10 {
        // Two seconds above the rate, then the budget fills a little.
        for _ in 0..30 {
            guest.client.send_message(count(sent)).await;
            sent += 1;
        }
        eventually("all are handled", || of(&seen, "ann").len() as u64 == sent).await;
        sleep(2 * SECOND).await;
    }
    assert_eq!((provider.stats().connections, provider.stats().rate_limited), (1, 0));
}

/// Checks that a hold by the tenant's rate does not count against the client's own patience.
#[tokio::test(start_paused = true)]
async fn hold_of_the_tenant_does_not_end_a_patience() {
    let of_tenant = InboundRate::unlimited().with_events_per_second(100).with_events_burst(100);
    let (provider, _) = started(ten().with_patience(3 * SECOND), of_tenant).await;
    let mut others = Vec::new();
    for n in 0..10 {
        others.push(provider.register(Visitor::user(&format!("user{n}")).with_tenant("acme")).await);
    }
    let ann = provider.register(Visitor::user("ann").with_tenant("acme")).await;
    for _ in 0..3 {
        assert!(!ann.charge(MeteredKind::Event, 25, 0), "above its own rate");
        std::future::poll_fn(|cx| ann.poll_room(cx)).await;
        sleep(3600 * SECOND).await;
        for other in &others {
            other.charge(MeteredKind::Event, 20, 0);
        }
        assert!(!ann.charge(MeteredKind::Event, 1, 0), "above the tenant's");
        std::future::poll_fn(|cx| ann.poll_room(cx)).await;
    }
    let stats = provider.stats();
    assert_eq!((stats.throttled, stats.rate_limited), (3, 0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_above_the_rate_are_taken_more_slowly() {
    let rate = InboundRate::unlimited().with_bytes_per_second(10 * 1024).with_bytes_burst(10 * 1024);
    let (provider, _) = started(rate, InboundRate::unlimited()).await;
    let registration = provider.register(Visitor::user("ann")).await;
    let large = |bytes: usize| Inbound::new("large", format!("\"{}\"", "x".repeat(bytes)));
    assert!(registration.receive(large(9 * 1024)));
    assert!(!registration.receive(large(50 * 1024)), "larger than the burst, and accepted");
    let begun = Instant::now();
    std::future::poll_fn(|cx| registration.poll_room(cx)).await;
    assert_eq!(begun.elapsed().as_secs(), 4);
    assert_eq!(provider.stats().events_in, 2);
}

#[tokio::test(start_paused = true)]
async fn tenant_over_its_rate_slows_no_other_tenant() {
    let (provider, seen) = started(InboundRate::unlimited(), ten()).await;
    let mut flooders = Vec::new();
    for user in ["ann", "bob", "cid"] {
        flooders.push(Guest::by_session(&provider, Visitor::user(user).with_tenant("acme")).await);
    }
    let flood = flooders.iter().map(|guest| async {
        for n in 0..200 {
            guest.client.send_message(count(n)).await;
        }
    });
    let mut healthy = Guest::by_session(&provider, Visitor::user("dan").with_tenant("globex")).await;
    let mut alone = Guest::by_session(&provider, Visitor::user("eve")).await;
    let observe = async {
        eventually("all of the tenant are held back", || provider.stats().throttled_now == 3).await;
        let begun = Instant::now();
        for n in 0..20 {
            healthy.client.send("count", &json!(n), Some(n)).await;
            assert_eq!(healthy.next().await.payload, json!(n));
        }
        for n in 0..200 {
            alone.client.send("count", &json!(n), Some(n)).await;
            assert_eq!(alone.next().await.payload, json!(n));
        }
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
        assert_eq!(provider.stats().throttled_now, 3, "the tenant is still held back");
    };
    let all = futures_util::future::join_all(flood);
    tokio::join!(all, observe);
    eventually("all are handled", || seen.lock().unwrap().len() == 3 * 200 + 220).await;
    for user in ["ann", "bob", "cid"] {
        assert_eq!(of(&seen, user), (0..200).collect::<Vec<_>>());
    }
    let stats = provider.stats();
    assert!(stats.throttled_by_tenant > 0 && stats.throttled == 0, "{stats:?}");
    assert_eq!((stats.connections, stats.rate_limited), (5, 0), "a tenant's rate closes nobody");
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_tenant_take_turns() {
    let (provider, seen) = started(InboundRate::unlimited(), ten()).await;
    let mut guests = Vec::new();
    for user in ["ann", "bob", "cid", "dan"] {
        guests.push(Guest::by_session(&provider, Visitor::user(user).with_tenant("acme")).await);
    }
    let floods = guests.iter().map(|guest| async {
        for n in 0.. {
            guest.client.send_message(count(n)).await;
        }
    });
    let floods = futures_util::future::join_all(floods);
    assert!(tokio::time::timeout(20 * SECOND, floods).await.is_err());
    let counts = ["ann", "bob", "cid", "dan"].map(|user| of(&seen, user).len());
    // 200 in 20 s; the burst of 20 goes to whoever comes first.
    assert!(counts.iter().all(|count| (45..=75).contains(count)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn awaited_answers_do_not_count() {
    let (provider, _) = started(ten(), InboundRate::unlimited()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..100 {
        let asked = Event::json("question", &n).unwrap();
        let asked = provider.dispatcher.to_user_with_ack("ann", asked, SECOND);
        let answer = async {
            let question = guest.next().await;
            guest.client.answer(question.ack.unwrap(), &json!(n)).await;
        };
        let (asked, ()) = tokio::join!(asked, answer);
        let replies: Vec<AckReply> = asked.unwrap().all().await;
        assert!(matches!(replies[0].status, AckStatus::Answered), "{n}: {replies:?}");
    }
    assert_eq!(provider.stats().throttled, 0);
    // Answers to nothing do.
    for ack in 0..30 {
        guest.client.send_message(Message::Answer(1_000_000 + ack, InboundPayload::json_text("1"))).await;
    }
    eventually("it is held back", || provider.stats().throttled > 0).await;
}

#[tokio::test(start_paused = true)]
async fn held_back_connection_leaves_nothing_behind() {
    let (provider, _) = started(ten(), ten()).await;
    for user in ["ann", "bob"] {
        let registration = provider.register(Visitor::user(user).with_tenant("acme")).await;
        for _ in 0..30 {
            registration.receive(Inbound::new("count", "1"));
        }
        assert!(registration.is_paused());
        eventually("it is counted", || provider.stats().throttled_now == 1).await;
        registration.leave(CloseReason::CONNECTION_LOST);
        eventually("it is counted no longer", || provider.stats().throttled_now == 0).await;
    }
}
