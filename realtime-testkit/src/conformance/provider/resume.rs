use realtime_core::{Cursor, Target, WindowConfig};

use crate::conformance::fixture::{Fixture, Peer, note};
use crate::conformance::{ProviderUnderTest, Setup, Visitor};
use crate::in_time;

/// Cuts a peer's wire and answers its place, once the server has noticed.
async fn cut<P: ProviderUnderTest>(fixture: &Fixture<P>, peer: Peer<P::Client>) -> String {
    let (id, cursor) = (peer.id, peer.cursor.clone());
    drop(peer);
    in_time("the hooks", fixture.hooks.wait_of(id, 4)).await;
    cursor
}

fn place_of(cursor: &str) -> u64 {
    cursor.parse::<Cursor>().expect("a cursor").position().get()
}

/// A client that comes back with its cursor gets what it missed, once and in order, and goes on live.
pub async fn resume_from_a_cursor<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    if !fixture.provider.capabilities().resume {
        return;
    }
    let mut peer = fixture.connect(Visitor::user("ann").tenant("acme")).await;
    fixture.note(Target::user("ann"), "seen").await;
    assert_eq!(fixture.labels(&mut peer).await, ["seen"]);
    let cursor = cut(&fixture, peer).await;
    fixture.note(Target::user("ann"), "1").await;
    fixture.note(Target::user("bob"), "no").await;
    fixture.note(Target::tenant("acme"), "2").await;
    fixture.note(Target::user_in("acme", "ann"), "3").await;
    fixture.note(Target::user_in("globex", "ann"), "no").await;
    fixture.note(Target::all(), "4").await;
    let mut peer = fixture.connect(Visitor::user("ann").tenant("acme").resume(&cursor)).await;
    assert!(peer.was_resumed(), "{}", peer.welcome);
    assert_eq!(peer.reason(), "resumed");
    assert_eq!(peer.welcome["cursor"], cursor.as_str(), "it reads from the place it presented");
    fixture.note(Target::user("ann"), "5").await;
    assert_eq!(fixture.labels(&mut peer).await, ["1", "2", "3", "4", "5"]);
    // From the place it has now there is nothing to come; from the one before, the same again.
    let newest = cut(&fixture, peer).await;
    let mut peer = fixture.connect(Visitor::user("ann").tenant("acme").resume(&newest)).await;
    assert!(fixture.labels(&mut peer).await.is_empty());
    let mut again = fixture.connect(Visitor::user("ann").tenant("acme").resume(&cursor)).await;
    let expected = ["1", "2", "3", "4", "5", "mark 1", "mark 2"];
    assert_eq!(fixture.labels(&mut again).await, expected);
}

/// Who goes on where another connection was, and names it, does not get what excludes that one, replayed or live; whoever does not
/// resume has no former connection.
pub async fn resume_keeps_exceptions_of_the_previous_connection<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    if !fixture.provider.capabilities().resume {
        return;
    }
    let peer = fixture.connect(Visitor::user("ann")).await;
    let former = peer.id;
    let cursor = cut(&fixture, peer).await;
    let to_others = || Target::user("ann").except_connection(former);
    fixture.note(to_others(), "own").await;
    fixture.note(Target::user("ann"), "1").await;
    let mut back = fixture.connect(Visitor::user("ann").resume(&cursor).formerly(former)).await;
    let mut other = fixture.connect(Visitor::user("ann").resume(&cursor)).await;
    let mut new = fixture.connect(Visitor::user("ann").formerly(former)).await;
    fixture.note(to_others(), "own too").await;
    fixture.note(Target::user("ann"), "2").await;
    let mark = fixture.mark().await;
    assert_eq!(back.labels_until(&mark).await, ["1", "2"]);
    assert_eq!(other.labels_until(&mark).await, ["own", "1", "own too", "2"]);
    assert_eq!(new.labels_until(&mark).await, ["own too", "2"]);
}

/// What is replayed is decided by who presents a cursor, not by whose it was.
pub async fn resume_shows_nothing_of_others<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    if !fixture.provider.capabilities().resume {
        return;
    }
    let ann = fixture.connect(Visitor::user("ann").tenant("acme")).await;
    let cursor = cut(&fixture, ann).await;
    fixture.note(Target::user("ann"), "ann").await;
    fixture.note(Target::tenant("acme"), "acme").await;
    fixture.note(Target::user("bob"), "bob").await;
    fixture.note(Target::all().except_user("bob"), "not bob").await;
    fixture.note(Target::all(), "all").await;
    let mut bob = fixture.connect(Visitor::user("bob").resume(&cursor)).await;
    assert!(bob.was_resumed(), "{}", bob.welcome);
    assert_eq!(fixture.labels(&mut bob).await, ["bob", "all"]);
    let mut nobody = fixture.connect(Visitor::anonymous().resume(&cursor)).await;
    assert_eq!(fixture.labels(&mut nobody).await, ["not bob", "all", "mark 0"]);
}

