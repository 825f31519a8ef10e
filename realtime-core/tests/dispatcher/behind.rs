//! Connections that fall behind: what they read from the window is neither doubled nor kept from them for ever.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CoreProvider, LineCodec, note, parse, runtime};
use realtime_core::spi::{Registration, SessionOutlet, Take};
use realtime_core::{
    Event, OutboxConfig, RealtimeBroadcast, RealtimeProvider, SocketIoBroadcast, Target, WindowConfig,
};
use realtime_testkit::conformance::{Received, Setup, Visitor};

/// A connection whose outbox is taken from by hand.
async fn taker(provider: &CoreProvider) -> Registration<LineCodec> {
    let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
    let registration = provider.dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
    take_all(&registration);
    registration
}

fn take_all(registration: &Registration<LineCodec>) -> Vec<Received> {
    let mut frames = Vec::new();
    while registration.try_take(usize::MAX, &mut frames) != Take::Empty {}
    frames.iter().map(parse).collect()
}

/// One take of at most so many bytes.
fn sip(registration: &Registration<LineCodec>, bytes: usize) -> Vec<Received> {
    let mut frames = Vec::new();
    registration.try_take(bytes, &mut frames);
    frames.iter().map(parse).collect()
}

async fn provider(window: WindowConfig) -> CoreProvider {
    let setup = Setup::default().with_window(window).with_outbox(OutboxConfig::default().with_frames(4));
    let provider = CoreProvider::full(setup);
    provider.attach(runtime()).await.unwrap();
    provider
}

#[tokio::test(start_paused = true)]
async fn an_ask_is_not_read_again_when_a_bare_cursor_stands_at_its_place() {
    let provider = provider(WindowConfig::default().with_records(20)).await;
    let connection = taker(&provider).await;
    let mut acks = Vec::new();
    // Asks do not tell their place, so that the connection is told one by itself.
    for _ in 0..6 {
        let asked = provider.dispatcher.to_user_with_ack("ann", note("pay?"), Duration::from_secs(60)).await.unwrap();
        acks.extend(take_all(&connection).into_iter().filter_map(|received| received.ack));
        drop(asked);
    }
    assert_eq!(acks, [1, 2, 3, 4, 5, 6]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let standing = provider.connections(&realtime_core::Target::all()).remove(0);
    assert_eq!((standing.lag, standing.queued_events), (0, 1), "the bare cursor waits, and everything was taken");
    for n in 0..5 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
    }
    assert_eq!(provider.connections(&realtime_core::Target::all())[0].overflows, 1);
    assert_eq!(provider.stats().overflows, 1);
    let received = take_all(&connection);
    let names: Vec<_> = received.iter().map(|received| received.payload.as_str().unwrap_or("cursor")).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4"], "no ask comes twice");
}

fn price(text: &str) -> Event {
    note(text).with_latest_key("price")
}

/// A reader that takes one event in the time in which others are sent.
async fn slow_reader(window: WindowConfig, each: &[&str]) -> (Vec<Received>, usize) {
    let provider = provider(window).await;
    let connection = taker(&provider).await;
    let (mut received, mut rounds) = (Vec::new(), 0);
    for n in 0..400 {
        for kind in each {
            let text = format!("{kind} {n}");
            let event = if *kind == "price" { price(&text) } else { note(&text) };
            provider.dispatcher.to_user("ann", event).await.unwrap();
        }
        received.extend(sip(&connection, 1));
        rounds += 1;
    }
    assert!(connection.dispatcher().stats().behind == 1, "it never caught up");
    (received, rounds)
}

