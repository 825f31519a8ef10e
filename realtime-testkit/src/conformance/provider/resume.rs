use realtime_core::spi::Cursor;
use realtime_core::{Target, WindowConfig};

use crate::conformance::fixture::{Fixture, Peer, note};
use crate::conformance::{ProviderUnderTest, Setup, Visitor};
use crate::in_time;

/// Disconnects a client, and returns its cursor when the server has noticed.
async fn disconnect<P: ProviderUnderTest>(fixture: &Fixture<P>, peer: Peer<P::Client>) -> String {
    let (id, cursor) = (peer.id, peer.cursor.clone());
    drop(peer);
    in_time("the hooks", fixture.hooks.wait_of(id, 4)).await;
    cursor
}

/// Returns the position of a cursor.
fn position_of(cursor: &str) -> u64 {
    cursor.parse::<Cursor>().expect("a cursor").position().get()
}

/// A client that resumes from its cursor gets the events that it missed, once and in order, and
/// then live events.
pub async fn resume_from_a_cursor<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default()).await else { return };
    let mut peer = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    fixture.note(Target::user("ann"), "seen").await;
    assert_eq!(fixture.labels(&mut peer).await, ["seen"]);
    let cursor = disconnect(&fixture, peer).await;
    fixture.note(Target::user("ann"), "1").await;
    fixture.note(Target::user("bob"), "no").await;
    fixture.note(Target::tenant("acme"), "2").await;
    fixture.note(Target::user_in("acme", "ann"), "3").await;
    fixture.note(Target::user_in("globex", "ann"), "no").await;
    fixture.note(Target::all(), "4").await;
    let mut peer = fixture.connect(Visitor::user("ann").with_tenant("acme").with_cursor(&cursor)).await;
    assert!(peer.was_resumed(), "{}", peer.welcome);
    assert_eq!(peer.reason(), "resumed");
    assert_eq!(peer.welcome["cursor"], cursor.as_str(), "the client reads from its cursor");
    fixture.note(Target::user("ann"), "5").await;
    assert_eq!(fixture.labels(&mut peer).await, ["1", "2", "3", "4", "5"]);
    // From the newest cursor there is no event; from the previous one, the same again.
    let newest = disconnect(&fixture, peer).await;
    let mut peer = fixture.connect(Visitor::user("ann").with_tenant("acme").with_cursor(&newest)).await;
    assert!(fixture.labels(&mut peer).await.is_empty());
    let mut again = fixture.connect(Visitor::user("ann").with_tenant("acme").with_cursor(&cursor)).await;
    let expected = ["1", "2", "3", "4", "5", "mark 1", "mark 2"];
    assert_eq!(fixture.labels(&mut again).await, expected);
}

/// A client that resumes and names its previous connection does not get events that except that
/// one, replayed or live; a client that does not resume has no previous connection.
pub async fn resume_keeps_exceptions_of_the_previous_connection<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default()).await else { return };
    let peer = fixture.connect(Visitor::user("ann")).await;
    let former = peer.id;
    let cursor = disconnect(&fixture, peer).await;
    let to_others = || Target::user("ann").except_connection(former);
    fixture.note(to_others(), "own").await;
    fixture.note(Target::user("ann"), "1").await;
    let mut resumed = fixture.connect(Visitor::user("ann").with_cursor(&cursor).with_former(former)).await;
    let mut other = fixture.connect(Visitor::user("ann").with_cursor(&cursor)).await;
    let mut new = fixture.connect(Visitor::user("ann").with_former(former)).await;
    fixture.note(to_others(), "own too").await;
    fixture.note(Target::user("ann"), "2").await;
    let mark = fixture.mark().await;
    assert_eq!(resumed.labels_until(&mark).await, ["1", "2"]);
    assert_eq!(other.labels_until(&mark).await, ["own", "1", "own too", "2"]);
    assert_eq!(new.labels_until(&mark).await, ["own too", "2"]);
}

/// The identity that presents a cursor decides what is replayed, not the one that got it.
pub async fn resume_shows_nothing_of_others<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default()).await else { return };
    let ann = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let cursor = disconnect(&fixture, ann).await;
    fixture.note(Target::user("ann"), "ann").await;
    fixture.note(Target::tenant("acme"), "acme").await;
    fixture.note(Target::user("bob"), "bob").await;
    fixture.note(Target::all().except_user("bob"), "not bob").await;
    fixture.note(Target::all(), "all").await;
    let mut bob = fixture.connect(Visitor::user("bob").with_cursor(&cursor)).await;
    assert!(bob.was_resumed(), "{}", bob.welcome);
    assert_eq!(fixture.labels(&mut bob).await, ["bob", "all"]);
    let mut anonymous = fixture.connect(Visitor::anonymous().with_cursor(&cursor)).await;
    assert_eq!(fixture.labels(&mut anonymous).await, ["not bob", "all", "mark 0"]);
}

