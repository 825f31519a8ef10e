use realtime_core::spi::Cursor;
use realtime_core::{Target, WindowConfig};

use crate::conformance::run::in_time;
use crate::conformance::stage::{Guest, Stage, note};
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// Cuts a guest's wire and answers its place, once the server has noticed.
async fn cut<P: ProviderUnderTest>(stage: &Stage<P>, guest: Guest<P::Client>) -> String {
    let (id, cursor) = (guest.id, guest.cursor.clone());
    drop(guest);
    in_time("the hooks", stage.hooks.wait_of(id, 4)).await;
    cursor
}

fn place_of(cursor: &str) -> u64 {
    cursor.parse::<Cursor>().expect("a cursor").position().get()
}

/// A client that comes back with its cursor gets what it missed, once and in order, and goes on live.
pub async fn resume_from_a_cursor<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().resume {
        return;
    }
    let mut guest = stage.guest(Visitor::user("ann").tenant("acme")).await;
    stage.note(Target::user("ann"), "seen").await;
    assert_eq!(stage.labels(&mut guest).await, ["seen"]);
    let cursor = cut(&stage, guest).await;
    stage.note(Target::user("ann"), "1").await;
    stage.note(Target::user("bob"), "no").await;
    stage.note(Target::tenant("acme"), "2").await;
    stage.note(Target::user_in("acme", "ann"), "3").await;
    stage.note(Target::user_in("globex", "ann"), "no").await;
    stage.note(Target::all(), "4").await;
    let mut guest = stage.guest(Visitor::user("ann").tenant("acme").resume(&cursor)).await;
    assert!(guest.was_resumed(), "{}", guest.welcome);
    assert_eq!(guest.reason(), "resumed");
    assert_eq!(guest.welcome["cursor"], cursor.as_str(), "it reads from the place it presented");
    stage.note(Target::user("ann"), "5").await;
    assert_eq!(stage.labels(&mut guest).await, ["1", "2", "3", "4", "5"]);
    // From the place it has now there is nothing to come; from the one before, the same again.
    let newest = cut(&stage, guest).await;
    let mut guest = stage.guest(Visitor::user("ann").tenant("acme").resume(&newest)).await;
    assert!(stage.labels(&mut guest).await.is_empty());
    let mut again = stage.guest(Visitor::user("ann").tenant("acme").resume(&cursor)).await;
    let expected = ["1", "2", "3", "4", "5", "mark 1", "mark 2"];
    assert_eq!(stage.labels(&mut again).await, expected);
}

/// Who goes on where another connection was, and names it, does not get what excludes that one, replayed or live; whoever does not
/// resume has no former connection.
pub async fn resume_keeps_the_exceptions_of_the_connection_before<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().resume {
        return;
    }
    let guest = stage.guest(Visitor::user("ann")).await;
    let former = guest.id;
    let cursor = cut(&stage, guest).await;
    let to_others = || Target::user("ann").except_connection(former);
    stage.note(to_others(), "own").await;
    stage.note(Target::user("ann"), "1").await;
    let mut back = stage.guest(Visitor::user("ann").resume(&cursor).formerly(former)).await;
    let mut other = stage.guest(Visitor::user("ann").resume(&cursor)).await;
    let mut new = stage.guest(Visitor::user("ann").formerly(former)).await;
    stage.note(to_others(), "own too").await;
    stage.note(Target::user("ann"), "2").await;
    let mark = stage.mark().await;
    assert_eq!(back.labels_until(&mark).await, ["1", "2"]);
    assert_eq!(other.labels_until(&mark).await, ["own", "1", "own too", "2"]);
    assert_eq!(new.labels_until(&mark).await, ["own too", "2"]);
}

/// What is replayed is decided by who presents a cursor, not by whose it was.
pub async fn resume_shows_nothing_of_others<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().resume {
        return;
    }
    let ann = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let cursor = cut(&stage, ann).await;
    stage.note(Target::user("ann"), "ann").await;
    stage.note(Target::tenant("acme"), "acme").await;
    stage.note(Target::user("bob"), "bob").await;
    stage.note(Target::all().except_user("bob"), "not bob").await;
    stage.note(Target::all(), "all").await;
    let mut bob = stage.guest(Visitor::user("bob").resume(&cursor)).await;
    assert!(bob.was_resumed(), "{}", bob.welcome);
    assert_eq!(stage.labels(&mut bob).await, ["bob", "all"]);
    let mut nobody = stage.guest(Visitor::anonymous().resume(&cursor)).await;
    assert_eq!(stage.labels(&mut nobody).await, ["not bob", "all", "mark 0"]);
}