fn age_of(received: &[Received], rounds: usize) -> Vec<usize> {
    let text = |received: &Received| received.payload.as_str().map(str::to_owned);
    let prices = received.iter().filter_map(text);
    let at = |text: String| text.strip_prefix("price ").map(|n| n.parse::<usize>().unwrap());
    let mut places: Vec<_> = prices.filter_map(at).collect();
    assert!(places.is_sorted_by(|before, after| before < after), "in order and once: {places:?}");
    places.insert(0, 0);
    places.push(rounds);
    places.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_catches_up_gets_a_series_all_the_same() {
    let (received, rounds) = slow_reader(WindowConfig::default(), &["plain", "price", "plain"]).await;
    let gaps = age_of(&received, rounds);
    assert!(gaps.len() > 5, "the series comes again and again: {gaps:?}");
    let cursors: Vec<_> = received.iter().filter_map(|received| received.cursor.clone()).collect();
    assert_eq!(cursors.len(), received.len());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_loses_the_window_gets_a_series_all_the_same() {
    let window = WindowConfig::default().with_records(24);
    let (received, rounds) = slow_reader(window, &["plain", "price", "plain", "plain", "plain"]).await;
    assert!(received.iter().any(|received| received.name == "lost"));
    let gaps = age_of(&received, rounds);
    assert!(gaps.iter().all(|gap| *gap < 60), "the series comes again and again: {gaps:?}");
}

/// A reader that is slower than the window turns over is not told of a loss with each part that it reads.
#[tokio::test(start_paused = true)]
async fn a_reader_that_loses_the_window_is_told_a_few_times() {
    let window = WindowConfig::default().with_records(100);
    let (received, rounds) = slow_reader(window, &["a", "b", "c"]).await;
    let losses = received.iter().filter(|received| received.name == "lost").count();
    // It falls 2 records behind in each round, and has 25 until its place is gone again.
    assert!((2..=rounds / 12).contains(&losses), "{losses} losses in {rounds} rounds");
    let read = received.iter().filter(|received| received.name != "lost").count();
    assert!(read + losses >= rounds - 1, "each part but those of a loss has an event: {read}");
}

/// What waits beside the window counts into the budget of a take that reads the window too.
#[tokio::test]
async fn a_take_of_one_that_is_behind_is_within_its_budget() {
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime()).await.unwrap();
    let line = |place: Option<String>| {
        let visitor = Visitor::user("ann");
        let visitor = place.map_or(visitor.clone(), |place| visitor.resume(&place));
        let (provider, dispatcher) = (&provider, &provider.dispatcher);
        async move { dispatcher.register(provider.admit(visitor).await.unwrap(), Arc::new(SessionOutlet::new())) }
    };
    let first = line(None).await;
    let mut frames = Vec::new();
    first.try_take(usize::MAX, &mut frames);
    let place = parse(&frames[0]).cursor.unwrap();
    for _ in 0..3 {
        provider.dispatcher.to_all(note("missed")).await.unwrap();
    }
    let mut whole = Vec::new();
    let sizes = {
        let all = line(Some(place.clone())).await;
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
        let late = line(Some(place.clone())).await;
        let mut frames = Vec::new();
        late.try_take(budget, &mut frames);
        assert_eq!(frames.len(), count, "{budget} of {sizes:?}");
        let bytes: usize = sizes[..count].iter().sum();
        let stats = provider.dispatcher.connections(&Target::connection(late.id())).remove(0);
        assert_eq!((stats.events_out, stats.bytes_out), (count as u64, bytes as u64));
    }
}

/// What is told of a loss is counted like any other event.
#[tokio::test]
async fn a_lost_is_an_event_that_went_out() {
    let window = WindowConfig::default().with_records(4);
    let provider = CoreProvider::full(Setup::default().with_window(window));
    provider.attach(runtime()).await.unwrap();
    let slow = provider.admit(Visitor::user("ann")).await.unwrap();
    let slow = provider.dispatcher.register(slow, Arc::new(SessionOutlet::new()));
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

/// A connection of ann's that goes on before three records for this user.
async fn resumed_before_three_for(provider: &CoreProvider, user: &str) -> Registration<LineCodec> {
    let first = provider
        .dispatcher
        .register(provider.admit(Visitor::user("ann")).await.unwrap(), Arc::new(SessionOutlet::new()));
    let mut frames = Vec::new();
    first.try_take(usize::MAX, &mut frames);
    let place = parse(&frames[0]).cursor.unwrap();
    drop(first);
    for _ in 0..3 {
        provider.dispatcher.to_user(user, note("missed")).await.unwrap();
    }
    let admitted = provider.admit(Visitor::user("ann").resume(&place)).await.unwrap();
    provider.dispatcher.register(admitted, Arc::new(SessionOutlet::new()))
}

#[tokio::test]
async fn a_take_that_finds_only_what_is_for_others_is_empty() {
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime()).await.unwrap();
    let ann = resumed_before_three_for(&provider, "bob").await;
    let mut frames = Vec::new();
    assert_eq!(ann.try_take(1, &mut frames), Take::Frames);
    assert_eq!(ann.try_take(1, &mut frames), Take::Empty);
    assert_eq!(frames.len(), 1, "the welcome");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_in_the_window_waits_like_what_is_in_the_queue() {
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime()).await.unwrap();
    let ann = resumed_before_three_for(&provider, "ann").await;
    let waits = async || {
        tokio::time::advance(Duration::from_millis(500)).await;
        provider.dispatcher.connections(&Target::connection(ann.id())).remove(0).waiting_ms
    };
    let mut frames = Vec::new();
    for _ in 0..3 {
        ann.try_take(1, &mut frames);
        assert_eq!(waits().await, 500);
    }
    while ann.try_take(1, &mut frames) != Take::Empty {}
    assert_eq!((frames.len(), waits().await), (4, 0));
}