/// An unusable cursor gives a fresh start, with a reason.
pub async fn resume_from_an_unusable_cursor<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(10);
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default().with_window(window)).await else {
        return;
    };
    let mut reader = fixture.connect(Visitor::user("bob")).await;
    let mut cursors = vec![reader.cursor.clone()];
    for n in 0..30 {
        fixture.note(Target::all(), &n.to_string()).await;
        reader.next().await;
        cursors.push(reader.cursor.clone());
    }
    let elsewhere = Fixture::<P>::start(Setup::default()).await;
    let foreign = elsewhere.connect(Visitor::user("ann")).await.cursor;
    let altered = |at: usize| {
        let mut altered = cursors[25].clone();
        altered.replace_range(at..=at, if &altered[at..=at] == "A" { "B" } else { "A" });
        altered
    };
    let invalid = ["0", "x", "-1", "' OR 1=1 --", "AAAA", "nonsense", "ä\u{202e} &=?%00"].map(str::to_owned);
    let known = &cursors[25];
    let similar =
        [known[1..].to_owned(), known[..known.len() - 1].to_owned(), format!("{known}A"), known.to_lowercase()];
    let mut cases = vec![
        (cursors[0].clone(), "expired"),
        (cursors[19].clone(), "expired"),
        (foreign, "epoch"),
        // Version and epoch are read before the rest.
        (altered(5), "epoch"),
        (altered(0), "invalid"),
        (altered(20), "invalid"),
        (altered(40), "invalid"),
        ("A".repeat(5_000), "invalid"),
    ];
    cases.extend(invalid.into_iter().chain(similar).map(|cursor| (cursor, "invalid")));
    for (cursor, reason) in cases {
        let mut peer = fixture.connect(Visitor::user("ann").with_cursor(&cursor)).await;
        assert!(!peer.was_resumed(), "{cursor}: {}", peer.welcome);
        assert_eq!(peer.reason(), reason, "{cursor}");
        assert!(fixture.labels(&mut peer).await.is_empty(), "{cursor}: no earlier event");
    }
    reader.labels_until(&fixture.mark().await).await;
    let oldest = reader.cursor.clone();
    for n in 0..10 {
        fixture.note(Target::all(), &n.to_string()).await;
    }
    let mut resumed = fixture.connect(Visitor::user("ann").with_cursor(&oldest)).await;
    assert!(resumed.was_resumed(), "the cursor before the window's oldest record: {}", resumed.welcome);
    let mark = fixture.mark().await;
    let labels = resumed.labels_until(&mark).await;
    assert!(labels.len() == 10, "{labels:?}");
}

/// Volatile events reach current connections, have no cursor, and are not replayed.
pub async fn volatile_events_are_not_replayed<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    // The connection has read a marker and is live: one that is behind gets no volatile event.
    assert!(fixture.labels(&mut peer).await.is_empty());
    let receipt = fixture.broadcast().to_user("ann", note("fleeting").as_volatile()).await.expect("sent");
    assert_eq!(receipt.position, None);
    assert_eq!(receipt.delivered.map(|delivered| (delivered.matched, delivered.queued)), Some((1, 1)));
    let received = peer.next().await;
    assert_eq!((received.payload.as_str(), received.cursor), (Some("fleeting"), None));
    if !fixture.provider.capabilities().resume {
        return;
    }
    let cursor = disconnect(&fixture, peer).await;
    let missed = fixture.broadcast().to_user("ann", note("missed").as_volatile()).await.expect("sent");
    assert_eq!(missed.delivered.map(|delivered| delivered.matched), Some(0));
    fixture.note(Target::user("ann"), "durable").await;
    let mut peer = fixture.connect(Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!(fixture.labels(&mut peer).await, ["durable"]);
}

/// A client without events gets its cursor before that leaves the window.
pub async fn quiet_client_gets_its_cursor_before_it_expires<P: ProviderUnderTest>() {
    let window = WindowConfig::default().with_records(40);
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default().with_window(window)).await else {
        return;
    };
    let mut quiet = fixture.connect(Visitor::user("quiet")).await;
    assert!(fixture.labels(&mut quiet).await.is_empty());
    let before = quiet.cursor.clone();
    for n in 0..30 {
        fixture.note(Target::user("bob"), &n.to_string()).await;
    }
    // There may be several steps; in the end the cursor is less than a quarter of the window old.
    let newest = fixture.note(Target::user("bob"), "newest").await.position.expect("a position").get();
    while position_of(&quiet.cursor) < newest - 10 {
        let received = quiet.next_or_cursor().await;
        assert_eq!((received.name.as_str(), received.payload), ("cursor", serde_json::Value::Null));
    }
    assert!(position_of(&quiet.cursor) > position_of(&before));
    let cursor = disconnect(&fixture, quiet).await;
    for n in 0..25 {
        fixture.note(Target::user("bob"), &n.to_string()).await;
    }
    fixture.note(Target::user("quiet"), "1").await;
    let mut quiet = fixture.connect(Visitor::user("quiet").with_cursor(&cursor)).await;
    assert!(quiet.was_resumed(), "{}", quiet.welcome);
    assert_eq!(fixture.labels(&mut quiet).await, ["1"]);
}