/// A cursor that leads nowhere gives a fresh start, and the client is told why.
pub async fn resume_from_a_cursor_that_cannot_be<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(10);
    let stage = Stage::<P>::open(Setup::default().with_window(window)).await;
    if !stage.provider.capabilities().resume {
        return;
    }
    let mut reader = stage.guest(Visitor::user("bob")).await;
    let mut places = vec![reader.cursor.clone()];
    for n in 0..30 {
        stage.note(Target::all(), &n.to_string()).await;
        reader.next().await;
        places.push(reader.cursor.clone());
    }
    let elsewhere = Stage::<P>::open(Setup::default()).await;
    let stranger = elsewhere.guest(Visitor::user("ann")).await.cursor;
    let altered = |at: usize| {
        let mut altered = places[25].clone();
        altered.replace_range(at..=at, if &altered[at..=at] == "A" { "B" } else { "A" });
        altered
    };
    let cases = [
        (places[0].clone(), "expired"),
        (places[19].clone(), "expired"),
        (stranger, "epoch"),
        // Its version and its epoch are read before anything else.
        (altered(5), "epoch"),
        (altered(0), "invalid"),
        (altered(20), "invalid"),
        (altered(40), "invalid"),
        ("nonsense".to_owned(), "invalid"),
        ("ä\u{202e} &=?%00".to_owned(), "invalid"),
        ("A".repeat(2_000), "invalid"),
    ];
    for (cursor, reason) in cases {
        let mut guest = stage.guest(Visitor::user("ann").resume(&cursor)).await;
        assert!(!guest.was_resumed(), "{cursor}: {}", guest.welcome);
        assert_eq!(guest.reason(), reason, "{cursor}");
        assert!(stage.labels(&mut guest).await.is_empty(), "{cursor}: nothing of before");
    }
    reader.labels_until(&stage.mark().await).await;
    let oldest = reader.cursor.clone();
    for n in 0..10 {
        stage.note(Target::all(), &n.to_string()).await;
    }
    let mut resumed = stage.guest(Visitor::user("ann").resume(&oldest)).await;
    assert!(resumed.was_resumed(), "the place before the window's oldest record: {}", resumed.welcome);
    let mark = stage.mark().await;
    let labels = resumed.labels_until(&mark).await;
    assert!(labels.len() == 10, "{labels:?}");
}

/// Volatile events reach who is there, carry no place, and are not replayed.
pub async fn volatile_is_delivered_and_not_replayed<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guest = stage.guest(Visitor::user("ann")).await;
    // Having read a mark, the connection is live: volatile events are not for those that catch up.
    assert!(stage.labels(&mut guest).await.is_empty());
    let receipt = stage.broadcast().to_user("ann", note("fleeting").volatile()).await.expect("sent");
    assert_eq!(receipt.position, None);
    assert_eq!(receipt.delivered.map(|delivered| (delivered.matched, delivered.queued)), Some((1, 1)));
    let received = guest.next().await;
    assert_eq!((received.payload.as_str(), received.cursor), (Some("fleeting"), None));
    if !stage.provider.capabilities().resume {
        return;
    }
    let cursor = cut(&stage, guest).await;
    let missed = stage.broadcast().to_user("ann", note("missed").volatile()).await.expect("sent");
    assert_eq!(missed.delivered.map(|delivered| delivered.matched), Some(0));
    stage.note(Target::user("ann"), "durable").await;
    let mut guest = stage.guest(Visitor::user("ann").resume(&cursor)).await;
    assert_eq!(stage.labels(&mut guest).await, ["durable"]);
}

/// A client that gets nothing is told its place before it leaves the window.
pub async fn quiet_clients_keep_their_place<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(40);
    let stage = Stage::<P>::open(Setup::default().with_window(window)).await;
    if !stage.provider.capabilities().resume {
        return;
    }
    let mut quiet = stage.guest(Visitor::user("quiet")).await;
    assert!(stage.labels(&mut quiet).await.is_empty());
    let before = quiet.cursor.clone();
    for n in 0..30 {
        stage.note(Target::user("bob"), &n.to_string()).await;
    }
    // It may be told in several steps; in the end its place is less than a quarter of the window old.
    let newest = stage.note(Target::user("bob"), "newest").await.position.expect("a place").get();
    while place_of(&quiet.cursor) < newest - 10 {
        let received = quiet.next_or_cursor().await;
        assert_eq!((received.name.as_str(), received.payload), ("cursor", serde_json::Value::Null));
    }
    assert!(place_of(&quiet.cursor) > place_of(&before));
    let cursor = cut(&stage, quiet).await;
    for n in 0..25 {
        stage.note(Target::user("bob"), &n.to_string()).await;
    }
    stage.note(Target::user("quiet"), "1").await;
    let mut quiet = stage.guest(Visitor::user("quiet").resume(&cursor)).await;
    assert!(quiet.was_resumed(), "{}", quiet.welcome);
    assert_eq!(stage.labels(&mut quiet).await, ["1"]);
}
