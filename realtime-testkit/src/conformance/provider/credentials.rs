use std::sync::Arc;
use std::time::Duration;

use realtime_core::{CloseReason, Context, Reply, Router, Target};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::conformance::fixture::{Fixture, Peer};
use crate::conformance::{Ended, ProviderUnderTest, Received, Setup, Visitor};

/// A lifetime within which a test is over.
const LONG: Duration = Duration::from_secs(3_600);
/// A lifetime that a test waits for.
const BRIEF: Duration = Duration::from_secs(1);
const LONG_TOKEN: &str = "lifetimeMs=3600000";

/// Returns the settings without a notice before an expiry, among whose events it might be.
fn without_notice() -> Setup {
    Setup::default().with_expiry_notice(Duration::ZERO)
}

/// Asserts that a connection was closed for this reason, as far as its transport says so: by a
/// code, or by its last event.
fn assert_end((events, ended): &(Vec<Received>, Ended), reason: &CloseReason) {
    assert!(ended.code.is_none_or(|code| code == reason.code()), "{ended:?} for {reason}");
    if let Some(closed) = events.iter().position(|event| event.name == "closed") {
        assert_eq!(closed, events.len() - 1, "{events:?}");
        let said = json!({"code": reason.code(), "reason": reason.text(), "reconnect": reason.should_reconnect()});
        assert_eq!(events[closed].payload, said);
    }
}

/// Refreshes the credentials of a client; returns the labels of the notes that it received
/// meanwhile, and the answer or the error's code. `None` where clients cannot.
async fn refresh<P: ProviderUnderTest>(
    fixture: &Fixture<P>,
    peer: &mut Peer<P::Client>,
    token: &str,
) -> Option<(Vec<Value>, Result<Value, String>)> {
    if fixture.provider.is_bidirectional() {
        return Some(peer.refresh_by_event(token).await);
    }
    Some((Vec::new(), peer.refresh_by_request(token).await?))
}

/// A client is notified before its identity expires, and the connection ends at that time with a
/// reason of its own.
pub async fn client_is_notified_before_its_identity_expires<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let start = Instant::now();
    let mut brief = fixture.connect(Visitor::user("ann").with_lifetime(BRIEF)).await;
    let notice = brief.next().await;
    assert_eq!(notice.name, "expiring", "{notice:?}");
    let left = notice.payload["expiresInMs"].as_u64().expect("a number");
    assert!((1..=500).contains(&left), "halfway, since the usual notice would be before: {left}");
    let end = brief.read_to_end().await;
    assert!(start.elapsed() + Duration::from_millis(50) >= BRIEF, "{:?}", start.elapsed());
    assert_end(&end, &CloseReason::EXPIRED);
}

/// The time of the notice is configurable; at zero there is none.
pub async fn notice_before_an_expiry_is_configurable<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default().with_expiry_notice(Duration::from_millis(200))).await;
    let mut brief = fixture.connect(Visitor::user("ann").with_lifetime(BRIEF)).await;
    let left = brief.next().await.payload["expiresInMs"].as_u64();
    assert!(left.is_some_and(|left| (1..=200).contains(&left)), "{left:?}");
    let fixture = Fixture::<P>::start(without_notice()).await;
    let mut brief = fixture.connect(Visitor::user("ann").with_lifetime(BRIEF)).await;
    let end = brief.read_to_end().await;
    assert!(end.0.iter().all(|event| event.name != "expiring"), "{end:?}");
    assert_end(&end, &CloseReason::EXPIRED);
}

/// A refreshed connection outlives its first expiry, and goes on where it was.
pub async fn refresh_replaces_the_expiry<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(without_notice()).await;
    let mut ann = fixture.connect(Visitor::user("ann").with_lifetime(BRIEF)).await;
    fixture.note(Target::user("ann"), "before").await;
    let Some((mut labels, answer)) = refresh(&fixture, &mut ann, LONG_TOKEN).await else { return };
    let left = answer.expect("refreshed")["expiresInMs"].as_u64();
    assert!(left.is_some_and(|left| (3_500_000..=3_600_000).contains(&left)), "{left:?}");
    let mut later = fixture.connect(Visitor::user("bob").with_lifetime(BRIEF)).await;
    assert_end(&later.read_to_end().await, &CloseReason::EXPIRED);
    fixture.note(Target::user("ann"), "after").await;
    labels.extend(fixture.labels(&mut ann).await.into_iter().map(Value::from));
    assert_eq!(labels, ["before", "after"]);
    assert_eq!(fixture.provider.stats().connected, 2, "no new connection");
    let (_, answer) = refresh(&fixture, &mut ann, "lifetimeMs=1000").await.expect("clients can refresh");
    answer.expect("refreshed");
    assert_end(&ann.read_to_end().await, &CloseReason::EXPIRED);
}

