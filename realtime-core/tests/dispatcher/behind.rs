//! Connections that fall behind: what they read from the window is neither repeated nor withheld
//! permanently.

use std::time::Duration;

use crate::support::{CoreProvider, Guest, LineCodec, note, parse, take_all};
use realtime_core::spi::{Registration, Take};
use realtime_core::{
    Event, OutboxConfig, RealtimeBroadcast, RealtimeProvider, SocketIoBroadcast, Target, WindowConfig,
};
use realtime_testkit::conformance::{Received, Setup, Visitor};

/// Registers a connection whose outbox the test takes from.
async fn connect(provider: &CoreProvider) -> Registration<LineCodec> {
    let registration = provider.register(Visitor::user("ann")).await;
    take_all(&registration);
    registration
}

/// Takes once, at most `bytes` bytes.
fn take_once(registration: &Registration<LineCodec>, bytes: usize) -> Vec<Received> {
    let mut frames = Vec::new();
    registration.try_take(bytes, &mut frames);
    frames.iter().map(parse).collect()
}

async fn provider(window: WindowConfig) -> CoreProvider {
    let setup = Setup::default().with_window(window).with_outbox(OutboxConfig::default().with_frames(4));
    CoreProvider::started(setup).await
}

#[tokio::test(start_paused = true)]
async fn ask_is_not_reread_after_bare_cursor_at_its_position() {
    let provider = provider(WindowConfig::default().with_records(20)).await;
    let connection = connect(&provider).await;
    let mut acks = Vec::new();
    // Asks carry no cursor, so that the connection gets a bare one.
    for _ in 0..6 {
        let pending = provider.dispatcher.to_user_with_ack("ann", note("pay?"), Duration::from_secs(60)).await.unwrap();
        acks.extend(take_all(&connection).into_iter().filter_map(|received| received.ack));
        drop(pending);
    }
    assert_eq!(acks, [1, 2, 3, 4, 5, 6]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let standing = provider.connections(&realtime_core::Target::all()).remove(0);
    assert_eq!((standing.lag, standing.queued_events), (0, 1), "only the bare cursor is queued");
    for n in 0..5 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    assert_eq!(provider.connections(&realtime_core::Target::all())[0].overflows, 1);
    assert_eq!(provider.stats().overflows, 1);
    let received = take_all(&connection);
    let names: Vec<_> = received.iter().map(|received| received.payload.as_str().unwrap_or("cursor")).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4"], "no ask is repeated");
}

fn price(text: &str) -> Event {
    note(text).with_latest_key("price")
}

/// Runs a reader that takes one event per round, while one event of each kind in `each` is sent.
///
/// Returns the received events and the number of rounds.
async fn slow_reader(window: WindowConfig, each: &[&str]) -> (Vec<Received>, usize) {
    let provider = provider(window).await;
    let connection = connect(&provider).await;
    let (mut received, mut rounds) = (Vec::new(), 0);
    for n in 0..400 {
        for kind in each {
            let text = format!("{kind} {n}");
            let event = if *kind == "price" { price(&text) } else { note(&text) };
            provider.dispatcher.to_user("ann", event).await.unwrap();
        }
        received.extend(take_once(&connection, 1));
        rounds += 1;
    }
    assert!(connection.dispatcher().stats().behind == 1, "the reader never caught up");
    (received, rounds)
}

/// Returns the numbers of rounds between the received events of the series.
fn series_gaps(received: &[Received], rounds: usize) -> Vec<usize> {
    let text = |received: &Received| received.payload.as_str().map(str::to_owned);
    let prices = received.iter().filter_map(text);
    let at = |text: String| text.strip_prefix("price ").map(|n| n.parse::<usize>().unwrap());
    let mut numbers: Vec<_> = prices.filter_map(at).collect();
    assert!(numbers.is_sorted_by(|before, after| before < after), "in order and once: {numbers:?}");
    numbers.insert(0, 0);
    numbers.push(rounds);
    numbers.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn reader_that_never_catches_up_still_gets_series() {
    let (received, rounds) = slow_reader(WindowConfig::default(), &["plain", "price", "plain"]).await;
    let gaps = series_gaps(&received, rounds);
    assert!(gaps.len() > 5, "the series is received repeatedly: {gaps:?}");
    let cursors: Vec<_> = received.iter().filter_map(|received| received.cursor.clone()).collect();
    assert_eq!(cursors.len(), received.len());
}

#[tokio::test(start_paused = true)]
async fn reader_that_loses_the_window_still_gets_series() {
    let window = WindowConfig::default().with_records(24);
    let (received, rounds) = slow_reader(window, &["plain", "price", "plain", "plain", "plain"]).await;
    assert!(received.iter().any(|received| received.name == "lost"));
    let gaps = series_gaps(&received, rounds);
    assert!(gaps.iter().all(|gap| *gap < 60), "the series is received repeatedly: {gaps:?}");
}

/// A reader that is slower than the window does not get a `lost` event with each take.
#[tokio::test(start_paused = true)]
async fn reader_that_loses_the_window_gets_few_lost_events() {
    let window = WindowConfig::default().with_records(100);
    let (received, rounds) = slow_reader(window, &["a", "b", "c"]).await;
    let losses = received.iter().filter(|received| received.name == "lost").count();
    // The reader falls 2 records behind in each round, and has 25 until its position is gone again.
    assert!((2..=rounds / 12).contains(&losses), "{losses} losses in {rounds} rounds");
    let read = received.iter().filter(|received| received.name != "lost").count();
    assert!(read + losses >= rounds - 1, "each take without a loss has an event: {read}");
}

/// Queued frames count towards the budget of a take that also reads the window.
#[tokio::test]
async fn take_from_window_stays_within_its_budget() {
    let provider = CoreProvider::started(Setup::default()).await;
    let cursor = Guest::left(&provider, Visitor::user("ann")).await;
    let connect = || provider.register(Visitor::user("ann").with_cursor(&cursor));
    for _ in 0..3 {
        provider.dispatcher.to_all(note("missed")).await.unwrap();
    }
    let mut whole = Vec::new();
    let sizes = {
        let all = connect().await;
        while all.try_take(usize::MAX, &mut whole) != Take::Empty {}
        whole.iter().map(bytes::Bytes::len).collect::<Vec<_>>()
    };
    assert_eq!(sizes.len(), 4, "the welcome and three records");
    for (budget, count) in [
        (1, 1),
        (sizes[0] - 1, 1),
        (sizes[0], 1),
        (sizes[0] + sizes[1], 2),
        (sizes[0] + sizes[1] + sizes[2], 3),
        (sizes.iter().sum(), 4),
    ] {
        let late = connect().await;
        let mut frames = Vec::new();
        late.try_take(budget, &mut frames);
        assert_eq!(frames.len(), count, "{budget} of {sizes:?}");
        let bytes: usize = sizes[..count].iter().sum();
        let stats = provider.dispatcher.connections(&Target::connection(late.id())).remove(0);
        assert_eq!((stats.events_out, stats.bytes_out), (count as u64, bytes as u64));
    }
}

/// Counted like any other event.
#[tokio::test]
async fn lost_event_is_counted_as_sent() {
    let window = WindowConfig::default().with_records(4);
    let provider = CoreProvider::started(Setup::default().with_window(window)).await;
    let slow = provider.register(Visitor::user("ann")).await;
    for _ in 0..50 {
        provider.dispatcher.to_all(note("many")).await.unwrap();
    }
    let mut frames = Vec::new();
    while slow.try_take(1, &mut frames) != Take::Empty {}
    assert!(frames.iter().any(|frame| parse(frame).name == "lost"));
    let stats = provider.dispatcher.connections(&Target::connection(slow.id())).remove(0);
    let bytes: usize = frames.iter().map(bytes::Bytes::len).sum();
    assert_eq!((stats.events_out, stats.bytes_out, stats.lost), (frames.len() as u64, bytes as u64, 1));
    assert_eq!(provider.stats().bytes_out, bytes as u64);
}

/// Registers a connection of ann that resumes before three records for `user`.
async fn resumed_before_three_for(provider: &CoreProvider, user: &str) -> Registration<LineCodec> {
    let cursor = Guest::left(provider, Visitor::user("ann")).await;
    for _ in 0..3 {
        provider.dispatcher.to_user(user, note("missed")).await.unwrap();
    }
    provider.register(Visitor::user("ann").with_cursor(&cursor)).await
}

#[tokio::test]
async fn take_is_empty_when_window_has_only_others_events() {
    let provider = CoreProvider::started(Setup::default()).await;
    let ann = resumed_before_three_for(&provider, "bob").await;
    let mut frames = Vec::new();
    assert_eq!(ann.try_take(1, &mut frames), Take::Frames);
    assert_eq!(ann.try_take(1, &mut frames), Take::Empty);
    assert_eq!(frames.len(), 1, "the welcome");
}

#[tokio::test(start_paused = true)]
async fn event_left_in_window_counts_as_waiting() {
    let provider = CoreProvider::started(Setup::default()).await;
    let ann = resumed_before_three_for(&provider, "ann").await;
    let waiting_ms = async || {
        tokio::time::advance(Duration::from_millis(500)).await;
        provider.dispatcher.connections(&Target::connection(ann.id())).remove(0).waiting_ms
    };
    let mut frames = Vec::new();
    for _ in 0..3 {
        ann.try_take(1, &mut frames);
        assert_eq!(waiting_ms().await, 500);
    }
    while ann.try_take(1, &mut frames) != Take::Empty {}
    assert_eq!((frames.len(), waiting_ms().await), (4, 0));
}