/// A cursor that leads nowhere gives a fresh start, and the client is told why.
pub async fn resume_from_an_unusable_cursor<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(10);
    let fixture = Fixture::<P>::start(Setup::default().with_window(window)).await;
    if !fixture.provider.capabilities().resume {
        return;
    }
    let mut reader = fixture.connect(Visitor::user("bob")).await;
    let mut places = vec![reader.cursor.clone()];
    for n in 0..30 {
        fixture.note(Target::all(), &n.to_string()).await;
        reader.next().await;
        places.push(reader.cursor.clone());
    }
    let elsewhere = Fixture::<P>::start(Setup::default()).await;
    let stranger = elsewhere.connect(Visitor::user("ann")).await.cursor;
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
        let mut peer = fixture.connect(Visitor::user("ann").resume(&cursor)).await;
        assert!(!peer.was_resumed(), "{cursor}: {}", peer.welcome);
        assert_eq!(peer.reason(), reason, "{cursor}");
        assert!(fixture.labels(&mut peer).await.is_empty(), "{cursor}: nothing of before");
    }
    reader.labels_until(&fixture.mark().await).await;
    let oldest = reader.cursor.clone();
    for n in 0..10 {
        fixture.note(Target::all(), &n.to_string()).await;
    }
    let mut resumed = fixture.connect(Visitor::user("ann").resume(&oldest)).await;
    assert!(resumed.was_resumed(), "the place before the window's oldest record: {}", resumed.welcome);
    let mark = fixture.mark().await;
    let labels = resumed.labels_until(&mark).await;
    assert!(labels.len() == 10, "{labels:?}");
}

/// Volatile events reach who is there, carry no place, and are not replayed.
pub async fn volatile_events_are_not_replayed<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    // Having read a mark, the connection is live: volatile events are not for those that catch up.
    assert!(fixture.labels(&mut peer).await.is_empty());
    let receipt = fixture.broadcast().to_user("ann", note("fleeting").volatile()).await.expect("sent");
    assert_eq!(receipt.position, None);
    assert_eq!(receipt.delivered.map(|delivered| (delivered.matched, delivered.queued)), Some((1, 1)));
    let received = peer.next().await;
    assert_eq!((received.payload.as_str(), received.cursor), (Some("fleeting"), None));
    if !fixture.provider.capabilities().resume {
        return;
    }
    let cursor = cut(&fixture, peer).await;
    let missed = fixture.broadcast().to_user("ann", note("missed").volatile()).await.expect("sent");
    assert_eq!(missed.delivered.map(|delivered| delivered.matched), Some(0));
    fixture.note(Target::user("ann"), "durable").await;
    let mut peer = fixture.connect(Visitor::user("ann").resume(&cursor)).await;
    assert_eq!(fixture.labels(&mut peer).await, ["durable"]);
}

/// A client that gets nothing is told its place before it leaves the window.
pub async fn quiet_client_gets_its_cursor_before_it_expires<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(40);
    let fixture = Fixture::<P>::start(Setup::default().with_window(window)).await;
    if !fixture.provider.capabilities().resume {
        return;
    }
    let mut quiet = fixture.connect(Visitor::user("quiet")).await;
    assert!(fixture.labels(&mut quiet).await.is_empty());
    let before = quiet.cursor.clone();
    for n in 0..30 {
        fixture.note(Target::user("bob"), &n.to_string()).await;
    }
    // It may be told in several steps; in the end its place is less than a quarter of the window old.
    let newest = fixture.note(Target::user("bob"), "newest").await.position.expect("a place").get();
    while place_of(&quiet.cursor) < newest - 10 {
        let received = quiet.next_or_cursor().await;
        assert_eq!((received.name.as_str(), received.payload), ("cursor", serde_json::Value::Null));
    }
    assert!(place_of(&quiet.cursor) > place_of(&before));
    let cursor = cut(&fixture, quiet).await;
    for n in 0..25 {
        fixture.note(Target::user("bob"), &n.to_string()).await;
    }
    fixture.note(Target::user("quiet"), "1").await;
    let mut quiet = fixture.connect(Visitor::user("quiet").resume(&cursor)).await;
    assert!(quiet.was_resumed(), "{}", quiet.welcome);
    assert_eq!(fixture.labels(&mut quiet).await, ["1"]);
}
