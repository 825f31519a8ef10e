//! Drains: connections are disconnected evenly, sends still work, new connections are rejected.

use std::time::Duration;

use crate::support::{CoreProvider, Guest, in_time, note};
use realtime_core::{
    CloseReason, Context, Drain, Error, RealtimeBroadcast, RealtimeProvider, RefusalKind, Reply, Router,
};
use realtime_testkit::conformance::{Setup, Visitor};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Returns a drain over this time without the hold, in which everything still works.
fn over(time: Duration) -> Drain {
    Drain::over(time).with_hold(Duration::ZERO)
}

/// Starts a shutdown in a task.
fn shutdown(provider: &CoreProvider, drain: Drain) -> tokio::task::JoinHandle<()> {
    let provider = provider.clone();
    tokio::spawn(async move { provider.shutdown(drain).await })
}

/// Returns the names of the events up to the close.
async fn names_until_close(guest: &mut Guest) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(received) = guest.next_or_close().await {
        names.push(received.name);
    }
    names
}

#[tokio::test(start_paused = true)]
async fn everything_works_during_the_hold() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    let start = Instant::now();
    let shutdown = shutdown(&provider, Drain::over(Duration::ZERO));
    sleep(Duration::from_millis(1900)).await;
    assert!(!provider.dispatcher.is_ready() && !provider.dispatcher.is_draining());
    // The load balancer has not noticed yet.
    let mut bob = Guest::by_session(&provider, Visitor::user("bob")).await;
    provider.dispatcher.to_all(note("still here")).await.unwrap();
    for guest in [&mut ann, &mut bob] {
        assert_eq!(names_until_close(guest).await, ["note", "reconnect"]);
    }
    in_time("the shutdown", shutdown).await.unwrap();
    assert!((2000..2200).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn second_shutdown_ends_the_hold() {
    let provider = CoreProvider::started(Setup::default()).await;
    let start = Instant::now();
    let first = shutdown(&provider, Drain::over(Duration::ZERO).with_hold(Duration::from_secs(3600)));
    sleep(Duration::from_secs(1)).await;
    provider.shutdown(Drain::now()).await;
    in_time("the first shutdown", first).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn drain_disconnects_evenly_with_varied_delays() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guests = Vec::new();
    for n in 0..100 {
        guests.push(Guest::by_session(&provider, Visitor::user(&format!("user {n}"))).await);
    }
    let start = Instant::now();
    let drain = over(Duration::from_secs(10)).with_reconnect_within(Duration::from_secs(4));
    let shutdown = shutdown(&provider, drain);
    let ends = guests.into_iter().map(|mut guest| async move {
        let last = guest.next().await;
        assert_eq!(last.name, "reconnect");
        assert_eq!(last.payload["reason"], "service restart");
        assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
        (start.elapsed(), last.payload["delayMs"].as_u64().unwrap())
    });
    let ends = futures_util::future::join_all(ends).await;
    let mut seconds = [0; 10];
    for (after, delay) in &ends {
        seconds[after.as_secs() as usize] += 1;
        assert!((100..4000).contains(delay), "{delay}");
    }
    assert_eq!(seconds, [10; 10]);
    let mut delays: Vec<_> = ends.iter().map(|(_, delay)| delay).collect();
    delays.sort();
    delays.dedup();
    assert!(delays.len() > 80, "{} different delays", delays.len());
    in_time("the shutdown", shutdown).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "no wait for the last tenth of a second");
}

#[tokio::test(start_paused = true)]
async fn draining_provider_sends_but_rejects_new_connections() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guests = Vec::new();
    for n in 0..10 {
        guests.push(Guest::by_session(&provider, Visitor::user(&format!("user {n}"))).await);
    }
    assert!(provider.dispatcher.is_ready());
    let shutdown = shutdown(&provider, over(Duration::from_secs(10)));
    sleep(Duration::from_millis(4500)).await;
    assert!(!provider.dispatcher.is_ready(), "a readiness probe fails immediately");
    let refusal = provider.admit(Visitor::user("late")).await.unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Draining);
    assert!(refusal.retry_after().is_some());
    let receipt = provider.dispatcher.to_all(note("still here")).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().queued, 5);
    let mut received = 0;
    for guest in &mut guests {
        match &names_until_close(guest).await[..] {
            [reconnect] => assert_eq!(reconnect, "reconnect"),
            [note, reconnect] => {
                assert_eq!((note.as_str(), reconnect.as_str()), ("note", "reconnect"));
                received += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received, 5);
    in_time("the shutdown", shutdown).await.unwrap();
    assert!(matches!(provider.dispatcher.to_all(note("late")).await, Err(Error::Closed { .. })));
}

#[tokio::test(start_paused = true)]
async fn running_handler_completes_and_acks_during_drain() {
    let slow = Router::new().on("slow", async |_: Context, (): ()| {
        sleep(Duration::from_millis(500)).await;
        Reply("done")
    });
    let provider = CoreProvider::started(Setup::default().with_router(slow)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut second = Guest::by_session(&provider, Visitor::user("bob")).await;
    for guest in [&mut guest, &mut second] {
        use realtime_testkit::conformance::ClientUnderTest;
        guest.client.send("slow", &json!(null), Some(1)).await;
    }
    // Wait until their handlers run.
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let shutdown = shutdown(&provider, over(Duration::from_secs(4)));
    let (first, second) = tokio::join!(names_until_close(&mut guest), names_until_close(&mut second));
    assert_eq!([first, second], [["ack", "reconnect"]; 2], "also the one that is disconnected first gets its ack");
    in_time("the shutdown", shutdown).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "no wait without a running handler: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn drain_delivers_backlog_before_closing() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..1000 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    let shutdown = shutdown(&provider, Drain::now());
    sleep(Duration::from_millis(10)).await;
    let expected: Vec<_> = (0..999).map(|n| n.to_string()).collect();
    assert_eq!(guest.texts_until("999").await, expected);
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    in_time("the shutdown", shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stalled_client_is_disconnected_a_second_after_drain() {
    let provider = CoreProvider::started(Setup::default()).await;
    let _stalled = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..1000 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    let start = Instant::now();
    provider.shutdown(over(Duration::from_secs(2))).await;
    assert!((2900..4100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(provider.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn second_shutdown_ends_the_first_drain() {
    let provider = CoreProvider::started(Setup::default()).await;
    let mut guests = Vec::new();
    for n in 0..3 {
        guests.push(Guest::by_session(&provider, Visitor::user(&format!("user {n}"))).await);
    }
    let start = Instant::now();
    let first = shutdown(&provider, over(Duration::MAX));
    sleep(Duration::from_secs(1)).await;
    assert!(!first.is_finished());
    let second = shutdown(&provider, Drain::now());
    for guest in &mut guests {
        assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    }
    in_time("the second shutdown", second).await.unwrap();
    in_time("the first shutdown", first).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn drained_provider_still_accepts_sends() {
    let provider = CoreProvider::started(Setup::default()).await;
    provider.dispatcher.drain(over(Duration::from_secs(60))).await;
    assert!(!provider.dispatcher.is_ready());
    let receipt = provider.dispatcher.to_all(note("to nobody here")).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 0);
    provider.shutdown(Drain::now()).await;
    assert!(matches!(provider.dispatcher.to_all(note("late")).await, Err(Error::Closed { .. })));
}