/// A refresh to another user or tenant, and one with an invalid token, are refused; the connection
/// stays as it was until its own expiry.
pub async fn refused_refresh_leaves_the_connection_as_it_was<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(without_notice()).await;
    let ann = || Visitor::user("ann").with_tenant("acme");
    let mut peer = fixture.connect(ann().with_lifetime(LONG)).await;
    let too_long = "x".repeat(8_193);
    for (token, code) in [
        ("bad", "unauthorized"),
        ("lifetimeMs=0", "unauthorized"),
        ("user=bob&lifetimeMs=3600000", "identity_changed"),
        ("tenant=other&lifetimeMs=3600000", "identity_changed"),
        (&too_long, "bad_request"),
        ("", "bad_request"),
    ] {
        let Some((_, answer)) = refresh(&fixture, &mut peer, token).await else { return };
        assert_eq!(answer, Err(code.to_owned()), "{token}");
    }
    fixture.note(Target::user_in("acme", "ann"), "1").await;
    assert_eq!(fixture.labels(&mut peer).await, ["1"]);
    let mut brief = fixture.connect(ann().with_lifetime(BRIEF)).await;
    let (_, answer) = refresh(&fixture, &mut brief, "user=bob").await.expect("clients can refresh");
    assert_eq!(answer, Err("identity_changed".to_owned()));
    assert_end(&brief.read_to_end().await, &CloseReason::EXPIRED);
    let mut endless = fixture.connect(Visitor::user("ann")).await;
    let (_, answer) = refresh(&fixture, &mut endless, LONG_TOKEN).await.expect("clients can refresh");
    assert_eq!(answer, Err("bad_request".to_owned()), "these credentials do not end");
}

/// Events that are sent while credentials are refreshed arrive once, and in order.
pub async fn events_flow_while_credentials_are_refreshed<P: ProviderUnderTest>() {
    const EVENTS: usize = 300;
    let fixture = Arc::new(Fixture::<P>::start(without_notice()).await);
    let mut ann = fixture.connect(Visitor::user("ann").with_lifetime(LONG).with_room("r")).await;
    let sender = Arc::clone(&fixture);
    let sent = tokio::spawn(async move {
        for n in 0..EVENTS {
            sender.note(Target::user("ann"), &n.to_string()).await;
        }
    });
    let mut labels = Vec::new();
    for _ in 0..20 {
        let Some((meanwhile, answer)) = refresh(&*fixture, &mut ann, LONG_TOKEN).await else { return };
        answer.expect("refreshed");
        labels.extend(meanwhile);
    }
    sent.await.expect("sent");
    labels.extend(fixture.labels(&mut ann).await.into_iter().map(Value::from));
    assert_eq!(labels, (0..EVENTS).map(|n| Value::from(n.to_string())).collect::<Vec<_>>());
    if fixture.provider.capabilities().rooms {
        fixture.note(Target::room("r"), "in the room").await;
        assert_eq!(fixture.labels(&mut ann).await, ["in the room"]);
    }
}

/// Handlers see the identity of the last refresh.
pub async fn handlers_see_the_refreshed_identity<P: ProviderUnderTest>() {
    let router = Router::new()
        .on("token", async |cx: Context, (): ()| Reply(json!(cx.identity().token_id().map(str::to_owned))));
    let setup = without_notice().with_router(router);
    let Some(fixture) = Fixture::<P>::start_if(|can| can.bidirectional, setup).await else { return };
    let mut ann = fixture.connect(Visitor::user("ann").with_token_id("first")).await;
    ann.send("token", Value::Null, Some(1)).await;
    assert_eq!(ann.answer_to(1).await, json!("first"));
    let (_, answer) = ann.refresh_by_event("tokenId=second").await;
    assert_eq!(answer, Ok(json!({"expiresInMs": null})));
    ann.send("token", Value::Null, Some(2)).await;
    assert_eq!(ann.answer_to(2).await, json!("second"));
}

/// The text of an application's close reaches the client where its transport has a place for it.
pub async fn close_with_a_text_of_the_application<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut ann = fixture.connect(Visitor::user("ann")).await;
    let reason = CloseReason::kicked("your account was closed");
    let closed = fixture.provider.close(Target::connection(ann.id), reason.clone()).await.expect("closed");
    assert_eq!(closed, 1);
    assert_end(&ann.read_to_end().await, &reason);
}
